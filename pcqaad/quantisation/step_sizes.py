"""The step sizes that cost the fewest bits for the error they bring.

Quantising a group of n numbers with step size d costs about n * log2(1 / d) bits, and moves the decoded points by a
mean square of s * d**2, where the sensitivity s is measured. The cheapest way to a given total movement is reverse
water-filling: d = sqrt(lambda * n / s), with the same lambda for every group. So lambda is the one number to search.
About this optimum the cost is flat: step sizes of four significant bits, at most 6 % off, do as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.architecture import Array, Model
from pcqaad.decoder.components import STEP_SIZE_CODES, Components
from pcqaad.decoder.integer_model import Symbols
from pcqaad.decoder.step_sizes import StepSize, step_size_values
from pcqaad.decoder.weight_scales import WeightScales
from pcqaad.errors import DivergenceError
from pcqaad.formats.coding.fields import Cells

# Of a latent: float32, in which latents are handed out, holds it times its step size.
LARGEST_LATENT_SYMBOL = 2**19
# Of all other numbers.
_LARGEST_SYMBOL = 2**24
_LARGEST_COMPONENT_SYMBOL = 2**22
# How much larger lambda is for the numbers of components. Most of them are 0. By the size of whole files at equal
# error, 2 saves 2 to 5 % over 1, and 3 is as good.
_SPARSE = 2.0
# Finer step sizes than this are lost in the rounding of activations.
FINEST_STEP_SIZE = 2.0**-24
# Bits of the template's grid along an axis. A finer one has more digits than the float32 coordinates it stands for.
_GRID_BITS = 16
# The coarsest grid of a smooth template, in distances between its points.
_SMOOTH_GRID = 0.25


@dataclass(frozen=True)
class Sensitivities:
    """How far the decoded points move: mean square per squared step size, for each group of numbers."""

    template: float
    latents: float  # of all dimensions, made alike by `latent_drive`
    weights: dict[str, float]  # of each tensor
    weight_scales: WeightScales  # how much coarser the step sizes of some weights of a tensor are than of others
    spacing: float  # mean distance of a template point to the nearest other one, normalised
    gain: float = 1.0  # how far the points move, root mean square, as a latent moves the first layer by 1


@dataclass(frozen=True)
class StepSizes:
    """The step sizes of all groups of numbers."""

    template: StepSize  # of its grid
    weights: dict[str, StepSize]  # of each tensor, to be multiplied by the weight scales in it
    weight_scales: WeightScales
    latents: tuple[StepSize, ...]  # of each dimension
    components: tuple[StepSize, ...] = ()  # of each component of the linear part

    def within(self, tensor: str) -> NDArray[np.float64]:
        """Return the step sizes inside a weight tensor, to broadcast against it."""
        return self.weight_scales.factors(tensor).astype(np.float64) * self.weights[tensor].value

    def round(self, model: Model) -> Model:
        """Return a model rounded to these step sizes, in float32: the quick way to judge them."""
        components = code_components(model, self)
        return replace(
            model,
            components=None if components is None else components.dequantise(),
            template=rounded(model.template, self.template.value),
            latents=rounded(model.latents, step_size_values(self.latents)),
            weights={name: rounded(w, self.within(name)) for name, w in model.weights.items()},
        )


def price(lambda_: float) -> float:
    """Return what a bit is worth at a lambda, in mean squared movement: what the last bit of every group saves."""
    return 2 * math.log(2) * lambda_


def choose_step_sizes(model: Model, sensitivities: Sensitivities, lambda_: float, smooth: bool = False) -> StepSizes:
    """Choose the step sizes of a model at one lambda: a larger one gives fewer bits and more movement.

    With `smooth` the template's grid stays fine beside the distance between its points, whatever lambda is. A matched
    distance hardly notices a rough surface, whose points are as far apart. Eyes and normals do.
    """

    def step_size(values: NDArray[np.floating], sensitivity: float, largest_symbol: int = _LARGEST_SYMBOL) -> float:
        largest = float(np.abs(values).max(initial=0))
        if largest == 0:
            return 1.0
        # Neither finer than symbols can hold, nor, for what hardly matters, coarser than the values.
        finest = max(largest / largest_symbol, FINEST_STEP_SIZE)
        wanted = math.sqrt(lambda_ * values.size / sensitivity) if sensitivity > 0 else math.inf
        return min(max(wanted, finest), max(2 * largest, finest))

    scales, drive = sensitivities.weight_scales, latent_drive(model, sensitivities.gain)
    template = step_size(model.template, sensitivities.template)
    if smooth and sensitivities.spacing > 0:
        template = min(template, _SMOOTH_GRID * sensitivities.spacing)
    template = max(template, _finest_grid(model.template))
    if model.surface is not None:
        # Its vertices lie on a grid, by which the points on it are drawn.
        template = model.surface.step_size.value
    latent = step_size(model.latents * drive, sensitivities.latents, LARGEST_LATENT_SYMBOL)
    weights = {n: step_size(w / scales.factors(n), sensitivities.weights[n]) for n, w in model.weights.items()}
    return StepSizes(
        StepSize.nearest(template),
        {n: StepSize.nearest(d) for n, d in weights.items()},
        scales,
        tuple(StepSize.nearest(latent / float(d)) for d in drive),
        () if model.components is None else component_step_sizes(model, lambda_),
    )


def template_step_size(template: Array, lambda_: float) -> StepSize:
    """Return the step size of a template (M, 3) at one lambda where every point moves as its template point does.

    Rounding with step size d moves a point by d**2 / 12 along each axis.
    """
    wanted = min(math.sqrt(12 * lambda_ * len(template)), float(np.abs(template).max()) or 1.0)
    return StepSize.nearest(max(wanted, _finest_grid(template), FINEST_STEP_SIZE))


def _finest_grid(template: Array) -> float:
    """Return the finest step size of a template (M, 3): its grid must reach across, were it 6 % finer than this."""
    finest: float = 1.07 * float(np.ptp(template, axis=0).max()) / (2**_GRID_BITS - 1)
    return finest


def component_step_sizes(model: Model, lambda_: float) -> tuple[StepSize, ...]:
    """Return the step sizes (C,) of a model's components at one lambda.

    A coded number of a component is one of an orthonormal transform over its M points. Rounded with step size d it
    moves them by d**2 / 12 in all, times its latent's mean square r. So s / n of the formula at the top of this file is
    r / (12 M), and needs no measuring. That holds for numbers of many bits; of these most are 0.
    """
    architecture = model.architecture
    spread = np.square(model.latents[:, : architecture.components].astype(np.float64)).mean(0)
    wanted = np.sqrt(_SPARSE * lambda_ * 12 * architecture.points / np.maximum(spread, FINEST_STEP_SIZE))
    assert model.components is not None
    # A number of the transform is at most the root of the number of points times a component's largest.
    largest = np.abs(model.components).max((0, 2)) * math.sqrt(architecture.points)
    finest = np.maximum(largest / _LARGEST_COMPONENT_SYMBOL, FINEST_STEP_SIZE)
    coarsest = StepSize.of(STEP_SIZE_CODES - 1).value
    return tuple(StepSize.nearest(min(step, coarsest)) for step in np.maximum(wanted, finest).tolist())


def code_components(model: Model, step_sizes: StepSizes) -> Components | None:
    """Code a model's components at some step sizes: their bytes, and what they decode to. None where it has none.

    Raises DivergenceError for components that are too large for a file.
    """
    if model.components is None:
        return None
    try:
        return Components.encode(model.components, step_sizes.components, cells(model.template, step_sizes.template))
    except ValueError as error:
        raise DivergenceError(f"the fit diverged: its components are too large: {error}") from error


def to_grid(template: Array, step_size: StepSize) -> tuple[Symbols, tuple[int, int, int], int]:
    """Return a template (M, 3) as points of a grid from 0 on, where that lies, and the bits of a coordinate."""
    points = to_symbols(template, step_size.value)
    origin = points.min(0)
    grid = points - origin
    return grid, (int(origin[0]), int(origin[1]), int(origin[2])), max(int(grid.max()).bit_length(), 1)


def cells(template: Array, step_size: StepSize) -> Cells:
    """Return the cells of a template's grid, kept: most of what is tried one after another has the same grid."""
    grid, _, bits = to_grid(template, step_size)
    return _kept_cells(grid.tobytes(), bits)


