"""The attributes of a collection as a section of its file, for a fit and for clouds that come later."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.attributes.carry import Carrier, Points, same_points
from pcqaad.attributes.encode import encode_attribute, fitted, residual, sample, to_steps
from pcqaad.attributes.wanted import AttributeSettings, Given, chosen, plan
from pcqaad.bitstream.attributes import AttributeReader, Coded, attributes_section
from pcqaad.decoder.attributes import Attribute, Coding
from pcqaad.errors import CloudError, GoalError
from pcqaad.formats.coding.fields import FRACTION_BITS, Cells
from pcqaad.formats.coding.labels import label_parts
from pcqaad.formats.container.container import Section
from pcqaad.monitor import SILENT, Monitor, Stage, log
from pcqaad.points.collect import allocate

# The least quality of colours, in dB, that a budget may lead to; and how near to the best that it allows one is found.
_LEAST_QUALITY, _LOWER = 20.0, 0.5


@dataclass(frozen=True)
class Originals:
    """The clouds that attributes come from: `points` returns those (n, 3) of one, `given` its attributes."""

    names: Sequence[str]
    points: Callable[[int], Points]
    given: Sequence[Given]
    registered: bool = False  # whether point j is the same in all of them

    def __len__(self) -> int:
        return len(self.names)


class Attributes:
    """The attributes of N clouds, on the points that the clouds decode to."""

    def __init__(
        self,
        originals: Originals,
        attributes: Sequence[Attribute],
        decode: Callable[[int], Points],
        points: int,
        monitor: Monitor = SILENT,
    ) -> None:
        """Carry them to the points (M, 3) that `decode` returns of a cloud; raises CloudError, FormatError."""
        self.attributes, self._count = list(attributes), len(originals)
        self._values = [allocate((len(originals), points, a.channels), a.type) for a in attributes]
        # Of some clouds what colours are judged by: the originals' own, and which points are near to which.
        self._judged: dict[int, tuple[Carrier, list[NDArray[Any]]]] = {}
        some = sample(len(originals))
        same = None
        if originals.registered:
            same = same_points(originals.points, decode, len(originals))
        for i, name in enumerate(originals.names):
            monitor.update(Stage.CARRY, i, len(originals), "clouds")
            cloud = originals.points(i)
            values = chosen(originals.given[i], attributes, len(cloud), name)
            carrier = Carrier(cloud, decode(i), same)
            for kept, a, own in zip(self._values, attributes, values, strict=True):
                kept[i] = carrier.carry(own, a)
            if i in some and any(a.coding is Coding.COLOURS for a in attributes):
                self._judged[i] = carrier, values
        monitor.update(Stage.CARRY, len(originals), len(originals), "clouds")

    def carried(self, number: int) -> Callable[[int], NDArray[Any]]:
        """Return what returns the values (M, channels) of an attribute of a cloud."""
        return self._values[number].__getitem__

    def encode(self, cells: Cells, quality: float) -> Coder:
        """Code all of them over the cells of the points, colours at a quality in dB; raises CloudError."""
        return Coder(self, cells, quality, [self.coded(i, cells, quality) for i in range(len(self.attributes))])

    def coded(self, number: int, cells: Cells, quality: float) -> Coded:
        """Code one of them; raises CloudError."""

        def error(cloud: int, colours: NDArray[Any]) -> float:
            carrier, values = self._judged[cloud]
            return carrier.luma_error(values[number], colours)

        a = self.attributes[number]
        return encode_attribute(a, self.carried(number), self._count, cells, quality, error)

    def behind(self, reader: AttributeReader) -> Section:
        """Return the section of a file with these clouds' attributes behind those of its own; raises FormatError."""
        every = []
        for number, a in enumerate(reader.attributes):
            parts = []
            coefficients = np.zeros((self._count, a.components), np.int64)
            for i in range(self._count):
                values = self.carried(number)(i)
                if a.coding is Coding.LABELS:
                    parts.append(label_parts(values[:, 0].astype(np.int64), reader.usual(number), reader.cells))
                    continue
                if a.components:
                    mean = reader.base(number, np.zeros(a.components, np.int64))
                    left = to_steps(a, values) - np.ldexp(mean.astype(np.float64), -FRACTION_BITS)
                    rows = left.astype(np.float32).reshape(1, -1)
                    coefficients[i] = fitted(reader.components(number), rows, a.finer)[0]
                base = reader.base(number, coefficients[i])
                try:
                    parts.append(residual(a, values, base, reader.cells).parts)
                except ValueError as error:
                    raise CloudError(f"attribute {a.name!r} of new clouds cannot be coded: {error}") from error
            every.append(reader.coded(number).attached(parts, coefficients))
        return attributes_section(every, len(reader.cells))[0]


