"""Attributes of points on the command line: the options that ask for them, and how files are read for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
import numpy as np
from numpy.typing import NDArray

from pcqaad.attributes.wanted import AttributeSettings
from pcqaad.bitstream.collection import Collection
from pcqaad.formats.clouds.find import CloudSource
from pcqaad.formats.clouds.shape import Shape
from pcqaad.formats.clouds.writers import WRITERS, not_written
from pcqaad.monitor import log

F = TypeVar("F", bound=Callable[..., Any])

ALL = "all"


class Attributes(Sequence[Any]):
    """The attributes of files, by their names, read when they are asked for."""

    def __init__(self, sources: Sequence[CloudSource]) -> None:
        self._sources = sources

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, index: Any) -> Any:
        """Read those of one; raises FormatError as the source does."""
        if isinstance(index, slice):
            return Attributes(self._sources[index])
        attributes: dict[str, NDArray[np.generic]] = dict(self._sources[index].read_shape().attributes)
        return attributes


def _errors(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    errors = {}
    for value in values:
        name, found, error = value.rpartition("=")
        if not found or not name:
            raise click.BadParameter(f"expected NAME=VALUE, found {value!r}")
        errors[name] = error
    return errors


def options(command: F) -> F:
    """Add the options by which a command keeps attributes."""
    for option in reversed(
        (
            click.option(
                "--attributes",
                metavar="LIST",
                help="Keep what points have beside their places: all, or NAME,NAME. Normals are never kept.",
            ),
            click.option(
                "--colour-quality",
                metavar="DB",
                type=click.FloatRange(10, 100),
                help="Quality of kept colours: peak signal to noise of luma, in dB [35].",
            ),
            click.option(
                "--attribute-error",
                "attribute_errors",
                metavar="NAME=VALUE",
                multiple=True,
                callback=_errors,
                help="Largest error of a kept scalar, in its unit, or in percent of its range with a % [0.5%]. 0 keeps "
                "whole numbers exactly. Whole numbers of few values are labels, which are exact without.",
            ),
        )
    ):
        command = option(command)
    return command


def asked(attributes: str | None, quality: float | None, errors: dict[str, str]) -> AttributeSettings | None:
    """Return what the options ask for, None where nothing is kept; raises UsageError for one without the other."""
    if attributes is None:
        if quality is not None or errors:
            option = "--colour-quality" if quality is not None else "--attribute-error"
            raise click.UsageError(f"{option} needs --attributes")
        return None
    names = None if attributes == ALL else tuple(name for name in attributes.split(",") if name)
    if names == ():
        raise click.UsageError("--attributes expects all, or names")
    settings = AttributeSettings(names, errors=errors)
    return settings if quality is None else AttributeSettings(names, quality, errors)


def attributes_of(
    collection: Collection, suffix: str, *, points: int | None = None, even: bool = False, level: int | None = None
) -> Callable[[int], dict[str, NDArray[Any]]]:
    """Return what decodes the attributes of a cloud's points, or of a mesh's vertices, for files of a suffix.

    Those that such a file has no place for are left out, with a word.
    """
    names = [a.name for a in collection.attributes]
    nothing: dict[str, NDArray[Any]] = dict.fromkeys(names, np.zeros(0))
    lost = names if suffix not in WRITERS else not_written(suffix, Shape(np.zeros((0, 3)), None, nothing))
    if lost:
        log.warning("%s files have no place for attribute %s: it is left out", suffix, ", ".join(lost))
    where: dict[str, Any] = {"points": points, "even": even, "level": level}
    readers = {name: collection.attribute_of(name, **where) for name in names if name not in lost}

    def read(cloud: int) -> dict[str, NDArray[Any]]:
        found = {name: of(cloud) for name, of in readers.items()}
        return {name: values[:, 0] if values.shape[1] == 1 else values for name, values in found.items()}

    return read
