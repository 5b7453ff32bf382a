"""Ctrl-C and SIGTERM: the first asks the job to stop at a good place, the second ends it at once."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any

_MESSAGE = b"\npcqaad: stopping at the next safe place; once more ends it at once\n"


class StopSignals:
    """A context within which a call says whether a signal came. For the main thread only."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._stop = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Say whether to stop."""
        return self._stop

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._stop = True
        for each in self._before:
            # Not KeyboardInterrupt: that would still wait for threads at work. Files are written under temporary
            # names, so those that are there stay whole.
            signal.signal(each, signal.SIG_DFL)
        if not self._quiet:
            # Streams with buffers may not be written to from a handler that interrupted their writing.
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, _MESSAGE)
