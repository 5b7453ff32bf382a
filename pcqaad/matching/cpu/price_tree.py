"""A tree of 32-fold branching over points with prices: finds the two of least cost + price for any query."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcqaad.compiled.jit import compiled, kept
from pcqaad.matching.cpu.simd import (
    BOX_PRICE,
    FAR,
    LANE_BITS,
    LANES,
    LEAF_PRICE,
    children_below,
    least_price,
    lowest_bit,
    scan_leaves,
    two_least,
)

# Levels of boxes: 32 to the power of 8 leaves are more than any memory holds.
_MOST_LEVELS = 8
# Cost + price. Padding costs more; up to this, sums in float32 can be told apart.
_LARGEST_VALUE = FAR / 2


class Tree(NamedTuple):
    """Points in leaf order with their prices, and boxes around them, level by level."""

    boxes: NDArray[np.floating]  # blocks (B, 7, 32) of all inner levels, the root's block first
    leaves: NDArray[np.floating]  # blocks (L, 4, 32)
    first: NDArray[np.int64]  # where each inner level starts among the boxes; empty when there is but one leaf
    # (2, levels): the block being searched on each level, and as bits which of its children are still to be searched.
    search: NDArray[np.int64]
    keys: NDArray[np.floating]  # (2, 32), the two least values in each SIMD lane
    places: NDArray[np.int32]  # (2, 32), their points


@compiled
def leaf_order(points):
    """Return the order (n,) that puts points (n, 3) into compact leaves of 32, and leaves into compact boxes.

    A balanced k-d tree, cut across the widest side, but at multiples of 32, 1,024, ... so that all leaves
    and boxes but the last are full.
    """
    n = len(points)
    order = np.arange(n)
    # Two arrays instead of one of tuples, which takes numba seconds to compile.
    lows, highs = np.zeros(64, np.int64), np.full(64, n)
    depth = 1
    while depth:
        depth -= 1
        low, high = lows[depth], highs[depth]
        size = high - low
        if size <= LANES:
            continue
        axis, widest = 0, -1.0
        for k in range(3):
            least, most = points[order[low], k], points[order[low], k]
            for i in range(low + 1, high):
                x = points[order[i], k]
                least, most = min(least, x), max(most, x)
            if most - least > widest:
                axis, widest = k, most - least
        unit = LANES
        while unit * LANES < size:
            unit *= LANES
        middle = low + unit * ((size + unit - 1) // unit // 2)
        _select(order, points, axis, low, high, middle)
        lows[depth], highs[depth] = middle, high
        lows[depth + 1], highs[depth + 1] = low, middle
        depth += 2
    return order


@compiled
def _select(order, points, axis, low, high, rank):
    """Reorder order[low:high] so that no point before `rank` lies above one behind it (Hoare's quickselect)."""
    left, right = low, high - 1
    while left < right:
        a, b, c = points[order[left], axis], points[order[(left + right) // 2], axis], points[order[right], axis]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = left, right
        while i <= j:
            while points[order[i], axis] < pivot:
                i += 1
            while points[order[j], axis] > pivot:
                j -= 1
            if i <= j:
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if rank <= j:
            right = j
        elif rank >= i:
            left = i
        else:
            return


@compiled
def grow(points):
    """Build the tree of points (n, 3), float32 or float64, in leaf order; all prices are 0."""
    n = len(points)
    leaves = np.full(((n + LANES - 1) >> LANE_BITS, LEAF_PRICE + 1, LANES), FAR, points.dtype)
    for i in range(n):
        for k in range(3):
            leaves[i >> LANE_BITS, k, i & (LANES - 1)] = points[i, k]
        leaves[i >> LANE_BITS, LEAF_PRICE, i & (LANES - 1)] = 0
    levels = 0
    while len(leaves) > 1 << (LANE_BITS * levels):
        levels += 1
    # The number of blocks on each level, root first, leaves last; then where each level of boxes begins.
    count = np.empty(levels + 1, np.int64)
    count[levels] = len(leaves)
    for level in range(levels - 1, -1, -1):
        count[level] = (count[level + 1] + LANES - 1) >> LANE_BITS
    first = np.zeros(levels, np.int64)
    for level in range(1, levels):
        first[level] = first[level - 1] + count[level - 1]
    boxes = np.full((max(count[:levels].sum(), 1), BOX_PRICE + 1, LANES), FAR, points.dtype)
    for level in range(levels - 1, -1, -1):
        lowest = level == levels - 1
        for child in range(count[level + 1]):
            size = min((n if lowest else count[level + 2]) - child * LANES, LANES)
            block, lane = first[level] + (child >> LANE_BITS), child & (LANES - 1)
            for k in range(3):
                least, most = points.dtype.type(FAR), points.dtype.type(-FAR)
                for i in range(size):
                    if lowest:
                        least, most = min(least, leaves[child, k, i]), max(most, leaves[child, k, i])
                    else:
                        inner = first[level + 1] + child
                        least, most = min(least, boxes[inner, k, i]), max(most, boxes[inner, 3 + k, i])
                boxes[block, k, lane], boxes[block, 3 + k, lane] = least, most
            boxes[block, BOX_PRICE, lane] = 0
    keys = np.full((2, LANES), FAR, points.dtype)
    places = np.zeros((2, LANES), np.int32)
    return Tree(boxes, leaves, first, np.zeros((2, _MOST_LEVELS), np.int64), keys, places)


@compiled
def price_of(tree, j):
    """Return the price of point j."""
    return tree.leaves[j >> LANE_BITS, LEAF_PRICE, j & (LANES - 1)]


@compiled
def cost_to(tree, j, query, power):
    """Return the distance from the query to point j, squared where power is 2: the same bits as a scan's."""
    leaf, lane = j >> LANE_BITS, j & (LANES - 1)
    x = tree.leaves[leaf, 0, lane] - query[0]
    y = tree.leaves[leaf, 1, lane] - query[1]
    z = tree.leaves[leaf, 2, lane] - query[2]
    squared = (x * x + y * y) + z * z
    return np.sqrt(squared) if power == 1 else squared


@compiled
def two_best(tree, query, power, hint, hint2):
    """Find the two points of least value, cost + price, in a tree of 2 points or more.

    The query is three numbers of the tree's type. The hints are two points likely to be cheap: nothing of a higher
    value than theirs is searched. Returns the least value, the second least, and the two points: any two where all
    values lie beyond float32.
    """
    most = max(
        cost_to(tree, hint, query, power) + price_of(tree, hint),
        cost_to(tree, hint2, query, power) + price_of(tree, hint2),
    )
    # The squares of a query very far away overflow: it costs infinity everywhere, in the padding of blocks too, which
    # must not be searched.
    most = min(most, tree.keys.dtype.type(_LARGEST_VALUE))
    last = len(tree.first) - 1
    if last < 0:
        scan_leaves(tree.leaves, 0, 1, query, power, tree.keys, tree.places)
        return two_least(tree.keys, tree.places)
    level = 0
    tree.search[0, 0] = 0
    tree.search[1, 0] = children_below(tree.boxes, 0, query, power, most)
    while level >= 0:
        children = tree.search[1, level]
        if level == last:
            scan_leaves(tree.leaves, tree.search[0, level] * LANES, children, query, power, tree.keys, tree.places)
            level -= 1
        elif children == 0:
            level -= 1
        else:
            tree.search[1, level] = children & (children - 1)
            child = tree.search[0, level] * LANES + lowest_bit(children)
            level += 1
            tree.search[0, level] = child
            tree.search[1, level] = children_below(tree.boxes, tree.first[level] + child, query, power, most)
    return two_least(tree.keys, tree.places)


@compiled
def raise_price(tree, j, price):
    """Raise the price of point j, and the least prices of the boxes around it."""
    child = j >> LANE_BITS
    before = tree.leaves[child, LEAF_PRICE, j & (LANES - 1)]
    tree.leaves[child, LEAF_PRICE, j & (LANES - 1)] = price
    for level in range(len(tree.first) - 1, -1, -1):
        block = tree.first[level] + (child >> LANE_BITS)
        if before > tree.boxes[block, BOX_PRICE, child & (LANES - 1)]:
            return
        if level == len(tree.first) - 1:
            least = least_price(tree.leaves, child, LEAF_PRICE)
        else:
            least = least_price(tree.boxes, tree.first[level + 1] + child, BOX_PRICE)
        before = tree.boxes[block, BOX_PRICE, child & (LANES - 1)]
        if least == before:
            return
        tree.boxes[block, BOX_PRICE, child & (LANES - 1)] = least
        child >>= LANE_BITS


@kept
def nearest_points(queries, points, guesses, found):
    """Find the nearest of the points of its own cloud for each query: (B, S, 3) float64 both, compared in float32.

    `guesses` (S,) int64 are points likely to be near the queries: nothing farther is searched. `found` (B, S) int64
    gets the nearest points.
    """
    clouds, count = queries.shape[:2]
    place = np.empty(count, np.int64)
    for b in range(clouds):
        order = leaf_order(points[b])
        inside = np.empty((count, 3), np.float32)
        for i in range(count):
            place[order[i]] = i
            for k in range(3):
                inside[i, k] = points[b, order[i], k]
        tree = grow(inside)
        for i in range(count):
            query = (np.float32(queries[b, i, 0]), np.float32(queries[b, i, 1]), np.float32(queries[b, i, 2]))
            guess = place[guesses[i]]
            _, _, nearest, _ = two_best(tree, query, 2, guess, guess)
            found[b, i] = order[nearest]
