"""Floats -> integer symbols, with the steps that cost the fewest bits for the error they bring.

Quantising a group of n numbers with step d costs about n * log2(1 / d) bits and moves the decoded points by a
mean square of s * d ** 2, where the sensitivity s is measured. The cheapest way to a given total movement
has the same lambda_ in every group (reverse water-filling), d = sqrt(mu * n / s): one number mu to search. About
this optimum the cost is flat, so steps of four significant bits, at most 6 % off, do as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pcqaad.decoder.architecture import Array, Model
from pcqaad.decoder.float32 import FloatDecoder
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
from pcqaad.decoder.patches import draw_points, patch_sizes
from pcqaad.decoder.step_sizes import StepSize, step_size_values
from pcqaad.decoder.weight_scales import WeightScales
from pcqaad.errors import DivergenceError
from pcqaad.quantisation.weight_scales import choose_weight_scales
from pcqaad.seeds import Use, generator

# A finer grid than this has more digits than the float32 coordinates it stands for.
_MAX_BITS = 16
_LARGEST_SYMBOL = 2**24
# Of a latent: float32, in which latents are handed out, holds it times its step.
LARGEST_LATENT_SYMBOL = 2**19
# The coarsest grid of a smooth template, in distances between its points.
_SMOOTH = 0.25
# Finer steps than this are lost in the rounding of activations.
_FINEST = 2.0**-24
# What no number of a model in normalised coordinates reaches, nor a pre-activation.
_LARGEST = 1e9
_PROBED_CLOUDS = 4
_PROBED_POINTS = 8192
# Pre-activations of clouds and points that were not probed may be this much larger before they saturate.
_MARGIN = 1.5


@dataclass(frozen=True)
class Quantised:
    """A model in integers: `shared` by all clouds, and the symbols of their `latents` (N, L)."""

    shared: IntegerModel
    latents: Symbols

    def model(self) -> Model:
        """Return the numbers that the integers stand for: symbols times steps, in float32."""
        return self.shared.dequantise(dequantise_latents(self.latents, self.shared.latent_step_sizes))


@dataclass(frozen=True)
class Sensitivities:
    """How far the decoded points move: mean square per squared step, for each group of numbers.

    Attributes:
        template, latents, weights: of these groups, the weights by tensor.
        weight scales: how much coarser the steps of some weights of a tensor are than of others.
        spacing: how far a template point is from the nearest other one, on average.
    """

    template: float
    latents: float
    weights: dict[str, float]
    weight_scales: WeightScales
    spacing: float


@dataclass(frozen=True)
class StepSizes:
    """The step sizes of all groups.

    Attributes:
        template: of the template's grid.
        weights: of each tensor, to be multiplied by the weight scales in it.
        weight_scales: of the tensors that have any.
        latents: of each latent dimension.
    """

    template: StepSize
    weights: dict[str, StepSize]
    weight_scales: WeightScales
    latents: tuple[StepSize, ...]

    def within(self, tensor: str) -> NDArray[np.float64]:
        """Return the steps inside a weight tensor, to broadcast against it."""
        return self.weight_scales.factors(tensor).astype(np.float64) * self.weights[tensor].value


def choose_step_sizes(model: Model, sensitivities: Sensitivities, lambda_: float, smooth: bool = False) -> StepSizes:
    """Choose the steps of a model at one lambda_ `lambda_` (mu): a larger one gives fewer bits and more movement.

    With `smooth` the template's grid stays fine beside the distance between its points, whatever the lambda_: a matched
    distance hardly notices a rough surface, whose points are as far apart, but eyes and normals do.
    """

    def step(
        count: int, sensitivity: float, values: NDArray[np.floating], largest_symbol: int = _LARGEST_SYMBOL
    ) -> float:
        largest = float(np.abs(values).max(initial=0))
        if largest == 0:
            return 1.0
        # Neither finer than symbols can hold, nor (for what hardly matters) coarser than the values.
        finest = max(largest / largest_symbol, _FINEST)
        wanted = math.sqrt(lambda_ * count / sensitivity) if sensitivity > 0 else math.inf
        return min(max(wanted, finest), max(2 * largest, finest))

    def of_tensor(name: str) -> float:
        values = model.weights[name]
        return step(values.size, sensitivities.weights[name], values / sensitivities.weight_scales.factors(name))

    extent = float(np.ptp(model.template, axis=0).max())
    template = step(3 * len(model.template), sensitivities.template, model.template)
    if smooth and sensitivities.spacing > 0:
        template = min(template, _SMOOTH * sensitivities.spacing)
    drive = _latent_drive(model)
    latent = step(model.latents.size, sensitivities.latents, model.latents * drive, LARGEST_LATENT_SYMBOL)
    return StepSizes(
        # The nearest step may be 6 % finer than asked for, and still the grid must reach across.
        StepSize.nearest(max(template, 1.07 * extent / (2**_MAX_BITS - 1))),
        {name: StepSize.nearest(of_tensor(name)) for name in model.weights},
        sensitivities.weight_scales,
        tuple(StepSize.nearest(latent / float(d)) for d in drive),
    )


def rounded(model: Model, steps: StepSizes) -> Model:
    """Return the numbers that a model rounded to steps stands for, in float32: the quick way to judge steps."""

    def near(values: Array, step: float | NDArray[np.float64]) -> Array:
        return (_round(values, step) * step).astype(np.float32)

    return replace(
        model,
        template=near(model.template, steps.template.value),
        latents=near(model.latents, step_size_values(steps.latents)),
        weights={name: near(w, steps.within(name)) for name, w in model.weights.items()},
    )


def quantise(model: Model, steps: StepSizes, seed: int = 0, reach: tuple[float, ...] | None = None) -> Quantised:
    """Round a model to steps, and choose the scales of its activations, from their `reach` where that is known.

    Raises CloudError where no steps make its sums exact: a fit that went astray.
    """
    points = _round(model.template, steps.template.value)
    origin = points.min(0)
    grid = points - origin
    shared = IntegerModel(
        model.architecture,
        max(int(grid.max()).bit_length(), 1),
        (int(origin[0]), int(origin[1]), int(origin[2])),
        steps.template,
        grid,
        steps.weights,
        steps.weight_scales,
        {name: _round(w, steps.within(name)) for name, w in model.weights.items()},
        steps.latents,
        tuple(_scale(largest) for largest in reach or activation_reach(model, seed)),
    )
    return _made_exact(model, Quantised(shared, _round(model.latents, step_size_values(steps.latents))))


def _made_exact(model: Model, quantised: Quantised) -> Quantised:
    """Double the finest steps until all sums are exact; hardly any model needs it."""
    shared, latents = quantised.shared, quantised.latents
    while (latent_reach(latents, shared.latent_step_sizes) >= LARGEST_LATENT).any():
        shared = replace(shared, latent_step_sizes=tuple(step.doubled() for step in shared.latent_step_sizes))
        latents = _round(model.latents, step_size_values(shared.latent_step_sizes))

    def coarser(shared: IntegerModel, name: str) -> IntegerModel:
        step = shared.weight_step_sizes[name].doubled()
        symbols = _round(model.weights[name], step.value * shared.weight_scales.factors(name))
        weight_step_sizes = {**shared.weight_step_sizes, name: step}
        return replace(shared, weight_step_sizes=weight_step_sizes, weights={**shared.weights, name: symbols})

    while np.abs(shared.weights["latent"]).max() >= LARGEST_LATENT_WEIGHT:
        shared = coarser(shared, "latent")
    for layer in range(len(shared.scales) + 1):
        while not (total := list(shared.sums())[layer]).exact:
            finest = min(total.terms, key=lambda term: term.exponent)
            if finest.exponent > total.exponent or not finest.tensor:
                raise DivergenceError(f"the fit went astray: the sums of its layer {layer} are too large to be exact")
            shared = coarser(shared, finest.tensor)
    return Quantised(shared, latents)


def _scale(largest: float) -> int:
    """Return the finest scale at which a pre-activation of this size stays within the table."""
    room = math.floor(math.log2(HALF / max(_MARGIN * largest, 1e-9)))
    return min(max(room, 0), LARGEST_SCALE)


def probe(model: Model, seed: int = 0) -> Sensitivities:
    """Measure how sensitive the decoded points are to each group, on a few clouds and part of the points.

    Every group in turn is rounded coarsely enough to tell from float32 noise, finely enough to stay linear.
    Raises CloudError where the model's numbers are not those of any cloud.
    """
    activation_reach(model, seed)
    spacing = (
        float(cKDTree(model.template).query(model.template, 2)[0][:, 1].mean()) if len(model.template) > 1 else 0.0
    )
    model = _thin(model, seed, _PROBED_CLOUDS)
    before = _decode_all(model)

    def moved(changed: Model) -> float:
        return float(np.square(_decode_all(changed) - before).sum(2).mean())

    def coarse(values: NDArray[np.floating]) -> np.float32:
        return np.float32(max(float(values.std()) / 16, _FINEST))

    def rounded(values: Array, step: np.float32 | NDArray[np.float32]) -> Array:
        return (_round(values, step) * step).astype(np.float32)

    weight_scales = choose_weight_scales(model)
    weights = {}
    for name, values in model.weights.items():
        factors = weight_scales.factors(name)
        step = coarse(values / factors)
        changed = {**model.weights, name: rounded(values, step * factors)}
        weights[name] = moved(replace(model, weights=changed)) / float(step) ** 2
    step = coarse(model.template)
    template = moved(replace(model, template=rounded(model.template, step))) / float(step) ** 2
    drive = _latent_drive(model)
    step = coarse(model.latents * drive)
    latents = moved(replace(model, latents=rounded(model.latents, step / drive))) / float(step) ** 2
    return Sensitivities(template, latents, weights, weight_scales, spacing)


def search_lambda(degradation: Callable[[float], float], start: float, target: float, rounds: int = 24) -> float:
    """Return the largest lambda_ at which `degradation(lambda_)`, which grows with it, is at most `target`."""
    low = high = start
    if degradation(start) <= target:
        while degradation(high) <= target and high < start * 4.0**12:
            low, high = high, high * 4
    else:
        while degradation(low) > target and low > start / 4.0**24:
            low, high = low / 4, low
    for _ in range(rounds):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if degradation(middle) <= target else (low, middle)
        if high / low < 1.02:
            break
    return low


def _round(values: Array, step: float | np.floating | NDArray[np.floating]) -> Symbols:
    symbols: Symbols = np.rint(np.divide(values, step, dtype=np.float64)).astype(np.int32)
    return symbols


def _latent_drive(model: Model) -> Array:
    """Return how strongly each latent dimension drives the first layer, (L,): its step is finer for that."""
    norms = np.linalg.norm(model.weights["latent"], axis=1)
    drive: Array = np.maximum(norms, max(float(norms.max()) * 1e-3, _FINEST)).astype(np.float32)
    return drive


def _thin(model: Model, seed: int, most: int) -> Model:
    """Keep at most `most` clouds and an equal number of random template points of each patch."""
    rng = generator(seed, Use.PROBE)
    clouds = rng.choice(model.architecture.clouds, min(most, model.architecture.clouds), replace=False)
    sizes = patch_sizes(model.architecture.points, model.architecture.patches)
    each = min(int(sizes.min()), max(_PROBED_POINTS // model.architecture.patches, 1))
    rows = draw_points(rng, sizes, each).ravel()
    architecture = replace(model.architecture, clouds=len(clouds), points=each * model.architecture.patches)
    return replace(model, architecture=architecture, template=model.template[rows], latents=model.latents[clouds])


def activation_reach(model: Model, seed: int) -> tuple[float, ...]:
    """Return the largest pre-activation of each hidden layer, on more clouds than are probed.

    Raises CloudError where the model's numbers are not those of any cloud.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        reach = _pre_activations(_thin(model, seed, 4 * _PROBED_CLOUDS))
    # False for NaN as well.
    numbers = (np.array(reach), model.template, model.latents, *model.weights.values())
    if not all(float(np.abs(part).max()) < _LARGEST for part in numbers):
        raise DivergenceError(f"the fit went astray: its model holds or makes numbers of {_LARGEST:.0e} and more")
    return reach


def _pre_activations(model: Model) -> tuple[float, ...]:
    """Return the largest pre-activation of each hidden layer."""
    decoder = FloatDecoder(model)
    seen = np.zeros(len(model.architecture.shared) + 1, np.float32)

    def observe(layer: int, before: Array, after: Array) -> None:
        seen[layer] = max(seen[layer], np.abs(before).max())

    for latent in model.latents:
        decoder.decode(latent, observe)
    return tuple(seen.tolist())


def _decode_all(model: Model) -> Array:
    decoder = FloatDecoder(model)
    return np.stack([decoder.decode(latent) for latent in model.latents])
