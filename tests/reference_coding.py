"""Decoders of numbers, points and fields, written from SPEC.md's sections 4 to 6 alone: the law for the fast ones."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

Points = list[tuple[int, int, int]]


class Bits:
    """Section 2."""

    def __init__(self, data: bytes) -> None:
        self.bits = "".join(f"{byte:08b}" for byte in data)
        self.at = 0

    def fixed(self, width: int) -> int:
        self.at += width
        return int(self.bits[self.at - width : self.at] or "0", 2)

    def gamma(self) -> int:
        zeros = self.bits.index("1", self.at) - self.at
        self.at += zeros
        return self.fixed(zeros + 1)

    def signed(self) -> int:
        u = self.gamma() - 1
        return -((u + 1) // 2) if u % 2 else u // 2

    def padding(self) -> int:
        assert set(self.bits[self.at : -(-self.at // 8) * 8]) <= {"0"}
        return -(-self.at // 8)


def weights(bits: Bits, count: int) -> list[int]:
    """Section 3."""
    m, length, w = bits.fixed(3), 0, []
    while len(w) < count:
        length += bits.signed()
        k = min(length - 1, m)
        w += [(2**k + bits.fixed(k)) << (length - 1 - k)] if length else [0] * bits.gamma()
    assert len(w) == count
    return frequencies(w)


def frequencies(w: list[int]) -> list[int]:
    """Section 3."""
    used = sum(x > 0 for x in w)
    f = [1 + x * (2**14 - used) // sum(w) if x else 0 for x in w]
    if used:
        f[w.index(max(w))] += 2**14 - sum(f)
    return f


def bell(bits: Bits, count: int, escape: bool) -> list[int]:
    """Section 3."""
    p, c = (1, 2, 3, 4, 6, 8, 12, 24)[bits.fixed(3)], bits.fixed(8)
    assert c < 240
    a, m, w = (8 + c % 8) << c // 8, count // 2 + bits.signed(), []
    assert 0 <= m < count <= 4096 - escape
    for i in range(count):
        x = 2**30
        for _ in range(p):
            x = x * a // (a + 16 * (i - m) ** 2)
        w.append(max(x, 1))
    return frequencies([*w, 2 ** bits.fixed(5) // 2] if escape else w)


class Rans:
    """Section 4."""

    def __init__(self, data: bytes) -> None:
        self.lanes = 2 ** data[0]
        self.x = [int.from_bytes(data[1 + 4 * i : 5 + 4 * i], "little") for i in range(self.lanes)]
        rest = data[1 + 4 * self.lanes :]
        self.words = iter([int.from_bytes(rest[i : i + 2], "little") for i in range(0, len(rest), 2)])

    def _advance(self, lane: int, start: int, frequency: int) -> None:
        x = frequency * (self.x[lane] // 2**14) + self.x[lane] % 2**14 - start
        self.x[lane] = x * 2**16 + next(self.words) if x < 2**16 else x

    def call(self, tables: Sequence[list[int]]) -> list[int]:
        out = []
        for i, table in enumerate(tables):
            slot = self.x[i % self.lanes] % 2**14
            ends = list(accumulate(table))
            s = bisect_right(ends, slot)
            self._advance(i % self.lanes, ends[s] - table[s], table[s])
            out.append(s)
        return out

    def uniform(self, sizes: Sequence[int]) -> list[int]:
        out = []
        for i, size in enumerate(sizes):
            s = self.x[i % self.lanes] % 2**14 * size // 2**14
            start, end = -(-s * 2**14 // size), -(-(s + 1) * 2**14 // size)
            self._advance(i % self.lanes, start, end - start)
            out.append(s)
        return out

    def finish(self) -> None:
        assert next(self.words, None) is None
        assert self.x == [2**16] * self.lanes


class ArrayModel:
    """Section 5: a model, and the bytes behind it."""

    def __init__(self, data: bytes) -> None:
        bits = Bits(data)
        count, self.escape_bits = bits.gamma() - 1, bits.fixed(6)
        self.low, self.shift, self.table, self.escape = {}, {}, {}, {}
        for c in range(count):
            n = bits.gamma() - 1
            if n:
                self.low[c], self.shift[c], self.escape[c] = bits.signed(), bits.fixed(4), n
                escape = self.escape_bits > 0
                self.table[c] = bell(bits, n, escape) if bits.fixed(1) else weights(bits, n + escape)
        self.rest = data[bits.padding() :]


def decode_array(data: bytes, contexts: Sequence[int]) -> list[int]:
    """Section 5, for at least one integer: a model and its stream."""
    model = ArrayModel(data)
    return decode_stream(model, model.rest, contexts)


def decode_stream(model: ArrayModel, data: bytes, contexts: Sequence[int]) -> list[int]:
    """Section 5, for at least one integer: the stream."""
    rans = Rans(data)
    out = decode_part(model, rans, contexts)
    rans.finish()
    return out


def decode_part(model: ArrayModel, rans: Rans, contexts: Sequence[int]) -> list[int]:
    """Section 5: one part of a stream."""
    low, shift, table, escape, escape_bits = model.low, model.shift, model.table, model.escape, model.escape_bits
    coded: Iterator[int] = iter(rans.call([table[c] for c in contexts if max(table[c]) < 2**14]))
    s = [next(coded) if max(table[c]) < 2**14 else table[c].index(2**14) for c in contexts]
    out = [low[c] + (v << shift[c]) for c, v in zip(contexts, s, strict=True)]
    fine = [i for i, c in enumerate(contexts) if s[i] != escape[c] and shift[c]]
    for i, r in zip(fine, rans.uniform([2 ** shift[contexts[i]] for i in fine]), strict=True):
        out[i] += r
    far = {i: 0 for i, c in enumerate(contexts) if s[i] == escape[c]}
    for p in range(0, escape_bits, 14):
        for i, d in zip(far, rans.uniform([2 ** min(14, escape_bits - p)] * len(far)), strict=True):
            far[i] += d << p
    for i, u in far.items():
        out[i] = low[contexts[i]] + (-((u + 1) // 2) if u % 2 else u // 2)
    assert all(-(2**31) <= number < 2**31 for number in out)
    return out


def decode_points(data: bytes, counts: Sequence[int], b: int) -> list[Points]:
    """Section 6, for at least one point."""
    bits = Bits(data)
    table = {}
    for kind, symbols in enumerate([2, 3, 4, 5, 6, 7, 8, 9, 18, 2, 2, 3, 3]):
        if bits.fixed(1):
            c = 0
            while c < 8:
                run = [c]
                c += 1
                while c < 8 and not bits.fixed(1):
                    run.append(c)
                    c += 1
                f = weights(bits, symbols)
                table.update({(kind, i): f for i in run})
    rans = Rans(data[bits.padding() :])
    cells = {(i, 0, 0, 0): n for i, n in enumerate(counts) if n}
    steps = [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)]
    for stage in range(3 * b):
        axis = stage % 3
        asked = []
        for (i, x, y, z), n in cells.items():
            side = {-1: 0, 0: 0, 1: 0}
            for d in steps:
                weight = 4 // 2 ** (sum(map(abs, d)) - abs(d[axis]))
                side[d[axis]] += weight * cells.get((i, x + d[0], y + d[1], z + d[2]), 0)
            before, behind = side[-1], side[1]
            both, surplus = before + behind, 20 * abs(behind - before)
            context = 1 + sum(surplus > t * both for t in (2, 4, 6, 9, 12, 16)) if surplus else 0
            crowd = 2 if both >= 9 * n else 1 if both >= 3 * n else 0
            kind = min(n, 9) - 1
            asked.append((before > behind, 8 + 2 * kind + crowd if kind < 2 and crowd else kind, context))
        s = rans.call([table[kind, context] for _, kind, context in asked])
        ns = list(cells.values())
        split = [i for i, n in enumerate(ns) if n > 8 and 1 <= s[i] <= 16]
        first = {i: -(-(s[i] - 1) * (ns[i] - 1) // 16) for i in split}
        size = {i: -(-s[i] * (ns[i] - 1) // 16) - first[i] for i in split}
        high = [i for i in split if size[i] > 4096]
        rest = dict.fromkeys(split, 0)
        for i, h in zip(high, rans.uniform([(size[i] - 1) // 4096 + 1 for i in high]), strict=True):
            rest[i] += 4096 * h
        more = [i for i in split if size[i] > 1]
        for i, l in zip(more, rans.uniform([min(size[i], 4096) for i in more]), strict=True):
            rest[i] += l
        grown = {}
        for i, (cell, n) in enumerate(cells.items()):
            count = 1 + first[i] + rest[i] if i in first else n if n > 8 and s[i] == 17 else s[i]
            upper = n - count if asked[i][0] else count
            for half, points in ((0, n - upper), (1, upper)):
                if points:
                    at = list(cell)
                    at[axis + 1] = 2 * at[axis + 1] + half
                    grown[at[0], at[1], at[2], at[3]] = points
        cells = grown
    rans.finish()
    return [[(x, y, z) for (j, x, y, z), n in cells.items() if j == i for _ in range(n)] for i in range(len(counts))]


def clip(x: int, low: int, high: int) -> int:
    return min(max(x, low), high)


def decode_fields(data: bytes, points: Points, b: int, fields: int) -> list[list[int]]:
    """Section 6.1: `fields` integers for each of the points."""
    model = ArrayModel(data)
    rans = Rans(model.rest)
    found = fields_of(model, rans, points, b, fields)
    rans.finish()
    return found


def fields_of(
    model: ArrayModel, rans: Rans, points: Points, b: int, fields: int, exact: bool = False, higher: int = 0
) -> list[list[int]]:
    """Sections 6.1 and 6.4: fields that may be exact, contexts higher from the second on. The stream may go on."""

    def scaled(q: int, s: int) -> int:
        return q if exact else (q * s + 2**6) >> 7

    def grown(a: int, q: int) -> int:
        return (a >> 1) + 16 * min(abs(q), 2**16)

    q = decode_part(model, rans, [higher * (f > 0) for f in range(fields)])
    s = math.isqrt(2**38 // len(points))
    # Of each cell its points, means and activities.
    cells = {
        (0, 0, 0): (range(len(points)), [clip(scaled(x, s), -(2**36), 2**36) for x in q], [grown(0, x) for x in q])
    }
    for t in range(3 * b):
        axis, k = t % 3, b - (t + 2) // 3
        depth = b - 1 - t // 3

        def centre(rows: Sequence[int], k: int = k) -> list[int]:
            return [16 * sum(points[i][x] for i in rows) // (len(rows) << k) for x in range(3)]

        halves = {c: ([], []) for c in cells}
        for c, (rows, _, _) in cells.items():
            for i in rows:
                halves[c][points[i][axis] >> depth & 1].append(i)
        split = [c for c in cells if all(halves[c])]
        contexts = [
            1 + 9 * (t // 8) + min(a.bit_length(), 8) + higher * (f > 0)
            for c in split
            for f, a in enumerate(cells[c][2])
        ]
        numbers = iter(decode_part(model, rans, contexts) if contexts else [])
        grid = {}
        for c, (rows, means, activities) in cells.items():
            lower = tuple(2 * x + 0 if i == axis else x for i, x in enumerate(c))
            upper = tuple(2 * x + 1 if i == axis else x for i, x in enumerate(c))
            if not all(halves[c]):
                grid[upper if halves[c][1] else lower] = rows, means, activities
                continue
            here = centre(rows)
            near = []
            for o in [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)]:
                other = tuple(x + d for x, d in zip(c, o, strict=True))
                if any(o) and other in cells:
                    d = [x - y for x, y in zip(centre(cells[other][0]), here, strict=True)]
                    near.append((8 >> sum(map(abs, o)), d, cells[other][1]))
            v = [y - x for x, y in zip(centre(halves[c][0]), centre(halves[c][1]), strict=True)]
            m = [[sum(w * d[i] * d[j] for w, d, _ in near) for j in range(3)] for i in range(3)]
            ridge = (m[0][0] + m[1][1] + m[2][2]) // 64 + 1
            for i in range(3):
                m[i][i] += ridge
            adjugate = [
                [
                    m[(j + 1) % 3][(i + 1) % 3] * m[(j + 2) % 3][(i + 2) % 3]
                    - m[(j + 1) % 3][(i + 2) % 3] * m[(j + 2) % 3][(i + 1) % 3]
                    for j in range(3)
                ]
                for i in range(3)
            ]
            determinant = sum(m[0][i] * adjugate[i][0] for i in range(3))
            g = [sum(adjugate[i][j] * v[j] for j in range(3)) for i in range(3)]
            slope = [(x * 2**16 + determinant // 2) // determinant for x in g]
            r = [clip(w * sum(x * y for x, y in zip(slope, d, strict=True)), -(2**18), 2**18) for w, d, _ in near]
            l, u = map(len, halves[c])
            s = math.isqrt((l + u) * 2**38 // (l * u))
            low, high, activity = [], [], []
            for f in range(fields):
                q = next(numbers)
                total = sum(x * (others[f] - means[f]) for x, (_, _, others) in zip(r, near, strict=True))
                difference = clip(((total + 2**15) >> 16) + scaled(q, s), -(2**37), 2**37)
                first = means[f] - difference * u // (l + u)
                low.append(clip(first, -(2**36), 2**36))
                high.append(clip(first + difference, -(2**36), 2**36))
                activity.append(grown(activities[f], q))
            grid[lower] = halves[c][0], low, activity
            grid[upper] = halves[c][1], high, activity
        cells = grid
    of_point = {i: means for rows, means, _ in cells.values() for i in rows}
    return [of_point[i] for i in range(len(points))]
