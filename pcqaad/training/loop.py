"""The loop that every phase of a fit runs through."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from pcqaad.monitor import Monitor
from pcqaad.training.schedule import Phase

# Seconds between two checkpoints.
SAVE_EVERY = 60.0


class Learner(Protocol):
    """What a phase trains, one step after another."""

    step: int  # the number of the step that comes next

    def descend(self, rate: float) -> dict[str, float]:
        """Make one step at a rate, and return figures of interest."""


def train(
    learner: Learner,
    phase: Phase,
    clock: Callable[[], float],
    monitor: Monitor,
    save: Callable[[], None] = lambda: None,
) -> None:
    """Train until a phase is over, or left. The clock returns the seconds of the fit; `save` is called once a minute.

    Raises DivergenceError where a step makes numbers beyond all bounds, and Interrupted between two steps.
    """
    saved = time.monotonic()
    while (done := phase.done(learner.step, clock())) < phase.until:
        figures = learner.descend(phase.rate_at(learner.step, done))
        learner.step += 1
        monitor.update(phase.stage, *phase.schedule.told(learner.step, clock()), figures)
        if time.monotonic() - saved > SAVE_EVERY:
            save()
            saved = time.monotonic()
