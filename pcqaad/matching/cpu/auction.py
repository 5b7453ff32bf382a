"""The auction algorithm (Bertsekas, 1988) between points: any number of them, with a certificate.

Rows bid for columns, prices rise, and the smallest useful bid `eps` shrinks from phase to phase. Any prices p
bound the optimum from below by sum_i min_j (c_ij + p_j) - sum_j p_j, so the solver stops as soon as the
assignment it holds is proven to lie within the tolerance of the optimum.

No cost matrix is made: costs are distances, and a tree over the columns finds the two best for a row. It
works in float32, and takes what that may be off into the proof.
"""

from __future__ import annotations

import numpy as np

from pcqaad.matching.cpu.jit import compiled
from pcqaad.matching.cpu.price_tree import cost_to, grow, leaf_order, price_of, raise_price, two_best

# The first eps in mean costs to the nearest column, for distances and for squares, and how it shrinks: the
# quickest of those tried on cells of 1,024 points.
_FIRST_EPS, _FIRST_EPS_SQUARED, _SHRINK = 3.0, 10.0, 0.2
# From a given assignment eps starts no smaller than this part of what is to be proven.
_WARM_EPS = 0.2
# Where many points coincide, or the clouds have parts far from each other, the nearest column says nothing of what
# prices must rise to: a war of many small bids. Other clouds end after 25 to 100 a row; then all begins again from
# a larger eps, in sides, which takes those clouds hardly longer.
_FIRST_BIDS, _MOST_BIDS = 100, 400
_LARGER_EPS = (0.2, 1.0)
_MOST_PHASES = 24
# What rounding takes from a proof. A coordinate in [0, 1] is off by at most 2^-25 in float32, a distance
# between two points by twice sqrt(3) times that; differences, squares, sums, root and price add at most 6
# roundings of 2^-24 each, relative to the result.
_OFF, _ROUNDED = 1.04e-7, 6 * 2.0**-24
# The same in float64, where a coordinate is off by three roundings of 2^-53, of being brought into the box.
_OFF_DOUBLE, _ROUNDED_DOUBLE = 1.2e-15, 6 * 2.0**-53

# What a sum of n numbers is off by in float64: n roundings of 2^-53, each of what the sum of their sizes bounds; twice
# that, for the roundings of the numbers themselves.
_SUM_ROUNDED = 2.0**-52

# This part of the tolerance is proven against the cost in float32: the cost in float64 differs by less.
_SHARE = 0.99


@compiled
def solve_cells(a, b, bounds, power, tolerance, warm, columns, costs, least, of):
    """Assign rows a to columns b in each cell, at least summed distance (power 1) or squared distance (2).

    Where float32 cannot prove the tolerance, the best that was found is returned, with what is proven of it.

    Args:
        a: (n, 3) float64, cell after cell, and
        b: (n, 3), likewise.
        bounds: (cells + 1,) where they begin and end.
        power: 1 or 2.
        tolerance: stop once the cost, squared ones of the cells with their means laid upon each other, is
            proven to lie at most this part of itself above the least.
        warm: whether `columns` hold a permutation of each cell to start from: the less of it has to change,
            the sooner the end.
        columns: (n,) int64; gets the columns, a permutation of each cell.
        costs: (cells,) float64; gets what they cost.
        least: (cells,) float64; gets what, rounding included, no permutation of the cell costs less than.
        of: an array of the type to work in: float32, or float64, which proves more and takes longer.
    """
    for cell in range(len(bounds) - 1):
        low, high = bounds[cell], bounds[cell + 1]
        # Seen from a point of the cell, so that one far from the origin keeps its digits. Number by number: numba
        # takes seconds to compile what slices of arrays do.
        size = high - low
        near_a, near_b = np.empty((size, 3)), np.empty((size, 3))
        # Of squared distances the one between the means is the same for every permutation: without it, the
        # tolerance is a part of what matching can change. With b moved by s, which is off by e at most from how far
        # the means really lie apart, every permutation costs size (s^2 - 2 s e) more at least than what is left.
        apart = 0.0
        for k in range(3):
            sum_a, sum_b, sizes = 0.0, 0.0, 0.0
            for i in range(size):
                near_a[i, k], near_b[i, k] = a[low + i, k] - a[low, k], b[low + i, k] - a[low, k]
                sum_a, sum_b = sum_a + near_a[i, k], sum_b + near_b[i, k]
                sizes += abs(near_a[i, k]) + abs(near_b[i, k])
            if power == 2:
                shift = (sum_a - sum_b) / size
                for i in range(size):
                    near_b[i, k] += shift
                apart += size * abs(shift) * (abs(shift) - 2 * _SUM_ROUNDED * sizes)
        rows, cols = leaf_order(near_a), leaf_order(near_b)
        # A box of side 1 around both: numbers of any type then resolve the cell, whatever its size.
        corner, side = np.empty(3), 0.0
        for k in range(3):
            corner[k], most = near_a[0, k], near_a[0, k]
            for i in range(size):
                corner[k] = min(corner[k], near_a[i, k], near_b[i, k])
                most = max(most, near_a[i, k], near_b[i, k])
            side = max(side, most - corner[k])
        if side == 0:
            side = 1.0
        x, y = np.empty((size, 3), of.dtype), np.empty((size, 3), of.dtype)
        for i in range(size):
            for k in range(3):
                x[i, k] = (near_a[rows[i], k] - corner[k]) / side
                y[i, k] = (near_b[cols[i], k] - corner[k]) / side
        start = np.full(size, -1)
        if warm:
            place = np.empty(size, np.int64)
            for i in range(size):
                place[cols[i]] = i
            for i in range(size):
                start[i] = place[columns[low + rows[i]] - low]
        found, bound, proven = _auction(x, y, power, tolerance * _SHARE, start, 0.0, _FIRST_BIDS)
        for larger in _LARGER_EPS:
            if not proven:
                start = np.full(size, -1)
                found, bound, proven = _auction(x, y, power, tolerance * _SHARE, start, larger, _MOST_BIDS)
        cost = 0.0
        for i in range(size):
            row, column = low + rows[i], low + cols[found[i]]
            columns[row] = column
            squared = 0.0
            for k in range(3):
                squared += (a[row, k] - b[column, k]) ** 2
            cost += np.sqrt(squared) if power == 1 else squared
        proven_least = max(bound, 0.0) * side**power * (1 - 1e-9) + apart
        costs[cell], least[cell] = cost, min(max(proven_least, 0.0), cost)


