"""Loss distillation: the weighting whose gradients are most like those of another loss (Lin et al., Algorithm 1).

The slope z of a loss at a distance d is the force that moves a point. Two losses whose slopes are in proportion
train alike at another rate, so each curve of slopes is divided by its largest value, and they are compared where
distances are likely. The weighted loss is f(d + m) d, with f a density and m its mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, TypedDict

import numpy as np
from scipy.optimize import minimize

from pcqaad.distillation.distances import Array, Distances
from pcqaad.errors import SettingsError
from pcqaad.losses.densities import FAMILIES, slope
from pcqaad.losses.names import DENSITIES, Parameter, complete, write
from pcqaad.monitor import SILENT, Monitor, Stage

# Losses whose slope depends on a distance, or for `info` on the distribution too.
TEACHERS = ("hyper", "l1", "l2", "info", "dcd", "landau-released", *DENSITIES)


class Match(TypedDict):
    """The best weighting of a family.

    `criterion` is the loss as `compress --criterion` takes it, `mode` the m of its density, and `loss` the distance of
    its slopes from the teacher's. Parameters are `at_edge` where their best value lies at an end of the grid: there may
    be better ones beyond.
    """

    family: str
    criterion: str
    parameters: dict[str, float]
    shift: bool
    mode: float
    loss: float
    at_edge: list[str]
    slope: list[float]


class Distillation(TypedDict):
    """The result of `distil`, which `pcqaad distill --json` prints: all curves by a hundred points, at distances d."""

    teacher: dict[str, Any]
    distances: dict[str, Any]
    d: list[float]
    density: list[float]
    slope: list[float]
    families: list[Match]


@dataclass(frozen=True)
class Grid:
    """The values that a search tries of each parameter, evenly spread in their logarithms, and how it refines them."""

    values: int = 25  # of a parameter
    starts: int = 3  # best combinations that are refined
    lengths: tuple[float, float] = (0.01, 1000.0)  # least and greatest length, in largest distances
    shapes: float = 30.0  # greatest shape, in least ones
    parameter_tolerance: float = 1e-4  # of a refined parameter's logarithm
    loss_tolerance: float = 1e-9  # of a refined loss
    edge: float = 1e-3  # how near to an end a best value lies at it, in logarithms

    def ends(self, name: str, parameter: Parameter, largest: float) -> tuple[float, float]:
        """Return the least and the greatest value of a parameter, where `largest` is the largest distance."""
        if parameter.least > 0:
            return parameter.least, parameter.least * self.shapes
        low, high = (factor * largest for factor in self.lengths)
        return (1 / high, 1 / low) if name == "rate" else (low, high)


_GRID = Grid()


def teacher_curve(name: str, parameters: Mapping[str, float], distances: Distances) -> Array:
    """Return the slopes (n,) of a loss at the distances, the largest 1.

    The teacher of the paper is `hyper`, 2 alpha / sqrt(2 alpha + alpha^2 d^2) (equation 3). The slope of `dcd` is that
    of points with a neighbour of their own each; that of `info` depends on the mean over all distances.

    Raises SettingsError where there is no such teacher or parameter, or no slope is more than 0.
    """
    if name not in TEACHERS:
        raise SettingsError(f"unknown teacher {name!r}, expected one of {', '.join(TEACHERS)}")
    p = complete(name, parameters)
    # Parameters that overflow float64 are refused by the slopes that they lead to.
    with np.errstate(all="ignore"):
        slopes = _slopes(name, p, distances)
    if not (np.isfinite(slopes).all() and slopes.max() > 0):
        raise SettingsError(f"teacher {write(name, p)}: expected slopes that are finite and not all 0")
    return _scaled(slopes)


def _slopes(name: str, p: dict[str, float], distances: Distances) -> Array:
    d = distances.d
    slopes: Array
    if name in DENSITIES:
        shift = p.pop("shift")
        return slope(name, d, p, bool(shift))
    match name:
        case "l1":
            slopes = np.ones_like(d)
        case "l2":
            slopes = 2 * d
        case "hyper":
            slopes = 2 * p["alpha"] / np.hypot(np.sqrt(2 * p["alpha"]), p["alpha"] * d)
        case "info":
            similar = np.exp(-d / p["temperature"])
            slopes = (1 - p["weight"] * similar / (distances.p @ similar)) / p["temperature"]
        case "dcd":
            slopes = 2 * p["alpha"] * d * np.exp(-p["alpha"] * np.square(d))
        case _:
            q = np.exp(-d)
            slopes = np.exp(-(d + q) / 2) * (q - np.square(1 - q) / 2)
    return slopes


def weighted_curve(family: str, parameters: Mapping[str, float], d: Array, shift: bool = True) -> Array:
    """Return the slopes of a weighting at distances (n,) from 0 on, the largest 1 (equation 3).

    They are f'(d + m) d + f(d + m), with m = 0 without `shift`.
    """
    return _scaled(slope(family, d, parameters, shift))


def _scaled(curve: Array) -> Array:
    scaled: Array = curve / curve.max()
    return scaled


def matching_loss(teacher: Array, curve: Array, distances: Distances) -> float:
    """Return the mean absolute difference of two curves (n,) over the distances (equation 3)."""
    return float(distances.p @ np.abs(teacher - curve))


def search(family: str, teacher: Array, distances: Distances, shift: bool = True) -> Match:
    """Find the parameters of a family whose curve is nearest to a teacher's, (n,), the largest 1 (Algorithm 1).

    All combinations of a grid are tried, and the best are refined (Nelder and Mead, 1965). Where distances are small,
    many parameters are as good as each other. With `shift` f is taken from its mode on, as in the paper; the authors'
    released losses take it as it is. Raises SettingsError where there is no such family.
    """
    if family not in FAMILIES:
        raise SettingsError(f"unknown family {family!r}, expected one of {', '.join(FAMILIES)}")
    known, largest = DENSITIES[family], float(distances.d[-1])

    def named(logarithms: Iterable[float]) -> dict[str, float]:
        return {key: float(np.exp(value)) for key, value in zip(known, logarithms, strict=True)}

    def loss(logarithms: Iterable[float]) -> float:
        return matching_loss(teacher, weighted_curve(family, named(logarithms), distances.d, shift), distances)

    best, at_edge = np.zeros(0), list[str]()
    if known:
        bounds = np.log([_GRID.ends(key, parameter, largest) for key, parameter in known.items()])
        grid = product(*(np.linspace(low, high, _GRID.values) for low, high in bounds))
        options = {"xatol": _GRID.parameter_tolerance, "fatol": _GRID.loss_tolerance}
        # Where shape and length make up for each other the best lies on a ridge that no grid follows.
        refined = [
            minimize(loss, start, method="Nelder-Mead", bounds=bounds, options=options)
            for start in sorted(grid, key=loss)[: _GRID.starts]
        ]
        best = min(refined, key=lambda r: float(r.fun)).x
        near = np.abs(best[:, None] - bounds).min(1) < _GRID.edge
        at_edge = [key for key, at_end in zip(known, near, strict=True) if at_end]
    parameters = named(best)
    return {
        "family": family,
        "criterion": write(family, parameters if shift else {**parameters, "shift": 0.0}),
        "parameters": parameters,
        "shift": shift,
        "mode": float(FAMILIES[family].mode(**parameters)) if shift else 0.0,
        "loss": loss(best),
        "at_edge": at_edge,
        "slope": weighted_curve(family, parameters, distances.d, shift)[distances.few].tolist(),
    }


def distil(
    teacher: str,
    parameters: Mapping[str, float],
    distances: Distances,
    families: Iterable[str] = FAMILIES,
    shift: bool = True,
    source: str = "",
    *,
    monitor: Monitor = SILENT,
) -> Distillation:
    """Search families for the weighting that is nearest to a teacher, of `TEACHERS`; the nearest comes first.

    `shift` is that of `search`, and `source` says where the distances come from, for the record. The monitor is told
    of every family. Raises SettingsError where there is no such teacher, parameter or family.
    """
    curve, few = teacher_curve(teacher, parameters, distances), distances.few
    found, families = [], list(families)
    monitor.update(Stage.SEARCH, 0, len(families), "families")
    for done, family in enumerate(families, 1):
        found.append(search(family, curve, distances, shift))
        monitor.update(Stage.SEARCH, done, len(families), "families")
    # Each point of the density stands for all distances that are nearest to it.
    nearest = np.rint(np.arange(len(distances.d)) / few.step).astype(np.int64)
    return {
        "teacher": {"name": teacher, "parameters": complete(teacher, parameters)},
        "distances": {"source": source, "mean": distances.mean, "largest": float(distances.d[-1])},
        "d": distances.d[few].tolist(),
        "density": (np.bincount(nearest, distances.density) / np.bincount(nearest)).tolist(),
        "slope": curve[few].tolist(),
        "families": sorted(found, key=lambda match: match["loss"]),
    }
