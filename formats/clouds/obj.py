"""OBJ files of meshes, written as text: a line `v x y z` for each vertex, then `f a b c` for each triangle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.atomic import atomic_path
from pcqaad.formats.clouds.triangulate import Triangles

_ROWS_AT_ONCE = 1 << 16
_DIGITS = 9  # significant ones, by which a float32 comes back as it was


def write_obj(path: str | Path, points: NDArray[np.float32], triangles: Triangles) -> None:
    """Write vertices (v, 3) and triangles (t, 3), which count vertices from 0; raises `FormatError` as `atomic_path`.

    The file counts vertices from 1, as the format has it.
    """
    with atomic_path(Path(path)) as temporary, temporary.open("w", encoding="ascii", newline="\n") as stream:
        stream.write("# decoded by pcqaad\n")
        for line, rows in ((f"v %.{_DIGITS}g %.{_DIGITS}g %.{_DIGITS}g\n", points), ("f %d %d %d\n", triangles + 1)):
            for low in range(0, len(rows), _ROWS_AT_ONCE):
                some = rows[low : low + _ROWS_AT_ONCE]
                stream.write(line * len(some) % tuple(some.reshape(-1).tolist()))
