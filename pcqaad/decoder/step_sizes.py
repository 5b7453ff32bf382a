"""Step sizes of four significant bits: sums of integers times such steps are exact (SPEC.md, section 7.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_LOWEST_EXPONENT = -64
_HIGHEST_EXPONENT = 63
_MANTISSAS = 8  # 8 to 15
CODES = (_HIGHEST_EXPONENT - _LOWEST_EXPONENT + 1) * _MANTISSAS


class StepSize(NamedTuple):
    """The number mantissa * 2**exponent, 8 <= mantissa <= 15 and -64 <= exponent <= 63."""

    mantissa: int
    exponent: int

    @classmethod
    def nearest(cls, value: float) -> StepSize:
        """Return the step size nearest to a positive number: at most 1/17 of it away, within the range of codes."""
        fraction, exponent = math.frexp(value)  # 0.5 <= fraction < 1
        # A mantissa of 16 is the code behind that of 15: 8, and the next exponent.
        code = cls(round(16 * fraction), exponent - 4).code
        return cls.of(min(max(code, 0), CODES - 1))

    @classmethod
    def of(cls, code: int) -> StepSize:
        """Return the step size that a file's code stands for, 0 <= code < CODES."""
        return cls(8 + code % _MANTISSAS, code // _MANTISSAS + _LOWEST_EXPONENT)

    @property
    def code(self) -> int:
        """The code that a file holds."""
        return (self.exponent - _LOWEST_EXPONENT) * _MANTISSAS + self.mantissa - 8

    @property
    def value(self) -> float:
        """The step size as a number; exact."""
        return math.ldexp(self.mantissa, self.exponent)

    def doubled(self) -> StepSize:
        """Return the step size that is twice as coarse."""
        return StepSize.nearest(2 * self.value)


def step_size_values(step_sizes: Sequence[StepSize]) -> NDArray[np.float64]:
    """Return step sizes as numbers (n,); exact."""
    return np.array([step_size.value for step_size in step_sizes])


def in_common(step_sizes: Sequence[StepSize]) -> tuple[list[int], int]:
    """Return integers f and the least exponent `low`: the step sizes are f * 2**low."""
    low = min(step_size.exponent for step_size in step_sizes)
    return [step_size.mantissa << (step_size.exponent - low) for step_size in step_sizes], low


def round_shift(value: int, shift: int) -> int:
    """Return value * 2**shift rounded to the nearest integer, halves upwards."""
    if shift >= 0:
        return value << shift
    return ((value >> (-shift - 1)) + 1) >> 1
