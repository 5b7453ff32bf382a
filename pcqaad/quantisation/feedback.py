"""Rounding with error feedback: the rows of a matrix that are rounded later make up for those rounded before.

Inputs that go together can stand in for each other. So what the rounding of one row does to a layer's outputs, the rows
that are not yet rounded mostly undo (GPTQ: Frantar et al., 2022; the quantiser of Babai, 1986).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.integer_model import Floats

Rows = NDArray[np.int64]

# Added to the mean square of every input, as a part of their mean: what the sample has not seen may happen too.
_DAMPING = 1e-2


@dataclass(frozen=True)
class Moments:
    """Second moments (K, I, I) of the inputs of K matrices of I rows, damped, and how inputs follow from later ones.

    Attributes:
        damped: the moments.
        upper: (K, I, I) the factor U of their inverse, U.T @ U, upper triangular.
    """

    damped: Floats
    upper: Floats

    @classmethod
    def of(cls, moments: Floats) -> Moments:
        """Damp and factorise moments (K, I, I); the last input is a constant 1, that of the biases."""
        size = moments.shape[1]
        mean = np.trace(moments[:, :-1, :-1], axis1=1, axis2=2) / max(size - 1, 1)
        # Inputs that are all zero leave nothing to choose by.
        damping = np.where(mean > 0, _DAMPING * mean, 1.0)
        damped = moments + damping[:, None, None] * np.eye(size)
        return cls(damped, np.swapaxes(np.linalg.cholesky(np.linalg.inv(damped)), 1, 2))

    @property
    def conditional(self) -> Floats:
        """What remains of each input's mean square (K, I) that later inputs cannot make up for."""
        conditional: Floats = np.diagonal(self.upper, axis1=1, axis2=2) ** -2.0
        return conditional

    def corrected(self, weights: Floats, cross: Floats) -> Floats:
        """Return weights (K, I, O) moved to what fits best, `cross` (K, I, O) being inputs times what is missing."""
        moved: Floats = weights + np.linalg.solve(self.damped, cross)
        return moved


def round_rows(weights: Floats, step_sizes: Floats, moments: Moments) -> Rows:
    """Round matrices (K, I, O) to whole step sizes, which broadcast against them, row after row: their symbols.

    The sum over outputs of error.T @ moments @ error is the sum over rows of the squared remainder of each rounding
    times the row's conditional mean square.
    """
    count, rows, _ = weights.shape
    left, step_sizes = weights.copy(), np.broadcast_to(step_sizes, weights.shape)
    symbols = np.empty(weights.shape, np.int64)
    upper = moments.upper / np.diagonal(moments.upper, axis1=1, axis2=2)[:, :, None]
    for row in range(rows):
        step_size = step_sizes[:, row]
        symbols[:, row] = np.rint(left[:, row] / step_size)
        error = left[:, row] - symbols[:, row] * step_size
        left[:, row + 1 :] -= upper[:, row, row + 1 :, None] * error.reshape(count, 1, -1)
    return symbols
