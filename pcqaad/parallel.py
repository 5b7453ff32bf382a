"""Work on all cores, or on fewer where a caller says so."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from typing import TypeVar

from pcqaad.errors import SettingsError

Item = TypeVar("Item")
Result = TypeVar("Result")
# How a library tells the number of its threads, and how it is told.
Pool = tuple[Callable[[], int], Callable[[int], object]]

# Items that lie ready beside those in work, so that no worker waits while one is read.
AHEAD = 2

# Threads of this process, at most; None is no limit.
_limit: int | None = None
# Threads of each limited library before, by its name.
_before: dict[str, int] = {}


def cores(workers: int | None = None) -> int:
    """Return the number of workers asked for, or of the cores that this process may use; at most the limit."""
    wanted = workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    return min(wanted, _limit or wanted)


@contextmanager
def limit(threads: int | None) -> Iterator[None]:
    """Limit this process to a number of threads, those of numpy's BLAS and of torch included; None is no limit.

    Decoding and matching give the same results on any number. Sums in torch may not: two fits give the same bytes on
    the same number. Raises SettingsError for a number below 1.
    """
    global _limit
    if threads is not None and threads < 1:
        raise SettingsError(f"expected at least 1 thread, found {threads}")
    outer, _limit = _limit, min(filter(None, (threads, _limit)), default=None)
    hold()
    try:
        yield
    finally:
        _limit = outer
        hold()


def hold() -> None:
    """Apply the limit to the libraries loaded by now. Whoever loads torch to compute calls this again."""
    if _limit is None and not _before:
        return
    for name, (get, put) in _pools().items():
        if _limit is not None:
            put(min(_before.setdefault(name, get()), _limit))
        elif name in _before:
            put(_before.pop(name))


def _pools() -> dict[str, Pool]:
    """Return the libraries with threads of their own that are loaded. Of numpy's builds, the wheels' OpenBLAS."""
    pools: dict[str, Pool] = {}
    blas = ctypes.CDLL(import_module("numpy.linalg._umath_linalg").__file__)
    for name in ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_"):
        if hasattr(blas, name.format("set")):
            pools[name] = blas[name.format("get")], blas[name.format("set")]
    if torch := sys.modules.get("torch"):
        pools["torch"] = torch.get_num_threads, torch.set_num_threads
    return pools


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None) -> Iterator[Result]:
    """Yield work(item) in order, on all cores. Numpy, SciPy and numba release the interpreter: threads are enough.

    Items are taken as they are needed, so that they may be read from a disk: no more than `workers + AHEAD`
    of them, or of their results, wait or are worked on at any time. Leaving the iterator drops what has not begun.
    """
    workers = cores(workers)
    if workers == 1:
        yield from map(work, items)
        return
    pending = []
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) == workers + AHEAD:
                    yield pending.pop(0).result()
            while pending:
                yield pending.pop(0).result()
        finally:
            for future in pending:
                future.cancel()
