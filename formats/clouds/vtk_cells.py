"""Cells of VTK's files to polygons."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.clouds.shape import Polygons
from pcqaad.formats.errors import FormatError


def check_offsets(offsets: NDArray[Any], corners: int, where: str) -> NDArray[np.int64]:
    """Return the sizes of cells (f,) that begin at these offsets (f + 1,); raises `FormatError` unless they tile."""
    starts = offsets.astype(np.int64)
    if len(starts) == 0:
        if corners:
            raise FormatError(f"expected offsets of {corners} corners, found none", where=where)
        return starts
    sizes = np.diff(starts)
    if starts[0] != 0 or starts[-1] != corners or (sizes < 0).any():
        raise FormatError(f"expected offsets that rise from 0 to {corners}, found others", where=where)
    return sizes


def cells_to_polygons(
    polygons: Polygons | None, strips: Polygons | None, points: int, where: str
) -> tuple[Polygons | None, list[str]]:
    """Return polygons and, behind them, the triangles of strips, and notes; None where there are neither.

    Raises `FormatError` where a corner is none of the points.
    """
    parts = []
    if polygons is not None and len(polygons.sizes):
        parts.append(Polygons.checked(*polygons, points, where))
    if strips is not None and len(strips.sizes):
        parts.append(_strips_cut(Polygons.checked(*strips, points, "triangle strips")))
    if not parts:
        return None, []
    notes = ["triangle strips cut into triangles"] if strips is not None and len(strips.sizes) else []
    return Polygons(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True))), notes


def _strips_cut(strips: Polygons) -> Polygons:
    """Return the triangles of strips: corners i, i + 1, i + 2 of each, every second one turned."""
    counts = np.maximum(strips.sizes - 2, 0)
    starts = np.cumsum(strips.sizes) - strips.sizes
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)  # of each triangle in its strip
    first = np.repeat(starts, counts) + number
    turned = number % 2
    return Polygons.of_triangles(strips.corners[np.stack([first + turned, first + 1 - turned, first + 2], axis=1)])
