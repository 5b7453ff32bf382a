"""Coding of multisets of integer points: exact, duplicates kept, order given up.

Each set's cube is halved along x, y, z in turn; for every occupied cell the number of its points in the upper
half is coded, given how many it has and on which side its neighbours have more (k-d count coding after
Devillers and Gandoin, with neighbourhood contexts). All cells of a stage are coded in one call, and all sets
with one model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pcqaad.formats.coding.bits import BitReader, BitWriter
from pcqaad.formats.coding.histograms import Lookup, coded_bits, read_weights, starts, write_weights
from pcqaad.formats.coding.point_contexts import BUCKETS, CLASS_SYMBOLS, CLASSES, CONTEXTS, MAX_SMALL, Forest
from pcqaad.formats.coding.rans import PRECISION, Ints, RansDecoder, RansEncoder, uniform_span
from pcqaad.formats.errors import FormatError

MAX_BITS = 16  # of a coordinate
MAX_POINTS = 1 << 26  # of all sets
_DIGIT_BITS = 12
_MIN_SYMBOLS = 48  # symbols of a class below which a second table does not pay


def encode_points(sets: Sequence[npt.ArrayLike], bits: int) -> tuple[bytes, list[npt.NDArray[np.intp]]]:
    """Code point sets, each (n, 3) of integers in 0 <= coordinate < 2**bits, 1 <= bits <= 16.

    Returns the bytes, and for each set the permutation to the order of decoding. Raises ValueError for other sets.
    """
    points = [_checked(points, bits) for points in sets]
    counts = np.array([len(p) for p in points], np.int64)
    if counts.sum() > MAX_POINTS:
        raise ValueError(f"at most {MAX_POINTS} points fit, found {counts.sum()}")
    keys = [interleave(p, bits) for p in points]
    orders = [np.argsort(key, kind="stable") for key in keys]
    if not counts.sum():
        return b"", orders
    key = np.concatenate([key[order] for key, order in zip(keys, orders, strict=True)])
    forest = Forest(counts)
    stages: list[tuple[Ints, Ints, Ints, Ints]] = []
    for stage in range(3 * bits):
        count = forest.count
        upper = np.add.reduceat((key >> (3 * bits - 1 - stage)) & 1, np.cumsum(count) - count)
        mirror, context = forest.contexts(stage % 3)
        symbol, rest, size = _to_symbols(count, np.where(mirror, count - upper, upper))
        stages.append((context, symbol, rest, size))
        forest.split(stage % 3, upper)
    out = BitWriter()
    which, tables = _write_tables(out, np.concatenate([s[0] for s in stages]), np.concatenate([s[1] for s in stages]))
    frequency, start = np.zeros((2, len(tables), max(CLASS_SYMBOLS)), np.int64)
    for i, table in enumerate(tables):
        frequency[i, : len(table)], start[i, : len(table)] = table, starts(table)
    coder = RansEncoder()
    for context, symbol, rest, size in stages:
        coder.push(start[which[context], symbol], frequency[which[context], symbol])
        high = size > 1 << _DIGIT_BITS
        coder.push(*uniform_span(rest[high] >> _DIGIT_BITS, _high_size(size[high])))
        coder.push(*uniform_span(rest & ((1 << _DIGIT_BITS) - 1), np.minimum(size, 1 << _DIGIT_BITS)))
    return out.to_bytes() + coder.finish(), orders


def decode_points(data: bytes, counts: Sequence[int], bits: int) -> list[npt.NDArray[np.int32]]:
    """Return the point sets of `encode_points`, given how many points each has: (n, 3) int32 each.

    The points of a set come in the order of their interleaved coordinates. Raises FormatError for damaged
    bytes, and ValueError for counts or bits out of range, which the caller has to check against the file.
    """
    sizes = np.asarray(counts, np.int64).reshape(-1)
    _check_bits(bits)
    if (sizes < 0).any() or int(sizes.sum()) > MAX_POINTS:
        raise ValueError(f"counts of 0 or more and at most {MAX_POINTS} together expected, found {counts}")
    if not sizes.sum():
        if data:
            raise FormatError(f"no bytes for no points expected, found {len(data)}")
        return [np.empty((0, 3), np.int32) for _ in sizes]
    header = BitReader(data)
    which, tables = _read_tables(header)
    usable = np.array([bool(table.any()) for table in tables])[which]
    lookup = Lookup.of(tables)
    coder = RansDecoder(data[header.finish() :])
    forest = Forest(sizes)
    key = np.zeros(len(forest.count), np.int64)
    for stage in range(3 * bits):
        mirror, context = forest.contexts(stage % 3)
        if not usable[context].all():
            raise FormatError("a table with a weight expected for each context in use, found only zeros")
        slots = coder.slots(lookup.frequency, lookup.bias, which[context] << PRECISION)
        upper = _from_symbols(forest.count, lookup.symbol[slots].astype(np.int64), coder)
        upper = np.where(mirror, forest.count - upper, upper)
        parent, side = forest.split(stage % 3, upper)
        key = (key[parent] << 1) | side
    coder.finish()
    points = _deinterleave(np.repeat(key, forest.count), bits)
    return np.split(points, np.cumsum(sizes)[:-1])


def _buckets(count: Ints, bucket: Ints) -> tuple[Ints, Ints]:
    """Return the first of the values 0..count-2 in a bucket, and how many there are."""
    first = -(-bucket * (count - 1) // BUCKETS)
    return first, -(-(bucket + 1) * (count - 1) // BUCKETS) - first


def _high_size(size: Ints) -> Ints:
    return ((size - 1) >> _DIGIT_BITS) + 1


def _to_symbols(count: Ints, upper: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the symbol of each cell, then the remainder and its range for those that need one."""
    symbol = upper.copy()
    split = np.flatnonzero((count > MAX_SMALL) & (upper > 0) & (upper < count))
    symbol[(count > MAX_SMALL) & (upper == count)] = BUCKETS + 1
    bucket = ((upper[split] - 1) * BUCKETS) // (count[split] - 1)
    symbol[split] = bucket + 1
    first, size = _buckets(count[split], bucket)
    rest = upper[split] - 1 - first
    return symbol, rest[size > 1], size[size > 1]


