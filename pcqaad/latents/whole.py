"""Latents of whole clouds: each is matched to the template point by point, and re-matched as its latent moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pcqaad.decoder.integer_model import Symbols
from pcqaad.decoder.patches import draw_points, padded_patches, patch_sizes
from pcqaad.decoder.step_sizes import StepSize, step_size_values
from pcqaad.evaluation.metrics import chamfer, percent
from pcqaad.latents.fit import Floats, FrozenDecoder, Pace, fit_latents
from pcqaad.latents.plan import AppendPlan
from pcqaad.matching.assign import match_all, rematch
from pcqaad.parallel import in_parallel
from pcqaad.quantisation.step_sizes import LARGEST_LATENT_SYMBOL
from pcqaad.seeds import Use, generator


class LatentGrid:
    """Where a file's new latents may lie: on its step sizes, no farther out of the old ones' box than it is wide.

    Beyond that the decoder has learnt nothing, and its integers would saturate.

    Attributes:
        step_sizes: (L,) of the latents' dimensions.
        low: (L,) the least standard scores.
        high: (L,) the greatest.
    """

    def __init__(self, decoder: FrozenDecoder, step_sizes: Sequence[StepSize]) -> None:
        sizes, old = step_size_values(step_sizes), decoder.network.latents.cpu().numpy()
        low, high, limit = old.min(0), old.max(0), LARGEST_LATENT_SYMBOL * sizes
        box = np.stack([np.maximum(2 * low - high, -limit), np.minimum(2 * high - low, limit)])
        self.step_sizes = decoder.tensor(sizes)
        self.low, self.high = decoder.tensor(decoder.prior.scores(box))


def fit_whole(
    decoder: FrozenDecoder, grid: LatentGrid, clouds: Sequence[Floats], first: int, plan: AppendPlan, pace: Pace
) -> tuple[Symbols, int]:
    """Return the latents (B, L) of a few normalised clouds (M, 3), in symbols, and the number of steps made.

    The points may come in any order. `first` is the number of the first cloud in the file. The draws depend on these
    numbers, not on which clouds are fitted together.
    """
    size = decoder.coarse_rows.size
    rngs = [generator(plan.seed, Use.APPEND_CLOUD, first + i) for i in range(len(clouds))]
    few = [cloud[rng.permutation(len(cloud))[:size]] for cloud, rng in zip(clouds, rngs, strict=True)]

    def starts_of(cloud: Floats) -> Tensor:
        distances = [chamfer(cloud, seen).mean for seen in decoder.coarse_points]
        return decoder.candidates[decoder.starts(distances, plan.starts)]

    starts = list(in_parallel(starts_of, few))
    repeated = np.stack([cloud for cloud, some in zip(few, starts, strict=True) for _ in some])
    index, inside = padded_patches(len(decoder.network.template), decoder.network.patches)
    every = np.ones(decoder.coarse_rows.shape, np.bool_)
    coarse = _Matched(decoder, grid, plan, repeated, decoder.coarse_rows, every)
    fine = _Matched(decoder, grid, plan, np.stack(clouds), index, inside)
    scores, _, steps = fit_latents(starts, coarse, fine, plan, pace)
    symbols: Symbols = torch.round(decoder.latents(scores) / grid.step_sizes).to("cpu", torch.int32).numpy()
    return symbols, steps


class _Matched:
    """The mean squared distances to clouds (R, P, 3), in the order of the template points that they are matched to."""

    def __init__(
        self,
        decoder: FrozenDecoder,
        grid: LatentGrid,
        plan: AppendPlan,
        targets: Floats,
        rows: NDArray[np.int64],
        inside: NDArray[np.bool_],
    ) -> None:
        """Take template rows (K, S) by patches; those that are not `inside` (K, S) only pad."""
        self.figures: Mapping[str, float] = {}
        self._decoder, self._grid, self._plan = decoder, grid, plan
        self._targets, self._rows, self._inside = targets, rows, inside.ravel()
        self._flat = rows[inside]
        self._sizes = patch_sizes(len(self._flat), len(rows))
        self._match_anew = True

    def refresh(self, scores: Tensor, step: int) -> None:
        self.errors(scores)

    def values(self, scores: Tensor, step: int, done: float) -> Tensor:
        latents = self._decoder.latents(scores)
        if done > self._plan.rounded_from:
            latents = straight_through(latents, self._grid.step_sizes)
        rng = generator(self._plan.seed, Use.APPEND_POINTS, step)
        drawn = draw_points(rng, self._sizes, self._plan.sampled_points)
        predicted = self._decoder.fold(latents, self._flat[drawn])
        wanted = self._decoder.tensor(self._targets[:, drawn.ravel()])
        squared = (predicted - wanted).square().sum(-1)  # (R, K * S)
        # The diagonal of normalised clouds is 4.
        self.figures = {"emkd_percent": percent(float(squared.detach().sqrt().mean()), 4)}
        return squared.mean(1)

    def project(self, scores: Tensor) -> None:
        scores.clamp_(self._grid.low, self._grid.high)

    def errors(self, scores: Tensor) -> list[float]:
        """Match the clouds to what scores (R, L) decode to; returns the mean squared distances (R,)."""

        def match(pair: tuple[Floats, Floats]) -> float:
            decoded, cloud = pair
            first, tolerance = self._match_anew, self._plan.tolerance
            # From the second time on, never a worse matching.
            order = match_all(decoded, cloud, tolerance, 2).assignment if first else rematch(decoded, cloud)
            cloud[:] = cloud[order]
            return float(np.square(decoded - cloud).sum(1).mean())

        decoded = (self._decoder.points(one, self._rows)[self._inside] for one in scores)
        errors = list(in_parallel(match, zip(decoded, self._targets, strict=True)))
        self._match_anew = False
        return errors


def straight_through(values: Tensor, step_size: Tensor) -> Tensor:
    """Round values to whole step sizes, with the gradient of the values themselves.

    This is the straight-through estimator (Bengio et al., 2013): a number moves on until the error is lower on the
    other side of its step.
    """
    return values + (torch.round(values / step_size) * step_size - values).detach()
