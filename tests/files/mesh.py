"""The mesh that all files beside this one hold, as far as their formats have a place for it: a roof on four walls."""

from __future__ import annotations

import numpy as np

POINTS = np.array(
    [
        *([0, 0, 0], [2, 0, 0], [2, 1.5, 0], [0, 1.5, 0]),  # the ground
        *([0, 0, 1], [2, 0, 1], [2, 1.5, 1], [0, 1.5, 1]),  # the walls' tops
        *([0, 0.75, 1.625], [2, 0.75, 1.625]),  # the ridge
    ]
)
FACES = [
    *([0, 3, 2, 1], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]),
    *([4, 8, 7], [5, 6, 9], [4, 5, 9, 8], [6, 7, 8, 9]),
]
TRIANGLES = [[face[0], a, b] for face in FACES for a, b in zip(face[1:-1], face[2:], strict=True)]
# Unit vectors whose parts are exact in binary, no normals of this roof.
NORMAL = np.eye(3)[np.arange(10) % 3] * np.where(np.arange(10) % 2, 1.0, -1.0)[:, None]
COLOUR = np.array([[0, 51, 102], [255, 204, 153], [51, 0, 255], [102, 102, 0], [0, 0, 0]] * 2, np.uint8)
LABEL = np.arange(10, dtype=np.int16) % 4
HEIGHT = np.arange(10) / 8
