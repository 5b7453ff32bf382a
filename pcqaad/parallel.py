"""Work on all cores, or on fewer where a caller says so."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from pcqaad.errors import SettingsError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items that lie ready beside those in work, so that no worker waits while one is read.
AHEAD = 2

# Threads of this process, at most; None is no limit.
_limit: int | None = None


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
    if threads is None:
        yield
        return
    if threads < 1:
        raise SettingsError(f"expected at least 1 thread, found {threads}")
    # Here, not above: few callers need it.
    from threadpoolctl import threadpool_limits

    outer, _limit = _limit, min(threads, cores())
    try:
        with threadpool_limits(_limit):
            yield
    finally:
        _limit = outer


def limited() -> int | None:
    """Return the limit; whoever loads a library of its own threads later applies it."""
    return _limit


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
            pool.shutdown(cancel_futures=True)


def slowdown(seconds: float) -> float:
    """Return how many times as long work takes now as where nothing else uses the machine, by working so long."""
    began, own = time.monotonic(), time.thread_time()
    while time.monotonic() - began < seconds:
        sum(range(10_000))
    return max((time.monotonic() - began) / max(time.thread_time() - own, 0.01 * seconds), 1.0)
