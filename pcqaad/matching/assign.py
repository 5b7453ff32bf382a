"""Assignments of whole clouds: cell by cell (EM-kD, QAAD_GREEDY) and refined block by block.

An assignment of a cloud to a reference is a permutation: row i of the reference belongs to row
assignment[i] of the cloud. All of it is squared or plain Euclidean cost, and always a bijection.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pcqaad.matching.kd import paired_cells, rotated_blocks
from pcqaad.matching.solvers import Points, Solver, certified

Assignment = NDArray[np.intp]
Item = TypeVar("Item")
Result = TypeVar("Result")

GREEDY_CELL = 256
BLOCK = 128
_BLOCKS_A_TASK = 8


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None) -> Iterator[Result]:
    """Yield work(item) in order, on all cores. The solvers release the interpreter, so threads are enough.

    At most a few results wait at any time; leaving the iterator drops what has not begun.
    """
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        yield from map(work, items)
        return
    pending = []
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) > 2 * workers:
                    yield pending.pop(0).result()
            while pending:
                yield pending.pop(0).result()
        finally:
            for future in pending:
                future.cancel()


def match_cells(reference: Points, cloud: Points, cell: int, power: int = 1, solver: Solver = certified) -> Assignment:
    """Assign a cloud (n, 3) to a reference (n, 3) cell by cell of two k-d trees cut in step.

    This is the matching of EM-kD (equation 14) with power 1 and of QAAD_GREEDY (Algorithm 1) with power 2.
    The order of the points does not matter to its cost.
    """
    order_r, order_c, bounds = paired_cells(reference, cloud, cell)
    assignment = np.empty(len(reference), np.intp)
    for low, high in zip(bounds[:-1], bounds[1:], strict=True):
        rows, columns = order_r[low:high], order_c[low:high]
        assignment[rows] = columns[solver(reference[rows], cloud[columns], power)]
    return assignment


def greedy(
    reference: Points, clouds: Iterable[Points], cell: int = GREEDY_CELL, workers: int | None = None
) -> Iterator[Assignment]:
    """QAAD_GREEDY (Algorithm 1): assign every cloud to the reference, squared cost, clouds in parallel."""
    return in_parallel(lambda cloud: match_cells(reference, cloud, cell, power=2), clouds, workers)


def refine(
    predicted: Points,
    assigned: Points,
    rng: np.random.Generator,
    block: int = BLOCK,
    solver: Solver = certified,
    workers: int | None = None,
) -> Assignment:
    """Improve an assignment without ever raising its cost: exact re-matching in blocks of *pairs*.

    The pairs (predicted[i], assigned[i]) are cut into blocks by a randomly rotated balanced split of their
    midpoints; in each block the targets are re-assigned exactly under squared cost, and the block keeps its
    old pairs unless the new ones are strictly cheaper. Fresh k-d cells, in contrast, would throw away pairs
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
    order, bounds = rotated_blocks(predicted + assigned, block, rng)
    permutation = np.arange(len(predicted))

    def rematch(low: int, high: int) -> None:
        rows = order[low:high]
        p, t = predicted[rows].astype(np.float64), assigned[rows].astype(np.float64)
        columns = solver(p, t, 2)
        if np.square(p - t[columns]).sum() < np.square(p - t).sum():
            permutation[rows] = rows[columns]

    def rematch_some(blocks: NDArray[np.intp]) -> None:
        for low, high in zip(blocks[:-1], blocks[1:], strict=True):
            rematch(low, high)

    # Blocks share no point, so threads share no row of the permutation. A few blocks a task keep both busy.
    starts = range(0, len(bounds) - 1, _BLOCKS_A_TASK)
    for _ in in_parallel(rematch_some, [bounds[i : i + _BLOCKS_A_TASK + 1] for i in starts], workers):
        pass
    return permutation
