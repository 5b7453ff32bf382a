"""Points of a surface, written from SPEC.md's section 7.10 alone, in plain integers: the law for the fast ones."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence

from tests.reference_coding import ArrayModel, clip, decode_stream
from tests.reference_triangles import Point, cross, decode_triangles, dot, less, small

Triangle = tuple[int, int, int]
Corners = tuple[list[int], list[int], list[int]]
WHOLE = [2**20, 0, 0], [0, 2**20, 0], [0, 0, 2**20]


class Surface:
    """The section: triangles, counts, and the clouds' own numbers of points where they have any."""

    def __init__(self, data: bytes, vertices: Sequence[Point], bits: int, clouds: int) -> None:
        self.vertices = vertices
        self.points, count, a, b = struct.unpack_from("<IIII", data)
        most = min(2**24, 2**18 + 4096 * a)
        assert 1 <= self.points <= most and 1 <= count <= 2**15 >= len(vertices) and 16 + a + b <= len(data)
        self.triangles = decode_triangles(data[16 : 16 + a], vertices, bits, count)
        assert len(self.triangles) == count
        self.areas = [area(*(vertices[i] for i in t)) for t in self.triangles]
        total = max(sum(self.areas), 1)
        expected = [small(2 * self.points * own + total) // (2 * total) for own in self.areas]
        coded = integers(data[16 + a : 16 + a + b], count)
        self.counts = [one + other for one, other in zip(expected, coded, strict=True)]
        assert min(self.counts) >= 0 and sum(self.counts) == self.points
        self.sizes = [self.points] * clouds
        if rest := data[16 + a + b :]:
            own = integers(rest, clouds)
            assert any(own)
            self.sizes = [self.points + more for more in own]
            assert all(1 <= size <= most for size in self.sizes)

    def draw(self, points: int, even: bool = False) -> list[tuple[Triangle, list[int]]]:
        """Return the triangle and the weights of each point."""
        counts = self.counts
        if even:
            counts = shares(self.areas, points)
        elif points != self.points:
            counts = shares(counts, points)
        out = []
        for triangle, count in zip(self.triangles, counts, strict=True):
            if count:
                out += [(triangle, w) for w in cut(WHOLE, count, [self.vertices[i] for i in triangle])]
        return out

    def decode(self, decoded: Sequence[Sequence[int]], points: int, even: bool = False) -> list[list[int]]:
        """Return p of each point, for p of the vertices."""
        out = []
        for triangle, w in self.draw(points, even):
            corners = [[clip(x, -(2**41), 2**41) for x in decoded[i]] for i in triangle]
            out.append([small(dot(w, axis) + 2**19) >> 20 for axis in zip(*corners, strict=True)])
        return out


def integers(data: bytes, count: int) -> list[int]:
    model = ArrayModel(data)
    return decode_stream(model, model.rest, [0] * count)


def area(p: Point, q: Point, r: Point) -> int:
    n = [abs(x) for x in cross(less(q, p), less(r, p))]
    k = max(max(n).bit_length() - 25, 0)
    return math.isqrt(sum((x >> k) ** 2 for x in n)) << k


def shares(masses: Sequence[int], n: int) -> list[int]:
    k = max(sum(masses).bit_length() - 38, 0)
    m = [x >> k for x in masses]
    if not any(m):
        m = [1] * len(m)
    total, so_far, ends = sum(m), 0, [0]
    for x in m:
        so_far += x
        ends.append(small(n * so_far + total // 2) // total)
    return [end - before for before, end in zip(ends, ends[1:], strict=False)]


def cut(c: Corners, n: int, vertices: Sequence[Point]) -> Iterator[list[int]]:
    """Yield the weights of the points of a part, in their order."""
    for part in parts(c, n, vertices):
        first, second = (sum(corner[j] for corner in part) // 3 for j in range(2))
        yield [first, second, 2**20 - first - second]


def parts(c: Corners, n: int, vertices: Sequence[Point]) -> Iterator[Corners]:
    """Yield the parts that a part of n points is cut into, in their order."""
    if n == 1:
        yield c
        return
    x = [[small(dot(w, axis)) >> 8 for axis in zip(*vertices, strict=True)] for w in c]
    lengths = []
    for i in range(3):
        side = less(x[(i + 1) % 3], x[(i + 2) % 3])
        lengths.append(small(dot(side, side)))
    i, h = lengths.index(max(lengths)), n // 2
    one, two, opposite = c[(i + 1) % 3], c[(i + 2) % 3], c[i]
    d = [one[j] + (two[j] - one[j]) * h // n for j in range(2)]
    d.append(2**20 - sum(d))
    yield from parts((one, d, opposite), h, vertices)
    yield from parts((d, two, opposite), n - h, vertices)
