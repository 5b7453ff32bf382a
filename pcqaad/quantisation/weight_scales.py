"""Per-channel weight scales, chosen by what an error of each weight does."""

from __future__ import annotations

import math

import numpy as np

from pcqaad.decoder.architecture import Array, Model
from pcqaad.decoder.float32 import FloatDecoder, selu_slope
from pcqaad.decoder.weight_scales import LEVELS, Codes, WeightScales, scaled_inputs

# The part of the largest cost below which a neuron does nothing.
_DEAD_COST = 1e-12


def choose_weight_scales(model: Model) -> WeightScales:
    """Choose the weight scales of a model from what its clouds do to its neurons.

    Step sizes go as one over the root of the cost of an error. The cost of a weight is the mean square of its input
    and, in the patches, what its neuron does to the points: by the slope of its activation and its outgoing weights.
    """
    architecture, last = model.architecture, len(model.architecture.shared)
    squares: list[Array | float] = [0.0] * last
    slopes: Array | float = 0.0

    def observe(layer: int, before: Array, after: Array) -> None:
        nonlocal slopes
        if layer < last:
            squares[layer] = squares[layer] + np.square(after).sum((0, 1))
        else:
            slopes = slopes + np.square(selu_slope(before)).sum(1)

    decoder = FloatDecoder(model)
    for latent in model.latents:
        decoder.decode(latent, observe)
    moves = np.square(model.weights["out"]).sum(2) * slopes  # (K, H)
    inputs = zip(scaled_inputs(architecture), squares, strict=True)
    rows = {name: _coded(np.asarray(of_inputs)) for name, of_inputs in inputs}
    return WeightScales(rows, _coded(moves))


def _coded(costs: Array) -> Codes:
    """Return codes of weight scales that are nearly proportional to one over the root of `costs`."""
    octaves = -0.5 * np.log2(np.maximum(costs, max(float(costs.max(initial=0)) * _DEAD_COST, 1e-30)))
    # The most costly get the lowest weight scale; what then would need more than the highest hardly matters.
    wanted = octaves - octaves.min() + math.log2(LEVELS[0])
    levels = np.log2(LEVELS)
    codes: Codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, wanted).astype(np.int32)
    return codes
