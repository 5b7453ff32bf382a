"""The principal components of clouds in correspondence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pcqaad.points.fixed_point import Targets

# Coordinates that are worked on at once, of all clouds together: 128 MB in float64.
COORDINATES_AT_ONCE = 1 << 24
# A mean shape has collapsed where its neighbours are nearer than this part of a cloud's.
_COLLAPSED = 0.6
# Points of a cloud that decide.
_POINTS = 2048


def principal_components(clouds: Targets) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Decompose the clouds' coordinates (N, 3 M), less their mean over the clouds.

    Returns left singular vectors (N, N) and singular values (N,), falling. The Gram matrix leads to them, as N is small
    beside 3 M: of at most 2,048 points, evenly spread, as if they were all. Signs are fixed: equal data gives equal
    vectors.
    """
    count = len(clouds)
    gram = np.zeros((count, count))
    rows = np.unique(np.linspace(0, clouds.points - 1, min(clouds.points, _POINTS)).round().astype(np.int64))
    for some in np.array_split(rows, -(-3 * count * len(rows) // COORDINATES_AT_ONCE)):
        part = clouds.gather(np.arange(count), some).reshape(count, -1).astype(np.float64)
        part -= part.mean(0)
        gram += part @ part.T
    values, vectors = decomposed(gram * (clouds.points / len(rows)))
    return vectors, np.sqrt(values)


def decomposed(gram: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the eigenvalues (N,) of a Gram matrix (N, N), falling, and its eigenvectors (N, N), their signs fixed."""
    values, vectors = np.linalg.eigh(gram)
    vectors = vectors[:, ::-1]
    vectors *= np.where(vectors[np.abs(vectors).argmax(0), np.arange(len(gram))] < 0, -1, 1)
    return np.maximum(values[::-1], 0), vectors


def has_collapsed(mean: NDArray[np.floating], cloud: NDArray[np.floating]) -> bool:
    """Return whether a mean shape (M, 3) is no shape any more, beside a cloud (M, 3) whose order follows the shape.

    Where bodies turn far, the means of their points come together.
    """
    return _stride(mean) < _COLLAPSED * _stride(cloud)


def _stride(points: NDArray[np.floating]) -> float:
    """Return the median distance of points (M, 3) to the next ones of an order in which these are near."""
    return float(np.median(np.linalg.norm(np.diff(points, axis=0), axis=1))) if len(points) > 1 else 0.0


def mean_shape(clouds: Targets) -> NDArray[np.float32]:
    """Return the mean (M, 3) of clouds in correspondence."""
    total = np.zeros((clouds.points, 3))
    for cloud in clouds:
        total += cloud
    return (total / len(clouds)).astype(np.float32)
