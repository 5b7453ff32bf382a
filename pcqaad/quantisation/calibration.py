"""A sample of what goes into each layer of a model, and the weights' symbols that it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.architecture import Architecture, Array, Model
from pcqaad.decoder.float32 import selu
from pcqaad.decoder.integer_model import Floats, Symbols
from pcqaad.decoder.patches import draw_points, patch_sizes
from pcqaad.decoder.step_sizes import step_size_values
from pcqaad.quantisation.feedback import Moments, round_rows
from pcqaad.quantisation.step_sizes import StepSizes, rounded
from pcqaad.seeds import Use, generator


@dataclass(frozen=True)
class Sampling:
    """How much of a model is sampled."""

    clouds: int = 32  # of its own, at least
    clouds_of_latent: int = 2  # of its own, for each number of a latent
    # Drawn with the clouds' covariance, as a part of those: latents that are fitted later lie between the clouds' own.
    drawn: float = 0.5
    points: int = 16384  # of all clouds together, at least
    points_of_input: int = 4  # of each patch, for each input of its layer


_SAMPLING = Sampling()


def layers(architecture: Architecture) -> Iterator[tuple[str, ...]]:
    """Yield the tensors of each layer: the rows of its matrix, those of its biases last."""
    yield "latent", "point", "bias 0"
    for i in range(1, len(architecture.shared)):
        yield f"shared {i}", f"bias {i}"
    yield "patch", "patch point", "patch bias"
    yield "out", "out bias"


class Calibration:
    """A model, some inputs to it, and what its layers make of them.

    Attributes:
        model: in floats.
        pre_activations: of each layer, (1, n, width) of a shared one and (K, n, width) of the patches', by the model.
        moments: of each layer's inputs, those of the model.
    """

    def __init__(self, model: Model, seed: int = 0) -> None:
        self.model = model
        architecture, rng = model.architecture, generator(seed, Use.CALIBRATION)
        wanted = max(_SAMPLING.clouds, _SAMPLING.clouds_of_latent * architecture.latent)
        own = rng.permutation(architecture.clouds)[:wanted]
        mean = model.latents.mean(0)
        mixture = rng.standard_normal((round(_SAMPLING.drawn * len(own)), architecture.clouds))
        drawn = mean + mixture @ (model.latents - mean) / np.sqrt(architecture.clouds)
        self._latents = np.concatenate([model.latents[own], drawn.astype(np.float32)])
        sizes, clouds = patch_sizes(architecture.points, architecture.patches), len(self._latents)
        inputs = max(architecture.shared[-1] + 4, architecture.patch + 1)
        points = max(_SAMPLING.points, _SAMPLING.points_of_input * inputs * architecture.patches)
        # (K, T, S): every cloud has points of its own.
        self._rows = np.stack([draw_points(rng, sizes, -(-points // clouds)) for _ in range(clouds)], 1)
        self.pre_activations: list[Array] = []
        self.moments: list[Moments] = []
        x = None
        for layer, names in enumerate(layers(architecture)):
            inputs_ = self._inputs(layer, x, self._latents, model.template)
            y = inputs_ @ self._matrix(model.weights, names).astype(np.float32)
            self.pre_activations.append(y)
            self.moments.append(Moments.of(_products(inputs_, inputs_)))
            x = selu(y)

    def conditional(self, tensor: str) -> Floats:
        """What remains of the mean square of a tensor's inputs (1 or K, n) that later inputs cannot make up for."""
        layer, rows = self._place(tensor)
        return self.moments[layer].conditional[:, rows]

    def relief(self, tensor: str, factors: NDArray[np.int64]) -> float:
        """Return the part of the mean square error that error feedback leaves of independent rounding.

        The `factors` of a tensor's step sizes broadcast against it.
        """
        layer, rows = self._place(tensor)
        squares = np.diagonal(self.moments[layer].damped, axis1=1, axis2=2)[:, rows, None]
        shape = self.model.weights[tensor].shape
        costs = np.broadcast_to(factors.astype(np.float64), shape) ** 2
        costs = costs.reshape(-1, squares.shape[1] if "bias" not in tensor else 1, shape[-1])
        left = (self.conditional(tensor)[:, :, None] * costs).sum()
        return float(left / (squares * costs).sum())

    def symbols(self, step_sizes: StepSizes) -> dict[str, Symbols]:
        """Return the symbols of all weights: layer after layer, each fed what the rounded ones before it make.

        A layer is first moved to what makes the model's own pre-activations of those inputs, as near as it can.
        """
        model = self.model
        if not any(values.any() for values in model.weights.values()):
            return {name: np.zeros(values.shape, np.int32) for name, values in model.weights.items()}
        template = rounded(model.template, step_sizes.template.value)
        latents = rounded(self._latents, step_size_values(step_sizes.latents))
        found: dict[str, Symbols] = {}
        x = None
        for layer, names in enumerate(layers(model.architecture)):
            inputs = self._inputs(layer, x, latents, template)
            within = {n: np.broadcast_to(step_sizes.within(n), model.weights[n].shape) for n in names}
            weights, steps = self._matrix(model.weights, names), self._matrix(within, names)
            moments = Moments.of(_products(inputs, inputs))
            missing = self.pre_activations[layer] - inputs @ weights.astype(np.float32)
            symbols = round_rows(moments.corrected(weights, _products(inputs, missing)), steps, moments)
            for name in names:
                rows = self._place(name)[1]
                found[name] = symbols[:, rows].reshape(model.weights[name].shape).astype(np.int32)
            x = selu(inputs @ (symbols * steps).astype(np.float32))
        return found

    def _inputs(self, layer: int, x: Array | None, latents: Array, template: Array) -> Array:
        """Return the inputs of a layer, a constant 1 the last: (1, n, I) of a shared one, (K, n, I) of the patches'."""
        patches, clouds, count = self._rows.shape
        last = len(self.model.architecture.shared)
        parts: list[Array] = []
        if x is None:
            parts.append(np.broadcast_to(latents[None, :, None], (patches, clouds, count, latents.shape[1])))
        else:
            parts.append(x.reshape(patches, clouds, count, -1))
        if layer in (0, last):
            parts.append(template[self._rows])
        parts.append(np.ones((patches, clouds, count, 1), np.float32))
        inputs = np.concatenate(parts, -1)
        return inputs.reshape(patches if layer >= last else 1, -1, inputs.shape[-1])

    def _matrix(self, tensors: Mapping[str, NDArray[np.floating]], names: tuple[str, ...]) -> Floats:
        """Return tensors as one matrix for each patch, or for all: (1 or K, I, O)."""
        parts = []
        for name in names:
            values = np.asarray(tensors[name], np.float64)
            values = values[..., None, :] if "bias" in name else values
            parts.append(values if values.ndim == 3 else values[None])
        return np.concatenate(parts, 1)

    def _place(self, tensor: str) -> tuple[int, slice]:
        """Return the layer of a tensor, and its rows there."""
        for layer, names in enumerate(layers(self.model.architecture)):
            first = 0
            for name in names:
                end = first + (1 if "bias" in name else self.model.weights[name].shape[-2])
                if name == tensor:
                    return layer, slice(first, end)
                first = end
        raise KeyError(tensor)


def _products(a: Array, b: Array) -> Floats:
    """Return the mean products (K, I, O) of columns, of (K, n, I) and (K, n, O)."""
    products: Floats = (np.swapaxes(a, 1, 2) @ b).astype(np.float64) / a.shape[1]
    return products
