"""What numba compiles, where that is installed."""

from __future__ import annotations

from functools import cache
from threading import Lock

from pcqaad.monitor import log

_said: set[str] = set()
_lock = Lock()


@cache
def why_absent() -> str:
    """Return why numba cannot be loaded, or "" where it can. Nothing else decides that."""
    try:
        import numba  # noqa: F401
    except ImportError as error:
        return str(error)
    return ""


def warn_once(message: str, *arguments: object) -> None:
    """Give a warning the first time in a process, whichever thread comes first."""
    with _lock:
        if message not in _said:
            _said.add(message)
            log.warning(message, *arguments)
