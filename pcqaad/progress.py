"""How a long job tells what it is doing, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """One sign of life: `done` of `total` of a stage (steps, clouds or seconds), and figures of interest.

    Stages: "read", "normalise", "pretrain", "match", "fit", "tune", "quantise", "measure", "search", "learn"; "note"
    carries `text` for the user alone.
    """

    stage: str
    done: float = 0
    total: float = 0
    text: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


Report = Callable[[Progress], None]
Stop = Callable[[], bool]


def silent(progress: Progress) -> None:
    """Listen to nothing."""


def never() -> bool:
    """Stop at nothing."""
    return False
