"""Coding of triangles over points that both sides know: which three points each joins, in about 1.5 bits a triangle.

A first triangle is coded, and then what lies across each of its edges, and across theirs. Points near an edge are
ranked by the triangle that they would make (`apexes`); a flag for each says whether it is the one. So the points do the
work of the usual codes of connectivity (geometry-driven coding after Lewiner et al., and Marais et al.). Any set of
triangles can be coded: what the walk from edge to edge does not reach begins a walk of its own.

The order of the triangles is given up, and so is which of its corners is a triangle's first. Decoding is all in
integers. SPEC.md gives the decoder to the bit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pcqaad.formats.coding.apexes import BEST, FAR, GRID_BITS, INDEX_BITS, MAX_POINTS, NEAR, nearest, ranked
from pcqaad.formats.coding.flags import FlagReader, FlagWriter
from pcqaad.formats.coding.rans import Ints
from pcqaad.formats.coding.surfaces import Surface, Triangle
from pcqaad.formats.errors import FormatError

_TOGETHER = 4096  # edges that are ranked in one go
_SEED_BITS = 4  # of a place among the points nearest to a corner
# A candidate's lead over the next, in classes.
_LEADS = (600, 1500, 3000, 5000, 7500, 10500, 14500, 22000)
_MORE, _LOWEST, _AT_HAND, _BEYOND, _FAR, _DIGITS, _CANDIDATE = 0, 1, 2, 3, 9, 10, 17
_MAX_DIGITS = 7
# The probabilities that flags begin with, in 64ths, in the order of the contexts.
_FIRST_64 = (
    *(24, 62, 61),
    *(63, 63, 36, 50, 4, 32),
    *(60, 35, 33, 35, 28, 7, 7, 7),
    *(25, 31, 34, 42, 48, 53, 57, 60, 61),
    *(20, 25, 31, 38, 43, 52, 54, 57, 38),
    *(13, 16, 20, 24, 30, 36, 42, 48, 5),
)
_FIRST = [p << 10 for p in _FIRST_64]


class _Flags(Protocol):
    """A `FlagWriter`, or a `FlagReader`, which does not look at what it is given."""

    def flag(self, context: int, flag: bool) -> bool: ...

    def number(self, width: int, number: int) -> int: ...


class _Unknown:
    """What a reader knows of the triangles."""

    def first(self, lowest: int) -> Triangle | None:
        """Return a triangle to begin a walk with, if there is one; `lowest` is the first point that has none yet."""
        return None

    def across(self, tail: int, head: int) -> int:
        """Return the third corner of a triangle with the edge from `head` to `tail`, or -1."""
        return -1


class _Known(_Unknown):
    """The triangles that are still to be coded."""

    def __init__(self, triangles: Ints) -> None:
        self._next = 0
        self._at: defaultdict[int, list[int]] = defaultdict(list)
        self._on: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        self._left = dict(enumerate(map(tuple, triangles.tolist())))
        for i, (a, b, c) in self._left.items():
            for p, q, r in ((a, b, c), (b, c, a), (c, a, b)):
                self._at[p].append(i)
                self._on[p, q].append((i, r))

    def first(self, lowest: int) -> Triangle | None:
        if not self._left:
            return None
        while self._next not in self._left:
            self._next += 1
        i = next((i for i in self._at.get(lowest, ()) if i in self._left), self._next)
        a, b, c = self._left.pop(i)
        return (a, b, c) if a == lowest else (b, c, a) if b == lowest else (c, a, b)

    def across(self, tail: int, head: int) -> int:
        for i, apex in self._on.get((head, tail), ()):
            if i in self._left:
                del self._left[i]
                return apex
        return -1


def encode_triangles(triangles: npt.ArrayLike, points: npt.ArrayLike, bits: int) -> tuple[bytes, Ints]:
    """Code triangles (T, 3) of numbers of `points` (V, 3), integers in 0 <= coordinate < 2**bits, V at most 2**16.

    Any triangles of three different points, no three of them twice: open, closed, or no manifold. Returns the bytes,
    and the triangles (T, 3) in the order of decoding, each with the corner first that comes first then; which way round
    it goes is kept. Raises ValueError for others.
    """
    grid = _checked(points, bits)
    wanted = np.asarray(triangles)
    if wanted.ndim != 2 or wanted.shape[1] != 3 or not np.issubdtype(wanted.dtype, np.integer):
        raise ValueError(f"integers of shape (n, 3) expected, found {wanted.dtype} of shape {wanted.shape}")
    if not len(wanted):
        return b"", np.empty((0, 3), np.int64)
    if wanted.min() < 0 or wanted.max() >= len(grid):
        raise ValueError(f"numbers of {len(grid)} points expected, found {wanted.min()} to {wanted.max()}")
    corners = np.sort(wanted, axis=1)
    if (corners[:, 1:] == corners[:, :-1]).any() or len(np.unique(corners, axis=0)) < len(corners):
        raise ValueError("triangles of three different points expected, no three twice, found others")
    flags = FlagWriter(_FIRST)
    decoded = _walk(grid, nearest(grid, FAR), len(wanted), flags, _Known(wanted.astype(np.int64)))
    return flags.finish(), decoded


def decode_triangles(data: bytes, points: npt.NDArray[np.integer], bits: int, most: int) -> Ints:
    """Return the triangles (T, 3) of `encode_triangles`, T at most `most`; raises FormatError for damaged bytes."""
    grid = _checked(points, bits)
    if not data:
        return np.empty((0, 3), np.int64)
    if len(grid) < 3:
        raise FormatError(f"no bytes of triangles expected for {len(grid)} points, found {len(data)}")
    flags = FlagReader(data, _FIRST)
    decoded = _walk(grid, nearest(grid, FAR), most, flags, _Unknown())
    flags.finish()
    return decoded


def _checked(points: npt.ArrayLike, bits: int) -> Ints:
    """Return the points as they are ranked: of at most `GRID_BITS` bits."""
    grid = np.asarray(points)
    if grid.ndim != 2 or grid.shape[1] != 3 or len(grid) > MAX_POINTS:
        raise ValueError(f"at most {MAX_POINTS} points of shape (n, 3) expected, found {grid.shape}")
    if grid.size and (grid.min() < 0 or grid.max() >= 1 << bits):
        raise ValueError(f"coordinates in [0, {1 << bits}) expected, found {grid.min()} to {grid.max()}")
    return grid.astype(np.int64) >> max(bits - GRID_BITS, 0)


def _walk(points: Ints, far: Ints, most: int, flags: _Flags, known: _Unknown) -> Ints:
    """Return the triangles as they are decoded, from one to the next across their edges."""
    mesh = Surface(len(points), most)
    near = far[:, :NEAR]
    at = lowest = 0
    while True:
        while lowest < mesh.points and not mesh.fresh[lowest]:
            lowest += 1
        triangle = known.first(lowest)
        if mesh.triangles and not flags.flag(_MORE, triangle is not None):
            return np.array(mesh.triangles, np.int64)
        _begin(mesh, near, lowest, triangle or (0, 0, 0), flags)
        while at < len(mesh.queue):
            # Edges that wait are ranked in one go: what the points say of them does not change.
            batch = [i for i in range(at, min(at + _TOGETHER, len(mesh.queue))) if mesh.waits(i)]
            at = min(at + _TOGETHER, len(mesh.queue))
            edges = np.array([mesh.queue[i] for i in batch], np.int64).reshape(-1, 3)
            for i, row in zip(batch, ranked(points, near, edges, BEST).tolist(), strict=True):
                if mesh.waits(i):
                    _cross(mesh, points, far, mesh.queue[i], row, flags, known)


def _begin(mesh: Surface, near: Ints, lowest: int, triangle: Triangle, flags: _Flags) -> None:
    """Code the first triangle of a walk."""
    corners: list[int] = []
    for corner in triangle:
        if not corners:
            at_hand = lowest < mesh.points and flags.flag(_LOWEST, corner == lowest)
            if at_hand:
                corners.append(lowest)
                continue
        else:
            nearby = near[corners[0], : 1 << _SEED_BITS].tolist()
            if flags.flag(_AT_HAND, corner in nearby):
                place = flags.number(_SEED_BITS, nearby.index(corner) if corner in nearby else 0)
                if place >= len(nearby):
                    raise FormatError(f"one of {len(nearby)} points expected, found {place}")
                corners.append(nearby[place])
                continue
        corners.append(_named(mesh, flags, corner))
    mesh.add(*corners)


def _named(mesh: Surface, flags: _Flags, number: int) -> int:
    """Code the number of a point."""
    found = flags.number((mesh.points - 1).bit_length(), number)
    if found >= mesh.points:
        raise FormatError(f"one of {mesh.points} points expected, found {found}")
    return found


def _cross(
    mesh: Surface, points: Ints, far: Ints, edge: Triangle, row: list[int], flags: _Flags, known: _Unknown
) -> None:
    """Code what lies across an edge of the border, given the keys of the points near it."""
    tail, head, _ = edge
    wanted = known.across(tail, head)
    offered, closes = mesh.offered(tail, head, row)
    beyond = _BEYOND + 2 * (mesh.holes[tail] + mesh.holes[head]) + closes
    if not flags.flag(beyond, wanted >= 0):
        mesh.leave(tail, head)
        return
    for i, key in enumerate(offered):
        lead = (offered[i + 1] >> INDEX_BITS) - (key >> INDEX_BITS) if i + 1 < len(offered) else _LEADS[-1]
        v = key & (MAX_POINTS - 1)
        context = _CANDIDATE + min(i, 2) * (len(_LEADS) + 1) + bisect_right(_LEADS, lead)
        if flags.flag(context, v == wanted):
            mesh.add(head, tail, v)
            return
    keys = ranked(points, far, np.array([edge], np.int64), None)[0].tolist()
    seen = {key & (MAX_POINTS - 1) for key in offered}
    others = [v for v in (key & (MAX_POINTS - 1) for key in mesh.offered(tail, head, keys)[0]) if v not in seen]
    if flags.flag(_FAR, wanted in others):
        place = _place(flags, others.index(wanted) if wanted in others else 0)
        if place >= len(others):
            raise FormatError(f"one of {len(others)} points expected, found {place}")
        mesh.add(head, tail, others[place])
    else:
        mesh.add(head, tail, _named(mesh, flags, wanted))


def _place(flags: _Flags, place: int) -> int:
    """Code a place in a list: the number of binary digits of one more than it, then all but the first."""
    wanted, digits = (place + 1).bit_length() - 1, 0
    while digits < _MAX_DIGITS and flags.flag(_DIGITS + digits, wanted > digits):
        digits += 1
    return (1 << digits) + flags.number(digits, place + 1 - (1 << wanted)) - 1