@lru_cache(maxsize=2)
def _kept_cells(grid: bytes, bits: int) -> Cells:
    return Cells(np.frombuffer(grid, np.int32).reshape(-1, 3), bits, kept=True)


def forget_cells() -> None:
    """Free what `cells` keeps: of large templates it is large."""
    _kept_cells.cache_clear()


def latent_drive(model: Model, gain: float = 1.0) -> Array:
    """Return how strongly each latent dimension moves the points (L,): its step size is finer for that.

    Without components that is how strongly it drives the first layer. With them it is in units of movement: through
    the first layer by a `gain`, and through its component.
    """
    drive = np.linalg.norm(model.weights["latent"], axis=1)
    if model.components is not None:
        moves = np.zeros(len(drive))
        moves[: model.architecture.components] = np.sqrt(np.square(model.components).sum(2).mean(0))
        drive = np.hypot(gain * drive, moves)
    floor = max(float(drive.max()) * 1e-3, FINEST_STEP_SIZE)
    raised: Array = np.maximum(drive, floor).astype(np.float32)
    return raised


def to_symbols(values: Array, step_size: float | np.floating | NDArray[np.floating]) -> Symbols:
    """Return values in whole step sizes, which broadcast against them."""
    symbols: Symbols = np.rint(np.divide(values, step_size, dtype=np.float64)).astype(np.int32)
    return symbols


def rounded(values: Array, step_size: float | np.floating | NDArray[np.floating]) -> Array:
    """Return values rounded to whole step sizes, in float32."""
    return (to_symbols(values, step_size) * step_size).astype(np.float32)


def search_lambda(
    degradation: Callable[[float], float], start: float, target: float, rounds: int = 24, nearest: float = 1.02
) -> float:
    """Return the largest lambda at which the degradation, which grows with it, is at most `target`.

    The one returned is off by a factor of `nearest` at most, where `rounds` bisections suffice.
    """
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
        if high / low < nearest:
            break
    return low
