"""Polygons of meshes to triangles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.errors import FormatError

Triangles = NDArray[np.int64]
MAX_CORNERS = 64  # of a face, where all faces of a file are read at once


def triangulate(polygons: NDArray[Any] | Sequence[NDArray[Any]], vertices: int, where: str) -> Triangles:
    """Return the triangles (t, 3) that fans of polygons make: (a, b, c, d) gives (a, b, c) and (a, c, d).

    Args:
        polygons: (f, n), or one array each, of different lengths; two corners or fewer make no face.
        vertices: their number.
        where: the place in the file, for messages.

    Raises `FormatError` where a corner is none of the vertices, or there are no triangles.
    """
    if isinstance(polygons, np.ndarray) and polygons.ndim == 2:
        groups = [polygons]
    else:
        lengths = np.array([len(p) for p in polygons], np.int64)
        groups = [np.stack([polygons[i] for i in np.flatnonzero(lengths == n).tolist()]) for n in np.unique(lengths)]
    fans = [np.stack([g[:, 0], g[:, i], g[:, i + 1]], axis=1) for g in groups for i in range(1, g.shape[1] - 1)]
    triangles = np.concatenate(fans) if fans else np.zeros((0, 3), np.int64)
    if len(triangles) == 0:
        raise FormatError("expected faces to draw points from, found none", where=where)
    # Before the cast: a corner of floating point may be NaN.
    outside = triangles[~((triangles >= 0) & (triangles < vertices))]
    if len(outside):
        problem = f"expected corners among the vertices 0 to {vertices - 1}, found {outside[0]}"
        raise FormatError(f"{problem} ({len(outside)} such corners)", where=where)
    return triangles.astype(np.int64)
