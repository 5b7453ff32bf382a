"""The latent whose cloud goes through given points: a search from several starts, the decoder frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from pcqaad.decoder.module import Decoder
from pcqaad.decoder.patches import draw_points, padded_patches, patch_sizes
from pcqaad.errors import SettingsError
from pcqaad.latents.prior import LatentPrior
from pcqaad.losses.criteria import Criterion
from pcqaad.seeds import Use, generator
from pcqaad.training.schedule import cosine

# Points of a partial cloud that a step looks at, and of the template that the first stage decodes.
_SAMPLE, _DECODED = 1024, 512
# Latents of a file among which the nearest are looked for.
_OLD = 256
# What the first stage takes of the steps.
_FIRST = 0.3
# Where a stage's rate begins, in standard scores, and what is left of it in the end.
_RATE, _LAST = 0.1, 0.02
# Steps between two searches for the decoded points that are nearest, among all of them.
_REFRESH = 10
# How many scores of a start may grow: a latent this far from all the file's own would be none of its kind, whatever
# the points say, and its integers could saturate. As a root mean square, 1 for the file's own.
_FARTHEST = 4.0
# What this distance costs, 1 % of a diagonal, is a criterion's unit. Their scales differ by orders of magnitude; in
# such units one weight of the prior does for all of them.
_DISTANCE = 0.04

Floats = NDArray[np.float32]
# Told of every step: its number, from 1.
OnStep = Callable[[int], None]


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


class LatentSearch:
    """Fits latents to partial clouds: criterion from the given points to the decoded cloud, plus a Gaussian prior.

    What is minimised is `criterion.one_sided(partial, decoded) / unit + weight * |scores|²`, over the standard scores
    of `LatentPrior`; the unit is what the criterion makes of points that all lie 1 % of a diagonal off. Of where
    nothing is given the prior alone decides. A step looks at part of many given points, and of the decoded ones at
    those that lay nearest to these: all that a distance needs, though what counts sharers counts among these alone.

    Args:
        network: the decoder, with the file's latents; its weights are frozen.
        criterion: of pcqaad.losses.
        weight: of the prior; 0 for none.
        starts: latents to start from: the mean, and those of the nearest clouds of the file.
        steps: in all.
        seed: draws the points that are looked at.

    Raises:
        SettingsError: the criterion cannot tell points that lie 1 % of a diagonal off from none.
    """

    def __init__(
        self, network: Decoder, criterion: Criterion, weight: float, starts: int, steps: int, seed: int
    ) -> None:
        self._network = network.requires_grad_(False)
        self._criterion, self._weight = criterion, weight
        self._count, self._steps, self._seed = starts, steps, seed
        origin = torch.zeros(1, 1, 3)
        self._unit = float(criterion.one_sided(origin, origin + torch.tensor([_DISTANCE, 0, 0])))
        if not 0 < self._unit < float("inf"):
            found = f"{self._unit:.3g} for points that lie 1 % of a diagonal off"
            raise SettingsError(f"criterion {criterion.name}: expected one that tells near from far, found {found}")
        old = network.latents.cpu().numpy()
        self._prior = LatentPrior.of(old)
        self._mean, self._factor = (self._there(x) for x in (self._prior.mean, self._prior.factor))
        self._kept = np.unique(np.linspace(0, len(old) - 1, min(len(old), _OLD)).round().astype(np.int64))
        self._scores = np.concatenate([np.zeros((1, old.shape[1])), self._prior.scores(old[self._kept])])
        # The same number of random template points of each patch: enough to tell starts apart.
        sizes = patch_sizes(len(network.template), network.patches)
        each = min(-(-_DECODED // network.patches), int(sizes.min()))
        self._thin = draw_points(generator(seed, Use.COMPLETE_TEMPLATE), sizes, each)
        self._all = padded_patches(len(network.template), network.patches)
        self._seen = [self._decode(scores[None], self._thin)[0].cpu().numpy() for scores in self._scores]

    def nearest(self, partial: Floats) -> tuple[list[int], float]:
        """Return starts for a normalised cloud (n, 3), and the median distance of its points to the best of them.

        The starts are rows of the mean, always the first, and of the file's latents; see `find`.
        """
        few = self._few(partial, generator(self._seed, Use.COMPLETE_CLOUD, len(partial)))
        distances = [cKDTree(seen).query(few)[0] for seen in self._seen]
        means = [float(d.mean()) for d in distances]
        order = np.argsort(means[1:], kind="stable")[: self._count - 1] + 1
        starts = [0, *order.tolist()]
        return starts, min(float(np.median(distances[i])) for i in starts)

    def find(self, partial: Floats, starts: Sequence[int], on_step: OnStep) -> Found:
        """Return the latent for a normalised cloud (n, 3), from starts of `nearest`."""
        first = max(round(_FIRST * self._steps), 1) if len(starts) > 1 else 0
        scores = self._there(self._scores[list(starts)])
        best = 0
        if first:
            few = self._few(partial, generator(self._seed, Use.COMPLETE_CLOUD, len(partial)))
            scores, values = self._descend(few, scores, range(first), on_step, thin=True)
            best = int(np.argmin(values))
        scores, _ = self._descend(partial, scores[best : best + 1], range(first, self._steps), on_step, thin=False)
        found = scores[0].cpu().numpy().astype(np.float64)
        start = starts[best]
        return Found(
            latent=self._prior.latents(found[None])[0],
            deviations=float(np.sqrt(np.square(found).mean())),
            start=int(self._kept[start - 1]) if start else None,
        )

    def _descend(
        self, partial: Floats, begin: Tensor, steps: range, on_step: OnStep, *, thin: bool
    ) -> tuple[Tensor, list[float]]:
        """Move scores (S, L); returns them and what they come to (S,)."""
        scores = begin.clone().requires_grad_()
        optimiser = torch.optim.Adam([scores])
        points, rows = self._there(partial), self._thin
        # Not below what a start has: it decodes to a cloud of the file.
        limit = torch.clamp(begin.square().mean(1, keepdim=True).sqrt(), min=_FARTHEST)
        for step in steps:
            since = step - steps.start
            if not thin and since % _REFRESH == 0:
                drawn = self._few(partial, generator(self._seed, Use.COMPLETE_POINTS, step))
                points, rows = self._there(drawn), self._near(scores, drawn)
            optimiser.param_groups[0]["lr"] = _RATE * cosine(since / len(steps), _LAST)
            value = self._objective(scores, points, rows).sum()
            optimiser.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            with torch.no_grad():
                size = scores.square().mean(1, keepdim=True).sqrt()
                scores.mul_(torch.clamp(limit / size.clamp(min=1e-12), max=1))
            on_step(step + 1)
        scores = scores.detach()
        return scores, self._objective(scores, points, rows).tolist() if thin else []

    def _objective(self, scores: Tensor, points: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Return what is minimised (S,): scores (S, L), given points (n, 3), template rows by patches (K, R)."""
        decoded = self._decode(scores, rows)
        term = self._criterion.one_sided(points.expand(len(scores), -1, -1), decoded)
        return term / self._unit + self._weight * scores.square().sum(1)

    def _decode(self, scores: Tensor | NDArray[np.float64], rows: NDArray[np.int64]) -> Tensor:
        """Decode template points (K, R) by scores (S, L): (S, K * R, 3)."""
        if not isinstance(scores, Tensor):
            scores = self._there(scores)
        latents = self._mean + scores @ self._factor.T
        template = self._network.template[torch.from_numpy(rows).to(scores.device)]
        return self._network.fold(latents, template).transpose(0, 1).flatten(1, 2)

    @torch.no_grad()
    def _near(self, scores: Tensor, points: Floats) -> NDArray[np.int64]:
        """Return the template rows (K, R) that decode nearest to the points (n, 3), one of each at least."""
        index, inside = self._all
        decoded = self._decode(scores, index)[0].cpu().numpy()[inside.ravel()]
        chosen = np.zeros(len(decoded), np.bool_)
        chosen[cKDTree(decoded).query(points)[1]] = True
        return _by_patch(chosen, self._network.patches)

    def _few(self, cloud: Floats, rng: np.random.Generator) -> Floats:
        return cloud if len(cloud) <= _SAMPLE else cloud[rng.choice(len(cloud), _SAMPLE, replace=False)]

    def _there(self, array: NDArray[np.floating]) -> Tensor:
        return torch.from_numpy(array.astype(np.float32)).to(self._network.template.device)


def _by_patch(chosen: NDArray[np.bool_], patches: int) -> NDArray[np.int64]:
    """Return the chosen rows of M by patches (K, R), each padded with rows of its patch to the largest's number."""
    index, inside = padded_patches(len(chosen), patches)
    there = chosen[index] & inside
    # Chosen rows first, in their order; what follows them only pads, and is decoded for nothing.
    order = np.argsort(~there, axis=1, kind="stable")[:, : max(int(there.sum(1).max()), 1)]
    return np.take_along_axis(index, order, 1)