def _from_symbols(count: Ints, symbol: Ints, coder: RansDecoder) -> Ints:
    upper = symbol.copy()
    large = count > MAX_SMALL
    whole = large & (symbol == BUCKETS + 1)
    upper[whole] = count[whole]
    split = np.flatnonzero(large & (symbol > 0) & ~whole)
    first, size = _buckets(count[split], symbol[split] - 1)
    if (size < 1).any():
        raise FormatError("a bucket with a value expected for a count of points, found an empty one")
    rest = np.zeros(len(split), np.int64)
    high = size > 1 << _DIGIT_BITS
    rest[high] = coder.uniform(_high_size(size[high])) << _DIGIT_BITS
    more = size > 1
    rest[more] += coder.uniform(np.minimum(size[more], 1 << _DIGIT_BITS))
    if (rest >= size).any():
        raise FormatError("a count of points inside its bucket expected, found a larger one")
    upper[split] = first + rest + 1
    return upper


def _write_tables(out: BitWriter, context: Ints, symbol: Ints) -> tuple[Ints, list[Ints]]:
    """Write the tables; return the table of each class and context, and the tables' frequencies."""
    which = np.zeros(CLASSES * CONTEXTS, np.int64)
    tables = [np.zeros(1, np.int64)]  # the first stands for all classes that do not occur
    for kind, symbols in enumerate(CLASS_SYMBOLS):
        mine = context // CONTEXTS == kind
        out.fixed(int(mine.any()), 1)
        if not mine.any():
            continue
        flat = context[mine] % CONTEXTS * symbols + symbol[mine]
        histogram = np.bincount(flat, minlength=CONTEXTS * symbols).reshape(CONTEXTS, symbols)
        for first, last in _runs(histogram):
            out.fixed(0, last - first - 1)
            if last < CONTEXTS:
                out.fixed(1, 1)
            which[kind * CONTEXTS + first : kind * CONTEXTS + last] = len(tables)
            tables.append(write_weights(out, histogram[first:last].sum(axis=0)))
    return which, tables


def _runs(histogram: Ints) -> list[tuple[int, int]]:
    """Return the runs of contexts that take the fewest bits when each run shares one table."""
    if histogram.sum() < _MIN_SYMBOLS:
        return [(0, CONTEXTS)]
    sums = np.concatenate([np.zeros((1, histogram.shape[1]), np.int64), np.cumsum(histogram, axis=0)])
    best: list[tuple[float, int]] = [(0.0, 0)]
    for last in range(1, CONTEXTS + 1):
        best.append(min((best[first][0] + coded_bits(sums[last] - sums[first]), first) for first in range(last)))
    runs, last = [], CONTEXTS
    while last:
        runs.append((best[last][1], last))
        last = best[last][1]
    return runs[::-1]


def _read_tables(bits: BitReader) -> tuple[Ints, list[Ints]]:
    which = np.zeros(CLASSES * CONTEXTS, np.int64)
    tables = [np.zeros(1, np.int64)]
    for kind, symbols in enumerate(CLASS_SYMBOLS):
        if not bits.fixed(1):
            continue
        last = 0
        while last < CONTEXTS:
            first, last = last, last + 1
            while last < CONTEXTS and not bits.fixed(1):
                last += 1
            which[kind * CONTEXTS + first : kind * CONTEXTS + last] = len(tables)
            tables.append(read_weights(bits, symbols))
    return which, tables


def interleave(points: Ints, bits: int) -> Ints:
    """Return the coordinates (n, 3) of points bit by bit in one number each (n,): x, y, z of the highest bit first."""
    key = np.zeros(len(points), np.int64)
    for level in reversed(range(bits)):
        for axis in range(3):
            key = (key << 1) | ((points[:, axis] >> level) & 1)
    return key


def _deinterleave(key: Ints, bits: int) -> npt.NDArray[np.int32]:
    points = np.zeros((len(key), 3), np.int32)
    for level in range(bits):
        for axis in range(3):
            points[:, axis] |= (((key >> (3 * level + 2 - axis)) & 1) << level).astype(np.int32)
    return points


def _check_bits(bits: int) -> None:
    if not 1 <= bits <= MAX_BITS:
        raise ValueError(f"1 to {MAX_BITS} bits of a coordinate expected, found {bits}")


def _checked(points: npt.ArrayLike, bits: int) -> Ints:
    _check_bits(bits)
    grid = np.asarray(points)
    if grid.ndim != 2 or grid.shape[1] != 3 or not np.issubdtype(grid.dtype, np.integer):
        raise ValueError(f"integers of shape (n, 3) expected, found {grid.dtype} of shape {grid.shape}")
    if grid.size and (grid.min() < 0 or grid.max() >= 1 << bits):
        raise ValueError(f"coordinates in [0, {1 << bits}) expected, found {grid.min()} to {grid.max()}")
    return grid.astype(np.int64)