@compiled
def _look(tree, x, row, power, hints):
    """Find the two best columns of a row, from where it last found them; returns the two least cost + price."""
    query = (x[row, 0], x[row, 1], x[row, 2])
    best, second, hints[row, 0], hints[row, 1] = two_best(tree, query, power, hints[row, 0], hints[row, 1])
    return best, second


@compiled
def _cost(tree, x, row, column, power):
    return cost_to(tree, column, (x[row, 0], x[row, 1], x[row, 2]), power)


@compiled
def _auction(x, y, power, tolerance, start, larger, most_bids):
    """Assign rows x to columns y (n, 3), in leaf order within a box of side 1.

    `start` (n,) holds columns to start from, or -1; `larger` is the first eps, or 0 to take it from the costs.
    Returns the columns (n,) and the bound of the last phase that was brought to an end, and whether that is
    proof enough.
    """
    n = len(x)
    kept, kept_bound = np.arange(n), np.inf
    if n == 1:
        return kept, kept_bound, True
    kept_bound = 0.0
    tree = grow(y)
    columns, owner, waiting = start.copy(), np.full(n, -1), np.arange(n)
    # The two best columns when a row last looked, and their least cost + price. Leaf order makes the row
    # with the same number a guess as good as any.
    hints, least = np.empty((n, 2), np.int64), np.empty(n, x.dtype)
    nearest, paid = 0.0, 0.0
    for i in range(n):
        hints[i, 0], hints[i, 1] = i, i - 1 if i else 1
        if columns[i] >= 0:
            owner[columns[i]] = i
            if columns[i] != hints[i, 1]:
                hints[i, 0] = columns[i]
            paid += _cost(tree, x, i, columns[i], power) / n
        least[i], _ = _look(tree, x, i, power, hints)
        nearest += least[i] / n
    if columns[0] >= 0:
        # What rows pay too much on average: who pays less stays, and is outbid where it has to be.
        first_eps = max(paid - nearest, _WARM_EPS * tolerance * paid)
    else:
        first_eps = (_FIRST_EPS if power == 1 else _FIRST_EPS_SQUARED) * nearest
    single = x.itemsize == 4
    unit_off, rounded = (_OFF, _ROUNDED) if single else (_OFF_DOUBLE, _ROUNDED_DOUBLE)
    eps = x.dtype.type(max(larger**power if larger > 0 else first_eps, 1e-9 if single else 1e-15))
    bids = 0
    for _ in range(_MOST_PHASES):
        count = 0
        for i in range(n - 1, -1, -1):
            # Whoever is content under the new eps stays.
            j = columns[i]
            if j >= 0 and _cost(tree, x, i, j, power) + price_of(tree, j) > least[i] + eps:
                owner[j], columns[i] = -1, -1
            if columns[i] < 0:
                waiting[count] = i
                count += 1
        while count > 0:
            i = waiting[count - 1]
            best, second = _look(tree, x, i, power, hints)
            j = hints[i, 0]
            price = price_of(tree, j)
            raised = price + (second - best + eps)
            bids += 1
            if raised <= price or bids > most_bids * n:
                return kept, kept_bound, False
            raise_price(tree, j, raised)
            outbid = owner[j]
            owner[j], columns[i] = i, j
            count -= 1
            if outbid >= 0:
                columns[outbid] = -1
                waiting[count] = outbid
                count += 1
        cost, kept_bound, sizes, gains = 0.0, 0.0, 0.0, 0.0
        for i in range(n):
            kept[i] = columns[i]
            least[i], _ = _look(tree, x, i, power, hints)
            value, price, off = np.float64(least[i]), np.float64(price_of(tree, i)), unit_off
            if power == 2:
                off = (2 * np.sqrt(value) + unit_off) * unit_off
            gain = value * (1 - rounded) - off - price
            kept_bound, gains, sizes = kept_bound + gain, gains + abs(gain), sizes + value + price
            cost += _cost(tree, x, i, columns[i], power)
        # What the differences and their sum lose of float64.
        kept_bound -= _SUM_ROUNDED * (2 * sizes + n * gains)
        if cost - kept_bound <= tolerance * cost or cost == 0:
            return kept, kept_bound, True
        eps *= x.dtype.type(_SHRINK)
    return kept, kept_bound, False
