"""The network in float32 with numpy: an encoder probes it, and compares with it what a file decodes to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pcqaad.decoder.architecture import SELU_ALPHA, SELU_LAMBDA, Array, Model
from pcqaad.decoder.patches import padded_patches
from pcqaad.decoder.surface import Draw

# Gets the number of a hidden layer, its pre-activations and its activations, both (K, s, width).
Observer = Callable[[int, Array, Array], None]

_LAMBDA = np.float32(SELU_LAMBDA)
_ALPHA = np.float32(SELU_ALPHA)
# Points in flight, of all patches: few enough to stay in the processor's cache, enough to keep BLAS busy.
_BLOCK = 8192


class FloatDecoder:
    """Decodes clouds in float32, all patches at once: normalised, as the model's numbers are."""

    def __init__(self, model: Model, draw: Draw | None = None) -> None:
        """Take a model; where its template is a surface, points of it may be given in the place of the model's."""
        self._draw = draw if draw is not None or model.surface is None else model.surface.draw
        self.architecture = model.architecture
        self._weights = model.weights
        index, self._inside = padded_patches(model.architecture.points, model.architecture.patches)
        self._points = model.template[index]  # (K, S, 3)
        self._components = model.components

    def decode(self, latent: Array, observe: Observer | None = None) -> Array:
        """Decode a latent (L,) to normalised points (M, 3); `observe` is shown every activation on the way."""
        k, s, _ = self._points.shape
        out = np.empty((k, s, 3), np.float32)
        each = max(_BLOCK // k, 1)
        cloud = latent @ self._weights["latent"] + self._weights["bias 0"]
        for low in range(0, s, each):
            out[:, low : low + each] = self._fold(cloud, self._points[:, low : low + each], observe)
        points: Array = out[self._inside]
        if self._components is not None:
            points = points + displacements(latent, self._components)
        return points if self._draw is None else self._draw.between(points)

    def _fold(self, cloud: Array, points: Array, observe: Observer | None) -> Array:
        """Return (K, s, 3) for a cloud's part of layer 0 (W[0],) and template points (K, s, 3)."""
        w, last = self._weights, len(self.architecture.shared)

        def activate(layer: int, x: Array) -> Array:
            y = selu(x)
            if observe is not None:
                observe(layer, x, y)
            return y

        x = activate(0, points @ w["point"] + cloud)  # (K, s, W[0])
        for i in range(1, last):
            x = activate(i, x @ w[f"shared {i}"] + w[f"bias {i}"])
        x = activate(last, x @ w["patch"] + points @ w["patch point"] + w["patch bias"][:, None])
        x = x @ w["out"] + w["out bias"][:, None]
        return points + x if self.architecture.residual else x


def displacements(latent: Array, components: Array) -> Array:
    """Return the linear part (M, 3) of a latent (L,) and components (M, C, 3), driven by its first C numbers."""
    moved: Array = np.einsum("c,mcx->mx", latent[: components.shape[1]], components)
    return moved


def selu(x: Array) -> Array:
    """Return the scaled exponential linear unit, elementwise."""
    y: Array = np.exp(np.minimum(x, 0))
    y -= 1
    y *= _LAMBDA * _ALPHA
    y += _LAMBDA * np.maximum(x, 0)
    return y


def selu_slope(x: Array) -> Array:
    """Return the derivative of `selu`, elementwise."""
    slope: Array = _LAMBDA * np.where(x > 0, np.float32(1), _ALPHA * np.exp(np.minimum(x, 0)))
    return slope
