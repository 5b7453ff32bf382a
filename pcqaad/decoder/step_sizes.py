"""Quantisation steps of four significant bits: sums of integers times such steps are exact (SPEC.md, section 7.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_LOWEST, _HIGHEST = -64, 63
CODES = (_HIGHEST - _LOWEST + 1) * 8


class StepSize(NamedTuple):
    """The number mantissa * 2**exponent, 8 <= mantissa <= 15 and -64 <= exponent <= 63."""

    mantissa: int
    exponent: int

    @classmethod
    def nearest(cls, value: float) -> StepSize:
        """Return the step nearest to a positive number: at most 1/17 of it away, within the range of steps."""
        fraction, exponent = math.frexp(value)  # 0.5 <= fraction < 1
        mantissa, exponent = round(16 * fraction), exponent - 4
        if mantissa == 16:
            mantissa, exponent = 8, exponent + 1
        if exponent < _LOWEST:
            return cls(8, _LOWEST)
        return cls(15, _HIGHEST) if exponent > _HIGHEST else cls(mantissa, exponent)

    @classmethod
    def of(cls, code: int) -> StepSize:
        """Return the step that a code, 0 <= code < CODES, stands for in a file."""
        return cls(8 + code % 8, code // 8 + _LOWEST)

    @property
    def code(self) -> int:
        """The step as a file holds it."""
        return (self.exponent - _LOWEST) * 8 + self.mantissa - 8

    @property
    def value(self) -> float:
        """The step as a number; exact."""
        return math.ldexp(self.mantissa, self.exponent)

    def doubled(self) -> StepSize:
        """Return the step twice as coarse."""
        return StepSize.nearest(2 * self.value)


def step_size_values(steps: Sequence[StepSize]) -> NDArray[np.float64]:
    """Return steps as numbers (n,); exact."""
    return np.array([step.value for step in steps])


def in_common(steps: Sequence[StepSize]) -> tuple[list[int], int]:
    """Return integers `f` and the exponent `low` such that the steps are f * 2**low, and no `f` needs to be larger."""
    low = min(step.exponent for step in steps)
    return [step.mantissa << (step.exponent - low) for step in steps], low


def round_shift(value: int, shift: int) -> int:
    """Return value * 2**shift rounded to the nearest integer, halves upwards."""
    if shift >= 0:
        return value << shift
    return ((value >> (-shift - 1)) + 1) >> 1
