"""SELU and its derivative in one pass each, as loops that numba turns into vector instructions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pcqaad.compiled.jit import kept
from pcqaad.decoder.architecture import SELU_ALPHA, SELU_LAMBDA

Floats = NDArray[np.float32]

_ONE = np.float32(1)
_ZERO = np.float32(0)
_LAMBDA = np.float32(SELU_LAMBDA)
_LAMBDA_ALPHA = np.float32(SELU_LAMBDA * SELU_ALPHA)
# Below it exp(x) - 1 is -1 in float32.
_LEAST = np.float32(-25)
_LOG2E = np.float32(np.log2(np.e))
# ln 2 in two parts: the first has few bits, so that its multiples are exact.
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(np.log(2) - 0.693359375)
# 1.5 * 2^23: added to a number it leaves the nearest integer in the lowest bits.
_ROUNDER = np.float32(12582912)
# exp(r) = 1 + r + r^2 P(r) for |r| <= ln 2 / 2, highest power first: expf of the Cephes library (Moshier, 1992).
_P5, _P4, _P3 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_P2, _P1, _P0 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
# Of a float32's bits: where the exponent begins, and what it counts from.
_EXPONENT = np.int32(23)
_BIAS = np.int32(127)


@kept
def forward(x: Floats, y: Floats) -> None:
    """Write SELU of numbers (n,) into another array (n,), to 4e-7 of each."""
    for i in range(x.size):
        v = x[i]
        # NaN is not below anything, and goes on.
        z = _LEAST if v < _LEAST else v
        shifted = np.float32(z * _LOG2E + _ROUNDER)
        n = shifted - _ROUNDER
        r = z - n * _LN2_HIGH - n * _LN2_LOW
        # exp(z) - 1 = 2^n (exp(r) - 1) + (2^n - 1): nothing cancels near zero.
        p = (((((_P5 * r + _P4) * r + _P3) * r + _P2) * r + _P1) * r + _P0) * (r * r) + r
        power = np.int32((shifted.view(np.int32) + _BIAS) << _EXPONENT).view(np.float32)
        y[i] = _LAMBDA * v if v > _ZERO else _LAMBDA_ALPHA * (power * p + (power - _ONE))


@kept
def backward(y: Floats, gradient: Floats, out: Floats) -> None:
    """Write into `out` (n,) a gradient (n,) times the slopes of SELU where its results are y (n,)."""
    for i in range(y.size):
        v = y[i]
        out[i] = gradient[i] * (_LAMBDA if v > _ZERO else v + _LAMBDA_ALPHA)
