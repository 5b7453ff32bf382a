"""The loop that every phase of a fit runs through."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pcqaad.monitor import Monitor
from pcqaad.training.schedule import Phase

# Seconds between two checkpoints.
SAVE_EVERY = 60.0


class Learner(Protocol):
    """What a phase trains, one step after another.

    Attributes:
        step: the number of the step that comes next.
    """

    step: int

    def descend(self, rate: float) -> dict[str, float]:
        """Make one step at a rate, and return figures of interest."""


@dataclass
class Clock:
    """The seconds that a fit has taken, those before an interruption included.

    Attributes:
        began: on the clock of `time.monotonic`; earlier by the seconds that a resumed fit had taken.
    """

    began: float

    def __call__(self) -> float:
        """Return the seconds."""
        return time.monotonic() - self.began


def train(
    learner: Learner,
    phase: Phase,
    clock: Callable[[], float],
    monitor: Monitor,
    save: Callable[[], None] = lambda: None,
) -> None:
    """Train until a phase is over.

    Args:
        learner: is moved.
        phase: says when it is over, and how fast to go until then.
        clock: returns the seconds of the fit.
        monitor: told of every step, with the learner's figures.
        save: writes a checkpoint; called once a minute.

    Raises:
        DivergenceError: a step makes numbers beyond all bounds.
        Interrupted: stopped, between two steps.
    """
    saved = time.monotonic()
    while (done := phase.done(learner.step, clock())) < 1:
        figures = learner.descend(phase.rate_at(learner.step, done))
        learner.step += 1
        monitor.update(phase.stage, *phase.schedule.told(learner.step, clock()), figures)
        if time.monotonic() - saved > SAVE_EVERY:
            save()
            saved = time.monotonic()
