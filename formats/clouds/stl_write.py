"""STL files of triangles, written binary: each with its three corners and its normal."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from pcqaad.formats.clouds.shape import Shape
from pcqaad.formats.errors import FormatError

TRIANGLE = np.dtype([("normal", "<f4", (3,)), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
HEADER = 80  # bytes, which must not begin with `solid`


def write_stl(stream: BinaryIO, shape: Shape) -> None:
    """Write a shape's faces as triangles; vertices of no face have no place, nor has any attribute.

    Raises `FormatError` for a shape without faces.
    """
    triangles = None if shape.polygons is None else shape.polygons.triangles()
    if triangles is None or not len(triangles):
        raise FormatError("expected faces, which are all that STL holds, found points alone")
    rows = np.zeros(len(triangles), TRIANGLE)
    rows["corners"] = corners = np.asarray(shape.points, np.float32)[triangles]
    a, b, c = corners.astype(np.float64).transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    rows["normal"] = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
    stream.write(b"decoded by pcqaad".ljust(HEADER))
    stream.write(np.array(len(rows), "<u4").tobytes())
    stream.write(rows.tobytes())
