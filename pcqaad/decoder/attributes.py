"""Attributes of points: from decoded integers to colours, scalars and labels in their own types (SPEC.md, 7.11).

Values lie over the default points of the template. They are integers up to two roundings in double precision, which
every machine makes alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.integer_model import IntegerModel
from pcqaad.decoder.surface import WEIGHT_BITS, Draw
from pcqaad.formats.coding.fields import FRACTION_BITS
from pcqaad.formats.coding.point_sets import MAX_BITS, interleave

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# By their numbers in a file.
TYPES = tuple(np.dtype(name) for name in ("u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8"))
MAX_ATTRIBUTES, MAX_CHANNELS, MAX_COMPONENTS = 64, 4, 64
MAX_NAME = 255  # bytes
MIN_FINER, MAX_FINER = -32, 24  # binary digits by which a mean's steps are finer
COEFFICIENT_BITS = 6
LARGEST_COEFFICIENT = 2**16  # of a component, in 2**-COEFFICIENT_BITS
LARGEST_NUMBER = 2.0**900  # of an offset or unit; and the least unit is its inverse
_LARGEST_BASE = 1 << 40  # what mean and components foretell, in 2**-FRACTION_BITS; clipped there
# Points before and behind a place, in the order of the cells, among which the nearest is sought.
_BESIDE = 8
_LUMA = (0.2126, 0.7152, 0.0722)  # of red, green and blue (ITU-R BT.709)
_BLUE, _RED = 1.8556, 1.5748  # of the differences of blue and of red


class Coding(IntEnum):
    """How an attribute's values are coded."""

    SMOOTH = 0  # rounded to steps of a transform
    EXACT = 1  # whole numbers of steps
    LABELS = 2
    COLOURS = 3  # as SMOOTH, in luma and chroma


@dataclass(frozen=True)
class Attribute:
    """An attribute of every point, as a file describes it."""

    name: str
    type: np.dtype[Any]
    channels: int
    coding: Coding
    offsets: tuple[float, ...] = ()  # (channels,) the value of number 0
    units: tuple[float, ...] = ()  # (channels,) of one step
    finer: int = 0  # binary digits by which steps of the mean and of components are finer
    components: int = 0

    @property
    def kind(self) -> str:
        """What it is: "colour", "scalar" or "label"."""
        return {Coding.COLOURS: "colour", Coding.LABELS: "label"}.get(self.coding, "scalar")

    @property
    def of_cloud_bits(self) -> int:
        """The binary digits behind the point of the numbers that `values` takes."""
        return 0 if self.coding is Coding.EXACT else FRACTION_BITS

    def values(self, numbers: Ints) -> NDArray[Any]:
        """Return the values (M, channels), in the attribute's type, of decoded numbers (M, channels)."""
        if self.coding is Coding.LABELS:
            return as_type(numbers, self.type)
        units = np.ldexp(np.array(self.units), -self.of_cloud_bits)
        exact: Floats = numbers.astype(np.float64) * units + np.array(self.offsets)
        return as_type(of_luma(exact) if self.coding is Coding.COLOURS else exact, self.type)


def fit_name(name: str) -> bool:
    """Say whether a file can hold an attribute of this name."""
    return 0 < len(name.encode()) <= MAX_NAME and not any(c < " " or c == "\x7f" for c in name)


def as_type(values: NDArray[Any], to: np.dtype[Any]) -> NDArray[Any]:
    """Return values in a type: the nearest that it has, and of halves the upper one where it has whole numbers."""
    if to.kind == "f":
        largest = float(np.finfo(to).max)
        return values.clip(-largest, largest).astype(to)
    limits = np.iinfo(to)
    return np.floor(values + 0.5 if values.dtype.kind == "f" else values).clip(limits.min, limits.max).astype(to)


def to_luma(colours: NDArray[Any]) -> Floats:
    """Return luma and the differences of blue and red (..., 3) of red, green and blue (..., 3)."""
    red, green, blue = np.moveaxis(colours.astype(np.float64), -1, 0)
    luma = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    return np.stack([luma, (blue - luma) / _BLUE, (red - luma) / _RED], -1)


def of_luma(values: Floats) -> Floats:
    """Return red, green and blue (..., 3) of luma and the differences of blue and red (..., 3)."""
    luma, of_blue, of_red = np.moveaxis(values, -1, 0)
    red, blue = luma + _RED * of_red, luma + _BLUE * of_blue
    green = (luma - _LUMA[0] * red - _LUMA[2] * blue) / _LUMA[1]
    return np.stack([red, green, blue], -1)


def base_of(mean: Ints, components: Ints, coefficients: Ints, finer: int) -> Ints:
    """Return what is foretold of a cloud's numbers (M, C), in 2**-FRACTION_BITS steps.

    Mean (M, C) and components (K, M, C) have steps that are finer by so many binary digits; `coefficients` (K,) count
    in 2**-COEFFICIENT_BITS.
    """
    total = mean << COEFFICIENT_BITS
    for component, coefficient in zip(components, coefficients, strict=True):
        total += component * coefficient
    shift = finer + COEFFICIENT_BITS
    if shift < 0:
        # Clipped first, so as to stay within 64 bits.
        base: Ints = total.clip(-(_LARGEST_BASE >> -shift), _LARGEST_BASE >> -shift) << -shift
    else:
        base = ((total + (1 << shift >> 1)) >> shift).clip(-_LARGEST_BASE, _LARGEST_BASE)
    return base


def whole(base: Ints) -> Ints:
    """Return what is foretold in whole steps."""
    rounded: Ints = (base + (1 << FRACTION_BITS >> 1)) >> FRACTION_BITS
    return rounded


def places(model: IntegerModel, draw: Draw | None = None) -> tuple[Ints, int]:
    """Return where the template's default points lie (M, 3), or those of a draw, and the bits of a coordinate.

    The points of a surface lie between its vertices, on a grid of the most bits.
    """
    grid: Ints = model.grid.astype(np.int64)
    draw = model.draw if draw is None else draw
    if draw is None:
        return grid, model.bits
    shift = WEIGHT_BITS - (MAX_BITS - model.bits)
    total = np.full(draw.corners.shape, 1 << shift >> 1, np.int64)
    for corner, weight in zip(draw.corners.T, draw.weights.T, strict=True):
        total += weight[:, None] * grid[corner]
    total >>= shift
    return total, MAX_BITS


def nearest_of(points: Ints, others: Ints, bits: int) -> Ints:
    """Return which of some points (M, 3) is near to each of other places (n, 3).

    It is the nearest of a few in the order of the cells, and of those with the same distance the first.
    """
    keys = interleave(points, bits)
    order = np.argsort(keys, kind="stable")
    at = np.searchsorted(keys[order], interleave(others, bits))
    best = np.full(len(others), np.iinfo(np.int64).max)
    found = np.zeros(len(others), np.int64)
    for step in range(-_BESIDE, _BESIDE):
        row = at + step
        here = order[row.clip(0, len(points) - 1)]
        apart = np.square(points[here] - others).sum(1)
        nearer = (row >= 0) & (row < len(points)) & (apart < best)
        best[nearer], found[nearer] = apart[nearer], here[nearer]
    return found
