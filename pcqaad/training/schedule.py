"""How far a fit is, and how the rate of its descent falls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pcqaad.progress import Progress
from pcqaad.settings import Settings

# What is left of a rate in the end: the last steps then move less than quantisation will.
LAST_RATE = 0.01


def cosine(done: float, last: float) -> float:
    """Return the part of the first rate that is left when a part `done` of the descent is over: from 1 to `last`."""
    return last + (1 - last) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class Schedule:
    """What the settings say of the steps of a fit to so many clouds.

    Attributes:
        settings: resolved.
        clouds: N.
    """

    settings: Settings
    clouds: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every cloud is drawn once."""
        return math.ceil(self.clouds / self.settings.batch)

    @property
    def steps(self) -> float:
        """Steps that the epochs make; infinitely many where only minutes end the fit."""
        epochs = self.settings.epochs
        return epochs * self.steps_per_epoch if epochs is not None else math.inf

    def part(self, steps: int, seconds: float) -> float:
        """Return the part of the fit's epochs that steps are, or of its minutes that seconds are: the larger."""
        minutes = self.settings.minutes
        # The rate must have fallen when the time is up, wherever the steps are by then.
        return max(steps / self.steps, seconds / (60 * minutes)) if minutes else steps / self.steps

    def rate(self, step: int, done: float) -> float:
        """Return the rate of a step when a part `done` of the descent is over."""
        warm = min(1.0, (step + 1) / self.settings.warmup)
        falling = 1.0 if self.settings.schedule == "constant" else cosine(done, LAST_RATE)
        return self.settings.learning_rate * (warm * falling)

    def progress(self, stage: str, steps: int, seconds: float, figures: Mapping[str, float]) -> Progress:
        """Tell how far a fit is: in its seconds where its minutes will end it, else in its steps."""
        minutes = self.settings.minutes
        if minutes and seconds / (60 * minutes) > steps / self.steps:
            return Progress(stage, min(seconds, 60 * minutes), 60 * minutes, "seconds", figures)
        # Tuning in two parts, each of whole steps, may make one more.
        return Progress(stage, min(steps, self.steps), self.steps, "steps", figures)
