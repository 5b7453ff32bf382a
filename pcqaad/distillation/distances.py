"""The distances to nearest neighbours that losses are compared on: how likely each is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcqaad.errors import CloudError, SettingsError

Array = NDArray[np.float64]

# Distances that a distribution is given by, evenly spaced from 0 on.
COUNT = 1001

_SIGMAS = (1e-6, 4.0)
_CUTS = (0.1, 100.0)


class Distances(NamedTuple):
    """A distribution of distances, in normalised coordinates.

    Attributes:
        d: (n,) distances, evenly spaced from 0 on.
        p: (n,) how likely each is; they sum to 1.
    """

    d: Array
    p: Array

    @property
    def density(self) -> Array:
        """How likely they are by unit of length, (n,)."""
        by_length: Array = self.p / self.d[1]
        return by_length

    @property
    def mean(self) -> float:
        """Their mean."""
        return float(self.p @ self.d)


def half_normal(sigma: float = 0.5, cut: float = 4.0) -> Distances:
    """Return the distribution of the size of a normal variable, up to `cut` standard deviations.

    With 0.5, a mean distance of 0.4, what the published search seems to have looked at (Lin et al., Figure 2a).
    Raises SettingsError where `sigma` is no distance of normalised clouds, whose diagonal is 4, or `cut` leaves next to
    none of the variable or a range it never comes near the end of.
    """
    for name, value, (low, high) in (("sigma", sigma, _SIGMAS), ("cut", cut, _CUTS)):
        if not low <= value <= high:
            raise SettingsError(f"{name} is {value:g}, expected {low:g} to {high:g}")
    d = np.linspace(0, cut * sigma, COUNT)
    p = np.exp(-np.square(d / sigma) / 2)
    return Distances(d, p / p.sum())


def of_samples(distances: NDArray[np.floating]) -> Distances:
    """Return how distances (n,) that were seen are distributed, each of them moved to the nearest of a grid.

    Raises CloudError where they are all 0: all losses agree on these.
    """
    largest = float(distances.max())
    if not largest > 0:
        raise CloudError("expected clouds that differ from their decoded ones, found no distance but 0")
    steps = np.rint(distances / largest * (COUNT - 1)).astype(np.int64)
    return Distances(np.linspace(0, largest, COUNT), np.bincount(steps, minlength=COUNT) / len(distances))
