"""Model in floats -> points, with numpy: what an encoder probes and compares with.

A file's clouds are decoded in integers, by pcqaad.decoder.exact.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pcqaad.decoder.architecture import Architecture, Array
from pcqaad.decoder.patches import padded_patches

# Gets the number of a hidden layer, its pre-activations and its activations.
Observer = Callable[[int, Array, Array], None]
_SCALE, _ALPHA = np.float32(1.0507009873554805), np.float32(1.6732632423543772)


class FloatDecoder:
    """Decodes in float32: the network of the paper's Figure 1, all patches at once.

    Args:
        architecture: the model's.
        template: (M, 3), normalised.
        weights: by tensor name, shapes as `architecture.tensors()`.
    """

    # Rows in flight: few enough to stay in the processor's cache, many enough to keep BLAS busy.
    _ROWS = 8192

    def __init__(self, architecture: Architecture, template: Array, weights: dict[str, Array]) -> None:
        self.architecture = architecture
        self._weights = weights
        index, self._inside = padded_patches(architecture.points, architecture.patches)
        self._points = template[index]  # (K, S, 3)

    def decode(self, latent: Array, observe: Observer | None = None) -> Array:
        """Decode one cloud: latent (L,) -> normalised points (M, 3).

        `observe` is shown what comes into and out of the activations of each hidden layer, both (K, s, width).
        """
        k, s, _ = self._points.shape
        out = np.empty((k, s, 3), np.float32)
        rows = max(self._ROWS // k, 1)
        of_cloud = latent @ self._weights["latent"] + self._weights["bias 0"]
        for low in range(0, s, rows):
            out[:, low : low + rows] = self._fold(of_cloud, self._points[:, low : low + rows], observe)
        return out[self._inside]

    def _fold(self, of_cloud: Array, points: Array, observe: Observer | None) -> Array:
        w, last = self._weights, len(self.architecture.shared)

        def activate(layer: int, x: Array) -> Array:
            y = selu(x)
            if observe is not None:
                observe(layer, x, y)
            return y

        x = activate(0, points @ w["point"] + of_cloud)  # (K, s, widths[0])
        for i in range(1, last):
            x = activate(i, x @ w[f"shared {i}"] + w[f"bias {i}"])
        x = activate(last, x @ w["patch"] + points @ w["patch point"] + w["patch bias"][:, None])
        x = x @ w["out"] + w["out bias"][:, None]
        return points + x if self.architecture.residual else x


def selu(x: Array) -> Array:
    """Scaled exponential linear unit (Klambauer et al., 2017), elementwise."""
    negative = np.minimum(x, 0)
    np.exp(negative, out=negative)
    negative -= 1
    negative *= _SCALE * _ALPHA
    positive = np.maximum(x, 0)
    positive *= _SCALE
    positive += negative
    return positive


def selu_slope(x: Array) -> Array:
    """Return the derivative of `selu`, elementwise."""
    slope: Array = _SCALE * np.where(x > 0, np.float32(1), _ALPHA * np.exp(np.minimum(x, 0)))
    return slope
