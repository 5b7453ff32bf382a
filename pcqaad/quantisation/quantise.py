"""A model in floats, and step sizes -> a model in integers. All of its sums are exact."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from pcqaad.decoder.architecture import Model
from pcqaad.decoder.components import COEFFICIENT_SCALE, LARGEST_COEFFICIENT, LARGEST_REACH
from pcqaad.decoder.integer_model import (
    HALF,
    LARGEST_LATENT,
    LARGEST_LATENT_WEIGHT,
    LARGEST_SCALE,
    IntegerModel,
    Symbols,
    dequantise_latents,
    latent_reach,
)
from pcqaad.decoder.step_sizes import step_size_values
from pcqaad.errors import DivergenceError
from pcqaad.quantisation.calibration import Calibration
from pcqaad.quantisation.probe import activation_reach
from pcqaad.quantisation.step_sizes import StepSizes, code_components, to_grid, to_symbols

# How much larger the pre-activations of other clouds and points may be than those measured, before they saturate.
_REACH_MARGIN = 1.5


@dataclass(frozen=True)
class Quantised:
    """A model in integers: `shared` by all clouds, and the symbols of their `latents` (N, L)."""

    shared: IntegerModel
    latents: Symbols

    def model(self) -> Model:
        """Return the numbers that the integers stand for: symbols times step sizes, in float32."""
        return self.shared.dequantise(dequantise_latents(self.latents, self.shared.latent_step_sizes))


def quantise(
    model: Model,
    step_sizes: StepSizes,
    seed: int = 0,
    reach: tuple[float, ...] | None = None,
    calibration: Calibration | None = None,
) -> Quantised:
    """Round a model to step sizes, and choose the scales of its activations from their `reach`, measured if not given.

    With a `calibration` of the model its weights are rounded with error feedback, else each to the nearest symbol.

    Raises DivergenceError where no step sizes make the sums of the model exact.
    """
    grid, origin, bits = to_grid(model.template, step_sizes.template)
    shared = IntegerModel(
        model.architecture,
        bits,
        origin,
        step_sizes.template,
        grid,
        step_sizes.weights,
        step_sizes.weight_scales,
        _weight_symbols(model, step_sizes, calibration),
        step_sizes.latents,
        tuple(_scale(largest) for largest in reach or activation_reach(model, seed)),
        code_components(model, step_sizes),
        None if model.surface is None else model.surface.surface,
    )
    quantised = Quantised(shared, to_symbols(model.latents, step_size_values(step_sizes.latents)))
    return _made_exact(model, quantised, calibration)


def _weight_symbols(model: Model, step_sizes: StepSizes, calibration: Calibration | None) -> dict[str, Symbols]:
    if calibration is not None:
        return calibration.symbols(step_sizes)
    return {name: to_symbols(w, step_sizes.within(name)) for name, w in model.weights.items()}


def _scale(largest: float) -> int:
    """Return the finest scale at which a pre-activation of this size stays within the table."""
    room = math.floor(math.log2(HALF / max(_REACH_MARGIN * largest, 1e-9)))
    return min(max(room, 0), LARGEST_SCALE)


def _made_exact(model: Model, quantised: Quantised, calibration: Calibration | None) -> Quantised:
    """Double the finest step sizes until all sums are exact; hardly any model needs it."""
    shared, latents = quantised.shared, quantised.latents
    while (latent_reach(latents, shared.latent_step_sizes) >= LARGEST_LATENT).any():
        shared = replace(shared, latent_step_sizes=tuple(d.doubled() for d in shared.latent_step_sizes))
        latents = to_symbols(model.latents, step_size_values(shared.latent_step_sizes))
    while np.abs(shared.weights["latent"]).max() >= LARGEST_LATENT_WEIGHT:
        shared = _coarser(model, shared, "latent", calibration)
    if shared.components is not None:
        driven = np.abs(model.latents[:, : model.architecture.components]).max()
        if shared.components.reach > LARGEST_REACH or driven >= LARGEST_COEFFICIENT >> COEFFICIENT_SCALE:
            raise DivergenceError("the fit diverged: its components or their coefficients are too large to be exact")
    for layer in range(len(shared.scales) + 1):
        while not (total := list(shared.sums())[layer]).exact:
            finest = min(total.terms, key=lambda term: term.exponent)
            if finest.exponent > total.exponent or not finest.tensor:
                raise DivergenceError(f"the fit diverged: the sums of its layer {layer} are too large to be exact")
            shared = _coarser(model, shared, finest.tensor, calibration)
    return Quantised(shared, latents)


def _coarser(model: Model, shared: IntegerModel, tensor: str, calibration: Calibration | None) -> IntegerModel:
    """Double the step size of a tensor."""
    weights = {**shared.weight_step_sizes, tensor: shared.weight_step_sizes[tensor].doubled()}
    step_sizes = StepSizes(shared.step_size, weights, shared.weight_scales, shared.latent_step_sizes)
    return replace(shared, weight_step_sizes=weights, weights=_weight_symbols(model, step_sizes, calibration))
