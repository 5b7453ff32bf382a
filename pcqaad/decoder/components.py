"""The linear part in integers: displacement components of the template, and what a cloud makes of them (SPEC.md, 7.7).

A file holds the components as fields over the template's grid points. They decode to whole units of decoded
coordinates, a cloud's coefficients are rounded to 2^-16, and the sums of their products are exact in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pcqaad.decoder.architecture import Array
from pcqaad.decoder.step_sizes import CODES, StepSize, step_size_values
from pcqaad.formats.coding.fields import FRACTION_BITS, Cells, Rounded, decode_fields, round_fields

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

COMPONENT_SCALE = 20  # of components, as of decoded coordinates, in which they are whole numbers
COEFFICIENT_SCALE = 16  # of coefficients
LARGEST_COEFFICIENT = 2**26  # units of COEFFICIENT_SCALE; clipped there
# Sums over all components of the sizes of one coordinate lie below: so times coefficients they stay below 2^53.
LARGEST_REACH = 2**27 - 1
# The first code of a step size that components may not have: it is 8 or more, wider than any normalised cloud.
STEP_SIZE_CODES = StepSize(8, 1).code
assert STEP_SIZE_CODES < CODES


@dataclass(frozen=True)
class Components:
    """The components of a file."""

    step_sizes: tuple[StepSize, ...]  # (C,) of each, C at least 1
    values: Ints  # (M, C, 3) what they decode to, in 2**-COMPONENT_SCALE
    source: bytes | Rounded = field(compare=False, repr=False)  # the bytes, or what makes them

    @classmethod
    def encode(cls, components: Array, step_sizes: Sequence[StepSize], cells: Cells) -> Components:
        """Code components (M, C, 3), normalised, over the cells of the template's grid points (M, 3).

        Raises ValueError for components that are not finite, or of too many steps.
        """
        rounded = round_fields(_steps(components, step_sizes), cells)
        return cls(tuple(step_sizes), _values(rounded.decoded.copy(), step_sizes), rounded)

    @classmethod
    def decode(
        cls, coded: bytes, step_sizes: Sequence[StepSize], grid: npt.NDArray[np.integer], bits: int
    ) -> Components:
        """Read components over the grid points (M, 3) of the template; raises FormatError."""
        decoded = decode_fields(coded, grid, bits, 3 * len(step_sizes))
        return cls(tuple(step_sizes), _values(decoded, step_sizes), coded)

    @cached_property
    def coded(self) -> bytes:
        """The fields, as the file holds them: made when first asked for, as few of those that are judged are kept."""
        return self.source if isinstance(self.source, bytes) else self.source.code()

    def bits(self) -> Floats:
        """Return about how many bits the first components take (C,), of one on its own to all: quicker than coding."""
        if isinstance(self.source, bytes):
            raise ValueError("expected components that were rounded here, found read ones")
        return self.source.bits(together=3)

    def estimated(self) -> Components:
        """Return the same with zeros for bytes, about as many as there will be: enough to know a file's size by."""
        return replace(self, source=bytes(int(self.bits()[-1] / 8)))

    @property
    def reach(self) -> int:
        """The largest sum over all components of the sizes of one coordinate."""
        largest = int(np.abs(self.values).max())
        # Sums of larger numbers may leave 64 bits.
        return largest if largest > LARGEST_REACH else int(np.abs(self.values).sum(1).max())

    @property
    def displacement_bound(self) -> int:
        """A bound of what clouds add to a coordinate, in 2**-COMPONENT_SCALE."""
        return self.reach * (LARGEST_COEFFICIENT >> COEFFICIENT_SCALE) + 1

    def dequantise(self) -> Array:
        """Return the components (M, C, 3) as numbers, in float32."""
        return np.ldexp(self.values.astype(np.float64), -COMPONENT_SCALE).astype(np.float32)

    def matrix(self) -> Floats:
        """Return the matrix (C, 3 M) whose product with coefficients (..., C) is what clouds add to coordinates.

        The product is in 2**-COMPONENT_SCALE. To round it, add 1/2 and round down.
        """
        flat = self.values.transpose(1, 0, 2).reshape(self.values.shape[1], -1)
        return np.ldexp(flat.astype(np.float64), -COEFFICIENT_SCALE)


def _steps(components: Array, step_sizes: Sequence[StepSize]) -> Floats:
    """Return components (M, C, 3) as fields (M, 3 C), in their steps."""
    steps: Floats = components / step_size_values(step_sizes)[:, None]
    return steps.reshape(len(components), -1)


def _values(decoded: Ints, step_sizes: Sequence[StepSize]) -> Ints:
    """Return fields (M, 3 C), in parts of their steps, as components (M, C, 3) in 2**-COMPONENT_SCALE."""
    values = decoded.reshape(len(decoded), len(step_sizes), 3)
    for component, (mantissa, exponent) in enumerate(step_sizes):
        own = values[:, component] * mantissa
        shift = exponent - FRACTION_BITS + COMPONENT_SCALE
        values[:, component] = own << shift if shift >= 0 else (own + (1 << (-shift - 1))) >> -shift
    return values
