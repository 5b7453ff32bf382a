"""OBJ files of meshes, written as text: a line `v x y z` for each vertex, then `f a b c ...` for each face."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from pcqaad.formats.clouds.rows import form, write_rows
from pcqaad.formats.clouds.shape import Shape


def write_obj(stream: BinaryIO, shape: Shape) -> None:
    """Write a shape, whose `colour` follows the coordinates as numbers from 0 to 1. No other attribute has a place.

    The file counts vertices from 1, as the format has it.
    """
    stream.write(b"# decoded by pcqaad\n")
    rows, line = shape.points, "v" + f" {form(shape.points.dtype)}" * 3
    if "colour" in shape.attributes:
        colour = shape.attributes["colour"]
        most = np.iinfo(colour.dtype).max if colour.dtype.kind in "iu" else 1
        rows, line = np.column_stack([rows, colour / most]), line + " %.6g" * 3
    write_rows(stream, line + "\n", rows)
    if shape.polygons is not None:
        for size, faces in shape.polygons.runs():
            write_rows(stream, "f" + " %d" * size + "\n", faces + 1)
