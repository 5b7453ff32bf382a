"""Numba as this package uses it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba import njit


def drop_stale(package: Path) -> None:
    """Remove the machine code that is older than any source of a package's folder.

    Numba compares a function's with the file that the function is in alone, but what it calls is compiled into it: an
    edit, or an update of a checkout, would otherwise go on with parts of what was.
    """
    with suppress(OSError):  # not ours to remove, or another process was quicker
        newest = max((source.stat().st_mtime_ns for source in package.glob("*.py")), default=0)
        for code in (package / "__pycache__").glob("*.nb[ic]"):
            if code.stat().st_mtime_ns < newest:
                code.unlink()


drop_stale(Path(__file__).parent)


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called, and keep the machine code on disk for the next process.

    It runs without the interpreter's lock, so threads run it side by side, and integer division does not check
    for zero. Where numba finds no folder to write to (a read-only installation and home), it compiles anew in
    every process.
    """
    try:
        return njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:
        return njit(nogil=True, error_model="numpy")(function)
