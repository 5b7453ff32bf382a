"""How a long job tells what it is doing, and is asked to stop, without knowing who listens.

What a user should read but need not act on goes to the logger "pcqaad", as a warning: Python shows it by default.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from pcqaad.errors import Interrupted

log = logging.getLogger("pcqaad")
# Of interest to a reader, by name.
Figures = Mapping[str, float]


class Stage(str, Enum):
    """What a job is doing."""

    COUNT = "counting points"
    CHECK = "looking for what cannot be used"
    READ = "reading"
    NORMALISE = "normalising"
    PRETRAIN = "training with an encoder"
    MATCH = "matching"
    FIT = "fitting"
    TUNE = "tuning"
    QUANTISE = "quantising"
    CARRY = "carrying attributes"
    MEASURE = "measuring"
    FLOOR = "measuring the sampling floor"
    DECODE = "decoding"
    SEARCH = "searching"
    LEARN = "learning"


@dataclass(frozen=True)
class Progress:
    """One sign of life."""

    stage: Stage  # what is being done
    done: float = 0  # how much of it is, in `unit`
    total: float = 0  # how much there is to do; 0 where nobody knows
    unit: str = ""  # "clouds", "steps", "rounds" or "seconds"
    figures: Figures = field(default_factory=dict)  # the one that the job improves among them


@dataclass(frozen=True)
class Monitor:
    """Who listens to a job, and may stop it: asked to, it raises Interrupted at once and leaves nothing half done."""

    show: Callable[[Progress], None] | None = None  # told of every sign of life
    should_stop: Callable[[], bool] | None = None  # asked as often

    def update(
        self, stage: Stage, done: float = 0, total: float = 0, unit: str = "", figures: Figures | None = None
    ) -> None:
        """Tell how far a stage is. Raises Interrupted when asked to stop."""
        if self.show is not None:
            self.show(Progress(stage, done, total, unit, figures or {}))
        self.check()

    def check(self) -> None:
        """Raise Interrupted when asked to stop."""
        if self.should_stop is not None and self.should_stop():
            raise Interrupted(resumable=False)


# Tells nobody, and is never stopped.
SILENT = Monitor()
