"""Draco at compression level 10, its strongest, each cloud by itself: Google's codec of clouds and meshes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEVEL = 10  # of 0 to 10


def of_points(clouds: Sequence[NDArray[np.float32]], bits: int) -> tuple[list[NDArray[np.float32]], int]:
    """Code the points of clouds, each (n, 3); return them decoded, and the bytes of all."""
    import DracoPy

    coded = [DracoPy.encode(x, quantization_bits=bits, compression_level=LEVEL) for x in clouds]
    return [np.asarray(DracoPy.decode(data).points) for data in coded], sum(map(len, coded))


def of_meshes(
    meshes: Sequence[tuple[NDArray[np.float32], NDArray[np.integer]]], bits: int
) -> tuple[list[NDArray[np.float32]], int]:
    """Code meshes, each of vertices (n, 3) and triangles (t, 3); return the decoded vertices, and the bytes of all."""
    import DracoPy

    coded = [
        DracoPy.encode(x, faces=faces.astype(np.uint32), quantization_bits=bits, compression_level=LEVEL)
        for x, faces in meshes
    ]
    return [np.asarray(DracoPy.decode(data).points) for data in coded], sum(map(len, coded))
