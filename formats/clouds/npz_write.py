"""NPZ files of one shape: the arrays `points`, `faces` and one for each attribute."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.clouds.shape import Shape


def write_npz(stream: BinaryIO, shape: Shape) -> None:
    """Write a shape. Faces of different numbers of corners are two arrays, `face_sizes` and `face_corners`."""
    arrays: dict[str, NDArray[Any]] = {"points": shape.points}
    if shape.polygons is not None:
        sizes, corners = shape.polygons
        if len(sizes) and (sizes == sizes[0]).all():
            arrays["faces"] = corners.reshape(len(sizes), -1)
        else:
            arrays |= {"face_sizes": sizes, "face_corners": corners}
    for name, values in shape.attributes.items():
        # A name may be that of one of the arrays above, and numpy takes `file` for itself.
        called = name.replace("/", "_").replace("\0", "_")
        while called in arrays or called == "file":
            called += "_"
        arrays[called] = values
    np.savez_compressed(stream, allow_pickle=False, **arrays)
