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
# A candidate's lead over the next, in classes.
_LEADS = (600, 1500, 3000, 5000, 7500, 10500, 14500, 22000)
_MORE, _HERE, _AT_HAND, _BEYOND, _FAR, _FAR_PLACE, _PLACE, _CANDIDATE = 0, 1, 2, 3, 21, 22, 29, 33
_FAR_DIGITS, _DIGITS = _PLACE - _FAR_PLACE, _CANDIDATE - _PLACE  # of a place, but for the first
# The probabilities that flags begin with, in 64ths, in the order of the contexts.
_FIRST_64 = (
    *(32, 56, 62),
    *(63, 63, 16, 40, 60, 6, 60, 60, 16, 24, 40, 4, 60, 60, 16, 60, 60, 16),
    *(60, 40, 40, 40, 30, 16, 6, 6),
    *(52, 38, 24, 18),
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

    def any(self) -> bool:
        """Return whether there are more triangles."""
        return False

    def has(self, corner: int) -> bool:
        """Return whether a triangle has this corner."""
        return False

    def first(self, corner: int) -> Triangle:
        """Return a triangle to begin a walk with, this corner first; any one where no point has this number."""
        return 0, 0, 0

    def across(self, tail: int, head: int) -> int:
        """Return the third corner of a triangle with the edge from `head` to `tail`, or -1."""
        return -1


class _Known(_Unknown):
    """The triangles that are still to be coded."""

    def __init__(self, triangles: Ints) -> None:
        self._at: defaultdict[int, list[int]] = defaultdict(list)
        self._on: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        self._left = dict(enumerate(map(tuple, triangles.tolist())))
        for i, (a, b, c) in self._left.items():
            for p, q, r in ((a, b, c), (b, c, a), (c, a, b)):
                self._at[p].append(i)
                self._on[p, q].append((i, r))

    def any(self) -> bool:
        return bool(self._left)

    def has(self, corner: int) -> bool:
        return any(i in self._left for i in self._at.get(corner, ()))

    def first(self, corner: int) -> Triangle:
        i = next(i for i in self._at.get(corner, self._left) if i in self._left)
        a, b, c = self._left.pop(i)
        return (b, c, a) if b == corner else (c, a, b) if c == corner else (a, b, c)

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
    at = here = 0
    while True:
        if mesh.triangles and not flags.flag(_MORE, known.any()):
            return np.array(mesh.triangles, np.int64)
        # Points that no triangle has are passed over once and for all.
        while here < mesh.points and not (mesh.fresh[here] and flags.flag(_HERE, known.has(here))):
            here += 1
        _begin(mesh, near, here, flags, known)
        while at < len(mesh.queue):
            # Edges that wait are ranked in one go: what the points say of them does not change.
            batch = [i for i in range(at, min(at + _TOGETHER, len(mesh.queue))) if mesh.waits(i)]
            at = min(at + _TOGETHER, len(mesh.queue))
            edges = np.array([mesh.queue[i] for i in batch], np.int64).reshape(-1, 3)
            for i, row in zip(batch, ranked(points, near, edges, BEST).tolist(), strict=True):
                if mesh.waits(i):
                    _cross(mesh, points, far, mesh.queue[i], row, flags, known)


def _begin(mesh: Surface, near: Ints, here: int, flags: _Flags, known: _Unknown) -> None:
    """Code the first triangle of a walk, which begins here, or anywhere behind the last point."""
    first, *others = known.first(here)
    corners = [here if here < mesh.points else _named(mesh, flags, first)]
    nearby = near[corners[0]].tolist()
    for corner in others:
        if flags.flag(_AT_HAND, corner in nearby):
            place = nearby.index(corner) if corner in nearby else 0
            corners.append(_placed(nearby, flags, _PLACE, _DIGITS, place))
        else:
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
    beyond = 3 * mesh.holes_at(tail, head) + (closes if offered else 2)
    if not flags.flag(_BEYOND + beyond, wanted >= 0):
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
        place = others.index(wanted) if wanted in others else 0
        mesh.add(head, tail, _placed(others, flags, _FAR_PLACE, _FAR_DIGITS, place))
    else:
        mesh.add(head, tail, _named(mesh, flags, wanted))


def _placed(points: list[int], flags: _Flags, context: int, most: int, place: int) -> int:
    """Code a place in a list, by the number of digits of one more than it and then all but the first; return the point.

    `most` is how many digits beside the first there may be.
    """
    wanted, digits = (place + 1).bit_length() - 1, 0
    while digits < most and flags.flag(context + digits, wanted > digits):
        digits += 1
    found = (1 << digits) + flags.number(digits, place + 1 - (1 << wanted)) - 1
    if found >= len(points):
        raise FormatError(f"one of {len(points)} points expected, found {found}")
    return points[found]
