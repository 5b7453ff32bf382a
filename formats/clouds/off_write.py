"""OFF files of meshes, written as text: vertices, behind each its colour where there are some, and faces."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from pcqaad.formats.clouds.rows import write_columns, write_rows
from pcqaad.formats.clouds.shape import Polygons, Shape


def write_off(stream: BinaryIO, shape: Shape) -> None:
    """Write a shape; its `colour`, if of bytes, makes it a COFF file. No other attribute has a place."""
    faces = shape.polygons or Polygons.of_triangles(np.zeros((0, 3), np.int64))
    columns, kind = list(shape.points.T), "OFF"
    colour = shape.attributes.get("colour")
    if colour is not None and colour.dtype == np.uint8:
        kind = "COFF"
        columns += [*colour.T, np.full(len(colour), 255)]  # the last for opaque
    stream.write(f"{kind}\n# decoded by pcqaad\n{len(shape.points)} {len(faces.sizes)} 0\n".encode("ascii"))
    write_columns(stream, columns, " ")
    for size, corners in faces.runs():
        write_rows(stream, f"{size}" + " %d" * size + "\n", corners)
