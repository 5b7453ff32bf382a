"""Model -> points with numpy alone: to the bit what every other decoder returns (SPEC.md, section 7.7)."""

from __future__ import annotations

import numpy as np

from pcqaad.decoder.integer_model import HALF, Floats, IntegerModel, Ints
from pcqaad.decoder.matrices import Matrices
from pcqaad.decoder.patches import patch_sizes

# Points in flight: few enough that their features stay in the processor's cache, enough to keep BLAS busy.
_COLUMNS = 256


class IntegerDecoder:
    """Decodes clouds in integers, by float64 matrix products that are exact.

    Args:
        model: of which `check` has passed.
    """

    def __init__(self, model: IntegerModel) -> None:
        self._matrices = Matrices.of(model)
        self._sizes = patch_sizes(model.architecture.points, model.architecture.patches)
        # One column a point: what every layer may take beside the features before it.
        template = model.template().T
        self._inputs = np.concatenate([np.ones((1, template.shape[1])), template])

    def decode(self, cloud_part: Ints) -> Ints:
        """Decode one cloud, of which layer 0 gets `cloud_part` (W[0],); returns (M, 3) in 2**-20, normalised."""
        m = self._matrices
        first = np.column_stack([m.bias + cloud_part * m.cloud, m.point])
        # Threads share a decoder, so every call has buffers of its own.
        work = _Buffers(max(len(first), *(len(w) for w in m.shared), m.patch.shape[1]))
        points = np.empty((len(self._inputs[0]), 3), np.int64)
        start = 0
        for size, patch, out in zip(self._sizes, m.patch, m.out, strict=True):
            layers = [first, *m.shared, patch]
            for low in range(start, start + int(size), _COLUMNS):
                block = slice(low, min(low + _COLUMNS, start + int(size)))
                inputs = self._inputs[:, block]
                x = inputs
                for weights, table in zip(layers, m.tables, strict=True):
                    x = work.layer(weights, x, table, inputs)
                points[block] = np.floor(out @ x).T
            start += int(size)
        return points


class _Buffers:
    """Memory for the features of one block of points, used by layer after layer."""

    def __init__(self, width: int) -> None:
        self._features = np.empty((width + 4) * _COLUMNS)
        self._sums = np.empty(width * _COLUMNS)
        self._index = np.empty(width * _COLUMNS, np.intp)

    def layer(self, weights: Floats, x: Floats, table: Floats, inputs: Floats) -> Floats:
        """Return activations and, below them, the inputs (1 + 3, columns); they lie where `x` did."""
        rows, columns = len(weights), x.shape[1]
        size = rows * columns
        sums = self._sums[:size].reshape(rows, columns)
        np.matmul(weights, x[: weights.shape[1]], out=sums)
        # Within the table before they become indices, which have 32 bits on small machines; then towards zero is down.
        np.clip(sums, 0, 2 * HALF - 1, out=sums)
        index = self._index[:size].reshape(rows, columns)
        np.copyto(index, sums, casting="unsafe")
        features = self._features[: size + 4 * columns].reshape(rows + 4, columns)
        np.take(table, index, out=features[:rows], mode="clip")
        features[rows:] = inputs
        return features
