"""Linear assignment inside one cell: the small interface behind which solvers can be exchanged."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

Points = NDArray[np.floating]

# How far above the optimum the default solver may stay. What it returns lies far nearer to it.
TOLERANCE = 1e-3
# Up to this many points SciPy is done before an auction is set up.
_SMALL = 64


class Solver(Protocol):
    """What a cell's solver is: a bijection of least summed |a[i] - b[columns[i]]| ** power."""

    def __call__(self, a: Points, b: Points, power: int) -> NDArray[np.intp]:
        """Return the columns (n,) assigned to the rows of `a` (n, 3) among `b` (n, 3), a permutation."""


def exact(a: Points, b: Points, power: int) -> NDArray[np.intp]:
    """Solve by shortest augmenting paths (SciPy), exact in float64. power: 1 for distances, 2 for squares."""
    return _scipy(_cost(a, b, power))


def certified(a: Points, b: Points, power: int) -> NDArray[np.intp]:
    """Solve by auction, proven to be within 0.1 % of the optimum; exactly where it is small or ill-scaled."""
    cost = _cost(a, b, power)
    if len(a) <= _SMALL:
        return _scipy(cost)
    # Here, not above: numba takes a second to load, and decoding comes by this module too.
    from pcqaad.matching.auction import assign

    columns = assign(cost, TOLERANCE)
    return _scipy(cost) if columns is None else columns


def _cost(a: Points, b: Points, power: int) -> NDArray[np.float64]:
    metric = "sqeuclidean" if power == 2 else "euclidean"
    return cdist(a.astype(np.float64), b.astype(np.float64), metric)  # type: ignore[no-any-return]


def _scipy(cost: NDArray[np.float64]) -> NDArray[np.intp]:
    columns: NDArray[np.intp] = linear_sum_assignment(cost)[1]
    return columns
