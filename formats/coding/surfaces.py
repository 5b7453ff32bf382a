"""A surface that grows triangle by triangle, and its border: edges with a triangle on one side only, so far."""

from __future__ import annotations

from pcqaad.formats.coding.apexes import INDEX_BITS, MAX_POINTS, NOT_ONE
from pcqaad.formats.errors import FormatError

# What the state of a point, and of the edges to it, adds to its score.
_ON_BORDER, _CLOSES_ONE, _CLOSES_BOTH = 4500, -1400, -12000

Triangle = tuple[int, int, int]


class Surface:
    """The triangles so far, and their border: edges with a triangle on one side that await one on the other."""

    def __init__(self, points: int, most: int) -> None:
        self.points, self.most = points, most
        self.triangles: list[Triangle] = []
        self.queue: list[Triangle] = []  # tail and head of edges when they came to the border, and the third corner
        # Of each directed edge of a triangle, its place in the queue, from 1, while it is on the border, else 0.
        self.awaits: dict[int, int] = {}
        self.border = [0] * points  # of each point, how many edges on the border meet there
        self.fresh = [True] * points
        self._leaves, self._arrives = [False] * points, [False] * points  # edges with nothing across them
        self._known: set[Triangle] = set()

    def add(self, a: int, b: int, c: int) -> None:
        """Add a triangle; raises FormatError where it is none, or is there already."""
        first, second, third = sorted((a, b, c))
        if first == second or second == third:
            raise FormatError(f"three points of a triangle expected, found {a}, {b} and {c}")
        if (first, second, third) in self._known:
            raise FormatError(f"triangles that differ expected, found {a}, {b} and {c} again")
        if len(self.triangles) == self.most:
            raise FormatError(f"at most {self.most} triangles expected, found more")
        self._known.add((first, second, third))
        self.triangles.append((a, b, c))
        awaits, border, points = self.awaits, self.border, self.points
        for p, q, r in ((a, b, c), (b, c, a), (c, a, b)):
            self.fresh[p] = False
            if awaits.get(q * points + p):
                awaits[q * points + p] = awaits[p * points + q] = 0
                border[p] -= 1
                border[q] -= 1
            elif not awaits.get(p * points + q):
                border[p] += 1
                border[q] += 1
                self.queue.append((p, q, r))
                awaits[p * points + q] = len(self.queue)

    def waits(self, at: int) -> bool:
        """Return whether the edge at a place of the queue, from 0, still awaits what lies across it."""
        tail, head, _ = self.queue[at]
        return self.awaits[tail * self.points + head] == at + 1

    def leave(self, tail: int, head: int) -> None:
        """Take an edge from the border that has nothing across it."""
        self.awaits[tail * self.points + head] = 0
        self.border[tail] -= 1
        self.border[head] -= 1
        self._leaves[tail] = self._arrives[head] = True

    def holes_at(self, tail: int, head: int) -> int:
        """Return 0 to 5 by the edges with nothing across them that leave from or arrive at the ends of an edge.

        Where one arrives at the tail, the boundary of an open surface goes on from there; where one leaves from it,
        it has gone on. At the head it is the other way round.
        """
        one = 2 if self._leaves[tail] else int(self._arrives[tail])
        other = 2 if self._arrives[head] else int(self._leaves[head])
        low = min(one, other)
        return low * (5 - low) // 2 + max(one, other)

    def offered(self, tail: int, head: int, keys: list[int]) -> tuple[list[int], bool]:
        """Return the keys of what could lie across an edge, best first, and whether the best closes a gap of three."""
        offered = []
        points, awaits, border, fresh = self.points, self.awaits, self.border, self.fresh
        for key in keys:
            v = key & (MAX_POINTS - 1)
            if key >= NOT_ONE << INDEX_BITS:
                break
            if fresh[v]:
                offered.append(key)
            elif border[v] and tail * points + v not in awaits and v * points + head not in awaits:
                one, other = awaits.get(v * points + tail), awaits.get(head * points + v)
                more = _CLOSES_BOTH if one and other else _CLOSES_ONE if one or other else _ON_BORDER
                offered.append(key + (more << INDEX_BITS))
        offered.sort()
        if not offered:
            return offered, False
        v = offered[0] & (MAX_POINTS - 1)
        return offered, bool(awaits.get(v * points + tail) and awaits.get(head * points + v))
