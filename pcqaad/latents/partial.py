"""Latents of partial clouds: the clouds that go through their points, a prior deciding where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from pcqaad.decoder.module import Decoder
from pcqaad.decoder.patches import padded_patches
from pcqaad.errors import SettingsError
from pcqaad.latents.fit import Floats, FrozenDecoder, Pace, Plan, fit_latents
from pcqaad.latents.prior import LatentPrior
from pcqaad.losses.criteria import Criterion
from pcqaad.seeds import Use, generator

_PLAN = Plan(thin=512, rates=(0.1, 0.1))
# Points of a partial cloud that a step looks at.
_SAMPLED_POINTS = 1024
# Steps between two searches for the decoded points that are nearest, among all of them.
_REFRESH_STEPS = 10
# How far the scores of a start may grow, as a root mean square: 1 for the file's own. A latent farther from all of
# them would be none of its kind, whatever the points say, and its integers could saturate.
_FARTHEST = 4.0
# The distance whose cost is a criterion's unit: 1 % of a diagonal. Criteria differ by orders of magnitude; in such
# units one weight of the prior does for all of them.
_UNIT_DISTANCE = 0.04


@dataclass(frozen=True)
class Found:
    """A latent for a partial cloud.

    Attributes:
        latent: (L,), float64.
        deviations: root mean square of its standard scores under the prior: about 1 for a cloud of the file's kind.
        start: the row of the file's latent that it was reached from; None for the mean.
    """

    latent: NDArray[np.float64]
    deviations: float
    start: int | None


class PartialClouds:
    """Fits latents to partial clouds: criterion from the given points to the decoded cloud, plus a Gaussian prior.

    It minimises `criterion.one_sided(partial, decoded) / unit + weight * |scores|²`, over the standard scores
    of `LatentPrior`; the unit is the cost of points that all lie 1 % of a diagonal off. Where nothing is given the
    prior alone decides. A step looks at part of many given points, and at those of the decoded ones that lay nearest
    to these: all that a distance needs, though what counts sharers counts among these alone.

    Args:
        network: the decoder, with the file's latents; its weights are frozen.
        criterion: of pcqaad.losses.
        weight: of the prior; 0 for none.
        starts: latents to start from: the mean, and those of the nearest clouds of the file.
        seed: draws the points that are looked at.

    Raises:
        SettingsError: the criterion cannot tell points that lie 1 % of a diagonal off from none.
    """

    def __init__(self, network: Decoder, criterion: Criterion, weight: float, starts: int, seed: int) -> None:
        self.criterion, self.weight = criterion, weight
        self._count, self._seed = starts, seed
        origin = torch.zeros(1, 1, 3)
        self.unit = float(criterion.one_sided(origin, origin + torch.tensor([_UNIT_DISTANCE, 0, 0])))
        if not 0 < self.unit < float("inf"):
            found = f"{self.unit:.3g} for points that lie 1 % of a diagonal off"
            raise SettingsError(f"criterion {criterion.name}: expected one that tells near from far, found {found}")
        old = network.latents.detach().cpu().numpy()
        self._prior = LatentPrior.of(old)
        mean, factor = (torch.from_numpy(x.astype(np.float32)) for x in (self._prior.mean, self._prior.factor))
        device = network.template.device
        rng = generator(seed, Use.COMPLETE_TEMPLATE)
        scores = self._prior.scores(old)
        self.decoder = FrozenDecoder(network, mean.to(device), factor.to(device), scores.astype(np.float32), _PLAN, rng)
        self._mean = torch.zeros_like(self.decoder.scores[:1])
        self._of_mean = self.decoder.decode(self._mean, self.decoder.thin)[0].cpu().numpy()

    def nearest(self, partial: Floats) -> tuple[list[int | None], float]:
        """Return starts for a normalised cloud (n, 3), and the median distance of its points to the best of them.

        None, always the first, is the mean; the others are rows of `decoder.scores`.
        """
        few = self.few(partial)
        distances = [cKDTree(seen).query(few)[0] for seen in self.decoder.seen]
        rows = self.decoder.nearest([float(d.mean()) for d in distances], self._count - 1)
        medians = [float(np.median(distances[i])) for i in rows]
        return [None, *rows], min(float(np.median(cKDTree(self._of_mean).query(few)[0])), *medians, float("inf"))

    def find(self, partial: Floats, starts: Sequence[int | None], pace: Pace) -> Found:
        """Return the latent for a normalised cloud (n, 3), from starts of `nearest`."""
        begin = torch.cat([self._mean if i is None else self.decoder.scores[i : i + 1] for i in starts])
        owner = np.zeros(len(starts), np.int64)
        coarse = _Given(self, self.few(partial), refreshed=False)
        found, best, _ = fit_latents(begin, owner, coarse, lambda: _Given(self, partial), _PLAN, pace)
        scores = found[0].cpu().numpy().astype(np.float64)
        start = starts[best[0]]
        return Found(
            latent=self._prior.latents(scores[None])[0],
            deviations=float(np.sqrt(np.square(scores).mean())),
            start=None if start is None else int(self.decoder.kept[start]),
        )

    def few(self, cloud: Floats, step: int | None = None) -> Floats:
        """Draw the points of a cloud (n, 3) that a step, or the first stage, looks at."""
        if len(cloud) <= _SAMPLED_POINTS:
            return cloud
        at = (Use.COMPLETE_CLOUD, len(cloud)) if step is None else (Use.COMPLETE_POINTS, step)
        return cloud[generator(self._seed, *at).choice(len(cloud), _SAMPLED_POINTS, replace=False)]


class _Given:
    """Given points (n, 3), and the template rows that are compared with them."""

    def __init__(self, fit: PartialClouds, points: Floats, *, refreshed: bool = True) -> None:
        """Take the points; `refreshed` looks at the nearest decoded ones, anew now and then, in place of a few."""
        self.distance = 0.0
        self._fit, self._cloud, self._refreshed = fit, points, refreshed
        self._points, self._rows = fit.decoder.there(points), fit.decoder.thin
        self._limit = torch.zeros(())

    def begin(self, scores: Tensor) -> None:
        # Not below what a start has: it decodes to a cloud of the file.
        self._limit = torch.clamp(scores.square().mean(1, keepdim=True).sqrt(), min=_FARTHEST)

    def values(self, scores: Tensor, step: int, since: int, done: float) -> Tensor:
        if self._refreshed and since % _REFRESH_STEPS == 0:
            drawn = self._fit.few(self._cloud, step)
            self._points, self._rows = self._fit.decoder.there(drawn), self._near(scores.detach(), drawn)
        return self._objective(scores)

    def project(self, scores: Tensor) -> None:
        size = scores.square().mean(1, keepdim=True).sqrt()
        scores.mul_(torch.clamp(self._limit / size.clamp(min=1e-12), max=1))

    @torch.no_grad()
    def errors(self, scores: Tensor) -> list[float]:
        values: list[float] = self._objective(scores).tolist()
        return values

    def _objective(self, scores: Tensor) -> Tensor:
        decoded = self._fit.decoder.decode(scores, self._rows)
        term = self._fit.criterion.one_sided(self._points.expand(len(scores), -1, -1), decoded)
        return term / self._fit.unit + self._fit.weight * scores.square().sum(1)

    @torch.no_grad()
    def _near(self, scores: Tensor, points: Floats) -> NDArray[np.int64]:
        """Return the template rows (K, R) that decode nearest to the points (n, 3), one of each patch at least."""
        network = self._fit.decoder.network
        index, inside = padded_patches(len(network.template), network.patches)
        decoded = self._fit.decoder.decode(scores, index)[0].cpu().numpy()[inside.ravel()]
        chosen = np.zeros(len(decoded), np.bool_)
        chosen[cKDTree(decoded).query(points)[1]] = True
        there = chosen[index] & inside
        # Chosen rows first, in their order; those behind them only pad, and are decoded for nothing.
        order = np.argsort(~there, axis=1, kind="stable")[:, : max(int(there.sum(1).max()), 1)]
        return np.take_along_axis(index, order, 1)
