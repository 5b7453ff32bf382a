"""Ctrl-C and SIGTERM: the first asks the job to stop at a good place, the second ends it at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_MESSAGE = b"\npcqaad: stopping at the next safe place; once more ends it at once\n"


@contextmanager
def stop_signals(*, quiet: bool = False) -> Iterator[Callable[[], bool]]:
    """Give a call that says whether a signal came. For the main thread only."""
    came: list[int] = []
    before: dict[int, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        came.append(number)
        for each in before:
            # Not KeyboardInterrupt: that would still wait for threads at work. Files are written under temporary
            # names, so those that are there stay whole.
            signal.signal(each, signal.SIG_DFL)
        if not quiet:
            # Streams with buffers may not be written to from a handler that interrupted their writing.
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, _MESSAGE)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, handle)
        yield lambda: bool(came)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
