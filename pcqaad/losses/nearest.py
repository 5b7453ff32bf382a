"""Nearest neighbours between clouds, batched and differentiable: the ground of all losses of the Chamfer family."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from pcqaad.errors import CloudError
from pcqaad.parallel import in_parallel

# Distances that a GPU holds at once: 256 MB.
_DISTANCES_AT_ONCE = 1 << 26
# Points of a batch from which on threads pay for their start.
_POINTS_WORTH_THREADS = 4096


@dataclass(frozen=True)
class Nearest:
    """The nearest neighbours of points (B, N, 3) among those of other clouds (B, M, 3)."""

    squared: Tensor  # (B, N) squared distances, differentiable in both clouds
    index: Tensor  # (B, N) the neighbours' rows
    among: int  # M

    @property
    def distance(self) -> Tensor:
        """Distances (B, N); see `safe_sqrt`."""
        return safe_sqrt(self.squared)

    @property
    def sharing(self) -> Tensor:
        """How many points have the same nearest neighbour as each point, itself among them: (B, N)."""
        found = torch.zeros(len(self.index), self.among, dtype=self.squared.dtype, device=self.index.device)
        return found.scatter_add_(1, self.index, torch.ones_like(self.squared).detach()).gather(1, self.index)


def safe_sqrt(squared: Tensor) -> Tensor:
    """Return square roots whose gradient at 0 is 0 by definition.

    A distance has no gradient where two points coincide. Its subgradients there fill a ball, and 0 is the centre: it
    leaves the point in place. So the gradient of every loss is finite at every distance.
    """
    some = squared > 0
    return torch.where(some, torch.where(some, squared, 1.0).sqrt(), 0.0)


def nearest(predicted: Tensor, target: Tensor) -> tuple[Nearest, Nearest]:
    """Find the nearest target (B, M, 3) of each predicted point (B, N, 3), and the nearest such point of each target.

    Raises CloudError where the shapes do not fit, or a coordinate is not finite.
    """
    return nearest_one_sided(predicted, target), nearest_one_sided(target, predicted)


def nearest_one_sided(of: Tensor, among: Tensor) -> Nearest:
    """Find the nearest points of clouds (B, N, 3) among those of others (B, M, 3); raises CloudError as `nearest`.

    K-d trees find them on a CPU, all pairwise distances on a GPU. The distances are then computed again from the
    coordinates, with gradients.
    """
    _check(of, among)
    with torch.no_grad():
        index = _by_trees(of, among) if of.device.type == "cpu" else _by_blocks(of, among)
    return Nearest((of - _rows(among, index)).square().sum(-1), index, among.shape[1])


def _rows(points: Tensor, index: Tensor) -> Tensor:
    """Return rows (B, N, 3) of points (B, M, 3), with gradients that are the same at every run."""
    if points.device.type == "cpu":
        return points.gather(1, index[..., None].expand(-1, -1, points.shape[-1]))
    # On a GPU the gradient of `gather` adds in any order. The gradient of an index by tensors sorts first.
    return points[torch.arange(len(points), device=points.device)[:, None], index]


def _check(of: Tensor, among: Tensor) -> None:
    for cloud in (of, among):
        if cloud.ndim != 3 or not cloud.shape[1] or cloud.shape[2] != 3:
            raise CloudError(f"expected clouds (batch, points, 3), found shape {tuple(cloud.shape)}")
        # `isfinite` is not enough: the sums of squared differences have to be finite too.
        most = torch.finfo(cloud.dtype).max ** 0.5 / 4
        if not (cloud.detach().abs() < most).all():
            raise CloudError(f"expected finite coordinates below {most:.2g}, found NaN, infinity or a larger one")
    if len(of) != len(among):
        raise CloudError(f"expected batches of the same number of clouds, found {len(of)} and {len(among)}")


def _by_trees(of: Tensor, among: Tensor) -> Tensor:
    # Cloud by cloud on all cores. From 256 points on this takes a fraction of the time of all distances, and of one
    # query after another with threads of its own.
    pairs = zip(of.detach().numpy(), among.detach().numpy(), strict=True)
    workers = None if of.shape[0] * of.shape[1] > _POINTS_WORTH_THREADS else 1
    rows = in_parallel(lambda pair: torch.from_numpy(cKDTree(pair[1]).query(pair[0])[1]), pairs, workers)
    return torch.stack(list(rows))


def _by_blocks(of: Tensor, among: Tensor) -> Tensor:
    parts = torch.split(of, max(_DISTANCES_AT_ONCE // (len(among) * among.shape[1]), 1), 1)
    # Products of matrices would lose the small distances.
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cat([torch.cdist(part, among, compute_mode=exact).argmin(2) for part in parts], 1)
