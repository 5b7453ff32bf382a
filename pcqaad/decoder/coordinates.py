"""From decoded integers to coordinates in the data's unit, and the same float32 on every machine."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.integer_model import POINT_SCALE, Ints

LARGEST_CENTRE = 2**52  # units
# The exponents a unit may have: any product of it is a normal number of double precision.
UNIT_EXPONENTS = -400, 128
LARGEST_COORDINATE = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Denormalisation:
    """A coordinate is (centre + decoded integer) * unit: one product, rounded to float32."""

    centre: tuple[int, int, int]  # units, at most 2**52 in size
    unit: float  # of decoded integers, in the data's unit; of 24 significant bits

    @classmethod
    def of(cls, centre: NDArray[np.float64], scale: float) -> Denormalisation:
        """Return the denormalisation that undoes (x - centre) / scale best."""
        unit = math.ldexp(scale, -POINT_SCALE)
        # A centre beyond its bound lies so far off that float32 cannot tell points apart: a larger unit loses nothing.
        unit = max(unit, float(np.abs(centre).max()) / (LARGEST_CENTRE // 2))
        fraction, exponent = math.frexp(unit)
        low, high = UNIT_EXPONENTS
        exponent = min(max(exponent, low + 1), high)
        unit = math.ldexp(round(fraction * 2**24), exponent - 24)
        x, y, z = (min(max(round(float(c) / unit), -LARGEST_CENTRE), LARGEST_CENTRE) for c in centre)
        return cls((x, y, z), unit)

    def points(self, decoded: Ints) -> NDArray[np.float32]:
        """Return points (..., 3) in the data's unit, clipped to the numbers that float32 holds."""
        exact = (decoded + np.array(self.centre, np.int64)).astype(np.float64)
        exact *= self.unit
        return exact.clip(-LARGEST_COORDINATE, LARGEST_COORDINATE, out=exact).astype(np.float32)

    @property
    def centre_and_scale(self) -> tuple[list[float], float]:
        """Centre and scale in the data's unit: points = centre + scale * normalised."""
        return [c * self.unit for c in self.centre], math.ldexp(self.unit, POINT_SCALE)
