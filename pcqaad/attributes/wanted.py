"""Which attributes a file is to have, and how well: what was asked for, and what the clouds have."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.attributes import MAX_ATTRIBUTES, MAX_CHANNELS, MAX_NAME, TYPES, Attribute, Coding, fit_name
from pcqaad.errors import CloudError, SettingsError
from pcqaad.formats.coding.residuals import LARGEST_EXACT
from pcqaad.monitor import SILENT, Monitor, Stage, log

Values = NDArray[Any]
# The attributes of one cloud, (n,) or (n, channels) of its n points, by their names.
Given = Mapping[str, Values]

COLOURS, NORMALS = "colour", ("normal", "normals", "Normals")
_PERCENT_OF_RANGE = 0.5  # of scalars, the largest error where none is given
_MOST_LABELS = 64  # values of whole numbers that are taken for labels
_SMALLEST_UNIT = 1e-250


@dataclass(frozen=True)
class AttributeSettings:
    """What is asked for of attributes.

    Attributes:
        names: of those to keep; None keeps all.
        colour_quality: of colours: peak signal to noise of luma, in dB, of the values that decoded points take.
        errors: the largest error of scalars by their names: a number, or text that ends in `%`, a part of the values'
            range. 0 keeps whole numbers as they are. Scalars without one get 0.5 %.
    """

    names: tuple[str, ...] | None = None
    colour_quality: float = 35.0
    errors: Mapping[str, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 10 <= self.colour_quality <= 100:
            raise SettingsError(f"colour_quality is {self.colour_quality!r}, expected 10 to 100 dB")
        for name, error in self.errors.items():
            _amount(name, error)


def _amount(name: str, error: float | str) -> tuple[float, bool]:
    """Return an error's number, and whether it is in percent of the range; raises SettingsError."""
    text = str(error).strip()
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise SettingsError(
            f"the largest error of attribute {name!r} is {error!r}, expected 0 or more, or a percentage"
        )
    return number, text.endswith("%")


@dataclass
class _Range:
    """What all clouds' values of one attribute are like."""

    type: np.dtype[Any]
    channels: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    different: set[float]  # values, up to one more than labels may have


def plan(
    clouds: Sequence[Given],
    points: Callable[[int], int],
    names: Sequence[str],
    settings: AttributeSettings,
    monitor: Monitor = SILENT,
) -> list[Attribute]:
    """Return the attributes to code of N clouds, of so many points each, with the steps that their errors ask for.

    Colours and labels have none yet. Says in one line each what is left out. Raises CloudError where the clouds do not
    have the same ones, or one of values that no file holds, and SettingsError for an unknown name.
    """
    ranges: dict[str, _Range] = {}
    for i in range(len(clouds)):
        monitor.update(Stage.READ, i, len(clouds), "clouds")
        given = _chosen(clouds[i], settings, names[i])
        if not i:
            if settings.names is None and any(name in NORMALS for name in clouds[i]):
                log.warning("normals are left out: faces or neighbours give them")
            ranges = {name: _Range(v.dtype, v.shape[1], *_limits(v), set()) for name, v in given.items()}
        if missing := sorted(set(ranges) - set(given)):
            raise CloudError(f"{names[i]}: has no attribute {missing[0]!r}, which {names[0]} has; leave it out")
        for name, known in ranges.items():
            _check(given[name], points(i), known, name, names[i])
            low, high = _limits(given[name])
            known.low, known.high = np.minimum(known.low, low), np.maximum(known.high, high)
            if known.type.kind != "f" and len(known.different) <= _MOST_LABELS:
                known.different |= set(np.unique(given[name])[: _MOST_LABELS + 1].tolist())
    monitor.update(Stage.READ, len(clouds), len(clouds), "clouds")
    if not ranges:
        log.warning("the clouds have no attributes to keep")
    if len(ranges) > MAX_ATTRIBUTES:
        raise CloudError(f"{names[0]}: has {len(ranges)} attributes, expected at most {MAX_ATTRIBUTES}; name some")
    if unknown := sorted(set(settings.errors) - set(ranges)):
        raise SettingsError(f"an error is given for attribute {unknown[0]!r}, expected one of {', '.join(ranges)}")
    return [_planned(name, known, settings) for name, known in ranges.items()]


