"""The auction as the paper runs it: a fixed number of iterations at one eps, then completed to a bijection."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pcqaad.matching.solvers import Costs, Indices, Points, Solution, by_cost_matrix
from pcqaad.seeds import Use, generator

ITERATIONS = 100
# In mean costs from a row of the cell to its nearest column. The paper's implementation takes eps in the data's unit,
# where no number suits two data sets.
EPS = 1.0


def fan2017_auction(a: Points, b: Points, bounds: Indices, power: int, workers: int | None = None) -> Solution:
    """Solve by the auction the paper uses (section 4.2, after Fan et al., 2017): 100 iterations at eps 1.

    In every iteration all rows without a column bid at once, and a column goes to its highest bidder. Columns left
    over then go to the rows left over, at random (section 3.4). The interface is that of `certified`, whose cost
    is lower and whose certificate is narrower; this one is here to be compared with.
    """

    def assign(cost: Costs, cell: int) -> tuple[NDArray[np.int64], float]:
        columns, prices = _iterate(cost, generator(0, Use.LEFTOVER_COLUMNS, cell, len(cost)))
        return columns, float((cost + prices).min(1).sum() - prices.sum())

    return by_cost_matrix(assign, a, b, bounds, power, workers)


def _iterate(cost: Costs, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Assign the columns (n,) of a cost (n, n); returns them and the final prices (n,)."""
    n = len(cost)
    eps = EPS * cost.min(1).mean()
    prices = np.zeros(n)
    columns, owner = np.full((2, n), -1)
    for _ in range(ITERATIONS):
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
