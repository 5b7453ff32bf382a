"""How a template is stored: patch after patch, of equal sizes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def patch_sizes(points: int, patches: int) -> NDArray[np.int64]:
    """How many of `points` each patch holds: equal, the first `points % patches` one more."""
    sizes = np.full(patches, points // patches, np.int64)
    sizes[: points % patches] += 1
    return sizes


def draw_points(rng: np.random.Generator, sizes: NDArray[np.int64], each: int) -> NDArray[np.int64]:
    """Draw, of a cloud stored patch after patch of `sizes` (K,), the rows (K, each) of random points of every patch."""
    starts = np.cumsum(sizes) - sizes
    return np.stack([s + rng.choice(n, each, replace=False) for s, n in zip(starts, sizes, strict=True)])


def padded_patches(points: int, patches: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the rows (K, S) of each patch of a cloud stored patch after patch, and which are not padding.

    Sizes differ by one at most; a smaller patch repeats its last row.
    """
    sizes = patch_sizes(points, patches)
    column = np.arange(sizes[0])
    start = np.cumsum(sizes) - sizes
    return start[:, None] + np.minimum(column, sizes[:, None] - 1), column < sizes[:, None]
