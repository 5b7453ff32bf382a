"""Assignments of whole clouds: cell by cell (EM-kD, QAAD_GREEDY), all at once, and refined block by block.

An assignment of a cloud to a reference is a permutation: row i of the reference belongs to row
assignment[i] of the cloud. All of it is squared or plain Euclidean cost, and always a bijection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcqaad.errors import CloudError
from pcqaad.matching.kd import paired_cells, rotated_blocks
from pcqaad.matching.solvers import Points, Solution, Solver, certified
from pcqaad.parallel import in_parallel
from pcqaad.points.collect import LARGEST

Assignment = NDArray[np.int64]

GREEDY_CELL = 256
BLOCK = 128
# Clouds that a GPU matches in one call: 2,048 cells of 1,024 where a cloud has 65,536 points.
TOGETHER = 32


@dataclass(frozen=True)
class Matching:
    """A bijection between two clouds, with its certificate.

    Attributes:
        assignment: (n,) a permutation: row i of the reference belongs to row assignment[i] of the cloud.
        cost: summed distance, or squared distance.
        least: no bijection of the same kind costs less: for cells, none that keeps to them.
    """

    assignment: Assignment
    cost: float
    least: float


def match_cells(
    reference: Points,
    cloud: Points,
    cell: int,
    power: int = 1,
    solver: Solver = certified,
    workers: int | None = None,
) -> Matching:
    """Assign a cloud (n, 3) to a reference (n, 3) cell by cell of two k-d trees cut in step.

    This is the matching of EM-kD (equation 14) with power 1 and of QAAD_GREEDY (Algorithm 1) with power 2.
    The order of the points does not matter to its cost. Raises CloudError where the clouds are not finite, or
    not of one size.
    """
    return _solve_together([_cut(reference, cloud, cell)], power, solver, workers)[0]


def match_many(
    pairs: Iterable[tuple[Points, Points]],
    cell: int,
    power: int = 1,
    solver: Solver = certified,
    together: int = 1,
    workers: int | None = None,
) -> Iterator[Matching]:
    """Yield what `match_cells` gives for each pair (reference, cloud), in order.

    With `together` 1 the pairs are shared among the workers. A solver that works on a GPU gets the cells of
    so many pairs in one call instead, while the workers cut the next ones.
    """
    if together == 1:
        yield from in_parallel(lambda pair: match_cells(*pair, cell, power, solver, 1), pairs, workers)
        return
    waiting: list[_Cut] = []
    for cut in in_parallel(lambda pair: _cut(*pair, cell), pairs, workers):
        waiting.append(cut)
        if len(waiting) == together:
            yield from _solve_together(waiting, power, solver, workers)
            waiting = []
    if waiting:
        yield from _solve_together(waiting, power, solver, workers)


class _Cut(NamedTuple):
    """Two clouds in cells: their points and orders, (n, 3) and (n,), cell after cell, and the cells' bounds."""

    reference: Points
    cloud: Points
    order_r: NDArray[np.intp]
    order_c: NDArray[np.intp]
    bounds: NDArray[np.intp]


def _cut(reference: Points, cloud: Points, cell: int) -> _Cut:
    _check(reference, cloud)
    order_r, order_c, bounds = paired_cells(reference, cloud, cell)
    return _Cut(reference[order_r], cloud[order_c], order_r, order_c, bounds)


def _solve_together(cuts: Sequence[_Cut], power: int, solver: Solver, workers: int | None) -> list[Matching]:
    """Solve the cells of several pairs in one call."""
    found, first = _solve_blocks([(cut.reference, cut.cloud, cut.bounds) for cut in cuts], power, solver, workers)
    matchings, cell = [], 0
    for cut, low in zip(cuts, first, strict=True):
        assignment = np.empty(len(cut.order_r), np.int64)
        assignment[cut.order_r] = cut.order_c[found.columns[low : low + len(cut.order_r)] - low]
        cells = slice(cell, cell + len(cut.bounds) - 1)
        cell = cells.stop
        matchings.append(Matching(assignment, float(found.costs[cells].sum()), float(found.least[cells].sum())))
    return matchings


def _solve_blocks(
    parts: Sequence[tuple[Points, Points, NDArray[np.intp]]], power: int, solver: Solver, workers: int | None
) -> tuple[Solution, NDArray[np.int64]]:
    """Solve the blocks of several pairs of clouds in one call; returns where each pair begins in it, too."""
    first = np.cumsum([0, *(len(a) for a, _, _ in parts)])
    bounds = np.concatenate([[0], *(bounds[1:] + low for (_, _, bounds), low in zip(parts, first, strict=False))])
    a, b = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    return solver(a, b, bounds, power, workers), first[:-1]


