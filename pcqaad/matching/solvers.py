"""Linear assignment inside cells: the small interface behind which solvers can be exchanged."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from pcqaad import compiled
from pcqaad.errors import SettingsError
from pcqaad.parallel import cores, in_parallel

Points = NDArray[np.floating]
Indices = NDArray[np.integer]
Costs = NDArray[np.float64]

# The part of its cost by which an assignment of the default solver may exceed the optimum. The true excess is far less.
TOLERANCE = 1e-3
# Points of a cell that SciPy may solve: its cost matrix takes 128 MiB.
_LARGEST_EXACT = 4096
# Points of a cell up to which SciPy solves it sooner than the auction in float64 is compiled.
_SMALL = 1024
_WITHOUT_NUMBA = (
    "matching by SciPy, to the same figures in about ten times the time, as numba cannot be loaded (%s): "
    "pip install 'pcqaad[fast]' brings it"
)


class Solution(NamedTuple):
    """An assignment of two clouds cell by cell."""

    columns: NDArray[np.int64]  # (n,) the row of `b` assigned to each row of `a`: in every cell a permutation
    costs: Costs  # (cells,) summed cost of each cell
    lower_bounds: Costs  # (cells,) the certificates: no permutation of the cell costs less


class Solver(Protocol):
    """A solver finds in every cell a bijection of little summed |a[i] - b[columns[i]]| ** power, power 1 or 2."""

    def __call__(self, a: Points, b: Points, bounds: Indices, power: int, workers: int | None = None) -> Solution:
        """Assign clouds (n, 3), finite, cell after cell. The cells begin and end at bounds (cells + 1,).

        Threads share the cells; the result does not depend on the number of these workers.
        """


def exact(a: Points, b: Points, bounds: Indices, power: int, workers: int | None = None) -> Solution:
    """Solve by shortest augmenting paths (SciPy), in float64. Its time grows with the cube of a cell's points."""
    # The cost is its own certificate.
    return by_cost_matrix(lambda cost, _: (linear_sum_assignment(cost)[1], np.inf), a, b, bounds, power, workers)


# Gets the matrix (m, m) of a cell's costs and the number of the cell; returns the columns (m,) and a lower bound of all
# permutations, or infinity where it finds the optimum.
Assign = Callable[[Costs, int], tuple[NDArray[np.int64], float]]


def by_cost_matrix(assign: Assign, a: Points, b: Points, bounds: Indices, power: int, workers: int | None) -> Solution:
    """Solve every cell by the matrix of its costs."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    metric = "sqeuclidean" if power == 2 else "euclidean"

    def solve(cell: int) -> tuple[NDArray[np.int64], float, float]:
        low, high = bounds[cell], bounds[cell + 1]
        cost = cdist(a[low:high], b[low:high], metric)
        columns, lower_bound = assign(cost, cell)
        reached = float(cost[np.arange(high - low), columns].sum())
        return low + columns, reached, min(max(lower_bound, 0.0), reached)

    columns, costs, lower_bounds = zip(*in_parallel(solve, range(len(bounds) - 1), workers), strict=True)
    return Solution(np.concatenate(columns), np.array(costs), np.array(lower_bounds))


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
    """Solve by auction until each cell's cost is proven to be at most (1 + tolerance) times the optimum.

    It may start from an assignment `start` (n,), a permutation of each cell: the less of it has to change, the sooner
    the end. Where float32 cannot prove the tolerance, float64 tries in large cells, and SciPy (`exact`) solves those
    that are not too large for it; a larger one keeps the auction's result, and its certificate tells how near that is.

    Without numba SciPy solves all cells, exactly. Raises SettingsError where one is too large for it.
    """
    bounds = np.asarray(bounds, np.int64)
    sizes = np.diff(bounds)
    by_scipy = partial(exact, power=power, workers=workers)
    if reason := compiled.why_absent():
        if sizes.max() > _LARGEST_EXACT:
            raise SettingsError(
                f"matching {sizes.max():,} points at once needs numba, which cannot be loaded ({reason}): "
                f"pip install 'pcqaad[fast]', or match at most {_LARGEST_EXACT:,} points at once"
            )
        compiled.warn_once(_WITHOUT_NUMBA, reason)
        return by_scipy(a, b, bounds)
    # Here, not above: numba takes a second to load, and is not always installed.
    from pcqaad.matching.cpu.auction import solve_cells

    def auction(a: Points, b: Points, bounds: Indices, dtype: type, start: Indices | None = None) -> Solution:
        a, b = np.ascontiguousarray(a, np.float64), np.ascontiguousarray(b, np.float64)
        columns = np.empty(len(a), np.int64) if start is None else np.array(start, np.int64)
        costs, lower_bounds = np.empty((2, len(bounds) - 1))

        def solve(cells: NDArray[np.intp]) -> None:
            some = slice(int(cells[0]), int(cells[-1]) + 1)
            within = bounds[some.start : some.stop + 1]
            found = columns, costs[some], lower_bounds[some]
            solve_cells(a, b, within, power, tolerance, start is not None, *found, np.empty(0, dtype))

        # A few shares a worker, so that none waits long for the others.
        shares = np.array_split(np.arange(len(costs)), min(len(costs), 4 * cores(workers)))
        list(in_parallel(solve, shares, workers))
        return Solution(columns, costs, lower_bounds)

    solution = auction(a, b, bounds, np.float32, start)
    for solver, able in ((partial(auction, dtype=np.float64), sizes > _SMALL), (by_scipy, sizes <= _LARGEST_EXACT)):
        unproven = solution.costs - solution.lower_bounds > tolerance * solution.costs
        solution = solve_again(solution, np.flatnonzero(unproven & able), a, b, bounds, solver)
    return solution


def solve_again(
    found: Solution, cells: Indices, a: Points, b: Points, bounds: Indices, solver: Callable[..., Solution]
) -> Solution:
    """Solve some cells of a solution, given by number, with another solver of (a, b, bounds); the better one stays."""
    if len(cells) == 0:
        return found
    columns, costs, lower_bounds = found.columns.copy(), found.costs.copy(), found.lower_bounds.copy()
    rows = np.concatenate([np.arange(bounds[cell], bounds[cell + 1]) for cell in cells])
    within = np.concatenate([[0], np.cumsum(np.diff(bounds)[cells])])
    again = solver(a[rows], b[rows], within)
    cheaper = again.costs < costs[cells]
    moved = np.repeat(cheaper, np.diff(within))
    columns[rows[moved]] = rows[again.columns[moved]]
    costs[cells] = np.minimum(again.costs, costs[cells])
    # The higher bound holds: both speak of all permutations.
    lower_bounds[cells] = np.minimum(np.maximum(lower_bounds[cells], again.lower_bounds), costs[cells])
    return Solution(columns, costs, lower_bounds)
