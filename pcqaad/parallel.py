"""Work on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores(workers: int | None = None) -> int:
    """Return the number of workers asked for, or of all cores."""
    return workers or os.cpu_count() or 1


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None) -> Iterator[Result]:
    """Yield work(item) in order, on all cores. Numpy, SciPy and numba release the interpreter: threads are enough.

    At most a few results wait at any time; leaving the iterator drops what has not begun.
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
                if len(pending) > 2 * workers:
                    yield pending.pop(0).result()
            while pending:
                yield pending.pop(0).result()
        finally:
            for future in pending:
                future.cancel()
