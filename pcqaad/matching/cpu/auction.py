"""The auction algorithm (Bertsekas, 1988) between points: any number of them, with a certificate.

Rows bid for columns, prices rise, and the smallest useful bid `eps` shrinks from phase to phase. Any prices p
bound the optimum from below by sum_i min_j (c_ij + p_j) - sum_j p_j, so the solver stops as soon as the
assignment it holds is proven to lie within the tolerance of the optimum.

No cost matrix is made: costs are distances, and a tree over the columns finds the two best for a row. The auction
works in float32, and the proof allows for its rounding.
"""

from __future__ import annotations

import numpy as np

from pcqaad.compiled.jit import compiled, kept
from pcqaad.matching.cpu.price_tree import cost_to, grow, leaf_order, price_of, raise_price, two_best
from pcqaad.matching.cpu.schedule import DOUBLE, SCHEDULE, SINGLE, SUM_ROUNDING


@kept
def solve_cells(a, b, bounds, power, tolerance, warm, columns, costs, lower_bounds, dtype_of):
    """Assign rows a to columns b in each cell, at least summed distance (power 1) or squared distance (2).

    Where the tolerance cannot be proven, the best assignment found is returned, with the bound proven for it.

    Args:
        a: (n, 3) float64, cell after cell, and
        b: (n, 3), likewise.
        bounds: (cells + 1,) where they begin and end.
        power: 1 or 2.
        tolerance: stop once the cost is proven to lie at most this part of itself above the optimum. Squared costs
            count from where the means of the cell's two halves coincide.
        warm: whether `columns` holds a permutation of each cell to start from.
        columns: (n,) int64; gets the columns, a permutation of each cell.
        costs: (cells,) float64; gets the cost of each cell.
        lower_bounds: (cells,) float64; gets the certificates: no permutation of the cell costs less, rounding included.
        dtype_of: an array of the type to work in: float32, or float64, which proves more and takes longer.
    """
    for cell in range(len(bounds) - 1):
        low, high = bounds[cell], bounds[cell + 1]
        # Coordinates relative to a point of the cell: a cell far from the origin keeps its digits. Number by number,
        # because numba takes seconds to compile slices of arrays.
        size = high - low
        near_a, near_b = np.empty((size, 3)), np.empty((size, 3))
        # The squared distance between the means is the same for every permutation: without it, the tolerance is a
        # part of the cost that matching can change. Let b move by s, which lies within e of the true distance of the
        # means. Then every permutation costs at least size (s^2 - 2 s e) more than it does after the move.
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
                apart += size * abs(shift) * (abs(shift) - 2 * SUM_ROUNDING * sizes)
        rows, cols = leaf_order(near_a), leaf_order(near_b)
        # A box of side 1 around both: any number type then resolves the cell, whatever its size.
        corner, side = np.empty(3), 0.0
        for k in range(3):
            corner[k], most = near_a[0, k], near_a[0, k]
            for i in range(size):
                corner[k] = min(corner[k], near_a[i, k], near_b[i, k])
                most = max(most, near_a[i, k], near_b[i, k])
            side = max(side, most - corner[k])
        if side == 0:
            side = 1.0
        x, y = np.empty((size, 3), dtype_of.dtype), np.empty((size, 3), dtype_of.dtype)
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
        part = tolerance * SCHEDULE.share
        found, bound, proven = _auction(x, y, power, part, start, 0.0, SCHEDULE.first_bids)
        for larger in SCHEDULE.restart_eps:
            if not proven:
                start = np.full(size, -1)
                found, bound, proven = _auction(x, y, power, part, start, larger, SCHEDULE.most_bids)
        cost = 0.0
        for i in range(size):
            row, column = low + rows[i], low + cols[found[i]]
            columns[row] = column
            squared = 0.0
            for k in range(3):
                squared += (a[row, k] - b[column, k]) ** 2
            cost += np.sqrt(squared) if power == 1 else squared
        lower_bound = max(bound, 0.0) * side**power * (1 - SCHEDULE.margin) + apart
        costs[cell], lower_bounds[cell] = cost, min(max(lower_bound, 0.0), cost)


@compiled
def _look(tree, x, row, power, hints):
    """Find the two best columns of a row, from those it last found; returns their two values, cost + price."""
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
    Returns the columns (n,) and the lower bound of the last phase that ended, and whether that proves the tolerance.
    """
    n = len(x)
    if n == 1:
        return np.arange(n), np.inf, True
    kept, kept_bound = np.arange(n), 0.0
    tree = grow(y)
    columns, owner, waiting = start.copy(), np.full(n, -1), np.arange(n)
    # The two best columns when a row last looked, and the value (cost + price) of the best. Leaf order makes the
    # column of the same number a guess as good as any.
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
        # The mean excess that rows pay: a row that pays less stays, and is outbid where necessary.
        first_eps = max(paid - nearest, SCHEDULE.warm_eps * tolerance * paid)
    else:
        first_eps = (SCHEDULE.first_eps if power == 1 else SCHEDULE.first_eps_squared) * nearest
    rounding = SINGLE if x.itemsize == 4 else DOUBLE
    eps = x.dtype.type(max(larger**power if larger > 0 else first_eps, rounding.smallest_eps))
    bids = 0
    for _ in range(SCHEDULE.most_phases):
        count = 0
        for i in range(n - 1, -1, -1):
            # A row whose column is within the new eps of its best stays.
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
            value, price, off = np.float64(least[i]), np.float64(price_of(tree, i)), rounding.distance
            if power == 2:
                off = (2 * np.sqrt(value) + rounding.distance) * rounding.distance
            gain = value * (1 - rounding.relative) - off - price
            kept_bound, gains, sizes = kept_bound + gain, gains + abs(gain), sizes + value + price
            cost += _cost(tree, x, i, columns[i], power)
        # The rounding of the differences and of their sum.
        kept_bound -= SUM_ROUNDING * (2 * sizes + n * gains)
        if cost - kept_bound <= tolerance * cost or cost == 0:
            return kept, kept_bound, True
        eps *= x.dtype.type(SCHEDULE.shrink)
    return kept, kept_bound, False
