"""Fields over points: smooth functions on a set of integer points that both sides know, in few bits.

The points are halved into cells as in `point_sets`, all as one set. A cell has the mean of its points' values; where
both halves have points, their means differ by a number that neighbouring cells foretell: a plane through their means
(least squares), seen at the halves' centres. Coded is the rest, in steps that give every number the same weight in
the squared error (the unbalanced Haar transform is orthonormal). Rests are small where those before them were, which
chooses their tables.

All arithmetic is on integers of 64 bits. SPEC.md gives the decoder to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pcqaad.formats.coding.point_contexts import Forest
from pcqaad.formats.coding.point_sets import interleave
from pcqaad.formats.coding.rans import Ints
from pcqaad.formats.coding.symbols import Model

FRACTION_BITS = 12  # of a step, in which values are decoded
_LARGEST_MEAN = 1 << 36  # in such parts of a step; clipped there
_LARGEST_DIFFERENCE = 1 << 37
_CENTRE_BITS = 4  # of the shorter side of a cell, in which centres are counted
_SLOPE_BITS = 16
_LARGEST_WEIGHT = 1 << 18  # in 2**-16
_RIDGE = 64  # the plane is drawn to a level one by a part in this many of the trace
_SCALE_BITS = 19  # of the factor of a coded number
_LARGEST_ACTIVITY = 1 << 16
# Contexts: the mean of all points, then one for each eight stages and number of binary digits of the activity.
_ACTIVITY_DIGITS = 8
_STAGES_TOGETHER = 8
# A coded number rounds towards zero where it is this far from a half: a bit costs more than so much error.
DEAD_ZONE = 0.15
# An estimate of bits counts numbers of this size one by one; and what it takes a table to hold a number, in bits.
_COUNTED = 20
_TABLE_BITS = 4

_OFFSETS = np.array([offset for offset in np.ndindex(3, 3, 3) if offset != (1, 1, 1)]) - 1
NEARNESS = 8 >> np.abs(_OFFSETS).sum(1)  # 4, 2, 1

Floats = npt.NDArray[np.float64]
# Gets a stage (None for the mean of all points), contexts and predictions (n, fields), and the factors of numbers (n,);
# returns the coded numbers (n, fields).
Code = Callable[["Stage | None", Ints, Ints, Ints], Ints]


@dataclass(frozen=True)
class Stage:
    """What one halving makes of the cells before it, and how the differences of its halves are foretold."""

    number: int
    parent: Ints  # (n,) of each cell behind it, the cell before it
    first: Ints  # (n,) of each cell behind it, the place of its first point
    count: Ints  # (n,) and its number of points
    split: Ints  # (s,) cells before it that have points in both halves
    lower: Ints  # (s,) their lower halves among the cells behind it; the upper ones follow
    near: Ints  # (26, s) their neighbours; those that are not there are the cell itself
    weights: Ints  # (26, s) of the differences to these, in 2**-16

    def in_32_bits(self) -> Stage:
        """Return the same with its largest arrays in half the memory, which hold no larger numbers."""
        return replace(self, near=self.near.astype(np.int32), weights=self.weights.astype(np.int32))


class Cells:
    """The cells that points (M, 3) are halved into, stage by stage: all that fields over them have in common.

    Coordinates are integers in 0 <= coordinate < 2**bits. The stages are worked out when they are gone through, and
    with `kept` that is done once, for about 200 bytes a point.
    """

    def __init__(self, points: npt.ArrayLike, bits: int, kept: bool = False) -> None:
        self._points, self._bits, self._kept = np.asarray(points).astype(np.int64), bits, kept
        self.order = np.argsort(interleave(self._points, bits), kind="stable")
        self._stages: list[Stage] | None = None

    def __len__(self) -> int:
        return len(self._points)

    def stages(self) -> Iterable[Stage]:
        """Return the stages that split a cell."""
        if not self._kept:
            return _stages(self._points[self.order], self._bits)
        if self._stages is None:
            self._stages = [stage.in_32_bits() for stage in _stages(self._points[self.order], self._bits)]
        return self._stages


@dataclass(frozen=True)
class Rounded:
    """Fields as their bytes will have them.

    Attributes:
        parts: numbers and contexts (n, F) of each stage, in the order in which they are coded.
        decoded: what the bytes decode to, (M, F) in 2**-12 steps.
    """

    parts: list[tuple[Ints, Ints]]
    decoded: Ints

    def code(self) -> bytes:
        """Return the bytes; that takes longer than rounding."""
        parts = [(numbers.ravel(), context.ravel()) for numbers, context in self.parts]
        model = Model.fit(*(np.concatenate(part) for part in zip(*parts, strict=True)))
        return model.to_bytes() + model.encode_parts(parts)

    def bits(self, together: int) -> Floats:
        """Return about how many bits the first fields take: the first group of so many, the first two, and so on.

        Each number counts by how frequent it is in its context, up to a size from which on its digits do.
        """
        numbers, context = (np.concatenate(part).reshape(-1, together) for part in zip(*self.parts, strict=True))
        groups = self.decoded.shape[1] // together
        group = np.tile(np.arange(groups), len(numbers) // groups)[:, None]
        small = numbers.clip(-_COUNTED, _COUNTED)
        symbols = 2 * _COUNTED + 1
        contexts = int(context.max(initial=0)) + 1
        index = (group * contexts + context) * symbols + small + _COUNTED
        count = np.bincount(index.ravel(), minlength=groups * contexts * symbols).reshape(groups, contexts, symbols)
        count = np.cumsum(count, 0).astype(np.float64)
        total = count.sum(2)
        entropy = (total * np.log2(np.maximum(total, 1))).sum(1) - (count * np.log2(np.maximum(count, 1))).sum((1, 2))
        beyond = 2 * np.log2(1 + np.abs(numbers - small)).sum(1).reshape(-1, groups).sum(0)
        bits: Floats = entropy + np.cumsum(beyond) + _TABLE_BITS * (count > 0).sum((1, 2))
        return bits


def encode_fields(
    values: npt.ArrayLike, points: npt.ArrayLike, bits: int, dead_zone: float = DEAD_ZONE
) -> tuple[bytes, Ints]:
    """Code fields (M, F), in steps, over points (M, 3) of integers in 0 <= coordinate < 2**bits.

    Returns the bytes, and what they decode to in 2**-12 steps. The mean of all fields' squared errors is about that of
    rounding each value to whole steps, or less. Raises ValueError as `round_fields` does.
    """
    return encode_fields_over(values, Cells(points, bits), dead_zone)


def encode_fields_over(values: npt.ArrayLike, cells: Cells, dead_zone: float = DEAD_ZONE) -> tuple[bytes, Ints]:
    """Code fields (M, F), in steps, over the points of some cells, as `encode_fields` does."""
    rounded = round_fields(values, cells, dead_zone)
    return rounded.code(), rounded.decoded


def round_fields(values: npt.ArrayLike, cells: Cells, dead_zone: float = DEAD_ZONE) -> Rounded:
    """Round fields (M, F), in steps, over the points of some cells.

    Raises ValueError for numbers that are not finite, or too large for 32 bits.
    """
    wanted = np.asarray(values, np.float64)
    largest = float(np.abs(wanted).max(initial=0)) * np.sqrt(max(len(wanted), 1))
    # False for NaN as well.
    if not largest < 1 << 23:
        raise ValueError(f"fields of less than 2^23 steps in all expected, found {largest:.3g}")
    sums = np.concatenate([np.zeros((1, wanted.shape[1])), np.cumsum(wanted[cells.order], 0)]) * (1 << FRACTION_BITS)
    parts: list[tuple[Ints, Ints]] = []

    def mean(first: Ints, count: Ints) -> Floats:
        means: Floats = (sums[first + count] - sums[first]) / count[:, None]
        return means

    def code(stage: Stage | None, context: Ints, predicted: Ints, scale: Ints) -> Ints:
        if stage is None:
            true = mean(np.zeros(1, np.int64), np.array([len(wanted)]))
        else:
            low, high = (mean(stage.first[i], stage.count[i]) for i in (stage.lower, stage.lower + 1))
            true = high - low
        exact = (true - predicted) / (scale[:, None] * 2.0 ** (FRACTION_BITS - _SCALE_BITS))
        numbers = (np.sign(exact) * np.floor(np.abs(exact) + 0.5 - dead_zone)).astype(np.int64)
        parts.append((numbers, context))
        return numbers

    decoded = unfold(cells, wanted.shape[1], code)
    return Rounded(parts, decoded)


def decode_fields(data: bytes, points: npt.NDArray[np.integer], bits: int, fields: int) -> Ints:
    """Return the fields (M, F) of `encode_fields`, in 2**-12 steps; raises FormatError for damaged bytes."""
    return decode_fields_over(data, Cells(points, bits), fields)


def decode_fields_over(data: bytes, cells: Cells, fields: int) -> Ints:
    """Return the fields (M, F) of `encode_fields` over the points of some cells; raises as `decode_fields` does."""
    model, end = Model.from_bytes(data)
    reader = model.reader(data[end:])

    def code(stage: Stage | None, context: Ints, predicted: Ints, scale: Ints) -> Ints:
        numbers: Ints = reader.read(context.ravel()).reshape(context.shape).astype(np.int64)
        return numbers

    decoded = unfold(cells, fields, code)
    reader.finish()
    return decoded


def unfold(cells: Cells, fields: int, code: Code, exact: bool = False) -> Ints:
    """Return the values (M, F) that coded numbers make, from the mean of all points down to each point.

    They are in 2**-FRACTION_BITS steps. Where `exact`, numbers count whole values whatever the cell's size, and means
    are whole: then every number is as it was coded, and the transform loses nothing.
    """
    scale = _root(np.array([(1 << 2 * _SCALE_BITS) // len(cells)]))
    numbers = code(None, np.zeros((1, fields), np.int64), np.zeros((1, fields), np.int64), scale)
    means = (numbers if exact else _scaled(numbers, scale)).clip(-_LARGEST_MEAN, _LARGEST_MEAN)
    activity = _grown(np.zeros_like(numbers), numbers)
    count = np.array([len(cells)])
    for stage in cells.stages():
        own, left, right = means[stage.split], stage.count[stage.lower], stage.count[stage.lower + 1]
        predicted = np.zeros_like(own)
        for near, weights in zip(stage.near, stage.weights, strict=True):
            there = np.flatnonzero(weights)
            predicted[there] += weights[there, None] * (means[near[there]] - own[there])
        predicted = (predicted + (1 << (_SLOPE_BITS - 1))) >> _SLOPE_BITS
        scale = _root(((left + right) << 2 * _SCALE_BITS) // (left * right))
        digits = np.minimum(np.frexp(activity[stage.split].astype(np.float64))[1], _ACTIVITY_DIGITS)
        context = 1 + stage.number // _STAGES_TOGETHER * (_ACTIVITY_DIGITS + 1) + digits
        numbers = code(stage, context, predicted, scale)
        moved = numbers if exact else _scaled(numbers, scale)
        difference = (predicted + moved).clip(-_LARGEST_DIFFERENCE, _LARGEST_DIFFERENCE)
        low = own - difference * right[:, None] // (left + right)[:, None]
        grown = _grown(activity[stage.split], numbers)
        means, activity, count = means[stage.parent], activity[stage.parent], stage.count
        means[stage.lower], means[stage.lower + 1] = low, low + difference
        means.clip(-_LARGEST_MEAN, _LARGEST_MEAN, out=means)
        activity[stage.lower] = activity[stage.lower + 1] = grown
    values = np.empty((len(cells), fields), np.int64)
    values[cells.order] = np.repeat(means, count, axis=0)
    return values


def _grown(activity: Ints, numbers: Ints) -> Ints:
    """Return the activity of the halves of cells: half of what it was, and the numbers just coded."""
    grown: Ints = (activity >> 1) + 16 * np.minimum(np.abs(numbers), _LARGEST_ACTIVITY)
    return grown


def _root(squares: Ints) -> Ints:
    """Return the square roots of integers below 2**52, rounded down: exact in double precision."""
    return np.sqrt(squares.astype(np.float64)).astype(np.int64)


def _scaled(numbers: Ints, scale: Ints) -> Ints:
    """Return coded numbers (n, F) times their factors, in 2**-FRACTION_BITS steps."""
    shift = _SCALE_BITS - FRACTION_BITS
    scaled: Ints = (numbers * scale[:, None] + (1 << (shift - 1))) >> shift
    return scaled


def _stages(points: Ints, bits: int) -> Iterator[Stage]:
    """Yield the stages that split a cell, of points (M, 3) in the order of their interleaved coordinates."""
    key = interleave(points, bits)
    sums = np.concatenate([np.zeros((1, 3), np.int64), np.cumsum(points, 0)])
    forest = Forest(np.array([len(points)]))
    for number in range(3 * bits):
        before, near = forest.count, forest.near
        if before.max() == 1:
            return
        start = np.cumsum(before) - before
        upper = np.add.reduceat((key >> (3 * bits - 1 - number)) & 1, start)
        split = np.flatnonzero((upper > 0) & (upper < before))
        parent, _ = forest.split(number % 3, upper)
        if not len(split):
            continue
        # A cell that splits has a neighbour besides itself, as far as the forest goes.
        assert near is not None
        cells = len(before)
        there = near.reshape(27, cells)[np.arange(27) != 13][:, split]
        there = np.where(there < cells, there, split)
        middle = split + np.arange(len(split))
        side = bits - (number + 2) // 3
        centres = _centres(sums, start, before, side)
        first = np.cumsum(forest.count) - forest.count
        low, high = (_centres(sums, first[i], forest.count[i], side) for i in (middle, middle + 1))
        weights = _plane(centres[there] - centres[split], high - low)
        yield Stage(number, parent, first, forest.count, split, middle, there, weights)


def _centres(sums: Ints, first: Ints, count: Ints, side: int) -> Ints:
    """Return the centres (n, 3) of cells of `count` points, in sixteenths of 2**side."""
    total = sums[first + count] - sums[first]
    centres: Ints = (total << _CENTRE_BITS) // (count << side)[:, None]
    return centres


def _plane(offsets: Ints, step: Ints) -> Ints:
    """Return the weights (26, s) by which a plane through neighbours at `offsets` (26, s, 3) rises over `step` (s, 3).

    They are in 2**-16. The plane is that of least squares, by Cramer's rule, with a ridge that makes it unique.
    """
    a = np.zeros((3, 3, len(step)), np.int64)
    for nearness, offset in zip(NEARNESS, offsets, strict=True):
        for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)):
            a[i, j] += nearness * offset[:, i] * offset[:, j]
    a[1, 0], a[2, 0], a[2, 1] = a[0, 1], a[0, 2], a[1, 2]
    ridge = (a[0, 0] + a[1, 1] + a[2, 2]) // _RIDGE + 1
    for i in range(3):
        a[i, i] += ridge
    # Of a symmetric matrix: row i of the adjugate is the cross product of the two others.
    adjugate = np.stack([np.cross(a[(i + 1) % 3], a[(i + 2) % 3], axis=0) for i in range(3)])  # (3, 3, s)
    determinant = (a[0] * adjugate[0]).sum(0)
    numerator = np.einsum("ijs,sj->is", adjugate, step)
    slope = ((numerator << _SLOPE_BITS) + determinant // 2) // determinant  # (3, s)
    weights: Ints = NEARNESS[:, None] * np.einsum("nsi,is->ns", offsets, slope)
    return weights.clip(-_LARGEST_WEIGHT, _LARGEST_WEIGHT)
