"""A file's own decoding with numpy alone: to the bit what every other reader returns (SPEC.md, section 7.7)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.architecture import Array
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.integer_model import HALF, CloudParts, Floats, IntegerModel, Symbols
from pcqaad.decoder.matrices import Matrices
from pcqaad.decoder.patches import blocks, patch_sizes
from pcqaad.decoder.surface import Draw

# Points in flight: few enough that their features stay in the processor's cache, enough to keep BLAS busy.
_BLOCK = 256


class IntegerDecoder:
    """Decodes clouds in integers, by float64 matrix products that are exact where the model's `check` has passed.

    Threads may share it.
    """

    def __init__(self, model: IntegerModel, denormalisation: Denormalisation, draw: Draw | None = None) -> None:
        """Take a model; where its template is a surface, points of it may be given in the place of the file's own."""
        self._model, self._denormalisation = model, denormalisation
        self._draw = model.draw if draw is None else draw
        self._matrices = Matrices.of(model)
        self._sizes = patch_sizes(model.architecture.points, model.architecture.patches)

    def decode(self, latent: NDArray[np.floating]) -> Array:
        """Decode any latent (L,) to points (M, 3) in the data's unit; raises ValueError as `model.clouds` does."""
        return self._points(self._model.clouds(latent[None]))

    def decode_symbols(self, symbols: Symbols, draw: Draw | None = None) -> Array:
        """Decode a latent (L,) in the symbols of a file, to the surface's points of a `draw` where one is given."""
        return self._points(self._model.clouds_of_symbols(symbols[None]), draw)

    def _points(self, cloud: CloudParts, draw: Draw | None = None) -> Array:
        m = self._matrices
        first = np.column_stack([m.bias + cloud.first[0] * m.cloud, m.point])
        # Threads share a decoder, so every call has buffers of its own.
        work = _Buffers(max(len(first), *(len(w) for w in m.shared), m.patch.shape[1]))
        decoded = np.empty((m.inputs.shape[1], 3), np.int64)
        for patch, block in blocks(self._sizes, _BLOCK):
            x = inputs = m.inputs[:, block]
            for weights, table in zip([first, *m.shared, m.patch[patch]], m.tables, strict=True):
                x = work.layer(weights, x, table, inputs)
            decoded[block] = np.floor(m.out[patch] @ x).T
        if m.components is not None:
            moved = cloud.coefficients[0].astype(np.float64) @ m.components
            decoded += np.floor(moved + 0.5).astype(np.int64).reshape(decoded.shape)
        draw = self._draw if draw is None else draw
        return self._denormalisation.points(decoded if draw is None else draw.decoded(decoded))


class _Buffers:
    """Memory for the features of one block of points, used by layer after layer."""

    def __init__(self, width: int) -> None:
        self._features = np.empty((width + 4) * _BLOCK)
        self._sums = np.empty(width * _BLOCK)
        self._index = np.empty(width * _BLOCK, np.intp)

    def layer(self, weights: Floats, x: Floats, table: Floats, inputs: Floats) -> Floats:
        """Return activations and, below them, the inputs (1 + 3, points); they lie where `x` did."""
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
