"""What is left of many sets of values over the same points, once they were foretold: one model, a stream for each.

Values are fields (`fields`), rounded to steps of the transform, or *exact*: integers that come back as they were. Of
the channels of one value, the first has contexts of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pcqaad.formats.coding.fields import Cells, Stage, round_fields, unfold
from pcqaad.formats.coding.rans import Ints
from pcqaad.formats.coding.symbols import Model, Reader
from pcqaad.formats.errors import FormatError

_CONTEXTS = 64  # of a channel; more than `fields` has
_REPEATED = _CONTEXTS - 1  # of points in one place
LARGEST_EXACT = 1 << 30  # of exact values; differences of two stay within 32 bits

# Numbers and contexts (n,), as they are coded together.
Part = tuple[Ints, Ints]


@dataclass(frozen=True)
class Residual:
    """One set of values, as its stream holds it.

    Attributes:
        parts: numbers and contexts of each part, in the order in which they are coded.
        decoded: what they decode to (M, C): in 2**-12 steps, or whole where they are exact.
    """

    parts: list[Part]
    decoded: Ints


def round_residual(values: npt.ArrayLike, cells: Cells, dead_zone: float) -> Residual:
    """Round values (M, C), in steps, as `round_fields` does; raises ValueError as that does."""
    rounded = round_fields(values, cells, dead_zone)
    return Residual([(q.ravel(), _of_channels(context).ravel()) for q, context in rounded.parts], rounded.decoded)


def exact_residual(values: Ints, cells: Cells) -> Residual:
    """Code integers (M, C) of at most `LARGEST_EXACT` in size exactly; raises ValueError for larger ones."""
    if len(values) and np.abs(values).max() > LARGEST_EXACT:
        raise ValueError(f"values of at most {LARGEST_EXACT} expected, found {np.abs(values).max()}")
    sorted_values = values[cells.order]
    stages = list(cells.stages())
    count = stages[-1].count if stages else np.array([len(cells)])
    first = np.cumsum(count) - count
    means = np.add.reduceat(sorted_values, first, axis=0) // count[:, None]
    differences: list[Ints] = []
    for i in reversed(range(len(stages))):
        stage = stages[i]
        low, high = means[stage.lower], means[stage.lower + 1]
        left, right = stage.count[stage.lower], stage.count[stage.lower + 1]
        differences.append(high - low)
        merged = np.empty((stage.parent[-1] + 1, values.shape[1]), np.int64)
        merged[stage.parent] = means
        merged[stage.split] = low + (high - low) * right[:, None] // (left + right)[:, None]
        means = merged
    parts: list[Part] = []

    def code(stage: Stage | None, context: Ints, predicted: Ints, scale: Ints) -> Ints:
        numbers: Ints = means if stage is None else differences.pop() - predicted
        parts.append((numbers.ravel(), _of_channels(context).ravel()))
        return numbers

    decoded = unfold(cells, values.shape[1], code, exact=True)
    again = _repeated(cells)
    context = _of_channels(np.full((len(again), values.shape[1]), _REPEATED))
    parts.append(((values - decoded)[again].ravel(), context.ravel()))
    return Residual(parts, values)


def read_residual(reader: Reader, cells: Cells, channels: int, exact: bool) -> Residual:
    """Read one set of values (M, C) from its stream; raises FormatError for damaged bytes."""
    parts: list[Part] = []

    def read(context: Ints) -> Ints:
        where = _of_channels(context).ravel()
        numbers = reader.read(where).astype(np.int64)
        parts.append((numbers, where))
        return numbers.reshape(context.shape)

    def code(stage: Stage | None, context: Ints, predicted: Ints, scale: Ints) -> Ints:
        return read(context)

    decoded = unfold(cells, channels, code, exact)
    if exact:
        again = _repeated(cells)
        decoded[again] += read(np.full((len(again), channels), _REPEATED))
    reader.finish()
    return Residual(parts, decoded)


def model_of(residuals: list[list[Part]]) -> Model:
    """Return the model of the streams of many; raises ValueError for numbers beyond 32 bits."""
    every = [part for parts in residuals for part in parts]
    return Model.fit(*(np.concatenate(column) for column in zip(*every, strict=True)))


def read_model(data: bytes) -> Model:
    """Return the model that the bytes hold; raises FormatError unless it takes all of them."""
    model, end = Model.from_bytes(data)
    if end != len(data):
        raise FormatError(f"expected a model of {end} bytes, found {len(data)}")
    return model


def _of_channels(context: Ints) -> Ints:
    """Return the contexts (n, C) of the first channel and, apart from them, of the others."""
    return context + _CONTEXTS * (np.arange(context.shape[1]) > 0)


def _repeated(cells: Cells) -> Ints:
    """Return the points whose values differ from their cell's: all of a cell of several, in the cells' order."""
    stages = list(cells.stages())
    count = stages[-1].count if stages else np.array([len(cells)])
    several: Ints = cells.order[np.repeat(count > 1, count)]
    return several