def chosen(given: Given, attributes: Sequence[Attribute], points: int, name: str) -> list[Values]:
    """Return the values (n, channels) of attributes that a cloud has; raises CloudError where one is missing."""
    found = []
    for a in attributes:
        if a.name not in given:
            raise CloudError(f"{name}: has no attribute {a.name!r}, which the file's clouds have")
        values = _columns(given[a.name])
        _check(values, points, _Range(a.type, a.channels, np.zeros(0), np.zeros(0), set()), a.name, name)
        found.append(values)
    return found


def _chosen(given: Given, settings: AttributeSettings, cloud: str) -> dict[str, Values]:
    """Return those that are asked for, (n, channels) each."""
    if settings.names is None:
        wanted = [name for name in given if name not in NORMALS]
    else:
        wanted = list(dict.fromkeys(settings.names))
        if unknown := [name for name in wanted if name not in given]:
            has = ", ".join(given) or "none"
            raise CloudError(f"{cloud}: has no attribute {unknown[0]!r}: found {has}")
        if any(name in NORMALS for name in wanted):
            raise SettingsError("normals are not kept as attributes: faces or neighbours give them; leave them out")
    return {name: _columns(given[name]) for name in wanted}


def _columns(values: Values) -> Values:
    return values[:, None] if values.ndim == 1 else values


def _limits(values: Values) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return values.min(0).astype(np.float64), values.max(0).astype(np.float64)


def _check(values: Values, points: int, known: _Range, name: str, cloud: str) -> None:
    """Raise CloudError for values that are not like those of the other clouds, or that no file holds."""
    where = f"{cloud}: attribute {name!r}"
    if not fit_name(name):
        raise CloudError(f"{where}: expected a name of at most {MAX_NAME} bytes without control characters")
    if values.ndim != 2 or len(values) != points:
        raise CloudError(f"{where}: expected values of {points} points, found shape {values.shape}")
    if values.dtype != known.type or values.shape[1] != known.channels:
        expected, found = f"{known.channels} of {known.type}", f"{values.shape[1]} of {values.dtype}"
        raise CloudError(f"{where}: expected {expected} a point, as other clouds have, found {found}")
    if values.dtype not in TYPES:
        raise CloudError(f"{where}: expected numbers of at most 32 bits, or of floating point, found {values.dtype}")
    if not 1 <= values.shape[1] <= MAX_CHANNELS:
        raise CloudError(f"{where}: expected 1 to {MAX_CHANNELS} numbers a point, found {values.shape[1]}")
    if not np.isfinite(values).all():
        raise CloudError(f"{where}: expected finite values, found NaN or infinity: name the attributes to keep")


def _planned(name: str, known: _Range, settings: AttributeSettings) -> Attribute:
    one = Attribute(name, known.type, known.channels, Coding.EXACT)
    given = settings.errors.get(name)
    if given is None:
        if name == COLOURS and known.channels == 3:
            return replace(one, coding=Coding.COLOURS)
        if known.type.kind != "f" and known.channels == 1 and len(known.different) <= _MOST_LABELS:
            if known.high.max() >= 2**31:
                raise CloudError(f"attribute {name!r}: expected labels below 2^31, found {known.high.max():.0f}")
            return replace(one, coding=Coding.LABELS)
    number, percent = _amount(name, f"{_PERCENT_OF_RANGE}%" if given is None else given)
    span = known.high - known.low
    errors = np.full(known.channels, number) if not percent else number / 100 * span
    middle = known.low + span / 2
    if known.type.kind == "f":
        if not percent and number == 0:
            raise SettingsError(f"attribute {name!r} is of floating point: expected a largest error above 0")
        # The type rounds too, and so do the sums that lead to it.
        largest = np.maximum(np.abs(known.low), np.abs(known.high))
        rounding = np.spacing(largest.astype(known.type)).astype(np.float64) / 2 + 4 * np.spacing(largest)
        if percent:  # of numbers that differ in their last digits alone
            errors = np.maximum(errors, 2 * rounding)
        room = errors - rounding
        if ((room < span * 2.0**-30) & (span > 0)).any():
            text = f"a largest error of {given} is too small for numbers of {known.type} up to {largest.max():.6g}"
            raise SettingsError(f"attribute {name!r}: {text}")
        units = np.maximum(2 * room, _SMALLEST_UNIT)
    else:
        units, middle = 2 * np.floor(errors) + 1, np.round(middle)
    if (span / units).max() > LARGEST_EXACT:
        raise SettingsError(
            f"attribute {name!r}: a largest error of {given} is too small for a range of {span.max():.6g}"
        )
    return replace(one, offsets=tuple(middle.tolist()), units=tuple(units.tolist()))
