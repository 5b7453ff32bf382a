"""Latents for clouds that a decoder was not trained on: several starts, then Adam with the decoder frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pcqaad.decoder.integer_model import Symbols
from pcqaad.decoder.module import Decoder
from pcqaad.decoder.patches import draw_points, padded_patches, patch_sizes
from pcqaad.decoder.step_sizes import StepSize, step_size_values
from pcqaad.evaluation.metrics import chamfer
from pcqaad.matching.assign import match_all, rematch
from pcqaad.parallel import in_parallel
from pcqaad.quantisation.step_sizes import LARGEST_LATENT_SYMBOL
from pcqaad.seeds import Use, generator
from pcqaad.training.quantisation_aware import straight_through
from pcqaad.training.schedule import cosine

# Points of a cloud in the first stage, which tries all starts, and of a step of the second, which refines the best.
_SAMPLE = 1024
# Starts of a cloud: the mean latent, and those of the nearest of so many old clouds.
_NEAREST, _OLD = 3, 256
# What the first stage takes of a cloud's steps, and from where on latents are rounded as the file will hold them.
_FIRST, _ROUNDED = 0.3, 0.6
# Where the stages' rates begin, in standard deviations of the old latents.
_RATES = 0.1, 0.05
# Steps between two matchings; fresh ones need not be tight, as they are improved while the latents move.
_REMATCH, _TOLERANCE = 30, 0.05

Floats = NDArray[np.float32]
# The part of the fit that is over before a step, of its steps or its time.
Share = Callable[[int], float]
# Told of every step: its number, and the mean distance to the assigned targets, normalised. May raise to stop.
OnStep = Callable[[int, float], None]


class LatentFit:
    """Fits latents of new clouds to a decoder whose weights and template stay as they are.

    Latents are moved in standard deviations of the old ones, and no further out of the box that these lie in than it
    is wide: there the decoder has learnt nothing, and its integers would saturate.

    Args:
        network: the decoder, with the old clouds' latents.
        steps: of the latents' dimensions in the file.
        seed: draws the points that are looked at.
    """

    def __init__(self, network: Decoder, steps: Sequence[StepSize], seed: int) -> None:
        self._network = network.requires_grad_(False)
        self._device = network.template.device
        self._steps = torch.from_numpy(step_size_values(steps)).to(self._device, torch.float32)
        self._seed = seed
        old = network.latents
        self._mean, spread = old.mean(0), old.std(0)
        # Where all old clouds agree the box has no width, and nothing moves.
        self._spread = torch.where(spread > 0, spread, torch.ones_like(spread))
        low, high, limit = old.amin(0), old.amax(0), LARGEST_LATENT_SYMBOL * self._steps
        self._low, self._high = torch.maximum(2 * low - high, -limit), torch.minimum(2 * high - low, limit)
        kept = np.unique(np.linspace(0, len(old) - 1, min(len(old), _OLD)).round().astype(np.int64))
        self._old = old[torch.from_numpy(kept).to(self._device)]
        # The same number of random template points of each patch: enough to tell starts apart.
        sizes = patch_sizes(len(network.template), network.patches)
        each = min(max(_SAMPLE // network.patches, 1), int(sizes.min()))
        rows = draw_points(generator(seed, Use.APPEND_TEMPLATE), sizes, each)
        self._thin = network.template[torch.from_numpy(rows.ravel()).to(self._device)]
        thin = _Matched(network, self._thin, np.empty((0, len(self._thin), 3), np.float32))
        self._seen = [thin.decode(latent) for latent in self._old]

    def fit(self, clouds: Sequence[Floats], first: int, share: Share, on_step: OnStep) -> tuple[Symbols, int]:
        """Return the latents (B, L) of a few clouds (M, 3), in symbols, and the number of steps made.

        The clouds are normalised and their points in any order. `first` is the number of the first one in the file:
        the draws depend on it, not on what is fitted together. StepSizes are made while `share(step)` is below 1.
        """
        rng = [generator(self._seed, Use.APPEND_CLOUD, first + i) for i in range(len(clouds))]
        size = len(self._thin)
        few = [cloud[r.permutation(len(cloud))[:size]] for cloud, r in zip(clouds, rng, strict=True)]
        starts = list(in_parallel(self._starts, few))
        owner = np.repeat(np.arange(len(clouds)), [len(s) for s in starts])
        stage = _Matched(self._network, self._thin, np.stack([few[i] for i in owner]))
        latents, steps = self._descend(stage, torch.cat(starts), 0, 0.0, _FIRST, share, on_step)
        errors = stage.errors(latents)
        best = [min(np.flatnonzero(owner == i).tolist(), key=errors.__getitem__) for i in range(len(clouds))]
        latents = latents[best]
        if share(steps) < 1:
            stage = _Matched(self._network, self._network.template, np.stack(clouds))
            latents, steps = self._descend(stage, latents, steps, _FIRST, 1.0, share, on_step)
        symbols: Symbols = torch.round(latents / self._steps).to("cpu", torch.int32).numpy()
        return symbols, steps

    def _starts(self, cloud: Floats) -> Tensor:
        """Return latents (S, L) to start a cloud from, of which a part is given."""
        distances = [chamfer(cloud, seen).mean for seen in self._seen]
        nearest = torch.from_numpy(np.argsort(distances, kind="stable")[:_NEAREST]).to(self._device)
        return torch.cat([self._mean[None], self._old[nearest]])

    def _descend(
        self,
        stage: _Matched,
        latents: Tensor,
        step: int,
        begin: float,
        end: float,
        share: Share,
        on_step: OnStep,
    ) -> tuple[Tensor, int]:
        """Move latents (R, L) from a share of the fit to another; returns them and the number of the next step."""
        moved = torch.zeros_like(latents, requires_grad=True)
        spread = self._spread
        low, high = (self._low - latents) / spread, (self._high - latents) / spread
        optimiser = torch.optim.Adam([moved])
        since = 0
        while (done := share(step)) < end:
            if since % _REMATCH == 0:
                stage.rematch(latents + spread * moved.detach())
            part = (done - begin) / (end - begin)
            optimiser.param_groups[0]["lr"] = _RATES[begin > 0] * cosine(part, 0.02)
            now = latents + spread * moved
            if done > _ROUNDED:
                now = straight_through(now, self._steps)
            squared = stage.squared(now, generator(self._seed, Use.APPEND_POINTS, step))
            optimiser.zero_grad()
            # A sum over the clouds: how far one is to move does not depend on what is fitted beside it.
            squared.mean(1).sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            with torch.no_grad():
                moved.copy_(torch.maximum(torch.minimum(moved, high), low))
            step, since = step + 1, since + 1
            on_step(step, float(squared.detach().sqrt().mean()))
        return latents + spread * moved.detach(), step


class _Matched:
    """Clouds (R, P, 3) in the order of the template points (P, 3), or of some of them, that they are matched to."""

    def __init__(self, network: Decoder, template: Tensor, targets: Floats) -> None:
        self._network = network
        self._template = template
        self._targets = targets
        self._sizes = patch_sizes(len(template), network.patches)
        index, inside = padded_patches(len(template), network.patches)
        self._index = torch.from_numpy(index).to(template.device)
        self._inside = torch.from_numpy(inside).to(template.device)
        self._matched = False

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Floats:
        """Decode a latent (L,) to (P, 3)."""
        folded = self._network.fold(latent[None], self._template[self._index])[:, 0]
        points: Floats = folded[self._inside].cpu().numpy()
        return points

    def rematch(self, latents: Tensor) -> None:
        """Bring the clouds into the order of what latents (R, L) decode to; from the second time on, never a worse."""

        def match(pair: tuple[Floats, Floats]) -> NDArray[np.int64]:
            return rematch(*pair) if self._matched else match_all(*pair, _TOLERANCE, 2).assignment

        pairs = ((self.decode(z), cloud) for z, cloud in zip(latents, self._targets, strict=True))
        for cloud, order in zip(self._targets, in_parallel(match, pairs), strict=True):
            cloud[:] = cloud[order]
        self._matched = True

    def errors(self, latents: Tensor) -> list[float]:
        """Return the mean squared distances (R,) to the clouds, matched anew."""
        self.rematch(latents)
        pairs = zip(latents, self._targets, strict=True)
        return [float(np.square(self.decode(z) - cloud).sum(1).mean()) for z, cloud in pairs]

    def squared(self, latents: Tensor, rng: np.random.Generator) -> Tensor:
        """Return squared distances (R, S) of random points to their targets, as many of each patch."""
        each = min(max(_SAMPLE // len(self._sizes), 1), int(self._sizes.min()))
        points = draw_points(rng, self._sizes, each)
        rows = torch.from_numpy(points).to(self._template.device)
        predicted = self._network.fold(latents, self._template[rows])  # (K, R, S / K, 3)
        targets = torch.from_numpy(self._targets[:, points]).to(self._template.device).transpose(0, 1)
        return (predicted - targets).square().sum(-1).transpose(0, 1).reshape(len(latents), -1)
