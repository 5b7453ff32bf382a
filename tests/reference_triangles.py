"""A decoder of triangles, written from SPEC.md's section 6.2 alone: the law for the fast one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tests.reference_coding import Rans

Point = tuple[int, int, int]
_FIRST = [
    *(32, 56, 62),
    *(63, 63, 16, 40, 60, 6, 60, 60, 16),
    *(24, 40, 4, 60, 60, 16, 60, 60, 16),
    *(60, 40, 40, 40, 30, 16, 6, 6),
    *(52, 38, 24, 18),
    *(25, 31, 34, 42, 48, 53, 57, 60, 61),
    *(20, 25, 31, 38, 43, 52, 54, 57, 38),
    *(13, 16, 20, 24, 30, 36, 42, 48, 5),
]


class Refused(Exception):
    """What a reader has to refuse."""


class Flags:
    """The stream of flags."""

    def __init__(self, data: bytes) -> None:
        self.rans = Rans(b"\0" + data)
        self.p = [2**10 * p for p in _FIRST]
        self.d = [16] * len(_FIRST)

    def flag(self, context: int) -> int:
        p, d = self.p[context], self.d[context]
        f = max(p >> 2, 1)
        s = 1 - self.rans.call([[f, 2**14 - f]])[0]
        self.p[context] = p + (2**16 - p) // d if s else p - p // d
        self.d[context] = min(d + 1, 128)
        return s

    def number(self, w: int) -> int:
        total = 0
        for _ in range(w):
            total = 2 * total + 1 - self.rans.call([[2**13, 2**13]])[0]
        return total


def less(u: Sequence[int], v: Sequence[int]) -> list[int]:
    return [p - q for p, q in zip(u, v, strict=True)]


def dot(u: Sequence[int], v: Sequence[int]) -> int:
    return sum(p * q for p, q in zip(u, v, strict=True))


def cross(u: Sequence[int], v: Sequence[int]) -> list[int]:
    return [u[(i + 1) % 3] * v[(i + 2) % 3] - u[(i + 2) % 3] * v[(i + 1) % 3] for i in range(3)]


def small(number: int) -> int:
    assert abs(number) < 2**63
    return number


def length(square: int) -> int:
    return max(math.isqrt(2**8 * square), 1)


class Walks:
    """The points, the triangles so far, and their border."""

    def __init__(self, points: Sequence[Point], b: int, most: int) -> None:
        self.points = [[x >> max(b - 12, 0) for x in p] for p in points]
        self.most = most
        self.triangles: list[tuple[int, int, int]] = []
        self.border: dict[tuple[int, int], int] = {}
        self.tails: set[int] = set()
        self.heads: set[int] = set()
        self.edges: set[tuple[int, int]] = set()
        self.fresh = set(range(len(points)))

    def add(self, p: int, q: int, r: int) -> None:
        known = {frozenset(triangle) for triangle in self.triangles}
        if len({p, q, r}) < 3 or {p, q, r} in known or len(self.triangles) == self.most:
            raise Refused
        self.triangles.append((p, q, r))
        self.fresh -= {p, q, r}
        for a, b, c in ((p, q, r), (q, r, p), (r, p, q)):
            self.edges.add((a, b))
            if (b, a) in self.border:
                del self.border[b, a]
            elif (a, b) not in self.border:
                self.border[a, b] = c

    def near(self, p: int, n: int) -> list[int]:
        def distance(q: int) -> tuple[int, int]:
            d = less(self.points[p], self.points[q])
            return dot(d, d), q

        return sorted((q for q in range(len(self.points)) if q != p), key=distance)[:n]

    def scores(self, edge: tuple[int, int, int], n: int) -> dict[int, tuple[int, int, int, int]]:
        """The score, the fold and the two cosines of each candidate."""
        a, b, c = (self.points[i] for i in edge)
        e, g = less(b, a), less(c, a)
        out = {}
        for i in {*self.near(edge[0], n), *self.near(edge[1], n)} - {*edge}:
            v = self.points[i]
            x, y = less(a, v), less(b, v)
            at_a, at_b, along = length(dot(x, x)), length(dot(y, y)), length(dot(e, e))
            one, other = cross(e, g), cross(e, y)
            opening = small(dot(x, y) << 18) // (at_a * at_b)
            sizes = math.isqrt(dot(one, one)) * math.isqrt(dot(other, other))
            fold = small(dot(one, other) << 10) // max(sizes, 1)
            aside = less(g, y)
            shift = min((math.isqrt(2**8 * dot(aside, aside)) << 10) // along, 2**12)
            reach = min(((at_a + at_b) << 10) // along, 2**13)
            score = 8 * opening - 9 * fold + 4 * shift + 2 * reach
            out[i] = (score, fold, (dot(x, e) << 18) // (at_a * along), (dot(y, e) << 18) // (at_b * along))
        return out

    def closed_by(self, a: int, b: int, v: int) -> int:
        return ((v, a) in self.border) + ((b, v) in self.border)

    def offered(self, a: int, b: int, scores: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        on_border = {p for edge in self.border for p in edge}
        out = []
        for score, v in scores:
            if v in self.fresh:
                out.append((score, v))
            elif v in on_border and (a, v) not in self.edges and (v, b) not in self.edges:
                out.append((score + (4500, -1400, -12000)[self.closed_by(a, b, v)], v))
        return sorted(out)


def decode_triangles(data: bytes, points: Sequence[Point], b: int, most: int) -> list[tuple[int, int, int]]:
    """Section 6.2; raises Refused, or whatever the end of the words raises."""
    if not data:
        return []
    if len(points) < 3:
        raise Refused
    flags, walks = Flags(data), Walks(points, b, most)
    w = (len(points) - 1).bit_length()

    here = 0
    while not walks.triangles or flags.flag(0):
        while here < len(points) and not (here in walks.fresh and flags.flag(1)):
            here += 1
        p = here if here < len(points) else named(flags, walks, w)
        q, r = (place(flags, 29, 4, walks.near(p, 24)) if flags.flag(2) else named(flags, walks, w) for _ in range(2))
        walks.add(p, q, r)
        while walks.border:
            across(flags, walks, w)
    flags.rans.finish()
    return walks.triangles


def named(flags: Flags, walks: Walks, w: int) -> int:
    number = flags.number(w)
    if number >= len(walks.points):
        raise Refused
    return number


def place(flags: Flags, context: int, most: int, of: Sequence[int]) -> int:
    k = 0
    while k < most and flags.flag(context + k):
        k += 1
    i = 2**k - 1 + flags.number(k)
    if i >= len(of):
        raise Refused
    return of[i]


def across(flags: Flags, walks: Walks, w: int) -> None:
    (a, b), c = next(iter(walks.border.items()))
    scores = walks.scores((a, b, c), 24)
    near = sorted((s[0], v) for v, s in scores.items())[:12]
    covering = []
    for score, v in near:
        _, _, at_a, at_b = scores[v]
        covers = any(scores[u][1] > 0 and scores[u][2] < at_a and scores[u][3] > at_b for _, u in near)
        covering.append((score + 6000 * covers, v))
    best = walks.offered(a, b, covering)
    t = 2 if a in walks.tails else 1 if a in walks.heads else 0
    h = 2 if b in walks.heads else 1 if b in walks.tails else 0
    low = min(t, h)
    s = 2 if not best else int(walks.closed_by(a, b, best[0][1]) == 2)
    if not flags.flag(3 + 3 * (low * (5 - low) // 2 + max(t, h)) + s):
        del walks.border[a, b]
        walks.tails.add(a)
        walks.heads.add(b)
        return
    for i, (score, v) in enumerate(best):
        lead = best[i + 1][0] - score if i + 1 < len(best) else 22000
        steps = sum(step <= lead for step in (600, 1500, 3000, 5000, 7500, 10500, 14500, 22000))
        if flags.flag(33 + 9 * min(i, 2) + steps):
            walks.add(b, a, v)
            return
    far = walks.offered(a, b, [(s[0], v) for v, s in walks.scores((a, b, c), 64).items()])
    others = [v for _, v in far if v not in {u for _, u in best}]
    walks.add(b, a, place(flags, 22, 7, others) if flags.flag(21) else named(flags, walks, w))
