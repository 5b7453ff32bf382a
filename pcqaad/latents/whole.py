"""Latents of whole clouds: each is matched to the template point by point, and re-matched as its latent moves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pcqaad.decoder.integer_model import Symbols
from pcqaad.decoder.module import Decoder
from pcqaad.decoder.patches import draw_points, padded_patches, patch_sizes
from pcqaad.decoder.step_sizes import StepSize, step_size_values
from pcqaad.evaluation.metrics import chamfer
from pcqaad.latents.fit import Floats, FrozenDecoder, Pace, Plan, fit_latents
from pcqaad.matching.assign import match_all, rematch
from pcqaad.parallel import in_parallel
from pcqaad.quantisation.step_sizes import LARGEST_LATENT_SYMBOL
from pcqaad.seeds import Use, generator
from pcqaad.training.quantisation_aware import straight_through

_PLAN = Plan()
# Starts of a cloud beside the mean latent: those of the nearest clouds of the file.
_NEAREST_CLOUDS = 3
# Points of a cloud that a step looks at.
_SAMPLED_POINTS = 1024
# From this part of the fit on latents are rounded as the file will hold them.
_ROUNDED_FROM = 0.6
# Steps between two matchings.
_REMATCH_STEPS = 30
# What a first matching may cost above the optimum: it is improved while the latents move.
_TOLERANCE = 0.05


class WholeClouds:
    """Fits latents of new clouds to a decoder whose weights and template stay as they are.

    Latents are moved in standard deviations of the old ones, and no further out of the box that these lie in than it
    is wide: there the decoder has learnt nothing, and its integers would saturate.

    Args:
        network: the decoder, with the old clouds' latents.
        steps: of the latents' dimensions in the file.
        seed: draws the points that are looked at.
    """

    def __init__(self, network: Decoder, steps: Sequence[StepSize], seed: int) -> None:
        device = network.template.device
        self._steps = torch.from_numpy(step_size_values(steps)).to(device, torch.float32)
        self._seed = seed
        old = network.latents.detach()
        mean, spread = old.mean(0), old.std(0)
        # Where all old clouds agree the box has no width, and nothing moves.
        spread = torch.where(spread > 0, spread, torch.ones_like(spread))
        low, high, limit = old.amin(0), old.amax(0), LARGEST_LATENT_SYMBOL * self._steps
        box = torch.stack([torch.maximum(2 * low - high, -limit), torch.minimum(2 * high - low, limit)])
        self._box = (box - mean) / spread
        scores = ((old - mean) / spread).cpu().numpy()
        self._decoder = FrozenDecoder(
            network, mean, torch.diag(spread), scores, _PLAN, generator(seed, Use.APPEND_TEMPLATE)
        )

    def fit(self, clouds: Sequence[Floats], first: int, pace: Pace) -> tuple[Symbols, int]:
        """Return the latents (B, L) of a few clouds (M, 3), in symbols, and the number of steps made.

        The clouds are normalised and their points in any order. `first` is the number of the first one in the file:
        the draws depend on it, not on what is fitted together.
        """
        size = self._decoder.thin.size
        rngs = [generator(self._seed, Use.APPEND_CLOUD, first + i) for i in range(len(clouds))]
        few = [cloud[rng.permutation(len(cloud))[:size]] for cloud, rng in zip(clouds, rngs, strict=True)]
        starts = list(in_parallel(self._starts, few))
        owner = np.repeat(np.arange(len(clouds)), [len(s) for s in starts])
        coarse = _Matched(self._decoder, self._decoder.thin, np.stack([few[i] for i in owner]), self._box, self)

        def fine() -> _Matched:
            index, inside = padded_patches(len(self._decoder.network.template), self._decoder.network.patches)
            return _Matched(self._decoder, index, np.stack(clouds), self._box, self, inside)

        scores, _, steps = fit_latents(torch.cat(starts), owner, coarse, fine, _PLAN, pace)
        latents = self._decoder.latents(scores)
        symbols: Symbols = torch.round(latents / self._steps).to("cpu", torch.int32).numpy()
        return symbols, steps

    def rounded(self, latents: Tensor) -> Tensor:
        """Round latents as the file will hold them, with the gradient of the latents themselves."""
        return straight_through(latents, self._steps)

    def draw(self, sizes: NDArray[np.int64], step: int) -> NDArray[np.int64]:
        """Draw a step's points: rows (K, S) of a cloud stored patch after patch of these sizes."""
        each = min(max(_SAMPLED_POINTS // len(sizes), 1), int(sizes.min()))
        return draw_points(generator(self._seed, Use.APPEND_POINTS, step), sizes, each)

    def _starts(self, cloud: Floats) -> Tensor:
        """Return scores (S, L) to start a cloud from, of which a part is given."""
        distances = [chamfer(cloud, seen).mean for seen in self._decoder.seen]
        nearest = self._decoder.scores[self._decoder.nearest(distances, _NEAREST_CLOUDS)]
        return torch.cat([torch.zeros_like(nearest[:1]), nearest])


class _Matched:
    """Clouds (R, P, 3) in the order of the template points that they are matched to."""

    def __init__(
        self,
        decoder: FrozenDecoder,
        rows: NDArray[np.int64],
        targets: Floats,
        box: Tensor,
        fit: WholeClouds,
        inside: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take template rows (K, S) by patches, those that only pad left out by `inside` (K, S)."""
        self.distance = 0.0
        self._decoder, self._targets, self._box, self._fit = decoder, targets, box, fit
        self._rows = rows
        self._inside = np.ones(rows.shape, np.bool_) if inside is None else inside
        self._flat = rows[self._inside]
        self._sizes = patch_sizes(len(self._flat), len(rows))
        self._matched = False

    def begin(self, scores: Tensor) -> None:
        self._rematch(scores)

    def values(self, scores: Tensor, step: int, since: int, done: float) -> Tensor:
        if since and since % _REMATCH_STEPS == 0:
            self._rematch(scores.detach())
        latents = self._decoder.latents(scores)
        if done > _ROUNDED_FROM:
            latents = self._fit.rounded(latents)
        points = self._fit.draw(self._sizes, step)
        predicted = self._decoder.fold(latents, self._flat[points])
        wanted = self._decoder.there(self._targets[:, points.ravel()])
        squared = (predicted - wanted).square().sum(-1)  # (R, K * S)
        self.distance = float(squared.detach().sqrt().mean())
        return squared.mean(1)

    def project(self, scores: Tensor) -> None:
        scores.copy_(torch.maximum(torch.minimum(scores, self._box[1]), self._box[0]))

    def errors(self, scores: Tensor) -> list[float]:
        """Return the mean squared distances (R,) to the clouds, matched anew."""
        self._rematch(scores)
        pairs = zip(scores, self._targets, strict=True)
        return [float(np.square(self._decode(one) - cloud).sum(1).mean()) for one, cloud in pairs]

    @torch.no_grad()
    def _decode(self, one: Tensor) -> Floats:
        """Decode scores (L,) to (P, 3)."""
        points: Floats = self._decoder.decode(one[None], self._rows)[0].cpu().numpy()[self._inside.ravel()]
        return points

    def _rematch(self, scores: Tensor) -> None:
        """Bring the clouds into the order of what scores (R, L) decode to; from the second time on, never a worse."""

        def match(pair: tuple[Floats, Floats]) -> NDArray[np.int64]:
            return rematch(*pair) if self._matched else match_all(*pair, _TOLERANCE, 2).assignment

        pairs = ((self._decode(one), cloud) for one, cloud in zip(scores, self._targets, strict=True))
        for cloud, order in zip(self._targets, in_parallel(match, pairs), strict=True):
            cloud[:] = cloud[order]
        self._matched = True
