"""The auction as the paper runs it: a fixed number of rounds at one eps, then completed to a bijection."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from pcqaad.matching.solvers import Indices, Points, Solution
from pcqaad.parallel import in_parallel
from pcqaad.seeds import Use, generator

ROUNDS = 100
# In units of the cell's own: the mean cost from a row to its nearest column is 1. The paper's implementation
# takes eps in the data's units, in which no number suits two data sets.
EPS = 1.0


def paper_auction(a: Points, b: Points, bounds: Indices, power: int, workers: int | None = None) -> Solution:
    """Solve by the auction the paper uses (section 4.2, after Fan et al., 2017): 100 rounds at eps 1.

    In every round all rows without a column bid at once, and a column goes to its highest bidder. Columns left
    over then go to the rows left over, at random (section 3.4). The same interface as `certified`, whose cost
    is lower and whose certificate is narrower; this one is here to be compared with.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    metric = "sqeuclidean" if power == 2 else "euclidean"

    def solve(cell: int) -> tuple[NDArray[np.int64], float, float]:
        low, high = bounds[cell], bounds[cell + 1]
        cost = cdist(a[low:high], b[low:high], metric)
        columns, prices = _rounds(cost, generator(0, Use.LEFTOVER_COLUMNS, cell, int(high - low)))
        reached = float(cost[np.arange(high - low), columns].sum())
        least = float((cost + prices).min(1).sum() - prices.sum())
        return low + columns, reached, min(max(least, 0.0), reached)

    solved = list(in_parallel(solve, range(len(bounds) - 1), workers))
    columns, costs, least = zip(*solved, strict=True)
    return Solution(np.concatenate(columns), np.array(costs), np.array(least))


def _rounds(cost: NDArray[np.float64], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Assign the columns (n,) of a cost (n, n), and return the prices (n,) they ended at."""
    n = len(cost)
    eps = EPS * cost.min(1).mean()
    prices = np.zeros(n)
    columns, owner = np.full((2, n), -1)
    for _ in range(ROUNDS):
        free = np.flatnonzero(columns < 0)
        if len(free) == 0 or n == 1:
            break
        value = cost[free] + prices
        wanted = value.argmin(1)
        best = value[np.arange(len(free)), wanted]
        value[np.arange(len(free)), wanted] = np.inf
        bid = value.min(1) - best + eps
        # Sorted by column, then by falling bid, then by row: the first of each column wins.
        order = np.lexsort((free, -bid, wanted))
        order = order[np.unique(wanted[order], return_index=True)[1]]
        winners, won = free[order], wanted[order]
        outbid = owner[won]
        columns[outbid[outbid >= 0]] = -1
        columns[winners], owner[won] = won, winners
        prices[won] += bid[order]
    columns[columns < 0] = rng.permutation(np.flatnonzero(owner < 0))
    return columns, prices