@dataclass(frozen=True)
class Coder:
    """Attributes as they were coded, which may be coded again in fewer bytes."""

    values: Attributes
    cells: Cells
    quality: float  # dB of colours
    coded: list[Coded]

    def section(self) -> Section:
        """Return the section; raises CloudError."""
        return attributes_section(self.coded, len(self.cells))[0]

    def within(self, limit: int) -> Coder:
        """Return the same with colours as coarse as a section of at most so many bytes takes; raises GoalError."""
        if len(self.section().data) <= limit:
            return self
        # The least quality that is tried first, and twice as near to the asked one each time.
        good, low, high = None, _LEAST_QUALITY, self.quality
        if self.colours():
            good = self._at(low)
        if good is None or len(good.section().data) > limit:
            found = len((good or self).section().data)
            raise GoalError(
                f"attributes take {found:,} bytes, where {limit:,} are left for them: "
                "keep fewer, allow larger errors, or more bytes"
            )
        while high - low > _LOWER:
            coder = self._at((low + high) / 2)
            if len(coder.section().data) <= limit:
                good, low = coder, coder.quality
            else:
                high = coder.quality
        return good

    def colours(self) -> list[int]:
        """Return which attributes are colours."""
        return [i for i, a in enumerate(self.values.attributes) if a.coding is Coding.COLOURS]

    def _at(self, quality: float) -> Coder:
        """Return the same with colours of another quality."""
        again = list(self.coded)
        for i in self.colours():
            again[i] = self.values.coded(i, self.cells, quality)
        return replace(self, quality=quality, coded=again)


# The part of a budget that attributes may have, where their quality can be lowered.
_MOST_OF_BUDGET = 0.5
# What the bytes of attributes may grow by, once they lie on the points that the file decodes to; and of the table.
_GROWTH, _TABLE = 1.02, 64
_ESTIMATED_BITS = 12  # of the places that an estimate is made on
# How often clouds are coded for a channel, as a rule, and on how many clouds; and the seconds that one takes, and a
# point of it, on a core of 2.5 GHz.
_TIMES = {Coding.COLOURS: 8, Coding.EXACT: 4, Coding.SMOOTH: 4, Coding.LABELS: 2}
_SECONDS, _SECONDS_OF_POINT = 5e-3, 1e-6


class OfFit:
    """The attributes of a collection that is fitted: looked at before, sized before quantisation, coded after it."""

    def __init__(
        self, originals: Originals, settings: AttributeSettings, limit: int | None, monitor: Monitor = SILENT
    ) -> None:
        """Look at all of them; raises CloudError, FormatError or SettingsError for what cannot be kept."""
        self._originals, self._settings, self._limit, self._monitor = originals, settings, limit, monitor
        self._attributes = plan(originals.given, lambda i: len(originals.points(i)), originals.names, settings, monitor)

    def __bool__(self) -> bool:
        return bool(self._attributes)

    def reserve(self, template: Points, decode: Callable[[int], Points]) -> int:
        """Return the bytes of a budget that are kept for attributes; 0 without one.

        They are measured on the points (M, 3) that a model decodes a cloud to, over its template (M, 3). Raises
        GoalError where attributes alone exceed their part.
        """
        if self._limit is None or not self._attributes:
            return 0
        low, wide = template.min(0), max(float(np.ptp(template, axis=0).max()), 1e-300)
        grid = np.floor((template - low) / wide * ((1 << _ESTIMATED_BITS) - 1)).astype(np.int64)
        coder = self._encoded(decode, Cells(grid, _ESTIMATED_BITS, kept=True))
        coder = coder.within(int(_MOST_OF_BUDGET * self._limit))
        return math.ceil(_GROWTH * len(coder.section().data)) + _TABLE

    def seconds(self, points: int) -> float:
        """Return about how long it takes to code them over so many points, on one core that nothing else uses."""
        times = sum(_TIMES[a.coding] * a.channels for a in self._attributes)
        # A budget has them coded before, too, and again where they have to be coarser.
        times *= 1 if self._limit is None else 3
        return times * len(self._originals) * (_SECONDS + _SECONDS_OF_POINT * points)

    def section(self, decode: Callable[[int], Points], cells: Cells, others: int) -> Section | None:
        """Return the section on the points that `decode` returns, over their cells; None without attributes.

        The other sections take so many bytes. Raises GoalError where all together exceed the budget.
        """
        if not self._attributes:
            return None
        coder = self._encoded(decode, cells)
        asked = self._settings.colour_quality
        if self._limit is not None:
            coder = coder.within(self._limit - others - _TABLE)
        if coder.quality < asked:
            log.warning("colours have %.4g dB, not %.4g: the bytes allow no more", coder.quality, asked)
        return coder.section()

    def _encoded(self, decode: Callable[[int], Points], cells: Cells) -> Coder:
        carried = Attributes(self._originals, self._attributes, decode, len(cells), self._monitor)
        return carried.encode(cells, self._settings.colour_quality)
