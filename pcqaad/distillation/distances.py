"""Distributions of the distances to nearest neighbours that losses are compared on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcqaad.errors import CloudError, SettingsError

Array = NDArray[np.float64]

# Distances that a distribution is given by, evenly spaced from 0 on.
_DISTANCES = 1001
# Least and greatest sigma, in coordinates where a cloud's diagonal is 4.
_SIGMAS = (1e-6, 4.0)
# Least and greatest cut, in sigmas.
_CUTS = (0.1, 100.0)


class Distances(NamedTuple):
    """A distribution of distances, in normalised coordinates.

    Attributes:
        d: (n,) distances, evenly spaced from 0 on.
        p: (n,) their probabilities, which sum to 1.
    """

    d: Array
    p: Array

    @property
    def density(self) -> Array:
        """Their probabilities by unit of length, (n,)."""
        density: Array = self.p / self.d[1]
        return density

    @property
    def mean(self) -> float:
        """Their mean."""
        return float(self.p @ self.d)

    @property
    def few(self) -> slice:
        """About a hundred of them, evenly spaced, to show curves by."""
        return slice(None, None, max((len(self.d) - 1) // 100, 1))


def half_normal(sigma: float = 0.5, cut: float = 4.0) -> Distances:
    """Return the distribution of the size of a normal variable, up to `cut` standard deviations.

    The published search seems to have looked at 0.5, a mean distance of 0.4 (Lin et al., Figure 2a). Raises
    SettingsError where `sigma` is no distance of normalised clouds, or where `cut` keeps next to none of the variable
    or is too far out for the grid.
    """
    for name, value, (low, high) in (("sigma", sigma, _SIGMAS), ("cut", cut, _CUTS)):
        if not low <= value <= high:
            raise SettingsError(f"{name} is {value:g}, expected {low:g} to {high:g}")
    d = np.linspace(0, cut * sigma, _DISTANCES)
    p = np.exp(-np.square(d / sigma) / 2)
    return Distances(d, p / p.sum())


def of_samples(distances: NDArray[np.floating]) -> Distances:
    """Return the distribution of measured distances (n,), each of them moved to the nearest of a grid.

    Raises CloudError where all are 0: all losses agree on these.
    """
    largest = float(distances.max())
    if not largest > 0:
        raise CloudError("expected clouds that differ from their decoded ones, found no distance but 0")
    steps = np.rint(distances / largest * (_DISTANCES - 1)).astype(np.int64)
    return Distances(np.linspace(0, largest, _DISTANCES), np.bincount(steps, minlength=_DISTANCES) / len(distances))
