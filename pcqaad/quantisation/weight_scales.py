"""Per-channel weight scales, chosen by what an error of each weight does."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.float32 import selu_slope
from pcqaad.decoder.weight_scales import LEVELS, Codes, WeightScales, scaled_inputs
from pcqaad.quantisation.calibration import Calibration

# The part of the largest cost below which a neuron does nothing.
_DEAD_COST = 1e-12


def choose_weight_scales(calibration: Calibration) -> WeightScales:
    """Choose the weight scales of a model from what a sample of its inputs does to its neurons.

    Step sizes go as one over the root of the cost of an error. The cost of a weight is the mean square of its input, as
    far as inputs behind it cannot make up for it, and, in the patches, what its neuron does to the points: by the slope
    of its activation and its outgoing weights.
    """
    model = calibration.model
    inputs = scaled_inputs(model.architecture)
    rows = {name: _coded(calibration.conditional(name).mean(0)) for name in inputs}
    slopes = np.square(selu_slope(calibration.pre_activations[len(model.architecture.shared)])).mean(1)
    moves = np.square(model.weights["out"]).sum(2) * slopes  # (K, H)
    return WeightScales(rows, _coded(moves))


def _coded(costs: NDArray[np.floating]) -> Codes:
    """Return codes of weight scales that are nearly proportional to one over the root of `costs`."""
    octaves = -0.5 * np.log2(np.maximum(costs, max(float(costs.max(initial=0)) * _DEAD_COST, 1e-30)))
    # The most costly get the lowest weight scale; what then would need more than the highest hardly matters.
    wanted = octaves - octaves.min() + math.log2(LEVELS[0])
    levels = np.log2(LEVELS)
    codes: Codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, wanted).astype(np.int32)
    return codes
