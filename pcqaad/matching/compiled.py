"""Numba as this package uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


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
