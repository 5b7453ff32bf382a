"""Floats to symbols, the whole step sizes that are nearest, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.architecture import Array
from pcqaad.decoder.integer_model import Symbols


def to_symbols(values: Array, step_size: float | np.floating | NDArray[np.floating]) -> Symbols:
    """Return values in whole step sizes, which broadcast against them."""
    symbols: Symbols = np.rint(np.divide(values, step_size, dtype=np.float64)).astype(np.int32)
    return symbols


def rounded(values: Array, step_size: float | np.floating | NDArray[np.floating]) -> Array:
    """Return values rounded to whole step sizes, in float32."""
    return (to_symbols(values, step_size) * step_size).astype(np.float32)
