"""QAAD_REASSIGNMENT (Algorithm 2): swaps of targets among the points of one training step, on any device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pcqaad.parallel import cores, in_parallel

# Distances that a GPU compares at once: 512 MiB.
_BATCH_DISTANCES = 1 << 27
# The gain by which a swap counts, as a part of the costs before it: less may be rounding.
_SMALLEST_GAIN = 1e-12


def nearest(predicted: Tensor, targets: Tensor) -> Tensor:
    """Return for each predicted point the row of the nearest target of its cloud: (B, S, 3) x 2 -> (B, S), float32."""
    return (_nearest_by_tree if predicted.device.type == "cpu" else _nearest_of_all)(predicted, targets)


def _nearest_of_all(predicted: Tensor, targets: Tensor) -> Tensor:
    """Compare all distances, as a GPU is fast at."""
    clouds, points = predicted.shape[:2]
    found = torch.empty(clouds, points, dtype=torch.long, device=predicted.device)
    rows = max(1, _BATCH_DISTANCES // (clouds * points))
    for low in range(0, points, rows):
        some = predicted[:, low : low + rows]
        squares = ((some[:, :, None, k] - targets[:, None, :, k]).square() for k in range(3))
        found[:, low : low + rows] = sum(squares, torch.zeros((), device=predicted.device)).argmin(2)
    return found


def _nearest_by_tree(predicted: Tensor, targets: Tensor) -> Tensor:
    """Search a tree of each cloud's targets, the clouds shared among the cores."""
    # Here, not above: numba takes a second to load, and `fit` brings it with torch.
    from pcqaad.matching.cpu.price_tree import nearest_points

    clouds, points = predicted.shape[:2]
    p, t = (cloud.detach().numpy().astype(np.float64) for cloud in (predicted, targets))
    found = np.empty((clouds, points), np.int64)
    own = np.arange(points)  # a guess: a point's own target is near it

    def search(rows: np.ndarray) -> None:
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        nearest_points(p[part], t[part], own, found[part])

    list(in_parallel(search, np.array_split(np.arange(clouds), min(clouds, cores()))))
    return torch.from_numpy(found)


def reassign(predicted: Tensor, targets: Tensor) -> Tensor:
    """Swap targets wherever that lowers the summed squared error, many swaps at once without conflicts.

    Every point proposes to swap its target with the one nearest to its prediction (Algorithm 2, with squared
    error and a strict comparison: the sum falls with every swap and cannot cycle). A swap is applied where
    both of its points gain most by it; the lowest proposer wins ties. So no point takes part in two swaps, and the
    sum falls by exactly the gains. The subset consists of the targets assigned to the sampled template points, so it
    holds every partner.

    Takes decoded points of B clouds and, row by row, their targets, both (B, S, 3) float32. Returns the permutation
    (B, S) for which targets[b, permutation[b]] are the new targets.
    """
    clouds, points = predicted.shape[:2]
    mine = torch.arange(clouds * points, device=predicted.device)
    first = points * torch.arange(clouds, device=predicted.device)[:, None]
    partner = (nearest(predicted, targets) + first).view(-1)
    # In float64, so that rounding is not taken for a gain.
    p, t = (cloud.reshape(-1, 3).double() for cloud in (predicted, targets))
    before = (p - t).square().sum(1)
    gain = before + before[partner] - (p - t[partner]).square().sum(1) - (p[partner] - t).square().sum(1)
    proposer = mine[gain > _SMALLEST_GAIN * (before + before[partner])]
    accepter, gain = partner[proposer], gain[proposer]

    # The best swap of each point. A maximum or a minimum does not depend on the order in which a GPU finds numbers.
    best = torch.zeros(len(mine), dtype=gain.dtype, device=gain.device)
    best.scatter_reduce_(0, proposer, gain, "amax").scatter_reduce_(0, accepter, gain, "amax")
    agreed = (best[proposer] == gain) & (best[accepter] == gain)
    proposer, accepter = proposer[agreed], accepter[agreed]
    # Equal gains can still meet at a point, where two points propose each other: the lowest proposer's swap stays.
    lowest = torch.full_like(mine, len(mine))
    lowest.scatter_reduce_(0, proposer, proposer, "amin").scatter_reduce_(0, accepter, proposer, "amin")
    chosen = (lowest[proposer] == proposer) & (lowest[accepter] == proposer)
    proposer, accepter = proposer[chosen], accepter[chosen]

    permutation = mine.clone()
    permutation[proposer], permutation[accepter] = accepter, proposer
    return permutation.view(clouds, points) - first
