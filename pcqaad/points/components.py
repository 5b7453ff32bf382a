"""The principal components of clouds in correspondence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pcqaad.points.fixed_point import Targets

# Coordinates that are worked on at once, of all clouds together: 128 MB in float64.
COORDINATES_AT_ONCE = 1 << 24
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


def mean_shape(clouds: Targets) -> NDArray[np.float32]:
    """Return the mean (M, 3) of clouds in correspondence."""
    total = np.zeros((clouds.points, 3))
    for cloud in clouds:
        total += cloud
    return (total / len(clouds)).astype(np.float32)
