"""The auction on the CPU, compiled by numba where that is installed."""

from __future__ import annotations

from functools import cache


@cache
def why_absent() -> str:
    """Return why numba cannot be loaded, or "" where it can. Nothing else decides that."""
    try:
        import numba  # noqa: F401
    except ImportError as error:
        return str(error)
    return ""
