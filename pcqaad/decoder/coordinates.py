"""From decoded integers to coordinates in the data's unit, and the same float32 on every machine."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.integer_model import POINT_SCALE, Ints

LARGEST_CENTRE = 2**52
# Bounds of the unit's exponent: any product of it is a normal number of double precision.
UNIT_EXPONENTS = -400, 128
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Denormalisation:
    """A coordinate is (centre + decoded integer) * unit, one product, rounded to float32.

    Attributes:
        centre: three integers of at most 2**52 in size.
        unit: data units, of 24 significant bits.
    """

    centre: tuple[int, int, int]
    unit: float

    @classmethod
    def of(cls, centre: NDArray[np.float64], scale: float) -> Denormalisation:
        """Return what undoes the normalisation (x - centre) / scale best."""
        unit = math.ldexp(scale, -POINT_SCALE)
        # So far from the origin, float32 cannot tell the points of a cloud apart: it may as well be larger.
        unit = max(unit, float(np.abs(centre).max()) / (LARGEST_CENTRE // 2))
        fraction, exponent = math.frexp(unit)
        low, high = UNIT_EXPONENTS
        exponent = min(max(exponent, low + 1), high)
        unit = math.ldexp(round(fraction * 2**24), exponent - 24)
        x, y, z = (min(max(round(float(c) / unit), -LARGEST_CENTRE), LARGEST_CENTRE) for c in centre)
        return cls((x, y, z), unit)

    def points(self, decoded: Ints) -> NDArray[np.float32]:
        """Return the points (..., 3) in data units; what float32 cannot hold ends at its largest number."""
        exact = (decoded + np.array(self.centre, np.int64)).astype(np.float64)
        exact *= self.unit
        points: NDArray[np.float32] = np.clip(exact, -_LARGEST, _LARGEST, out=exact).astype(np.float32)
        return points

    @property
    def centre_and_scale(self) -> tuple[list[float], float]:
        """Centre and scale in data units: points = centre + scale * normalised."""
        return [c * self.unit for c in self.centre], math.ldexp(self.unit, POINT_SCALE)
