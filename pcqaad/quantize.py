"""Floats <-> integer symbols, with the steps that cost the fewest bits for the error they bring.

Quantising a group of n numbers with step d costs about n * log2(1 / d) bits and moves the decoded points by a
mean square of s * d ** 2, where the sensitivity s is measured. The cheapest way to a given total movement
has the same slope in every group (reverse water-filling), d = sqrt(mu * n / s): one number mu to search.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoding import NumpyDecoder
from pcqaad.matching.kd import patch_sizes
from pcqaad.model import Array, Model, Shape

Symbols = NDArray[np.int32]

# A finer grid than this has more digits than the float32 coordinates it stands for.
MAX_BITS = 16
_LARGEST_SYMBOL = 2**24
# Squares of it are still float32.
_TINY = 1e-18
_PROBED_CLOUDS = 4
_PROBED_POINTS = 8192


@dataclass(frozen=True)
class Quantised:
    """A model in integers, and the steps that turn them back into its numbers.

    Attributes:
        shape: the model's.
        bits: of the template's grid, per axis.
        low: (3,) the grid's origin, normalised.
        step: of the grid.
        grid: (M, 3) the template's grid points, patch after patch; the file keeps no order inside a patch.
        weight_steps: per tensor.
        weights: the symbols of each tensor.
        latent_steps: (L,) per latent dimension.
        latents: (N, L) symbols.
    """

    shape: Shape
    bits: int
    low: Array
    step: np.float32
    grid: Symbols
    weight_steps: dict[str, np.float32]
    weights: dict[str, Symbols]
    latent_steps: Array
    latents: Symbols

    def model(self) -> Model:
        """Return the numbers a decoder works with: symbols times steps, in float32."""
        return Model(
            self.shape,
            dequantise_template(self.low, self.step, self.grid),
            self.latents * self.latent_steps,
            {name: symbols * self.weight_steps[name] for name, symbols in self.weights.items()},
        )


def dequantise_template(low: Array, step: np.float32, grid: Symbols) -> Array:
    """Return the normalised points (M, 3) of a grid."""
    return low + grid.astype(np.float32) * step


@dataclass(frozen=True)
class Sensitivities:
    """How far the decoded points move: mean square per squared step, for each group of numbers."""

    template: float
    latents: float
    weights: dict[str, float]


def quantise(model: Model, sensitivities: Sensitivities, slope: float) -> Quantised:
    """Quantise a model at one slope `slope` (mu): a larger one gives fewer bits and more movement."""

    def step(count: int, sensitivity: float, values: Array) -> np.float32:
        largest = float(np.abs(values).max(initial=0))
        # Neither finer than symbols can hold, nor (for what hardly matters) coarser than the values.
        finest = max(largest / _LARGEST_SYMBOL, _TINY)
        wanted = math.sqrt(slope * count / sensitivity) if sensitivity > 0 else math.inf
        return np.float32(min(max(wanted, finest), max(2 * largest, finest)))

    low, extent = model.template.min(0), float(np.ptp(model.template, axis=0).max())
    template_step = step(3 * len(model.template), sensitivities.template, model.template)
    template_step = np.float32(max(float(template_step), extent / (2**MAX_BITS - 1)))
    grid = np.rint((model.template - low) / template_step).astype(np.int32)
    bits = max(int(grid.max()).bit_length(), 1)
    steps = {name: step(w.size, sensitivities.weights[name], w) for name, w in model.weights.items()}
    reach = _latent_reach(model)
    latent_step = step(model.latents.size, sensitivities.latents, model.latents * reach)
    return Quantised(
        model.shape,
        bits,
        low,
        template_step,
        grid,
        steps,
        {name: _round(w, steps[name]) for name, w in model.weights.items()},
        (latent_step / reach).astype(np.float32),
        _round(model.latents, (latent_step / reach).astype(np.float32)),
    )


def probe(model: Model, seed: int = 0) -> Sensitivities:
    """Measure how sensitive the decoded points are to each group, on a few clouds and part of the points.

    Every group in turn is rounded coarsely enough to tell from float32 noise, finely enough to stay linear.
    """
    model = _thin(model, seed)
    before = _decode_all(model)

    def moved(changed: Model) -> float:
        return float(np.square(_decode_all(changed) - before).sum(2).mean())

    def coarse(values: Array) -> np.float32:
        return np.float32(max(float(values.std()) / 16, _TINY))

    def rounded(values: Array, step: np.float32 | Array) -> Array:
        return (_round(values, step) * step).astype(np.float32)

    weights = {}
    for name, values in model.weights.items():
        step = coarse(values)
        changed = {**model.weights, name: rounded(values, step)}
        weights[name] = moved(replace(model, weights=changed)) / float(step) ** 2
    step = coarse(model.template)
    template = moved(replace(model, template=rounded(model.template, step))) / float(step) ** 2
    reach = _latent_reach(model)
    step = coarse(model.latents * reach)
    latents = moved(replace(model, latents=rounded(model.latents, step / reach))) / float(step) ** 2
    return Sensitivities(template, latents, weights)


def search_slope(rise: Callable[[float], float], start: float, target: float, rounds: int = 24) -> float:
    """Return the largest slope at which `rise(slope)`, which grows with it, is at most `target`."""
    low = high = start
    if rise(start) <= target:
        while rise(high) <= target and high < start * 4.0**12:
            low, high = high, high * 4
    else:
        while rise(low) > target and low > start / 4.0**24:
            low, high = low / 4, low
    for _ in range(rounds):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if rise(middle) <= target else (low, middle)
        if high / low < 1.02:
            break
    return low


def _round(values: Array, step: np.float32 | Array) -> Symbols:
    symbols: Symbols = np.rint(values / step).astype(np.int32)
    return symbols


def _latent_reach(model: Model) -> Array:
    """Return how strongly each latent dimension drives the first layer, (L,): its step is finer for that."""
    norms = np.linalg.norm(model.weights["latent"], axis=1)
    reach: Array = np.maximum(norms, max(float(norms.max()) * 1e-3, _TINY)).astype(np.float32)
    return reach


def _thin(model: Model, seed: int) -> Model:
    """Keep a few clouds and an equal number of random template points of each patch."""
    rng = np.random.default_rng([seed, 7])
    clouds = rng.choice(model.shape.clouds, min(_PROBED_CLOUDS, model.shape.clouds), replace=False)
    sizes = patch_sizes(model.shape.points, model.shape.patches)
    each = min(int(sizes.min()), max(_PROBED_POINTS // model.shape.patches, 1))
    starts = np.cumsum(sizes) - sizes
    rows = [s + rng.choice(n, each, replace=False) for s, n in zip(starts, sizes, strict=True)]
    shape = replace(model.shape, clouds=len(clouds), points=each * model.shape.patches)
    return replace(model, shape=shape, template=model.template[np.concatenate(rows)], latents=model.latents[clouds])


def _decode_all(model: Model) -> Array:
    decoder = NumpyDecoder(model.shape, model.template, model.weights)
    return np.stack([decoder.decode(latent) for latent in model.latents])
