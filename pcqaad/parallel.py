"""Work on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# What lies ready beside the items being worked on, so that no worker waits while an item is read.
AHEAD = 2


def cores(workers: int | None = None) -> int:
    """Return the number of workers asked for, or of the cores that this process may use."""
    if workers:
        return workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
