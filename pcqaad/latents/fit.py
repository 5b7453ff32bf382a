"""The fit of latents through a frozen decoder: all starts by a few points first, then the best one by all.

What a latent is fitted to is an `Objective`: a whole cloud (`whole.py`) or a part of one (`partial.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pcqaad.decoder.module import Decoder
from pcqaad.decoder.patches import draw_points, patch_sizes
from pcqaad.monitor import Monitor, Stage
from pcqaad.training.schedule import cosine

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Plan:
    """How latents are fitted.

    Attributes:
        old: latents of the file among which starts are looked for.
        thin: template points that the first stage decodes: enough to tell starts apart.
        first: the part of the fit that the first stage takes.
        rates: at which the two stages begin, in standard scores.
        last: what is left of a rate in the end.
    """

    old: int = 256
    thin: int = 1024
    first: float = 0.3
    rates: tuple[float, float] = (0.1, 0.05)
    last: float = 0.02


class FrozenDecoder:
    """A decoder whose weights and template stay as they are, with the latents of its file.

    New latents are moved as standard scores: latent = mean + factor @ scores.

    Attributes:
        network: the decoder.
        kept: rows of the file's latents among which starts are looked for.
        scores: (S, L) theirs.
        thin: (K, P) rows of the template by patches that the first stage decodes.
        seen: what each of `scores` decodes to there, (K * P, 3).
    """

    def __init__(
        self, network: Decoder, mean: Tensor, factor: Tensor, scores: Floats, plan: Plan, rng: np.random.Generator
    ) -> None:
        """Take a decoder, the affine map of standard scores, and the scores (N, L) of the file's latents."""
        self.network = network.requires_grad_(False)
        self._mean, self._factor = mean, factor
        count = len(scores)
        self.kept = np.unique(np.linspace(0, count - 1, min(count, plan.old)).round().astype(np.int64))
        self.scores = self.there(scores[self.kept])
        sizes = patch_sizes(len(network.template), network.patches)
        each = min(max(plan.thin // network.patches, 1), int(sizes.min()))
        self.thin = draw_points(rng, sizes, each)
        self.seen = [self.decode(one[None], self.thin)[0].cpu().numpy() for one in self.scores]

    def there(self, array: NDArray[np.floating]) -> Tensor:
        """Return an array as float32 on the decoder's device."""
        return torch.from_numpy(array.astype(np.float32)).to(self.network.template.device)

    def latents(self, scores: Tensor) -> Tensor:
        """Return the latents (R, L) of standard scores (R, L)."""
        return self._mean + scores @ self._factor.T

    def decode(self, scores: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Decode template points (K, P) by scores (R, L): (R, K * P, 3)."""
        return self.fold(self.latents(scores), rows)

    def fold(self, latents: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Decode template points (K, P) by latents (R, L): (R, K * P, 3)."""
        template = self.network.template[torch.from_numpy(rows).to(latents.device)]
        return self.network.fold(latents, template).transpose(0, 1).flatten(1, 2)

    def nearest(self, distances: Sequence[float], count: int) -> list[int]:
        """Return which of `scores` are nearest, by a distance to each of `seen`."""
        return [int(i) for i in np.argsort(distances, kind="stable")[:count]]


class Objective(Protocol):
    """What a stage minimises, for R searches at once.

    Attributes:
        distance: a mean distance of the last step, normalised, for the reader.
    """

    distance: float

    def begin(self, scores: Tensor) -> None:
        """Get ready for a descent from scores (R, L)."""

    def values(self, scores: Tensor, step: int, since: int, done: float) -> Tensor:
        """Return what is minimised (R,): at a step, `since` steps into the stage, a part `done` of the fit over."""

    def project(self, scores: Tensor) -> None:
        """Move scores (R, L), in place, back to where the decoder has learnt."""

    def errors(self, scores: Tensor) -> list[float]:
        """Return what tells the best of several starts."""


@dataclass
class Pace:
    """How long the latents of some clouds are fitted, and who is told.

    Attributes:
        monitor: told of every step.
        steps: of each of these clouds; None where minutes end the fit.
        clouds: of this fit, and
        before: of the fits before it, and
        total: of all.
        deadline: seconds from `began` at which these clouds' time ends; None where steps end it.
        began: on the clock of `time.monotonic`.
        minutes: of the whole job.
        percent: what a normalised length of 1 is in percent of the diagonal; None shows none.
    """

    monitor: Monitor
    steps: int | None
    clouds: int = 1
    before: int = 0
    total: int = 1
    deadline: float | None = None
    began: float = 0.0
    minutes: float = 0.0
    percent: float | None = None

    def __post_init__(self) -> None:
        self._start = time.monotonic() - self.began

    def done(self, step: int) -> float:
        """Return the part of the fit that is over before a step."""
        part = step / self.steps if self.steps is not None else 0.0
        if self.deadline is None:
            return part
        left = self.deadline - self._start
        return max(part, (time.monotonic() - self.began - self._start) / left) if left > 0 else 1.0

    def tell(self, step: int, distance: float) -> None:
        """Tell of a step; raises Interrupted when asked to stop."""
        figures = {} if self.percent is None else {"emkd_percent": distance * self.percent}
        if self.deadline is not None:
            spent = time.monotonic() - self.began
            self.monitor.update(Stage.FIT, spent, 60 * self.minutes, "seconds", figures)
        else:
            # Steps of each cloud, made for some of them at once.
            steps = self.steps or 0
            made = self.before * steps + self.clouds * step
            self.monitor.update(Stage.FIT, made, self.total * steps, "steps", figures)


def fit_latents(
    starts: Tensor,
    owner: NDArray[np.int64],
    coarse: Objective,
    fine: Callable[[], Objective],
    plan: Plan,
    pace: Pace,
) -> tuple[Tensor, list[int], int]:
    """Fit the latents of B clouds.

    Args:
        starts: (R, L) standard scores, one or more for each cloud.
        owner: (R,) which cloud each is a start of, ascending.
        coarse: what all starts are moved by.
        fine: makes what the best start of each cloud is moved by from then on.
        plan: rates and shares.
        pace: how long.

    Returns:
        Standard scores (B, L), which start each came from, and the number of steps made.
    """
    scores, step, begin = starts, 0, 0.0
    best = list(range(len(starts)))
    if len(starts) > len(np.unique(owner)):
        scores, step = _descend(coarse, scores, step, begin, plan.first, plan.rates[0], plan, pace)
        errors, begin = coarse.errors(scores), plan.first
        best = [min(np.flatnonzero(owner == i).tolist(), key=errors.__getitem__) for i in np.unique(owner)]
        scores = scores[best]
    if pace.done(step) < 1:
        scores, step = _descend(fine(), scores, step, begin, 1.0, plan.rates[1], plan, pace)
    return scores, best, step


def _descend(
    objective: Objective, scores: Tensor, step: int, begin: float, end: float, rate: float, plan: Plan, pace: Pace
) -> tuple[Tensor, int]:
    """Move scores (R, L) from a part of the fit to another; returns them and the number of the next step."""
    scores = scores.clone().requires_grad_()
    optimiser = torch.optim.Adam([scores])
    objective.begin(scores.detach())
    first = step
    while (done := pace.done(step)) < end:
        optimiser.param_groups[0]["lr"] = rate * cosine((done - begin) / (end - begin), plan.last)
        # A sum over the clouds: how far one is to move does not depend on what is fitted beside it.
        value = objective.values(scores, step, step - first, done).sum()
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            objective.project(scores)
        step += 1
        pace.tell(step, objective.distance)
    return scores.detach(), step