def match_all(
    reference: Points, cloud: Points, tolerance: float, power: int = 1, start: Assignment | None = None
) -> Matching:
    """Assign a cloud (n, 3) to a reference (n, 3), all points at once: the earth mover's distance, bracketed.

    Args:
        reference: (n, 3) finite.
        cloud: (n, 3) finite.
        tolerance: how far `cost` may lie above `least`, as a part of it.
        power: 1, or 2 for squared distances.
        start: (n,) a permutation to start from: the fewer pairs of it are wrong, the sooner the end.

    Returns:
        A matching whose `least` bounds all bijections. Where even prices in float64 cannot prove the tolerance (points
        that lie apart by less than some 1e-11 of the clouds' extent) the bracket is as wide as it says.

    Raises:
        CloudError: the clouds are not finite, or not of one size.
    """
    _check(reference, cloud)
    # What is proven is a part of the cost, what is asked for a part of the bound.
    part = tolerance / (1 + tolerance)
    found = certified(reference, cloud, np.array([0, len(reference)]), power, 1, tolerance=part, start=start)
    return Matching(found.columns, float(found.costs[0]), float(found.least[0]))


def _check(reference: Points, cloud: Points) -> None:
    shapes = reference.shape, cloud.shape
    if reference.ndim != 2 or shapes[0][1:] != (3,) or shapes[0] != shapes[1] or len(reference) == 0:
        raise CloudError(f"expected two clouds of one shape (n, 3), found {shapes[0]} and {shapes[1]}")
    for points in (reference, cloud):
        if not np.isfinite(points).all():
            raise CloudError("expected finite coordinates, found NaN or infinity")
        # Of float64 ones the squares have to be finite as well.
        if (farthest := np.abs(points).max()) > LARGEST:
            raise CloudError(f"expected coordinates of at most {LARGEST:.3g}, found {farthest:.3g}")


def rematch(predicted: Points, assigned: Points, tolerance: float = 0.01) -> Assignment:
    """Re-match decoded points (n, 3) to their targets (n, 3), row by row their own, never at a higher cost.

    All points at once, squared cost within `tolerance` of the optimum, from the pairs as they are. Fresh k-d
    cells, in contrast, would throw away pairs that fit across a border. Returns the permutation (n,) for which
    assigned[permutation] are the new targets.
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


def optimal(
    pairs: Iterable[tuple[Points, Points]], tolerance: float = 0.05, workers: int | None = None
) -> Iterator[Assignment]:
    """Assign clouds to references (reference, cloud), all points at once: what QAAD_GREEDY stands in for.

    Squared cost within `tolerance` of the optimum. Without cells no borders part what belongs together.
    """

    def match(pair: tuple[Points, Points]) -> Assignment:
        return match_all(*pair, tolerance, power=2).assignment

    return in_parallel(match, pairs, workers)


def refine(
    predicted: Points,
    assigned: Points,
    rng: np.random.Generator,
    block: int = BLOCK,
    solver: Solver = certified,
    workers: int | None = None,
) -> Assignment:
    """Improve an assignment without ever raising its cost: re-matching in blocks of *pairs*.

    The pairs (predicted[i], assigned[i]) are cut into blocks by a randomly rotated balanced split of their
    midpoints; in each block the solver re-assigns the targets under squared cost, and the block keeps its old
    pairs unless the new ones are strictly cheaper. Fresh k-d cells, in contrast, would throw away pairs
    that fit across a border.

    Args:
        predicted: (n, 3) decoded points.
        assigned: (n, 3) their targets, row by row.
        rng: draws the rotation.
        block: pairs in a block, at most.
        solver: of one block.
        workers: threads that share the blocks; the result does not depend on them.

    Returns:
        The permutation (n,) for which assigned[permutation] are the new targets.
    """
    return refine_many([(predicted, assigned)], [rng], block, solver, workers)[0]


def refine_many(
    pairs: Sequence[tuple[Points, Points]],
    rngs: Sequence[np.random.Generator],
    block: int = BLOCK,
    solver: Solver = certified,
    workers: int | None = None,
) -> list[Assignment]:
    """Do as `refine` does with several clouds (predicted, assigned), each with a generator, in one call."""

    def cut(drawn: tuple[tuple[Points, Points], np.random.Generator]) -> tuple[NDArray[np.intp], ...]:
        (predicted, assigned), rng = drawn
        return rotated_blocks(predicted + assigned, block, rng)

    cuts = list(in_parallel(cut, zip(pairs, rngs, strict=True), workers))
    parts = [
        (p[order].astype(np.float64), t[order].astype(np.float64), bounds)
        for (p, t), (order, bounds) in zip(pairs, cuts, strict=True)
    ]
    found, first = _solve_blocks(parts, 2, solver, workers)
    permutations = []
    for (p, t, bounds), (order, _), low in zip(parts, cuts, first, strict=True):
        columns = found.columns[low : low + len(p)] - low
        before, after = (np.add.reduceat(np.square(p - x).sum(1), bounds[:-1]) for x in (t, t[columns]))
        better = np.repeat(after < before, np.diff(bounds))
        permutation = np.arange(len(p))
        permutation[order] = order[np.where(better, columns, permutation)]
        permutations.append(permutation)
    return permutations
