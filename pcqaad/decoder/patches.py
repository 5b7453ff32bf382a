"""How a template (M, 3) is stored: patch after patch, of sizes that differ by one at most."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def patch_sizes(points: int, patches: int) -> NDArray[np.int64]:
    """Return how many of M points each of K patches holds (K,): the first `points % patches` hold one more."""
    sizes = np.full(patches, points // patches, np.int64)
    sizes[: points % patches] += 1
    return sizes


def blocks(sizes: NDArray[np.int64], most: int) -> Iterator[tuple[int, slice]]:
    """Cut the template into blocks of at most `most` points of one patch: yields the patch and its rows."""
    for patch, (size, end) in enumerate(zip(sizes.tolist(), np.cumsum(sizes).tolist(), strict=True)):
        for low in range(end - size, end, most):
            yield patch, slice(low, min(low + most, end))


def even_share(sizes: NDArray[np.int64], count: int) -> int:
    """Return how many points of each patch, of `sizes` (K,), make about `count`: at least 1, at most the smallest's."""
    return min(max(count // len(sizes), 1), int(sizes.min()))


def draw_points(rng: np.random.Generator, sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Draw about `count` random points, an equal number of each patch, of `sizes` (K,); returns their rows (K, S)."""
    starts, each = np.cumsum(sizes) - sizes, even_share(sizes, count)
    return np.stack([s + rng.choice(n, each, replace=False) for s, n in zip(starts, sizes, strict=True)])


def padded_patches(points: int, patches: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the rows (K, S) of each patch in the template, and which are not padding.

    A patch that is smaller than the first repeats its last row.
    """
    sizes = patch_sizes(points, patches)
    column = np.arange(sizes[0])
    start = np.cumsum(sizes) - sizes
    return start[:, None] + np.minimum(column, sizes[:, None] - 1), column < sizes[:, None]
