"""Which point completes a triangle on an edge: points near the edge, ranked by the triangle that each would make.

All arithmetic is on integers of 64 bits. SPEC.md gives it to the bit.
"""

from __future__ import annotations

import numpy as np

from pcqaad.formats.coding.point_sets import interleave
from pcqaad.formats.coding.rans import Ints

GRID_BITS = 12  # to which coordinates are rounded down here
INDEX_BITS = 16  # of a point's number, in a key behind its score
MAX_POINTS = 1 << INDEX_BITS
NEAR = 24  # points nearest to an end of an edge that are looked at first
FAR = 64  # and where none of them is the one
BEST = 12  # of those looked at first, how many are kept
NOT_ONE = 1 << 40  # score of what is no candidate
# Parts of a score, of cosines and ratios in 2**-10. They follow the log of how likely a triangle is in a mesh.
_OPENING, _FOLD, _SHIFT, _REACH, _COVERS = 8, 9, 4, 2, 6000
_UNIT_BITS = 10
_MAX_SHIFT, _MAX_REACH = 4 << _UNIT_BITS, 8 << _UNIT_BITS
_BLOCK = 64  # points whose neighbours are sought together

_Vectors = tuple[Ints, Ints, Ints]  # x, y and z


def nearest(points: Ints, count: int) -> Ints:
    """Return for each of points (V, 3) the `count` nearest others, or all: (V, n), nearest first, equals by number."""
    total = len(points)
    count = min(count, total - 1)
    place = interleave(points, GRID_BITS)
    order = np.argsort(place, kind="stable")
    first = np.searchsorted(place[order], place[order])
    rank = np.arange(total) - first
    # Of more points at one place than are asked for, only the first ones are near to any.
    pool = order[rank <= count]
    starts = np.arange(0, len(pool), _BLOCK)
    low, high = np.minimum.reduceat(points[pool], starts), np.maximum.reduceat(points[pool], starts)
    out = np.empty((total, count), np.int64)
    for i, at in enumerate(starts.tolist()):
        own = pool[at : at + _BLOCK]
        # The blocks before and behind bound how far the nearest are; then all blocks that may be nearer are looked at.
        around = _keys(points, own, pool[max(at - _BLOCK, 0) : at + 2 * _BLOCK])
        limit = int(np.partition(around, count - 1, axis=1)[:, count - 1].max()) >> INDEX_BITS
        gap = np.maximum(np.maximum(low - high[i], low[i] - high), 0)
        blocks = np.flatnonzero(np.square(gap).sum(1) <= limit)
        there = (blocks[:, None] * _BLOCK + np.arange(_BLOCK)).ravel()
        keys = np.partition(_keys(points, own, pool[there[there < len(pool)]]), count - 1, axis=1)[:, :count]
        out[own] = np.sort(keys, axis=1) & (MAX_POINTS - 1)
    out[order[rank > count]] = out[order[first[rank > count] + count]]
    return out


def _keys(points: Ints, own: Ints, others: Ints) -> Ints:
    """Return the squared distances from some points to others, times 2**16, plus the others' numbers."""
    key = others[None].repeat(len(own), 0)
    for axis in points.T:
        key += np.square(axis[own, None] - axis[others]) << INDEX_BITS
    key[own[:, None] == others] = np.iinfo(np.int64).max
    return key


def ranked(points: Ints, near: Ints, edges: Ints, best: int | None) -> Ints:
    """Return candidates for the far side of directed edges, as keys: the score times 2**16, plus the point's number.

    Args:
        points: (V, 3) of at most `GRID_BITS` bits.
        near: (V, n) the points near each, nearest first.
        edges: (e, 3) tail and head of each edge, and the apex of the triangle that it belongs to.
        best: how many to keep of each edge; None keeps all, and counts none that the triangle would cover.

    Returns:
        (e, at most 2 n) keys in rising order; those of at least `NOT_ONE` times 2**16 are no candidates.
    """
    tail, head, apex = edges.T[:, :, None]
    point = np.concatenate([near[edges[:, 0]], near[edges[:, 1]]], 1)
    a, b, c, v = (tuple(axis[i] for axis in points.T) for i in (tail, head, apex, point))
    x, y, side, back = _less(a, v), _less(b, v), _less(b, a), _less(c, a)
    xx, yy = _dot(x, x), _dot(y, y)
    # Those near the head that were near the tail already, which are all up to its last.
    last = near[edges[:, 0], -1:]
    z = _less(a, tuple(axis[last] for axis in points.T))
    none = (xx << INDEX_BITS) + point <= (_dot(z, z) << INDEX_BITS) + last
    none[:, : near.shape[1]] = False
    none |= (point == tail) | (point == head) | (point == apex)
    to_a, to_b, length = (np.maximum(_root(square << 8), 1) for square in (xx, yy, _dot(side, side)))
    opening = (_dot(x, y) << 18) // (to_a * to_b)
    normal, other = _cross(side, back), _cross(side, y)
    sizes = _root(_dot(normal, normal)) * _root(_dot(other, other))
    fold = (_dot(normal, other) << _UNIT_BITS) // np.maximum(sizes, 1)
    aside = _less(back, y)  # from the fourth corner of a parallelogram
    shift = np.minimum((_root(_dot(aside, aside) << 8) << _UNIT_BITS) // length, _MAX_SHIFT)
    reach = np.minimum(((to_a + to_b) << _UNIT_BITS) // length, _MAX_REACH)
    score = _OPENING * opening - _FOLD * fold + _SHIFT * shift + _REACH * reach
    key = (np.where(none, NOT_ONE, score) << INDEX_BITS) + point
    if best is None:
        return np.sort(key, axis=1)
    at_a = (_dot(x, side) << 18) // (to_a * length)
    at_b = (_dot(y, side) << 18) // (to_b * length)
    chosen = np.argpartition(key, min(best, key.shape[1]) - 1, axis=1)[:, :best]
    key, at_a, at_b, fold = (np.take_along_axis(t, chosen, 1) for t in (key, at_a, at_b, fold))
    inside = (at_a[:, None] < at_a[:, :, None]) & (at_b[:, None] > at_b[:, :, None])
    visible = (fold > 0) & (key < NOT_ONE << INDEX_BITS)
    covers = (inside & visible[:, None]).any(2)
    return np.sort(key + (covers * _COVERS << INDEX_BITS), axis=1)


def _less(u: _Vectors, v: _Vectors) -> _Vectors:
    return u[0] - v[0], u[1] - v[1], u[2] - v[2]


def _dot(u: _Vectors, v: _Vectors) -> Ints:
    products: Ints = u[0] * v[0] + u[1] * v[1] + u[2] * v[2]
    return products


def _cross(u: _Vectors, v: _Vectors) -> _Vectors:
    return u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]


def _root(squares: Ints) -> Ints:
    """Return the square roots of integers below 2**52, rounded down: exact in double precision."""
    return np.sqrt(squares.astype(np.float64)).astype(np.int64)
