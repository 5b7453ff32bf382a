"""Latents of partial clouds: clouds that go through the given points, a prior deciding where there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from pcqaad.decoder.patches import padded_patches
from pcqaad.errors import SettingsError
from pcqaad.latents.fit import Floats, FrozenDecoder, Pace, fit_latents
from pcqaad.latents.plan import CompletePlan
from pcqaad.losses.criteria import Criterion, criterion
from pcqaad.losses.names import parse
from pcqaad.seeds import Use, generator


@dataclass(frozen=True)
class Cost:
    """What a completion minimises: criterion.one_sided(given, decoded) / unit + prior * |scores|².

    Attributes:
        criterion: from the given points to the decoded ones.
        unit: its value for points that all lie 1 % of a diagonal off.
        prior: weight of the squared standard scores.
    """

    criterion: Criterion
    unit: float
    prior: float

    @classmethod
    def of(cls, plan: CompletePlan) -> Cost:
        """Return a plan's cost; raises SettingsError where its criterion cannot tell near points from far ones."""
        name, parameters = parse(plan.criterion)
        found = criterion(name, **parameters)
        origin = torch.zeros(1, 1, 3)
        unit = float(found.one_sided(origin, origin + torch.tensor([plan.unit_distance, 0, 0])))
        if not 0 < unit < float("inf"):
            value = f"{unit:.3g} for points that lie 1 % of a diagonal off"
            raise SettingsError(f"criterion {name}: expected one that tells near from far, found {value}")
        return cls(found, unit, plan.prior)

    def __call__(self, given: Tensor, decoded: Tensor, scores: Tensor) -> Tensor:
        """Return the costs (R,) of given points (n, 3), clouds (R, P, 3) and scores (R, L)."""
        term = self.criterion.one_sided(given.expand(len(scores), -1, -1), decoded)
        return term / self.unit + self.prior * scores.square().sum(1)


def find_starts(decoder: FrozenDecoder, partial: Floats, plan: CompletePlan) -> tuple[list[int], float]:
    """Return the candidates to start from for a cloud (n, 3), and its median distance to the nearest of them."""
    few = _few(partial, plan)
    distances = [cKDTree(seen).query(few)[0] for seen in decoder.coarse_points]
    starts = decoder.starts([float(d.mean()) for d in distances], plan.starts)
    return starts, min(float(np.median(distances[i])) for i in starts)


def fit_partial(
    decoder: FrozenDecoder, cost: Cost, partial: Floats, starts: Sequence[int], plan: CompletePlan, pace: Pace
) -> tuple[NDArray[np.float64], int]:
    """Return standard scores (L,) for a normalised cloud (n, 3), and which of the candidates `starts` they came from.

    Where no points are given the prior alone decides. A step looks at some of the given points, and at the decoded
    points that lay nearest to these. A distance needs no others. A criterion that counts how many points share a
    neighbour counts among these alone.
    """
    coarse, fine = (_Given(decoder, cost, plan, partial, fine=fine) for fine in (False, True))
    scores, best, _ = fit_latents([decoder.candidates[list(starts)]], coarse, fine, plan, pace)
    return scores[0].cpu().numpy().astype(np.float64), starts[best[0]]


def _few(cloud: Floats, plan: CompletePlan, step: int | None = None) -> Floats:
    """Draw the points of a cloud (n, 3) that a step, or the first stage, looks at."""
    if len(cloud) <= plan.sampled_points:
        return cloud
    at = (Use.COMPLETE_CLOUD, len(cloud)) if step is None else (Use.COMPLETE_POINTS, step)
    return cloud[generator(plan.seed, *at).choice(len(cloud), plan.sampled_points, replace=False)]


class _Given:
    """The cost of given points (n, 3): by a few template rows or, `fine`, by those that decode nearest to them."""

    def __init__(self, decoder: FrozenDecoder, cost: Cost, plan: CompletePlan, cloud: Floats, *, fine: bool) -> None:
        self.figures: Mapping[str, float] = {}
        self._decoder, self._cost, self._plan, self._cloud, self._fine = decoder, cost, plan, cloud, fine
        self._points, self._rows = decoder.tensor(_few(cloud, plan)), decoder.coarse_rows
        # Not below what a latent of the file has: it decodes to one of its clouds.
        farthest = float(decoder.candidates.square().mean(1).max()) ** 0.5
        self._limit = max(farthest, plan.farthest_score)

    def refresh(self, scores: Tensor, step: int) -> None:
        if self._fine:
            drawn = _few(self._cloud, self._plan, step)
            self._points, self._rows = self._decoder.tensor(drawn), self._nearest(scores[0], drawn)

    def values(self, scores: Tensor, step: int, done: float) -> Tensor:
        decoded = self._decoder.fold(self._decoder.latents(scores), self._rows)
        return self._cost(self._points, decoded, scores)

    def project(self, scores: Tensor) -> None:
        size = scores.square().mean(1, keepdim=True).sqrt()
        scores.mul_(torch.clamp(self._limit / size.clamp(min=1e-12), max=1))

    @torch.no_grad()
    def errors(self, scores: Tensor) -> list[float]:
        values: list[float] = self.values(scores, 0, 0.0).tolist()
        return values

    def _nearest(self, scores: Tensor, points: Floats) -> NDArray[np.int64]:
        """Return the template rows (K, R) that decode nearest to the points (n, 3), one of each patch at least."""
        network = self._decoder.network
        index, inside = padded_patches(len(network.template), network.patches)
        decoded = self._decoder.points(scores, index)[inside.ravel()]
        chosen = np.zeros(len(decoded), np.bool_)
        chosen[cKDTree(decoded).query(points)[1]] = True
        there = chosen[index] & inside
        # Chosen rows first, in their order; those behind them only pad, and are decoded for nothing.
        order = np.argsort(~there, axis=1, kind="stable")[:, : max(int(there.sum(1).max()), 1)]
        return np.take_along_axis(index, order, 1)
