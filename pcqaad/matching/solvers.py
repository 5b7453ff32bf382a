"""Linear assignment inside cells: the small interface behind which solvers can be exchanged."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from pcqaad.parallel import cores, in_parallel

Points = NDArray[np.floating]
Indices = NDArray[np.integer]

# How far above the optimum the default solver may stay. What it returns lies far nearer to it.
TOLERANCE = 1e-3
# A cost matrix of more points than this does not fit beside others: no exact solver then takes over.
_MOST_EXACT = 4096
# Cells of so few points SciPy solves sooner than the auction in float64 is compiled.
_FEW = 1024
_SINGLE, _DOUBLE = np.empty(0, np.float32), np.empty(0, np.float64)


class Solution(NamedTuple):
    """An assignment of two clouds cell by cell.

    Attributes:
        columns: (n,) the row of `b` assigned to each row of `a`: in every cell a permutation.
        costs: (cells,) summed cost of each cell.
        least: (cells,) the certificate: no permutation of the cell costs less than this.
    """

    columns: NDArray[np.int64]
    costs: NDArray[np.float64]
    least: NDArray[np.float64]


class Solver(Protocol):
    """What a solver is: in every cell a bijection of little summed |a[i] - b[columns[i]]| ** power."""

    def __call__(self, a: Points, b: Points, bounds: Indices, power: int, workers: int | None = None) -> Solution:
        """Assign.

        Args:
            a: (n, 3) finite, cell after cell, and
            b: (n, 3), likewise.
            bounds: (cells + 1,) where they begin and end.
            power: 1 for distances, 2 for squared distances.
            workers: threads that share the cells; the result does not depend on them.
        """


def exact(a: Points, b: Points, bounds: Indices, power: int, workers: int | None = None) -> Solution:
    """Solve by shortest augmenting paths (SciPy), in float64. Its time grows with the cube of a cell."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    metric = "sqeuclidean" if power == 2 else "euclidean"

    def solve(cell: int) -> tuple[NDArray[np.int64], float]:
        low, high = bounds[cell], bounds[cell + 1]
        cost = cdist(a[low:high], b[low:high], metric)
        rows, columns = linear_sum_assignment(cost)
        return low + columns, float(cost[rows, columns].sum())

    solved = list(in_parallel(solve, range(len(bounds) - 1), workers))
    costs = np.array([cost for _, cost in solved])
    return Solution(np.concatenate([columns for columns, _ in solved]), costs, costs)


def certified(
    a: Points,
    b: Points,
    bounds: Indices,
    power: int,
    workers: int | None = None,
    *,
    tolerance: float = TOLERANCE,
    start: Indices | None = None,
) -> Solution:
    """Solve by auction until each cell's cost is proven to be at most (1 + tolerance) times its least.

    It may start from an assignment, `start` (n,), a permutation of each cell: less of it to change is less to
    do. Where float32 cannot prove it, float64 tries in large cells, and SciPy (`exact`) solves those that are not too
    large for that; a larger one is left as near as the auction came, as its certificate tells.
    """
    # Here, not above: numba takes a second to load, and decoding comes by this package too.
    from pcqaad.matching.cpu.auction import solve_cells

    a, b = np.ascontiguousarray(a, np.float64), np.ascontiguousarray(b, np.float64)
    bounds = np.asarray(bounds, np.int64)
    warm = start is not None
    columns = np.empty(len(a), np.int64) if start is None else np.array(start, np.int64)
    costs, least = np.empty((2, len(bounds) - 1))

    def solve(cells: NDArray[np.intp]) -> None:
        first, end = int(cells[0]), int(cells[-1]) + 1
        part = bounds[first : end + 1]
        solve_cells(a, b, part, power, tolerance, warm, columns, costs[first:end], least[first:end], _SINGLE)

    def double(a: Points, b: Points, bounds: Indices) -> Solution:
        found = np.empty(len(a), np.int64), *np.empty((2, len(bounds) - 1))
        solve_cells(a, b, bounds, power, tolerance, False, *found, _DOUBLE)
        return Solution(*found)

    # A few shares a worker, so that none waits long for the others.
    shares = min(len(costs), 4 * cores(workers)) if cores(workers) > 1 else 1
    for _ in in_parallel(solve, np.array_split(np.arange(len(costs)), shares), workers):
        pass
    solution, sizes = Solution(columns, costs, least), np.diff(bounds)
    left = np.flatnonzero(_unproven(solution, tolerance) & (sizes > _FEW))
    solution = solve_again(solution, left, a, b, bounds, double)
    left = np.flatnonzero(_unproven(solution, tolerance) & (sizes <= _MOST_EXACT))
    return solve_again(solution, left, a, b, bounds, partial(exact, power=power, workers=workers))


def _unproven(solution: Solution, tolerance: float) -> NDArray[np.bool_]:
    """Return which cells (cells,) may cost more than the tolerance above their least."""
    above: NDArray[np.bool_] = solution.costs - solution.least > tolerance * solution.costs
    return above


def solve_again(
    found: Solution, cells: Indices, a: Points, b: Points, bounds: Indices, solver: Callable[..., Solution]
) -> Solution:
    """Solve some cells of a solution, by number, by another solver, of (a, b, bounds) alone; the better of both."""
    if len(cells) == 0:
        return found
    columns, costs, least = found.columns.copy(), found.costs.copy(), found.least.copy()
    rows = np.concatenate([np.arange(bounds[cell], bounds[cell + 1]) for cell in cells])
    within = np.concatenate([[0], np.cumsum(np.diff(bounds)[cells])])
    again = solver(a[rows], b[rows], within)
    cheaper = again.costs < costs[cells]
    moved = np.repeat(cheaper, np.diff(within))
    columns[rows[moved]] = rows[again.columns[moved]]
    costs[cells] = np.minimum(again.costs, costs[cells])
    # Whichever proves more: both speak of all permutations.
    least[cells] = np.minimum(np.maximum(least[cells], again.least), costs[cells])
    return Solution(columns, costs, least)
