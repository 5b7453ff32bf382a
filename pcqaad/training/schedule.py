"""How far a fit is, and how the rate of its descent falls: the phases of a fit as data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcqaad.monitor import Stage
from pcqaad.seeds import Use, generator
from pcqaad.settings import Settings

# The part of a rate that is left in the end: the last steps then move less than quantisation will.
LAST_RATE = 0.01
# The part of its minutes that a fit may claim before it ends.
NEARLY = 0.99
# The rate at which tuning begins, in learning rates.
TUNING_RATE = 0.2


def cosine(done: float, last: float) -> float:
    """Return the part of the first rate that is left when a part `done` of the descent is over: from 1 to `last`."""
    return last + (1 - last) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class Schedule:
    """The steps of a fit, as its settings have them."""

    settings: Settings  # resolved
    clouds: int  # N
    reserved: float = 0.0  # seconds of the minutes that are left for what comes after training

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every cloud is drawn once."""
        return math.ceil(self.clouds / self.settings.batch)

    @property
    def steps(self) -> float:
        """Steps that the epochs make; infinitely many where only minutes end the fit."""
        epochs = self.settings.epochs
        return epochs * self.steps_per_epoch if epochs is not None else math.inf

    def clouds_of(self, step: int, use: Use, wrapped: bool = False) -> NDArray[np.int64]:
        """Draw the clouds (B,) of a step: the next ones of a random order, which every epoch draws anew.

        `wrapped` goes on from the order's beginning where it ends, so that all steps have the same number of clouds.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        order = generator(self.settings.seed, use, epoch).permutation(self.clouds)
        first, batch = position * self.settings.batch, self.settings.batch
        return order.take(range(first, first + batch), mode="wrap") if wrapped else order[first : first + batch]

    @property
    def seconds(self) -> float:
        """Seconds from the beginning of the fit to the end of its training; infinitely many where epochs end it."""
        minutes = self.settings.minutes
        return 60 * minutes - self.reserved if minutes else math.inf

    def part(self, steps: int, seconds: float) -> float:
        """Return the part of the fit's epochs that steps are, or of its minutes that seconds are: the larger."""
        # The rate must have fallen when the time is up, wherever the steps are by then.
        return max(steps / self.steps, seconds / self.seconds)

    def told(self, steps: int, seconds: float) -> tuple[float, float, str]:
        """Return how much is done, of how much, in which unit: seconds where the minutes will end the fit."""
        minutes = self.settings.minutes
        if minutes and seconds / self.seconds > steps / self.steps:
            # Of the whole fit, of which training is not the end.
            return min(seconds, NEARLY * 60 * minutes), 60 * minutes, "seconds"
        # A phase of whole steps may make one more.
        return min(steps, self.steps), self.steps, "steps"


@dataclass(frozen=True)
class Phase:
    """One phase of a fit."""

    stage: Stage  # its name
    schedule: Schedule  # of the fit
    share: float  # the part of the fit's epochs or minutes that it may use
    begins: float = 0.0  # the part of it that is over before its first step
    descent: float = 1.0  # how far down the cosine it gets; the next phase goes on from there
    rate: float = 1.0  # at the top of the cosine, in learning rates
    warmup: int = 1  # steps of linear growth of the rate, from its first step on
    falls: bool = True  # whether the rate falls at all
    first_step: int = 0  # the number of the step that it counts from
    began: float = 0.0  # the second of the fit that it counts from
    until: float = 1.0  # the part of it at which it is left

    def done(self, step: int, seconds: float) -> float:
        """Return the part of the phase that is over before a step, `seconds` into the fit."""
        if self.share == 0:
            return 1.0
        return self.schedule.part(step - self.first_step, seconds - self.began) / self.share

    def rate_at(self, step: int, done: float) -> float:
        """Return the rate of a step when a part `done` of the phase is over."""
        warm = min(1.0, (step - self.first_step + 1) / self.warmup)
        fallen = cosine(self.descent * (done - self.begins) / (1 - self.begins), LAST_RATE) if self.falls else 1.0
        return self.schedule.settings.learning_rate * self.rate * warm * fallen


def pretraining(schedule: Schedule) -> Phase:
    """Return the paper's first phase, a part `pretrain` of what tuning leaves (section 4.2)."""
    s = schedule.settings
    share, falls = s.pretrain * (1 - s.tune), s.schedule == "cosine"
    return Phase(Stage.PRETRAIN, schedule, share, descent=s.pretrain, warmup=s.warmup, falls=falls)


def fitting(schedule: Schedule, prepared: float) -> Phase:
    """Return the main phase, `prepared` seconds of the fit having passed before its first step."""
    s = schedule.settings
    share, falls = 1 - s.tune, s.schedule == "cosine"
    return Phase(Stage.FIT, schedule, share, schedule.part(0, prepared) / share, warmup=s.warmup, falls=falls)


def tuning(schedule: Schedule, step: int, seconds: float) -> Phase:
    """Return the last phase, from here on: what the settings leave for it. A rate that never fell does so here."""
    return Phase(Stage.TUNE, schedule, schedule.settings.tune, rate=TUNING_RATE, first_step=step, began=seconds)
