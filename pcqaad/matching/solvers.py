"""Linear assignment inside one cell: the small interface behind which solvers can be exchanged."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

Points = NDArray[np.floating]


class Solver(Protocol):
    """What a cell's solver is: a bijection of least summed |a[i] - b[columns[i]]| ** power."""

    def __call__(self, a: Points, b: Points, power: int) -> NDArray[np.intp]:
        """Return the columns (n,) assigned to the rows of `a` (n, 3) among `b` (n, 3), a permutation."""


def exact(a: Points, b: Points, power: int) -> NDArray[np.intp]:
    """Solve by shortest augmenting paths (SciPy), exact in float64. power: 1 for distances, 2 for squares."""
    cost = cdist(a.astype(np.float64), b.astype(np.float64), "sqeuclidean" if power == 2 else "euclidean")
    columns: NDArray[np.intp] = linear_sum_assignment(cost)[1]
    return columns
