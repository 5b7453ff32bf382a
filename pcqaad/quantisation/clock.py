"""What time quantising has, and what its steps took: where minutes bound a fit, some of them are left out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

# A step that takes this much longer than it took before still ends in time.
_SLOWER = 1.2


class Step(Enum):
    """What is timed, as it is done at this moment, whoever else uses the machine."""

    SURFACE = "a surface found, with what clouds make of it"
    MODEL = "a model drafted"  # from the first look at it on
    PART = "a candidate judged by a part of its points"
    WHOLE = "a candidate judged by whole clouds"
    RECORD = "a cloud of the record"


class Clock:
    """The seconds left, and what was measured of each kind of step. Nothing is left out where nothing limits them.

    Attributes:
        left: returns the seconds left; negative where they are over.
        most_recorded: clouds that the record may hold; None for as many as there is room for.
    """

    def __init__(self, left: Callable[[], float] = lambda: math.inf) -> None:
        self.left = left
        self.most_recorded: int | None = None
        self._took: dict[Step, float] = {}

    @contextmanager
    def times(self, step: Step, count: int = 1) -> Iterator[None]:
        """Time so many steps of a kind that are done together."""
        began = time.monotonic()
        yield
        self.note(step, (time.monotonic() - began) / max(count, 1))

    def note(self, step: Step, seconds: float) -> None:
        """Take the seconds of the last step of a kind."""
        self._took[step] = seconds

    def takes(self, steps: dict[Step, int]) -> float:
        """Return about how many seconds steps take; those that were never done take none."""
        return sum(count * self._took.get(step, 0.0) for step, count in steps.items())

    def holds(self, steps: dict[Step, int]) -> bool:
        """Return whether the time left holds some steps, so many of each kind."""
        left = self.left()
        return math.isinf(left) or left > _SLOWER * self.takes(steps)
