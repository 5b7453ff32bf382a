"""QAAD_REASSIGNMENT (Algorithm 2): swaps of targets among the points of one training step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pcqaad.parallel import cores, in_parallel

Batch = NDArray[np.float32]


def nearest(predicted: Batch, targets: Batch, workers: int | None = None) -> NDArray[np.int64]:
    """For each predicted point the row of the nearest target of its cloud: (B, S, 3) x 2 -> (B, S)."""
    # Here, not above: numba takes a second to load.
    from pcqaad.matching.tree import nearest_points

    clouds, points = predicted.shape[:2]
    p, t = predicted.astype(np.float64), targets.astype(np.float64)
    found = np.empty((clouds, points), np.int64)
    own = np.arange(points)  # what a point is assigned to is near it

    def search(rows: NDArray[np.intp]) -> None:
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        nearest_points(p[part], t[part], own, found[part])

    for _ in in_parallel(search, np.array_split(np.arange(clouds), min(clouds, cores(workers))), workers):
        pass
    return found


def reassign(predicted: Batch, targets: Batch) -> NDArray[np.intp]:
    """Swap targets wherever that lowers the summed squared error, many swaps at once without conflicts.

    Every point proposes to swap its target with the one nearest to its prediction (Algorithm 2, with squared
    error and a strict comparison: the sum falls with every swap and cannot cycle). A swap is applied where
    it is the most gainful one at both of its points, ties going to the lowest proposer; so no point is
    touched twice, and the sum falls by exactly the gains. The subset is drawn as the assigned targets of the
    sampled template points, which puts every partner into it.

    Args:
        predicted: (B, S, 3) decoded points of B clouds.
        targets: (B, S, 3) their targets, row by row.

    Returns:
        The permutation (B, S) for which targets[b, permutation[b]] are the new targets.
    """
    clouds, points = predicted.shape[:2]
    # float64: a gain near rounding must not be taken for one.
    p = predicted.reshape(-1, 3).astype(np.float64)
    t = targets.reshape(-1, 3).astype(np.float64)
    mine = np.arange(clouds * points)
    partner = (nearest(predicted, targets) + points * np.arange(clouds)[:, None]).ravel()
    before = np.square(p - t).sum(1)
    gain = before + before[partner] - np.square(p - t[partner]).sum(1) - np.square(p[partner] - t).sum(1)
    proposer = mine[gain > 1e-12 * (before + before[partner])]

    best = np.zeros(len(mine))
    np.maximum.at(best, proposer, gain[proposer])
    np.maximum.at(best, partner[proposer], gain[proposer])
    agreed = proposer[(best[proposer] == gain[proposer]) & (best[partner[proposer]] == gain[proposer])]
    # Equal gains can still meet at a point (two points proposing each other, say): the lowest one goes.
    first = np.full(len(mine), len(mine))
    np.minimum.at(first, agreed, agreed)
    np.minimum.at(first, partner[agreed], agreed)
    chosen = agreed[(first[agreed] == agreed) & (first[partner[agreed]] == agreed)]

    permutation = mine.copy()
    permutation[chosen] = partner[chosen]
    permutation[partner[chosen]] = chosen
    local: NDArray[np.intp] = permutation.reshape(clouds, points) - points * np.arange(clouds)[:, None]
    return local
