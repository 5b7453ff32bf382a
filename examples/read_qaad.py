"""Read one cloud of a .qaad file with numpy alone: a reader to copy, to translate, or to add to a paper.

    python read_qaad.py skulls.qaad --list
    python read_qaad.py skulls.qaad 3 -o cloud.ply

It follows formats/SPEC.md, whose section numbers stand below, and returns the bytes that pcqaad returns. It reads
the model that all clouds share and the latents of one group of 64 clouds, and verifies the checksums of what it reads.
It does not check every rule of the specification: read files of strangers with pcqaad.
"""

from __future__ import annotations

import argparse
import struct
import sys
import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np


def need(condition: bool, expected: str) -> None:
    """Refuse the file unless the condition holds."""
    if not condition:
        raise ValueError(f"expected {expected}: the file is damaged, or no .qaad file of version 1 or 2")


class File:
    """The sections of a file (section 1), each read and checked when it is asked for."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        head = stream.read(16).ljust(16)
        magic, version, count, checksum = struct.unpack("<8sHHI", head)
        need(magic == b"\x93QAAD\r\n\x1a" and version in (1, 2), "the magic and version 1 or 2")
        self.version = version
        table = self.read(16, 17 * count, checksum, covered=head[:12])
        self.rows, at = {}, 16 + len(table)
        for tag, *row in struct.iter_unpack("<4sBIII", table):
            self.rows[tag.decode()] = at, *row
            at += row[1]
        required = {"HEAD", "GAIN", "WGTS", "TMPL", "LMOD", "LATS", "NAME"}
        found = {tag for tag in self.rows if tag[0].isupper()}
        known = {"COMP", "SURF", "ATTR"}  # the last holds nothing of points' places
        need(found - known == required, f"the sections {sorted(required)}, and no other but {sorted(known)}")
        need(stream.seek(0, 2) == at, f"a file of {at} bytes")

    def read(self, offset: int, length: int, checksum: int, covered: bytes = b"") -> bytes:
        """Return bytes whose checksum, behind that of the bytes `covered` too, is right."""
        self.stream.seek(offset)
        data = self.stream.read(length)
        need(zlib.crc32(covered + data) == checksum, f"other bytes from {offset} to {offset + length}")
        return data

    def section(self, tag: str) -> bytes:
        """Return a section, inflated where it is deflated."""
        offset, coding, length, size, checksum = self.rows[tag]
        data = self.read(offset, length, checksum)
        data = zlib.decompressobj(-15).decompress(data, size) if coding else data
        need(len(data) == size, f"{size} bytes of {tag}")
        return data

    def group(self, tag: str, index: int) -> bytes:
        """Return one group of a section of groups, reading no other (section 1.1)."""
        offset = self.rows[tag][0]
        self.stream.seek(offset)
        head = self.stream.read(8)
        count, checksum = struct.unpack("<II", head)
        table = np.frombuffer(self.read(offset + 8, 8 * count, checksum, covered=head[:4]), "<u4").tolist()
        start = offset + 8 + 8 * count + sum(table[0 : 2 * index : 2])
        return self.read(start, table[2 * index], table[2 * index + 1])


class Bits:
    """Numbers in bits (section 2)."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def fixed(self, width: int) -> int:
        """Read a number of `width` bits."""
        byte, skipped = divmod(self.at, 8)
        window = int.from_bytes(self.data[byte : byte + 6].ljust(6, b"\0"), "big")
        self.at += width
        need(self.at <= 8 * len(self.data), "more bits")
        return window >> (48 - skipped - width) & ((1 << width) - 1)

    def gamma(self) -> int:
        """Read an Elias gamma number, at least 1."""
        zeros = 0
        while not self.fixed(1):
            zeros += 1
        need(zeros <= 32, "numbers of 33 bits at most")
        return 1 << zeros | self.fixed(zeros)

    def signed(self) -> int:
        """Read a number with a sign."""
        half, odd = divmod(self.gamma() - 1, 2)
        return -half - 1 if odd else half

    def rest(self) -> bytes:
        """Return the bytes behind the padding."""
        need(self.fixed(-self.at % 8) == 0, "a padding of zeros")
        return self.data[self.at // 8 :]


def frequencies(weights: np.ndarray) -> np.ndarray:
    """Return frequencies that sum to 2^14, or are all 0 (section 3)."""
    used = weights > 0
    scaled = used + weights * (2**14 - used.sum()) // max(weights.sum(), 1)
    scaled[weights.argmax()] += (2**14 - scaled.sum()) * used.any()
    return scaled


def histogram(bits: Bits, count: int) -> np.ndarray:
    """Read frequencies written one by one (section 3, weights)."""
    weights = np.zeros(count, np.int64)
    most, length, i = bits.fixed(3), 0, 0
    while i < count:
        length += bits.signed()
        need(0 <= length <= 16, "weights of 16 bits at most")
        if length:
            digits = min(length - 1, most)
            weights[i] = (1 << digits) + bits.fixed(digits) << length - 1 - digits
        i += 1 if length else bits.gamma()
    return frequencies(weights)


def pearson(bits: Bits, count: int, escape: bool) -> np.ndarray:
    """Read the frequencies of a parametric pmf, and of an escape behind it (section 3, bell)."""
    power = (1, 2, 3, 4, 6, 8, 12, 24)[bits.fixed(3)]
    octave, step = divmod(bits.fixed(8), 8)
    width = 8 + step << octave
    far = 16 * (np.arange(count, dtype=np.int64) - count // 2 - bits.signed()) ** 2
    weights = np.full(count, 2**30, np.int64)
    for _ in range(power):
        weights = weights * width // (width + far)
    tail = np.full(1, 2 ** bits.fixed(5) // 2) if escape else np.zeros(0, np.int64)
    return frequencies(np.append(np.maximum(weights, 1), tail))


def by_slot(tables: list[np.ndarray]) -> np.ndarray:
    """Return symbol, start and frequency of each slot of each table of frequencies, (3, tables, 2^14)."""
    columns = [(np.arange(len(table)), np.cumsum(table) - table, table) for table in tables]
    rows = [[np.repeat(column, table) for column in three] for three, table in zip(columns, tables, strict=True)]
    return np.array(rows, np.int32).reshape(-1, 3, 2**14).swapaxes(0, 1)


class Rans:
    """A rANS stream, all lanes of a step at once (section 4)."""

    def __init__(self, data: bytes) -> None:
        need(len(data) > 0 and data[0] <= 6 and len(data) >= 1 + 4 * 2 ** data[0], "the states of 64 lanes at most")
        self.state = np.frombuffer(data, "<u4", 2 ** data[0], 1).astype(np.int64)
        self.words = np.frombuffer(data[1 + 4 * len(self.state) :], "<u2").astype(np.int64)

    def symbols(self, slots: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Read a symbol by each of the tables `which` (n,), given `by_slot`."""
        return self.call(len(which), lambda step, slot: slots[:, which[step], slot].astype(np.int64))

    def uniform(self, sizes: np.ndarray) -> np.ndarray:
        """Read a number below each of `sizes` (n,), all equally likely."""

        def find(step: slice, slot: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            size = sizes[step]
            value = slot * size // 2**14
            start, end = -(-value * 2**14 // size), -(-(value + 1) * 2**14 // size)
            return value, start, end - start

        return self.call(len(sizes), find)

    def call(self, count: int, find: Callable[[slice, np.ndarray], Sequence[np.ndarray]]) -> np.ndarray:
        """Read `count` symbols; `find` tells symbol, start and frequency of the slots of a step."""
        out = np.empty(count, np.int64)
        for first in range(0, count, len(self.state)):
            step = slice(first, min(first + len(self.state), count))
            state = self.state[: step.stop - first]
            slot = state % 2**14
            out[step], start, frequency = find(step, slot)
            state[:] = frequency * (state // 2**14) + slot - start
            low = np.flatnonzero(state < 2**16)
            need(len(low) <= len(self.words), "more words of a stream")
            state[low] = state[low] << 16 | self.words[: len(low)]
            self.words = self.words[len(low) :]
        return out

    def finish(self) -> None:
        """Check that nothing is left."""
        need(len(self.words) == 0 and (self.state == 2**16).all(), "the end of a stream")


class Model:
    """The tables that integers are coded with, one a context (section 5)."""

    def __init__(self, bits: Bits) -> None:
        self.row = np.full(bits.gamma(), -1)  # of each context, its table; the last entry: of contexts without one
        self.escape_bits = bits.fixed(6)
        rows, tables = [], []
        for context in range(len(self.row) - 1):
            count = bits.gamma() - 1
            if count:
                self.row[context] = len(rows)
                rows.append((bits.signed(), bits.fixed(4), count))
                escape = self.escape_bits > 0
                tables.append(pearson(bits, count, escape) if bits.fixed(1) else histogram(bits, count + escape))
        need(all(table.any() for table in tables), "a frequency above 0 in every table")
        self.low, self.shift, self.escape = np.array(rows, np.int64).reshape(-1, 3).T
        self.certain = np.array([table.argmax() if table.max() == 2**14 else -1 for table in tables])
        self.slots = by_slot(tables)

    def integers(self, data: bytes, contexts: np.ndarray) -> np.ndarray:
        """Read an integer in each of the contexts (n,), n > 0."""
        rans = Rans(data)
        integers = self.part(rans, contexts)
        rans.finish()
        return integers

    def part(self, rans: Rans, contexts: np.ndarray) -> np.ndarray:
        """Read the next integers of a stream, one in each of the contexts (n,)."""
        row = self.row[np.minimum(contexts, len(self.row) - 1)]
        need((row >= 0).all(), "a table for every context")
        symbol = self.certain[row]
        coded = symbol < 0
        symbol[coded] = rans.symbols(self.slots, row[coded])
        escaped = symbol == self.escape[row]
        value = symbol << self.shift[row]
        fine = ~escaped & (self.shift[row] > 0)
        value[fine] += rans.uniform(1 << self.shift[row][fine])
        far = np.zeros(escaped.sum(), np.int64)
        for at in range(0, self.escape_bits, 14):
            far += rans.uniform(np.full(len(far), 1 << min(14, self.escape_bits - at))) << at
        value[escaped] = np.where(far % 2, -(far // 2) - 1, far // 2)
        return value + self.low[row]


def integer_array(data: bytes, contexts: np.ndarray) -> np.ndarray:
    """Read a model and, behind it, an integer in each of the contexts (n,) (section 5)."""
    bits = Bits(data)
    model = Model(bits)
    return model.integers(bits.rest(), contexts)


def neighbours(cells: np.ndarray, points: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted points before and behind each cell (set, x, y, z) along an axis (section 6, context)."""
    # One number a cell. Each axis has an empty place beyond the last cell, which parts one row from the next.
    x, y, z = (int(n) + 2 for n in cells[:, 1:].max(0))
    strides = np.array([x * y * z, y * z, z, 1], np.int64)
    key = (cells * strides).astype(np.uint64).sum(1, dtype=np.uint64)
    order = np.argsort(key)
    key, points = key[order], points[order]
    sides = np.zeros((2, len(key)), np.int64)
    for side, i, j in np.ndindex(2, 3, 3):
        offset = np.insert([i - 1, j - 1], axis, 2 * side - 1) @ strides[1:]
        there = key + np.uint64(int(offset) % 2**64)
        at = np.minimum(np.searchsorted(key, there), len(key) - 1)
        sides[side, order] += (2 - abs(i - 1)) * (2 - abs(j - 1)) * points[at] * (key[at] == there)
    return sides[0], sides[1]


def half_of(points: np.ndarray, symbol: np.ndarray, rans: Rans) -> np.ndarray:
    """Return how many points of each cell its symbol puts into one half (section 6, stream)."""
    count = np.where((points > 8) & (symbol == 17), points, symbol)
    split = np.flatnonzero((points > 8) & (symbol > 0) & (symbol < 17))
    first, end = (-(-(symbol[split] + i) * (points[split] - 1) // 16) for i in (-1, 0))
    size, rest = end - first, np.zeros(len(split), np.int64)
    rest[size > 4096] = 4096 * rans.uniform((size[size > 4096] - 1) // 4096 + 1)
    rest[size > 1] += rans.uniform(np.minimum(size[size > 1], 4096))
    need((rest < size).all(), "a count of points within its range")
    count[split] = 1 + first + rest
    return count


def point_sets(data: bytes, sizes: np.ndarray, depth: int) -> list[np.ndarray]:
    """Read sets of `sizes` points (n, 3) in a grid of `depth` bits an axis (section 6)."""
    bits, tables, table_of = Bits(data), [], np.full((13, 8), -1)
    for kind, symbols in enumerate((2, 3, 4, 5, 6, 7, 8, 9, 18, 2, 2, 3, 3)):
        end = 0 if bits.fixed(1) else 8
        while end < 8:
            first, end = end, end + 1
            while end < 8 and not bits.fixed(1):
                end += 1
            table = histogram(bits, symbols)
            if table.any():  # no cell may ask for an empty one
                table_of[kind, first:end] = len(tables)
                tables.append(table)
    rans, slots = Rans(bits.rest()), by_slot(tables)
    cells, points = np.zeros((len(sizes), 4), np.int64), sizes
    cells[:, 0] = np.arange(len(sizes))
    for axis in list(range(3)) * depth:
        before, behind = neighbours(cells, points, axis)
        both, surplus = before + behind, 20 * abs(before - behind)
        context = (surplus > np.array([[0], [2], [4], [6], [9], [12], [16]]) * both).sum(0)
        crowd = (both >= 3 * points).astype(np.int64) + (both >= 9 * points)
        kind = np.minimum(points, 9) - 1
        kind = np.where((kind < 2) & (crowd > 0), 8 + 2 * kind + crowd, kind)
        which = table_of[kind, context]
        need((which >= 0).all(), "a table for every cell")
        half = half_of(points, rans.symbols(slots, which), rans)
        lower = np.where(before > behind, half, points - half)
        halves = np.stack([lower, points - lower], 1)
        parent, side = np.nonzero(halves)
        points, cells = halves[parent, side], cells[parent]
        cells[:, 1 + axis] = 2 * cells[:, 1 + axis] + side
    rans.finish()
    return np.split(np.repeat(cells[:, 1:], points, 0), np.cumsum(sizes)[:-1])


def root(squares: np.ndarray) -> np.ndarray:
    """Return square roots of integers below 2^52, rounded down."""
    return np.sqrt(squares.astype(np.float64)).astype(np.int64)


def plane(offsets: np.ndarray, weights: np.ndarray, rise: np.ndarray) -> np.ndarray:
    """Return the weights (26, s) of neighbours at offsets (26, s, 3) in a rise (s, 3) of their plane (section 6.1)."""
    a = (weights[:, None, None, None] * offsets[..., None] * offsets[..., None, :]).sum(0)
    a += (np.trace(a, axis1=1, axis2=2) // 64 + 1)[:, None, None] * np.eye(3, dtype=np.int64)
    adjugate = np.stack([np.cross(a[:, i - 2], a[:, i - 1]) for i in range(3)], 1)
    determinant = (a[:, 0] * adjugate[:, 0]).sum(1)[:, None]
    slope = ((adjugate * rise[:, None]).sum(2) * 2**16 + determinant // 2) // determinant
    return np.clip(weights[:, None] * (offsets * slope).sum(2), -(2**18), 2**18)


def fields(data: bytes, points: np.ndarray, depth: int, count: int) -> np.ndarray:
    """Read `count` integers for each of the points (M, 3) of a grid of `depth` bits an axis (section 6.1)."""
    bits = Bits(data)
    model = Model(bits)
    rans = Rans(bits.rest())

    def read(contexts: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what integers in contexts (n, count) add to a prediction, and to the activity."""
        q = model.part(rans, contexts.ravel()).reshape(contexts.shape)
        return (q * scale[:, None] + 2**6) >> 7, 16 * np.minimum(np.abs(q), 2**16)

    # The points in the order of the cells: a cell is a run of them, from one edge to the next.
    digits = [points[:, axis] >> level & 1 for level in reversed(range(depth)) for axis in range(3)]
    order = np.lexsort(digits[::-1])
    sums = np.cumsum(np.insert(points[order], 0, 0, 0), 0)
    uppers = [np.cumsum(np.insert(digit[order], 0, 0)) for digit in digits]
    edges, cells = np.array([0, len(points)]), np.zeros((1, 3), np.int64)
    means, active = read(np.zeros((1, count), np.int64), root(np.array([2**38 // len(points)])))
    means = np.clip(means, -(2**36), 2**36)
    steps = np.array([step for step in np.ndindex(3, 3, 3) if step != (1, 1, 1)]) - 1
    for stage, upper in enumerate(uppers):
        start, end, axis = edges[:-1], edges[1:], stage % 3
        u = upper[end] - upper[start]
        l = end - start - u
        split = np.flatnonzero((u > 0) & (l > 0))
        parent = np.repeat(np.arange(len(cells)), 1 + ((u > 0) & (l > 0)))
        lower = split + np.arange(len(split))
        side = (u > 0)[parent].astype(np.int64)
        side[lower] = 0
        middle = (start + l)[split]
        if len(split):

            def centre(start: np.ndarray, end: np.ndarray, shift: int = depth - (stage + 2) // 3) -> np.ndarray:
                return 16 * (sums[end] - sums[start]) // (end - start << shift)[:, None]

            y, z = (int(n) + 2 for n in cells[:, 1:].max(0))
            strides = np.array([y * z, z, 1])
            key = cells @ strides
            by_key = np.argsort(key)
            there = key[split] + (steps @ strides)[:, None]
            at = by_key[np.minimum(np.searchsorted(key, there, sorter=by_key), len(key) - 1)]
            near = np.where(key[at] == there, at, split)
            offsets, u, l = centre(start, end)[near] - centre(start, end)[split], u[split], l[split]
            rise = centre(middle, end[split]) - centre(start[split], middle)
            weights = plane(offsets, 8 >> np.abs(steps).sum(1), rise)
            predicted = np.zeros((len(split), count), np.int64)
            for cell, weight in zip(near, weights, strict=True):
                predicted += weight[:, None] * (means[cell] - means[split])
            length = np.frexp(active[split].astype(np.float64))[1]
            more, grown = read(1 + 9 * (stage // 8) + np.minimum(length, 8), root((l + u) * 2**38 // (l * u)))
            difference = np.clip((predicted + 2**15 >> 16) + more, -(2**37), 2**37)
            first, grown = means[split] - difference * u[:, None] // (l + u)[:, None], grown + (active[split] >> 1)
            means, active = means[parent], active[parent]
            means[lower], means[lower + 1] = first, first + difference
            means = np.clip(means, -(2**36), 2**36)
            active[lower] = active[lower + 1] = grown
        cells = cells[parent]
        cells[:, axis] = 2 * cells[:, axis] + side
        edges = np.insert(edges, split + 1, middle)
    rans.finish()
    values = np.empty((len(points), count), np.int64)
    values[order] = np.repeat(means, np.diff(edges), 0)
    return values


class Flags:
    """Flags whose probabilities follow what was read (section 6.2, stream)."""

    def __init__(self, data: bytes) -> None:
        need(len(data) >= 4, "a state of flags")
        self.state, self.words = int.from_bytes(data[:4], "little"), np.frombuffer(data[4:], "<u2").tolist()[::-1]
        first = [
            32,
            56,
            62,
            63,
            63,
            16,
            40,
            60,
            6,
            60,
            60,
            16,
            24,
            40,
            4,
            60,
            60,
            16,
            60,
            60,
            16,
            60,
            40,
            40,
            40,
            30,
            16,
        ]
        first += [6, 6, 52, 38, 24, 18, 25, 31, 34, 42, 48, 53, 57, 60, 61, 20, 25, 31, 38, 43, 52, 54, 57, 38]
        first += [13, 16, 20, 24, 30, 36, 42, 48, 5]
        self.chance, self.divisor = [2**10 * p for p in first], [16] * len(first)

    def take(self, frequency: int) -> bool:
        """Read a flag that is set in so many of 2^14 cases."""
        rest, slot = divmod(self.state, 2**14)
        found = slot < frequency
        self.state = frequency * rest + slot if found else (2**14 - frequency) * rest + slot - frequency
        if self.state < 2**16:
            need(len(self.words) > 0, "more flags")
            self.state = self.state << 16 | self.words.pop()
        return found

    def flag(self, context: int) -> bool:
        """Read a flag in a context."""
        p, d = self.chance[context], self.divisor[context]
        found = self.take(max(p >> 2, 1))
        self.chance[context], self.divisor[context] = p + (2**16 - p) // d if found else p - p // d, min(d + 1, 128)
        return found

    def number(self, width: int) -> int:
        """Read a number of `width` bits."""
        return sum(self.take(2**13) << place for place in reversed(range(width)))

    def place(self, context: int, most: int, points: list[int]) -> int:
        """Read a place in a list, and return the point there."""
        digits = 0
        while digits < most and self.flag(context + digits):
            digits += 1
        place = 2**digits - 1 + self.number(digits)
        need(place < len(points), "a place in a list of points")
        return points[place]


class Mesh:
    """Triangles that grow from edge to edge, over points (V, 3) (section 6.2)."""

    def __init__(self, points: np.ndarray) -> None:
        self.points, self.triangles, self.known = points, [], set()
        self.border, self.edges, self.ends = {}, set(), [0] * len(points)  # edges on the border that end at each point
        self.fresh, self.tails, self.heads = set(range(len(points))), set(), set()
        self.nearest = {}

    def add(self, p: int, q: int, r: int) -> None:
        """Add a triangle, and its edges to the border."""
        corners = frozenset((p, q, r))
        need(len(corners) == 3 and corners not in self.known and max(corners) < len(self.points), "another triangle")
        self.triangles.append((p, q, r))
        self.known.add(corners)
        self.fresh -= corners
        for a, b, c in ((p, q, r), (q, r, p), (r, p, q)):
            self.edges.add((a, b))
            if (b, a) in self.border:
                self.leave(b, a)
            elif (a, b) not in self.border:
                self.border[a, b] = c
                self.ends[a] += 1
                self.ends[b] += 1

    def leave(self, a: int, b: int) -> None:
        """Take an edge from the border."""
        del self.border[a, b]
        self.ends[a] -= 1
        self.ends[b] -= 1

    def near(self, p: int, count: int) -> list[int]:
        """Return the points nearest to one, at most 64."""
        if p not in self.nearest:
            distance = np.square(self.points - self.points[p]).sum(1)
            distance[p] = np.iinfo(np.int64).max
            self.nearest[p] = np.argsort(distance, kind="stable")[: min(64, len(distance) - 1)].tolist()
        return self.nearest[p][:count]

    def scores(self, a: int, b: int, c: int, count: int) -> tuple[np.ndarray, ...]:
        """Return the candidates, best first, and their score, fold and places along the edge as its ends see them."""

        def dot(u: np.ndarray, v: np.ndarray) -> np.ndarray:
            return (u * v).sum(-1)

        def length(u: np.ndarray) -> np.ndarray:
            return np.maximum(root(2**8 * dot(u, u)), 1)

        v = np.array(sorted({*self.near(a, count), *self.near(b, count)} - {a, b, c}), np.int64)
        at_a, at_b, at_c = self.points[[a, b, c]]
        x, y, e, g = at_a - self.points[v], at_b - self.points[v], at_b - at_a, at_c - at_a
        n, m = np.cross(e, g), np.cross(e, y)
        opening = (dot(x, y) << 18) // (length(x) * length(y))
        fold = (dot(n, m) << 10) // np.maximum(root(dot(n, n)) * root(dot(m, m)), 1)
        shift = np.minimum((root(2**8 * dot(g - y, g - y)) << 10) // length(e), 2**12)
        reach = np.minimum(((length(x) + length(y)) << 10) // length(e), 2**13)
        score = 8 * opening - 9 * fold + 4 * shift + 2 * reach
        sides = (dot(x, e) << 18) // (length(x) * length(e)), (dot(y, e) << 18) // (length(y) * length(e))
        order = np.argsort(score, kind="stable")
        return tuple(column[order] for column in (v, score, fold, *sides))

    def closed(self, a: int, b: int, v: int) -> int:
        """Return how many of the other two edges of a triangle are on the border."""
        return ((v, a) in self.border) + ((b, v) in self.border)

    def offered(self, a: int, b: int, points: np.ndarray, scores: np.ndarray) -> list[tuple[int, int]]:
        """Return scores and points that may complete a triangle, best first."""
        out = []
        for v, score in zip(points.tolist(), scores.tolist(), strict=True):
            if v in self.fresh:
                out.append((score, v))
            elif self.ends[v] and (a, v) not in self.edges and (v, b) not in self.edges:
                out.append((score + (4500, -1400, -12000)[self.closed(a, b, v)], v))
        return sorted(out)

    def cross(self, flags: Flags, a: int, b: int, c: int) -> None:
        """Read what lies across an edge of the border."""
        v, score, fold, at_a, at_b = (column[:12] for column in self.scores(a, b, c, 24))
        covers = (fold > 0) & (at_a < at_a[:, None]) & (at_b > at_b[:, None])
        best = self.offered(a, b, v, score + 6000 * covers.any(1))
        t = 2 if a in self.tails else int(a in self.heads)
        h = 2 if b in self.heads else int(b in self.tails)
        state = int(self.closed(a, b, best[0][1]) == 2) if best else 2
        if not flags.flag(3 + 3 * (min(t, h) * (5 - min(t, h)) // 2 + max(t, h)) + state):
            self.leave(a, b)
            self.tails.add(a)
            self.heads.add(b)
            return
        for i, (score, v) in enumerate(best):
            lead = best[i + 1][0] - score if i + 1 < len(best) else 22000
            lower = sum(step <= lead for step in (600, 1500, 3000, 5000, 7500, 10500, 14500, 22000))
            if flags.flag(33 + 9 * min(i, 2) + lower):
                return self.add(b, a, v)
        far = self.offered(a, b, *self.scores(a, b, c, 64)[:2])
        others = [v for _, v in far if v not in {u for _, u in best}]
        digits = (len(self.points) - 1).bit_length()
        return self.add(b, a, flags.place(22, 7, others) if flags.flag(21) else flags.number(digits))


def mesh(data: bytes, points: np.ndarray, depth: int, count: int) -> np.ndarray:
    """Read triangles (count, 3) over points (V, 3) of a grid of `depth` bits an axis (section 6.2)."""
    flags, grown, here = Flags(data), Mesh(points >> max(depth - 12, 0)), 0
    digits = (len(points) - 1).bit_length()
    while not grown.triangles or flags.flag(0):
        need(len(grown.triangles) < count, f"{count} triangles")
        while here < len(points) and not (here in grown.fresh and flags.flag(1)):
            here += 1
        first = here if here < len(points) else flags.number(digits)
        need(first < len(points), "the number of a point")
        near = grown.near(first, 24)
        grown.add(first, *(flags.place(29, 4, near) if flags.flag(2) else flags.number(digits) for _ in range(2)))
        while grown.border:
            need(len(grown.triangles) <= count, f"{count} triangles")
            (a, b), c = next(iter(grown.border.items()))
            grown.cross(flags, a, b, c)
    need(not flags.words and flags.state == 2**16, "an end of flags")
    need(len(grown.triangles) == count, f"{count} triangles")
    return np.array(grown.triangles, np.int64)


class Header:
    """The header (section 7.1), and the shapes of the network's tensors (7.2)."""

    def __init__(self, data: bytes) -> None:
        fixed = struct.unpack_from("<IIHHHBBBBH3qd3iH", data)
        self.clouds, self.points, k, self.latent, hidden, layers, flags, self.depth, _, self.contexts = fixed[:10]
        self.residual, self.sequence = bool(flags & 1), bool(flags & 2)
        self.centre, self.unit, self.origin = np.array(fixed[10:13]), fixed[13], np.array(fixed[14:17])
        self.scales = data[66 : 67 + layers]
        self.widths = w = struct.unpack_from(f"<{layers}H", data, 67 + layers)
        between = [shape for i, j in pairwise(w) for shape in ((i, j), (j,))]
        first, last = [(self.latent, w[0]), (3, w[0]), (w[0],)], [(k, 3, hidden), (k, hidden), (k, hidden, 3), (k, 3)]
        self.shapes = [*first, *between, (k, w[-1], hidden), *last]
        codes = fixed[17], *struct.unpack(f"<{len(self.shapes) + self.latent}H", data[67 + 3 * layers :])
        self.grid, *steps = ((8 + code % 8, code // 8 - 64) for code in codes)  # mantissa, exponent
        self.steps, self.latent_steps = steps[: len(self.shapes)], steps[len(self.shapes) :]
        self.sizes = self.points // k + (np.arange(k) < self.points % k)  # of the patches


def read_tensors(file: File, head: Header) -> list[np.ndarray]:
    """Return the network's tensors in steps: symbols times gains (section 7.2)."""
    inputs, (k, _, hidden) = sum(head.widths), head.shapes[-5]
    code = integer_array(file.section("GAIN"), np.repeat([0, 1], [inputs, k * hidden]))
    need(((code >= 0) & (code < 8)).all(), "gains of 0 to 7")
    of_inputs, of_neurons = np.split(code[:inputs], np.cumsum(head.widths)[:-1]), code[inputs:].reshape(k, 1, hidden)
    values = np.array([2, 3, 4, 6, 8, 12, 16, 24])
    codes, gains = [np.zeros(1, np.int64)] * len(head.shapes), [np.ones(1, np.int64)] * len(head.shapes)
    for i, own in enumerate(of_inputs):  # of the weights between layers; the last lead into the patches
        codes[3 + 2 * i], gains[3 + 2 * i] = own[:, None], values[own][:, None]
    codes[-5], gains[-5] = codes[-5] + of_neurons, gains[-5] * values[of_neurons]
    counts = [1] * 3 + [8, 1] * (len(of_inputs) - 1) + [15, 1, 1, 1, 1]
    classes = [own + first for own, first in zip(codes, np.cumsum(counts) - counts, strict=True)]
    contexts = [np.broadcast_to(own, shape).ravel() for own, shape in zip(classes, head.shapes, strict=True)]
    symbols = integer_array(file.section("WGTS"), np.concatenate(contexts))
    tensors = np.split(symbols, np.cumsum([len(context) for context in contexts])[:-1])
    return [x.reshape(shape) * gain for x, shape, gain in zip(tensors, head.shapes, gains, strict=True)]


def read_components(file: File, head: Header, template: np.ndarray) -> np.ndarray:
    """Return the components (C, M, 3) of displacement, in 2^-20, over the template's grid points (section 7.9)."""
    if "COMP" not in file.rows:
        return np.zeros((0, len(template), 3), np.int64)
    data = file.section("COMP")
    count, *codes = np.frombuffer(data, "<u2", 1 + int.from_bytes(data[:2], "little")).tolist()
    need(1 <= count <= head.latent and max(codes) < 520, "1 component for a latent number at most, and narrow steps")
    components = fields(data[2 + 2 * count :], template, head.depth, 3 * count).reshape(-1, count, 3).swapaxes(0, 1)
    for component, code in zip(components, codes, strict=True):
        own, shift = component * (8 + code % 8), code // 8 - 56
        component[:] = own << shift if shift >= 0 else own + (1 << -shift - 1) >> -shift
    need(np.abs(components).max() < 2**27 and np.abs(components).sum(0).max() < 2**27, "components below 2^27")
    return components


def shares(masses: np.ndarray, points: int) -> np.ndarray:
    """Return how many of a cloud's points each triangle gets (section 7.10)."""
    masses = masses >> max(int(masses.sum()).bit_length() - 38, 0)
    sums = np.cumsum(masses if masses.any() else np.ones_like(masses))
    return np.diff((points * sums + sums[-1] // 2) // sums[-1], prepend=0)


def cut(part: np.ndarray, count: int, corners: np.ndarray) -> list[np.ndarray]:
    """Return the weights of `count` points on a part of a triangle, whose corners are weights too (section 7.10)."""

    def whole(w: np.ndarray) -> np.ndarray:
        return np.array([w[0], w[1], 2**20 - w[0] - w[1]])

    if count == 1:
        return [whole(part.sum(0) // 3)]
    places, half = part @ corners >> 8, count // 2
    lengths = [np.square(places[(i + 1) % 3] - places[(i + 2) % 3]).sum() for i in range(3)]
    opposite, first, second = (part[(int(np.argmax(lengths)) + i) % 3] for i in range(3))
    at = whole(first + (second - first) * half // count)
    one, other = np.array([first, at, opposite]), np.array([at, second, opposite])
    return cut(one, half, corners) + cut(other, count - half, corners)


def read_surface(file: File, head: Header, template: np.ndarray, cloud: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the vertices (n, 3) that each point of a cloud lies between, and its weights (n, 3) (section 7.10)."""
    if "SURF" not in file.rows:
        return None
    data = file.section("SURF")
    points, count, of_triangles, of_counts = struct.unpack_from("<IIII", data)
    end = 16 + of_triangles + of_counts
    most = min(2**24, 2**18 + 4096 * of_triangles)
    need(1 <= points <= most and 1 <= count <= 2**15 and end <= len(data), "fewer points and triangles")
    need(len(head.sizes) == 1 and 3 <= len(template) <= 2**15, "3 to 32768 vertices in one patch")
    triangles = mesh(data[16 : 16 + of_triangles], template, head.depth, count)
    a, b, c = template[triangles.T]
    normals = np.abs(np.cross(b - a, c - a))
    excess = np.array([max(int(n).bit_length() - 25, 0) for n in normals.max(1)])
    areas = root(np.square(normals >> excess[:, None]).sum(1)) << excess
    total = max(int(areas.sum()), 1)
    contexts = np.zeros(max(count, head.clouds), np.int64)
    counts = (2 * points * areas + total) // (2 * total) + integer_array(data[end - of_counts : end], contexts[:count])
    need(counts.min() >= 0 and counts.sum() == points, f"{points} points on all triangles")
    if data[end:]:
        size = points + int(integer_array(data[end:], contexts[: head.clouds])[cloud])
        need(1 <= size <= most, f"a cloud of at most {most} points")
        counts = counts if size == points else shares(counts, size)
    whole = np.eye(3, dtype=np.int64) << 20
    weights = [w for t, n in zip(triangles, counts.tolist(), strict=True) if n for w in cut(whole, n, template[t])]
    return np.repeat(triangles, counts, 0), np.array(weights)


def coefficients(head: Header, latent: list[int], count: int) -> np.ndarray:
    """Return the coefficients (C,) of the components, in 2^-16 (section 7.7)."""
    exact = []
    for symbol, (mantissa, exponent) in zip(latent[:count], head.latent_steps, strict=False):
        shift = exponent + 16
        own = symbol * mantissa
        exact.append(own << shift if shift >= 0 else own + (1 << -shift - 1) >> -shift)
    return np.array([min(max(own, -(2**26)), 2**26) for own in exact], np.int64)


def read_latent(file: File, head: Header, cloud: int) -> list[int]:
    """Return one cloud's latent in symbols (section 7.4)."""
    group, row = divmod(cloud, 64)
    contexts = np.resize(np.arange(head.contexts), (min(64, head.clouds - 64 * group), head.latent))
    contexts[0] += head.contexts * head.sequence
    model = Model(Bits(file.section("LMOD")))
    latents = model.integers(file.group("LATS", group), contexts.ravel()).reshape(contexts.shape)
    return (latents[: row + 1].sum(0) if head.sequence else latents[row]).tolist()


def cloud_part(head: Header, latent: list[int], weights: np.ndarray) -> np.ndarray:
    """Return what the first layer gets from a latent (section 7.7); its integers may need more than 64 bits."""
    low = min(exponent for _, exponent in head.latent_steps)
    steps = zip(latent, head.latent_steps, strict=True)
    scaled = [symbol * mantissa << exponent - low for symbol, (mantissa, exponent) in steps]
    need(sum(map(abs, scaled)) < 2**36, "a latent below 2^36")
    mantissa, exponent = head.steps[0]
    shift = low + exponent + 24
    sums = [mantissa * total for total in (np.array(scaled, np.int64) @ weights).tolist()]
    parts = [total << shift if shift >= 0 else (total + (1 << -shift - 1)) >> -shift for total in sums]
    return np.array([min(max(part, -(2**36)), 2**36) for part in parts]) / 2**24


def activation(scale: int, sums: np.ndarray) -> np.ndarray:
    """Return the activations of sums, both rounded to 2^-scale (section 7.7)."""
    y = np.arange(-(2**15), 2**15)
    below = 2**scale * 1.0507009873554805 * 1.6732632423543772 * np.expm1(np.minimum(y, 0) / 2**scale)
    table = np.floor(np.where(y > 0, 1.0507009873554805 * y, below) + 0.5) / 2**scale
    return table[np.clip(np.floor(sums * 2**scale + 0.5), -(2**15), 2**15 - 1).astype(np.int64) + 2**15]


def read_cloud(path: str | Path, cloud: int) -> np.ndarray:
    """Return the points (M, 3) of one cloud, float32, in the data's unit: all that it has of its own on a surface."""
    with Path(path).open("rb") as stream:
        file = File(stream)
        head = Header(file.section("HEAD"))
        if not 0 <= cloud < head.clouds:
            raise ValueError(f"expected a cloud of 0 to {head.clouds - 1}, found {cloud}")
        tensors = read_tensors(file, head)
        template = point_sets(file.section("TMPL"), head.sizes, head.depth)
        components = read_components(file, head, np.concatenate(template))
        surface = read_surface(file, head, np.concatenate(template), cloud)
        latent = read_latent(file, head, cloud)
    own = cloud_part(head, latent, tensors[0])
    # Doubles hold every sum exactly, in any order: section 7.8 sees to that.
    _, point, bias, *layers = (tensor * np.ldexp(*step) for tensor, step in zip(tensors, head.steps, strict=True))
    decoded = []
    for patch, grid in enumerate(template):
        q = (head.origin + grid) * np.ldexp(*head.grid)
        x = activation(head.scales[0], own + q @ point + bias)
        for i, scale in enumerate(head.scales[1:-1]):
            x = activation(scale, x @ layers[2 * i] + layers[2 * i + 1])
        feature, patch_point, patch_bias, output, output_bias = (tensor[patch] for tensor in layers[-5:])
        x = activation(head.scales[-1], x @ feature + q @ patch_point + patch_bias)
        decoded.append(np.floor(2**20 * (x @ output + output_bias + q * head.residual) + 0.5).astype(np.int64))
    largest = float(np.finfo(np.float32).max)
    moved = np.tensordot(coefficients(head, latent, len(components)), components, 1) + 2**15 >> 16
    points = np.concatenate(decoded) + moved
    if surface is not None:
        corners, weights = surface
        vertices = np.clip(points, -(2**41), 2**41)[corners]
        points = (vertices * weights[:, :, None]).sum(1) + 2**19 >> 20
    points = (points + head.centre).astype(np.float64) * head.unit
    return np.clip(points, -largest, largest).astype(np.float32)


def read_names(path: str | Path) -> list[str]:
    """Return the clouds' names (section 7.5)."""
    with Path(path).open("rb") as stream:
        file = File(stream)
        data, count = file.section("NAME"), Header(file.section("HEAD")).clouds
    if file.version == 1:
        return data.decode().split("\0")
    names = data[count:].split(b"\0")
    for i, shared in enumerate(data[1:count], 1):
        names[i] = names[i - 1][:shared] + names[i]
    return [name.decode() for name in names]


def write_ply(path: str | Path, points: np.ndarray) -> None:
    """Write points (M, 3) as a binary PLY file, over none that is there."""
    properties = "".join(f"property float {axis}\n" for axis in "xyz")
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n{properties}end_header\n"
    with Path(path).open("xb") as stream:
        stream.write(head.encode() + points.astype("<f4").tobytes())


def main(arguments: list[str] | None = None) -> None:
    """Write one cloud, or list the names of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="a .qaad file")
    parser.add_argument("cloud", nargs="?", type=int, help="the number of a cloud, from 0 on")
    parser.add_argument("-o", "--output", default="cloud.ply", help="the PLY file to write [cloud.ply]")
    parser.add_argument("--list", action="store_true", help="print the numbers and names of all clouds")
    options = parser.parse_args(arguments)
    if options.list == (options.cloud is not None):
        parser.error("expected the number of a cloud, or --list")
    try:
        if options.list:
            print("\n".join(f"{number}\t{name}" for number, name in enumerate(read_names(options.file))))
        else:
            write_ply(options.output, read_cloud(options.file, options.cloud))
    except (OSError, ValueError, IndexError, struct.error, zlib.error) as error:
        sys.exit(f"{options.file}: {error}")


if __name__ == "__main__":
    main()
