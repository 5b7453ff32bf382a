"""How far errors move the points of a model, and how large its activations get: measured on a part of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pcqaad.decoder.architecture import Array, Model
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.decoder.patches import draw_points, patch_sizes
from pcqaad.errors import DivergenceError
from pcqaad.quantisation.calibration import Calibration
from pcqaad.quantisation.step_sizes import FINEST_STEP_SIZE, Sensitivities, latent_drive, rounded
from pcqaad.quantisation.weight_scales import choose_weight_scales
from pcqaad.seeds import Use, generator

# Points of the template that are decoded, spread evenly over the patches.
PROBED_POINTS = 8192
# No number of a model in normalised coordinates is as large, nor a pre-activation.
_LARGEST_NUMBER = 1e9


@dataclass(frozen=True)
class Probe:
    """How much of a model is decoded, and how coarsely a group is rounded."""

    clouds: int = 4  # that sensitivities are measured on
    reach_clouds: int = 16  # that activations are measured on, whose largest one counts
    points: int = 2048
    reach_points: int = PROBED_POINTS
    # The step size, in standard deviations: coarse enough to tell from float32 noise, fine enough to stay linear.
    step_size: float = 1 / 16


_PROBE = Probe()


def probe(
    model: Model, seed: int = 0, calibration: Calibration | None = None, known: Sensitivities | None = None
) -> Sensitivities:
    """Round one group of a model after another, and decode.

    Where those of the same network with other components are `known`, the latents' alone are measured.

    Weights are rounded independently for that. Their sensitivity is the part of it that error feedback leaves, by the
    `calibration`. Where it is not given it is drawn, and DivergenceError raised as `activation_reach` does.
    """
    if calibration is None:
        activation_reach(model, seed)
        calibration = Calibration(model, seed)
    spacing = known.spacing if known is not None else 0.0
    if known is None and len(model.template) > 1:
        spacing = float(cKDTree(model.template).query(model.template, 2)[0][:, 1].mean())
    part = _part(model, seed, _PROBE.clouds, _PROBE.points)
    before = _decode_all(part)

    def sensitivity(spread: NDArray[np.floating], change: Callable[[np.float32], Model]) -> float:
        """Return the mean square movement per squared step size, chosen by a group's spread."""
        step_size = np.float32(max(float(spread.std()) * _PROBE.step_size, FINEST_STEP_SIZE))
        moved = np.square(_decode_all(change(step_size)) - before).sum(2).mean()
        return float(moved) / float(step_size) ** 2

    weight_scales = choose_weight_scales(calibration)

    def of_tensor(name: str) -> float:
        values, factors = part.weights[name], weight_scales.factors(name)
        if not values.any():
            return 0.0

        def change(step_size: np.float32) -> Model:
            return replace(part, weights={**part.weights, name: rounded(values, step_size * factors)})

        return sensitivity(values / factors, change)

    gain = 1.0
    if part.components is not None:
        driven = replace(part, components=None)
        norms = latent_drive(driven)
        still = _decode_all(driven)
        step_size = np.float32(max(float((part.latents * norms).std()) * _PROBE.step_size, FINEST_STEP_SIZE))
        moved = _decode_all(replace(driven, latents=rounded(part.latents, step_size / norms)))
        # Rounding moves each of the L numbers by a twelfth of a squared step size.
        gain = math.sqrt(12 * float(np.square(moved - still).sum(2).mean()) / len(norms)) / float(step_size)
    drive = latent_drive(part, gain)
    of_latents = sensitivity(part.latents * drive, lambda d: replace(part, latents=rounded(part.latents, d / drive)))
    if known is not None:
        return replace(known, latents=of_latents, weight_scales=weight_scales, gain=gain)
    return Sensitivities(
        sensitivity(part.template, lambda d: replace(part, template=rounded(part.template, d))),
        of_latents,
        {name: of_tensor(name) * calibration.relief(name, weight_scales.factors(name)) for name in part.weights},
        weight_scales,
        spacing,
        gain,
    )


def activation_reach(model: Model, seed: int) -> tuple[float, ...]:
    """Return the largest pre-activation of each hidden layer; raises DivergenceError for a model of no clouds."""
    part = _part(model, seed, _PROBE.reach_clouds, _PROBE.reach_points)
    decoder = FloatDecoder(part)
    reach = np.zeros(len(part.architecture.shared) + 1, np.float32)

    def observe(layer: int, before: Array, after: Array) -> None:
        reach[layer] = max(reach[layer], np.abs(before).max())

    with np.errstate(over="ignore", invalid="ignore"):
        for latent in part.latents:
            decoder.decode(latent, observe)
    linear = () if model.components is None else (model.components,)
    numbers = (reach, model.template, model.latents, *model.weights.values(), *linear)
    # False for NaN as well.
    if not all(np.abs(part).max() < _LARGEST_NUMBER for part in numbers):
        raise DivergenceError(f"the fit diverged: its model holds or makes numbers of {_LARGEST_NUMBER:.0e} and more")
    return tuple(reach.tolist())


def _part(model: Model, seed: int, clouds: int, points: int) -> Model:
    """Keep at most this many clouds, and an equal number of random template points of each patch.

    Of a surface they are vertices, by which it is judged then.
    """
    architecture, rng = model.architecture, generator(seed, Use.PROBE)
    kept = rng.choice(architecture.clouds, min(clouds, architecture.clouds), replace=False)
    sizes = patch_sizes(architecture.points, architecture.patches)
    rows = draw_points(rng, sizes, points).ravel()
    return replace(
        model,
        architecture=replace(architecture, clouds=len(kept), points=len(rows)),
        template=model.template[rows],
        latents=model.latents[kept],
        components=None if model.components is None else model.components[rows],
        surface=None,
    )


def _decode_all(model: Model) -> Array:
    """Return the points (N, M, 3) of all clouds."""
    decoder = FloatDecoder(model)
    return np.stack([decoder.decode(latent) for latent in model.latents])
