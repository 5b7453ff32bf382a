"""QAAD_REASSIGNMENT (Algorithm 2) where the predictions are: the swaps of `pcqaad.matching.swap`, in torch."""

from __future__ import annotations

import torch
from torch import Tensor

# Distances compared at once.
_MOST = 1 << 27


def nearest(predicted: Tensor, targets: Tensor) -> Tensor:
    """For each predicted point the row of the nearest target of its cloud: (B, S, 3) x 2 -> (B, S), float32."""
    clouds, points = predicted.shape[:2]
    found = torch.empty(clouds, points, dtype=torch.long, device=predicted.device)
    rows = max(1, _MOST // (clouds * points))
    for low in range(0, points, rows):
        squared = torch.zeros((), device=predicted.device)
        for k in range(3):
            squared = squared + (predicted[:, low : low + rows, None, k] - targets[:, None, :, k]).square()
        found[:, low : low + rows] = squared.argmin(2)
    return found


def reassign(predicted: Tensor, targets: Tensor) -> Tensor:
    """Swap targets wherever that lowers the summed squared error, many swaps at once without conflicts.

    As `pcqaad.matching.swap.reassign`, whose docstring says which swaps are made, for tensors on any device.

    Args:
        predicted: (B, S, 3) float32, decoded points of B clouds.
        targets: (B, S, 3) float32, their targets, row by row.

    Returns:
        The permutation (B, S) for which targets[b, permutation[b]] are the new targets.
    """
    clouds, points = predicted.shape[:2]
    mine = torch.arange(clouds * points, device=predicted.device)
    first = points * torch.arange(clouds, device=predicted.device)[:, None]
    partner = (nearest(predicted, targets) + first).view(-1)
    # float64: a gain near rounding must not be taken for one.
    p, t = (c.reshape(-1, 3).double() for c in (predicted, targets))
    before = (p - t).square().sum(1)
    gain = before + before[partner] - (p - t[partner]).square().sum(1) - (p[partner] - t).square().sum(1)
    proposer = mine[gain > 1e-12 * (before + before[partner])]
    accepter, gain = partner[proposer], gain[proposer]

    # The most gainful swap of each point; of equal ones the lowest proposer's. Neither a greatest nor a least
    # number depends on the order in which a GPU comes upon them.
    best = torch.zeros(len(mine), dtype=gain.dtype, device=gain.device)
    best.scatter_reduce_(0, proposer, gain, "amax").scatter_reduce_(0, accepter, gain, "amax")
    agreed = (best[proposer] == gain) & (best[accepter] == gain)
    proposer, accepter = proposer[agreed], accepter[agreed]
    lowest = torch.full_like(mine, len(mine))
    lowest.scatter_reduce_(0, proposer, proposer, "amin").scatter_reduce_(0, accepter, proposer, "amin")
    chosen = (lowest[proposer] == proposer) & (lowest[accepter] == proposer)
    proposer, accepter = proposer[chosen], accepter[chosen]

    permutation = mine.clone()
    permutation[proposer], permutation[accepter] = accepter, proposer
    return permutation.view(clouds, points) - first
