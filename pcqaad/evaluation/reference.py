"""What a decoded cloud is compared with: its original's points, and their mesh where it is known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcqaad.points.collect import Points
from pcqaad.points.surface import Mesh


class Reference(NamedTuple):
    """An original.

    Attributes:
        points: (M, 3), drawn and subsampled as they were for the fit.
        diagonal: of the bounding box of all its points, data units.
        mesh: that it is of, where its faces were read.
        rows: (M,) which vertices of the mesh the points are; None where they were drawn from its faces.
    """

    points: Points
    diagonal: float = 0.0
    mesh: Mesh | None = None
    rows: NDArray[np.int64] | None = None
