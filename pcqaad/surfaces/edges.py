"""Edges, normals and vertices of triangles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def edges_of(triangles: Integers) -> tuple[Integers, Integers, Integers]:
    """Return the edges (e, 2) of triangles (t, 3), how many triangles each has, and the edges (t, 3) facing corners."""
    pairs = np.sort(triangles[:, [[1, 2], [2, 0], [0, 1]]].reshape(-1, 2), axis=1)
    width = int(pairs.max(initial=0)) + 1
    keys, of, counts = np.unique(pairs[:, 0] * width + pairs[:, 1], return_inverse=True, return_counts=True)
    return np.stack([keys // width, keys % width], axis=1), counts.astype(np.int64), of.reshape(-1, 3).astype(np.int64)


def normals_of(vertices: Floats, triangles: Integers) -> Floats:
    """Return the normals (t, 3) of triangles, as long as twice their areas."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    return np.cross(b - a, c - a)


def compact(vertices: Floats, triangles: Integers) -> tuple[Floats, Integers]:
    """Return the vertices that have a triangle, in their order, and the triangles of their new numbers."""
    kept, numbers = np.unique(triangles, return_inverse=True)
    return vertices[kept], numbers.reshape(-1, 3).astype(np.int64)
