"""Choose the scales inside a matrix: what an error of each of its weights does."""

from __future__ import annotations

import math

import numpy as np

from pcqaad.decoder.architecture import Array, Model
from pcqaad.decoder.float32 import FloatDecoder, selu_slope
from pcqaad.decoder.weight_scales import LEVELS, Codes, Gains, gained

# Of the largest cost: what costs less is a neuron that does nothing.
_DEAD = 1e-12


def choose_gains(model: Model) -> Gains:
    """Choose the gains of a model from what its clouds do to its neurons: steps as one over the root of what they cost.

    The gain of a hidden neuron takes the slope of its activation and its outgoing weights for its effect on the points.
    """
    shape, last = model.shape, len(model.shape.shared)
    squares: list[Array | float] = [0.0] * last
    slopes: Array | float = 0.0

    def observe(layer: int, before: Array, after: Array) -> None:
        nonlocal slopes
        if layer < last:
            squares[layer] = squares[layer] + np.square(after).sum((0, 1))
        else:
            slopes = slopes + np.square(selu_slope(before)).sum(1)

    decoder = FloatDecoder(shape, model.template, model.weights)
    for latent in model.latents:
        decoder.decode(latent, observe)
    moves = np.square(model.weights["out"]).sum(2) * slopes  # (K, H)
    rows = {name: _coded(np.asarray(of_inputs)) for name, of_inputs in zip(gained(shape), squares, strict=True)}
    return Gains(rows, _coded(moves))


def _coded(costs: Array) -> Codes:
    """Return codes of gains that are nearly proportional to one over the root of `costs`."""
    octaves = -0.5 * np.log2(np.maximum(costs, max(float(costs.max(initial=0)) * _DEAD, 1e-30)))
    # The most costly get the lowest gain; what then would need more than the highest hardly matters.
    wanted = octaves - octaves.min() + math.log2(LEVELS[0])
    levels = np.log2(LEVELS)
    codes: Codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, wanted).astype(np.int32)
    return codes
