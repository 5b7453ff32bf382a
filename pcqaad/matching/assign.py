"""Assignments of whole clouds: cell by cell (EM-kD, QAAD_GREEDY), all at once, and refined block by block.

An assignment of a cloud to a reference is a permutation: row i of the reference belongs to row assignment[i] of the
cloud. Costs are Euclidean distances, or squared ones where power is 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pcqaad.errors import CloudError
from pcqaad.matching.kd import paired_cells, rotated_blocks
from pcqaad.matching.solvers import Points, Solution, Solver, certified
from pcqaad.parallel import in_parallel
from pcqaad.points.collect import LARGEST

Assignment = NDArray[np.int64]

# Two clouds (n, 3), cell after cell, and the bounds (cells + 1,) of the cells.
_Cells = tuple[Points, Points, NDArray[np.intp]]
# The orders (n,) that put two clouds into cells, cut in step, and these.
_Cut = tuple[NDArray[np.intp], NDArray[np.intp], _Cells]

GREEDY_CELL = 256  # points of a cell of QAAD_GREEDY, at most
OPTIMAL_TOLERANCE = 0.05  # the part of the least squared cost by which `optimal` may exceed it
BLOCK = 128  # pairs of a block of refinement, at most
# Clouds that a GPU matches in one call: 2,048 cells of 1,024 where a cloud has 65,536 points.
TOGETHER = 32


@dataclass(frozen=True)
class Matching:
    """A bijection between two clouds, with its certificate."""

    assignment: Assignment  # (n,) a permutation: row i of the reference belongs to row assignment[i] of the cloud
    cost: float  # summed distance, or squared distance
    lower_bound: float  # no bijection of the same kind costs less: for cells, none that keeps to them


def match_cells(
    reference: Points, cloud: Points, cell: int, power: int = 1, solver: Solver = certified, workers: int | None = None
) -> Matching:
    """Assign a cloud (n, 3) to a reference (n, 3) cell by cell of two k-d trees cut in step.

    This is the matching of EM-kD (equation 14) with power 1 and of QAAD_GREEDY (Algorithm 1) with power 2.
    The order of the points does not matter to its cost. Raises CloudError where the clouds are not finite, or
    not of one size.
    """
    return next(_match([_cut(reference, cloud, cell)], power, solver, workers))


def match_many(
    pairs: Iterable[tuple[Points, Points]],
    cell: int,
    power: int = 1,
    solver: Solver = certified,
    together: int = 1,
    workers: int | None = None,
) -> Iterator[Matching]:
    """Yield what `match_cells` gives for each pair (reference, cloud), in order.

    With `together` 1 the pairs are shared among the workers. A solver on a GPU gets the cells of `together` pairs in
    one call instead, while the workers cut the next ones.
    """
    if together == 1:
        yield from in_parallel(lambda pair: match_cells(*pair, cell, power, solver, 1), pairs, workers)
        return
    cuts = in_parallel(lambda pair: _cut(*pair, cell), pairs, workers)
    while some := list(islice(cuts, together)):
        yield from _match(some, power, solver, workers)


def _cut(reference: Points, cloud: Points, cell: int) -> _Cut:
    _check(reference, cloud)
    order_r, order_c, bounds = paired_cells(reference, cloud, cell)
    return order_r, order_c, (reference[order_r], cloud[order_c], bounds)


def _match(cuts: Sequence[_Cut], power: int, solver: Solver, workers: int | None) -> Iterator[Matching]:
    """Match several pairs of clouds, cut before, in one call."""
    solved = _solve([cells for _, _, cells in cuts], power, solver, workers)
    for (order_r, order_c, _), found in zip(cuts, solved, strict=True):
        assignment = np.empty(len(order_r), np.int64)
        assignment[order_r] = order_c[found.columns]
        yield Matching(assignment, float(found.costs.sum()), float(found.lower_bounds.sum()))


def _solve(parts: Sequence[_Cells], power: int, solver: Solver, workers: int | None) -> Iterator[Solution]:
    """Solve the cells of several pairs of clouds in one call."""
    first = np.cumsum([0, *(len(a) for a, _, _ in parts)])
    bounds = np.concatenate([[0], *(part[2][1:] + low for part, low in zip(parts, first, strict=False))])
    a, b = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    found, cell = solver(a, b, bounds, power, workers), 0
    for part, low, high in zip(parts, first, first[1:], strict=False):
        cells = slice(cell, cell + len(part[2]) - 1)
        cell = cells.stop
        yield Solution(found.columns[low:high] - low, found.costs[cells], found.lower_bounds[cells])


def match_all(
    reference: Points, cloud: Points, tolerance: float, power: int = 1, start: Assignment | None = None
) -> Matching:
    """Assign a cloud (n, 3) to a reference (n, 3), all points at once: the earth mover's distance, bracketed.

    `lower_bound` holds for all bijections, and `cost` exceeds it by at most `tolerance`, a part of it. It exceeds it by
    more where even float64 proves no more: where points lie apart by less than some 1e-11 of the clouds' extent.
    It may start from a permutation `start` (n,): the fewer of its pairs are wrong, the sooner the end.

    Raises CloudError where the clouds are not finite, or not of one size, and SettingsError where they are too large
    to be matched without numba.
    """
    _check(reference, cloud)
    # The solver's tolerance is a part of the cost, the caller's a part of the bound.
    part = tolerance / (1 + tolerance)
    found = certified(reference, cloud, np.array([0, len(reference)]), power, 1, tolerance=part, start=start)
    return Matching(found.columns, float(found.costs[0]), float(found.lower_bounds[0]))


def _check(reference: Points, cloud: Points) -> None:
    shapes = reference.shape, cloud.shape
    if reference.ndim != 2 or shapes[0][1:] != (3,) or shapes[0] != shapes[1] or len(reference) == 0:
        raise CloudError(f"expected two clouds of one shape (n, 3), found {shapes[0]} and {shapes[1]}")
    for points in (reference, cloud):
        if not np.isfinite(points).all():
            raise CloudError("expected finite coordinates, found NaN or infinity")
        # Their squares have to be finite too.
        if (farthest := np.abs(points).max()) > LARGEST:
            raise CloudError(f"expected coordinates of at most {LARGEST:.3g}, found {farthest:.3g}")


def rematch(predicted: Points, assigned: Points, tolerance: float = 0.01) -> Assignment:
    """Re-match decoded points (n, 3) to their targets (n, 3), paired row by row, never at a higher cost.

    All points are matched at once, from the pairs as they are, to a squared cost within `tolerance` of the optimum.
    Returns the permutation (n,) for which assigned[permutation] are the new targets.
    """
    found = match_all(predicted, assigned, tolerance, 2, np.arange(len(predicted))).assignment
    p, t = predicted.astype(np.float64), assigned.astype(np.float64)
    return found if np.square(p - t[found]).sum() < np.square(p - t).sum() else np.arange(len(p))


def greedy(
    reference: Points,
    clouds: Iterable[Points],
    cell: int = GREEDY_CELL,
    workers: int | None = None,
    solver: Solver = certified,
    together: int = 1,
) -> Iterator[Assignment]:
    """QAAD_GREEDY (Algorithm 1): assign every cloud to the reference, squared cost, as `match_many` does."""
    pairs = ((reference, cloud) for cloud in clouds)
    return (found.assignment for found in match_many(pairs, cell, 2, solver, together, workers))


def optimal(pairs: Iterable[tuple[Points, Points]]) -> Iterator[Assignment]:
    """Assign clouds to references (reference, cloud), all points at once: what QAAD_GREEDY stands in for.

    Without cells no border parts true partners.
    """
    return in_parallel(lambda pair: match_all(*pair, OPTIMAL_TOLERANCE, power=2).assignment, pairs)


def refine_many(
    pairs: Sequence[tuple[Points, Points]],
    rngs: Sequence[np.random.Generator],
    block: int = BLOCK,
    solver: Solver = certified,
    workers: int | None = None,
) -> list[Assignment]:
    """Improve the assignments of several clouds without ever raising a cost: re-matching in blocks of *pairs*.

    Each of `pairs` is a cloud's decoded points (n, 3) and their targets (n, 3), row by row. These pairs of points are
    cut into blocks of at most `block` by a balanced split of their midpoints, which the cloud's generator rotates. One
    call of the solver re-assigns the targets inside all blocks under squared cost. A block keeps its old pairs unless
    the new ones are strictly cheaper. Fresh k-d cells, in contrast, would lose pairs that fit across a border.

    Returns for each cloud the permutation (n,) for which assigned[permutation] are the new targets. It does not depend
    on the workers.
    """

    def cut(drawn: tuple[tuple[Points, Points], np.random.Generator]) -> tuple[NDArray[np.intp], _Cells]:
        (predicted, assigned), rng = drawn
        order, bounds = rotated_blocks(predicted + assigned, block, rng)
        return order, (predicted[order].astype(np.float64), assigned[order].astype(np.float64), bounds)

    orders, parts = zip(*in_parallel(cut, zip(pairs, rngs, strict=True), workers), strict=True)
    permutations = []
    for order, (p, t, bounds), found in zip(orders, parts, _solve(parts, 2, solver, workers), strict=True):
        before, after = (np.add.reduceat(np.square(p - x).sum(1), bounds[:-1]) for x in (t, t[found.columns]))
        better = np.repeat(after < before, np.diff(bounds))
        permutation = np.arange(len(p))
        permutation[order] = order[np.where(better, found.columns, permutation)]
        permutations.append(permutation)
    return permutations
