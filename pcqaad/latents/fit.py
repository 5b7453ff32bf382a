"""The fit of latents through a frozen decoder: all starts by a few points first, then the best one by all.

An `Objective` says how near a latent is to a whole cloud (`whole.py`) or to a part of one (`partial.py`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pcqaad.decoder.module import Decoder
from pcqaad.decoder.patches import draw_points, patch_sizes
from pcqaad.latents.plan import Plan
from pcqaad.latents.prior import LatentPrior
from pcqaad.monitor import Monitor, Stage
from pcqaad.training.schedule import cosine

Floats = NDArray[np.float32]


class FrozenDecoder:
    """A decoder whose weights and template stay as they are, and the latents of its file.

    New latents are moved as standard scores: latent = mean + factor @ scores.

    Attributes:
        network: the decoder, with the latents of its file.
        prior: of these latents.
        candidates: (1 + S, L) scores to start a fit from: the mean latent, then latents of the file.
        kept: (S,) rows of the file's latents that are candidates.
        coarse_rows: (K, P) rows of the template by patches that the first stage decodes.
        coarse_points: what each candidate decodes to there, (K * P, 3).
    """

    def __init__(self, network: Decoder, plan: Plan, rng: np.random.Generator) -> None:
        """Take a decoder with the latents of its file; `rng` draws the rows of the template."""
        self.network = network.requires_grad_(False)
        latents = network.latents.cpu().numpy()
        self.prior = LatentPrior.of(latents, plan.shrinkage)
        self._mean, self._factor = self.tensor(self.prior.mean), self.tensor(self.prior.factor)
        count = len(latents)
        self.kept = np.linspace(0, count - 1, min(count, plan.file_latents)).round().astype(np.int64)
        scores = self.prior.scores(latents[self.kept])
        self.candidates = self.tensor(np.concatenate([np.zeros_like(scores[:1]), scores]))
        sizes = patch_sizes(len(network.template), network.patches)
        self.coarse_rows = draw_points(rng, sizes, plan.coarse_points)
        self.coarse_points = [self.points(one, self.coarse_rows) for one in self.candidates]

    def tensor(self, array: NDArray[np.floating]) -> Tensor:
        """Return an array as a float32 tensor on the decoder's device."""
        return torch.from_numpy(array.astype(np.float32)).to(self.network.template.device)

    def latents(self, scores: Tensor) -> Tensor:
        """Return the latents (R, L) of standard scores (R, L)."""
        return self._mean + scores @ self._factor.T

    def fold(self, latents: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Decode template points (K, P) by latents (R, L): (R, K * P, 3)."""
        return self.network.fold_rows(latents, rows).transpose(0, 1).flatten(1, 2)

    @torch.no_grad()
    def points(self, scores: Tensor, rows: NDArray[np.int64]) -> Floats:
        """Decode template points (K, P) by scores (L,): (K * P, 3)."""
        points: Floats = self.fold(self.latents(scores[None]), rows)[0].cpu().numpy()
        return points

    def starts(self, distances: Sequence[float], count: int) -> list[int]:
        """Return which `count` candidates to start from: the mean, and those nearest by a distance to each."""
        return [0, *(int(i) + 1 for i in np.argsort(distances[1:], kind="stable")[: count - 1])]


class Objective(Protocol):
    """The function that a stage minimises, for R latents at once.

    Attributes:
        figures: of the last step, for the monitor.
    """

    figures: Mapping[str, float]

    def refresh(self, scores: Tensor, step: int) -> None:
        """Find anew which points belong together, as scores (R, L) decode before a step."""

    def values(self, scores: Tensor, step: int, done: float) -> Tensor:
        """Return the values (R,) to minimise at a step, a part `done` of the fit being over."""

    def project(self, scores: Tensor) -> None:
        """Move scores (R, L), in place, back to where the decoder has learnt."""

    def errors(self, scores: Tensor) -> list[float]:
        """Return the errors (R,) by which the best start of a cloud is chosen."""


class Pace:
    """How long latents are fitted, a few clouds at a time: some steps each, some seconds for all, or both."""

    def __init__(self, monitor: Monitor, clouds: int, steps: int | None, minutes: float | None = None) -> None:
        """Start the clock of a job of that many clouds."""
        self._monitor, self._clouds, self._steps = monitor, clouds, steps
        self._limit = None if minutes is None else 60 * minutes
        self._clock = time.monotonic()
        self._before = self._now = 0
        self._began = self._share = 0.0

    def begin(self, clouds: int) -> None:
        """Begin with the next few clouds. They get their share of the time that is left."""
        self._before, self._now = self._before + self._now, clouds
        self._began = self._spent()
        if self._limit is not None:
            self._share = max(self._limit - self._began, 0) * clouds / (self._clouds - self._before)

    def done(self, step: int) -> float:
        """Return the part of these clouds' fit that is over before a step."""
        part = step / self._steps if self._steps is not None else 0.0
        if self._limit is None:
            return part
        return max(part, (self._spent() - self._began) / self._share) if self._share > 0 else 1.0

    def tell(self, step: int, figures: Mapping[str, float]) -> None:
        """Tell of a step; raises Interrupted when asked to stop."""
        if self._limit is not None:
            self._monitor.update(Stage.FIT, self._spent(), self._limit, "seconds", figures)
        elif self._steps is not None:
            # Steps of each cloud, made for some of them at once.
            made = self._before * self._steps + self._now * step
            self._monitor.update(Stage.FIT, made, self._clouds * self._steps, "steps", figures)

    def _spent(self) -> float:
        return time.monotonic() - self._clock


def fit_latents(
    starts: Sequence[Tensor], coarse: Objective, fine: Objective, plan: Plan, pace: Pace
) -> tuple[Tensor, list[int], int]:
    """Fit the latents of B clouds.

    Args:
        starts: standard scores (S_i, L) for each cloud.
        coarse: moves all starts, R of them together.
        fine: moves the best start of each cloud from then on.
        plan: rates and shares.
        pace: how long.

    Returns:
        Standard scores (B, L), which of its starts each came from, and the number of steps made.
    """
    scores, step, begin = torch.cat(list(starts)), 0, 0.0
    counts = [len(some) for some in starts]
    best = [0] * len(starts)
    if max(counts) > 1:
        begin = plan.coarse_share
        scores, step = _descend(coarse, scores, step, (0.0, begin), plan.coarse_rate, plan, pace)
        firsts = np.cumsum(counts) - counts
        best = [int(np.argmin(some)) for some in np.split(coarse.errors(scores), firsts[1:])]
        scores = scores[firsts + best]
    if pace.done(step) < 1:
        scores, step = _descend(fine, scores, step, (begin, 1.0), plan.fine_rate, plan, pace)
    return scores, best, step


def _descend(
    objective: Objective, scores: Tensor, first: int, span: tuple[float, float], rate: float, plan: Plan, pace: Pace
) -> tuple[Tensor, int]:
    """Move scores (R, L) over a span of the fit, from step `first` on; returns them and the number of the next step."""
    begin, end = span
    scores = scores.clone().requires_grad_()
    optimiser = torch.optim.Adam([scores])
    step = first
    while (done := pace.done(step)) < end:
        if (step - first) % plan.refresh_steps == 0:
            objective.refresh(scores.detach(), step)
        optimiser.param_groups[0]["lr"] = rate * cosine((done - begin) / (end - begin), plan.last_rate)
        # A sum over the clouds: how far one is to move does not depend on what is fitted beside it.
        value = objective.values(scores, step, done).sum()
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            objective.project(scores)
        step += 1
        pace.tell(step, objective.figures)
    return scores.detach(), step
