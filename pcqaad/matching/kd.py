"""Balanced k-d trees: equal-rank cells of one cloud, or of two clouds in step.

The papers leave the axis rule open. Here a node is cut across the widest side of the joint bounding box of its
clouds: symmetric in the two clouds, and up to 30 % tighter for EM-kD than cycling the axes. Each cloud is cut at the
same rank of its own points, so the halves are of equal size in both. The other coordinates break ties, so the halves
do not depend on the order of the points. Where sides are equally wide but for rounding, the first is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.patches import patch_sizes

Points = NDArray[np.floating]
Order = NDArray[np.intp]
# For a node of the ranks [low, high) the rank to cut it at, or None for a leaf.
Cut = Callable[[int, int], "int | None"]

# A side of at least this part of the widest counts as equally wide: rounding by unit and place must not decide.
_EQUAL_WIDTH = 1 - 1e-6


def split(clouds: Sequence[Points], cut: Cut) -> tuple[list[Order], Order]:
    """Sort clouds (n, 3), cut in step, into the leaves of one balanced k-d tree.

    Returns one order (n,) per cloud, leaf after leaf, and the leaves' bounds (leaves + 1,) in these orders.
    """
    n = len(clouds[0])
    orders = [np.arange(n) for _ in clouds]
    # One row an axis, kept in order: the coordinates of a node lie side by side.
    rows = [np.ascontiguousarray(cloud.T) for cloud in clouds]
    bounds = [0]
    stack = [(0, n)]
    while stack:
        low, high = stack.pop()
        middle = cut(low, high)
        if middle is None:
            bounds.append(high)
            continue
        node = slice(low, high)
        width = np.max([x[:, node].max(1) for x in rows], 0) - np.min([x[:, node].min(1) for x in rows], 0)
        axis = int(np.argmax(width >= width.max() * _EQUAL_WIDTH))
        for x, order in zip(rows, orders, strict=True):
            by_rank = _rank(x[:, node], axis)
            order[node] = order[node][by_rank]
            x[:, node] = x[:, node][:, by_rank]
        stack += [(middle, high), (low, middle)]
    return orders, np.array(bounds)


def _rank(rows: NDArray[np.floating], axis: int) -> Order:
    """Return the order (n,) of points (3, n) along an axis. The other axes break ties; equal points stay in order.

    Numpy's vectorised sort takes a fifth of the time of a stable one; the few equal values are put in order after it.
    """
    order = np.argsort(rows[axis])
    found = rows[axis, order]
    same = found[1:] == found[:-1]
    if same.any():
        tied = np.append(same, False) | np.append(False, same)
        places = order[tied]
        others = (rows[k, places] for k in range(3) if k != axis)
        order[tied] = places[np.lexsort((places, *others, found[tied]))]
    return order


def paired_cells(a: Points, b: Points, cell: int) -> tuple[Order, Order, Order]:
    """Cut two clouds (n, 3) into cells of at most `cell` points, cell i against cell i (paper, section 3.2).

    A node of n points is halved at rank n // 2 until it fits. Returns both orders and the cells' bounds.
    """
    (order_a, order_b), bounds = split([a, b], lambda low, high: None if high - low <= cell else (low + high) // 2)
    return order_a, order_b, bounds


def patch_order(points: Points, patches: int) -> Order:
    """Cut a cloud (n, 3) into spatial patches of the sizes `patch_sizes` gives; returns the order (n,)."""
    bounds = np.concatenate([[0], np.cumsum(patch_sizes(len(points), patches))])

    def cut(low: int, high: int) -> int | None:
        first, last = np.searchsorted(bounds, [low, high])
        return None if last - first <= 1 else int(bounds[(first + last) // 2])

    return split([points], cut)[0][0]


def rotated_blocks(points: Points, block: int, rng: np.random.Generator) -> tuple[Order, Order]:
    """Cut a cloud (n, 3) into blocks of at most `block` points along randomly rotated axes.

    Two calls share hardly a border: the next one can join pairs that this one separates.
    Returns the order (n,) and the blocks' bounds.
    """
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    # The first cut moves as well: halving at the median every time would return to the same middle.
    shift = rng.uniform(0.4, 0.6)
    n = len(points)

    def cut(low: int, high: int) -> int | None:
        middle = max(int(n * shift), 1) if high - low == n else (low + high) // 2
        return None if high - low <= block else middle

    (order,), bounds = split([points @ rotation.astype(points.dtype)], cut)
    return order, bounds
