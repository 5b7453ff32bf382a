"""Loss distillation: the weighting whose gradients are most like those of another loss (Lin et al., Algorithm 1).

The slope z of a loss at a distance d is the force that moves a point. Two losses whose slopes are in proportion
train alike at another rate, so each curve of slopes is divided by its largest value, and they are compared where
distances are likely. The weighted loss is f(d + m) d, with f a density and m its mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypedDict

import numpy as np
from scipy.optimize import minimize

from pcqaad.distillation.distances import Array, Distances
from pcqaad.errors import SettingsError
from pcqaad.losses.densities import FAMILIES, slope
from pcqaad.losses.names import DENSITIES, complete, write
from pcqaad.monitor import SILENT, Monitor, Stage

# Values of a parameter in the grid, and how many of the best are refined, and how far.
_VALUES, _STARTS = 25, 3
_REFINED = {"xatol": 1e-4, "fatol": 1e-9}
# The grid's reach: factors of the largest distance for what is a length, and shapes from their least value on.
_LENGTHS, _SHAPES = (1 / 100, 1000.0), 30.0
_RATES = {("gamma", "rate")}
_LEAST_SHAPES = {("chi2", "k"): 2.0, ("weibull", "shape"): 1.0, ("log-logistic", "beta"): 1.0, ("gamma", "shape"): 1.0}

# Losses whose slope depends on a distance, or for `info` on the distribution too.
TEACHERS = ("hyper", "l1", "l2", "info", "dcd", "landau-released", *DENSITIES)


@dataclass(frozen=True)
class Match:
    """A weighting, and how far its slopes are from the teacher's.

    Attributes:
        family: of the density.
        parameters: of the density.
        loss: the mean absolute difference of the curves, each at most 1.
        curve: (n,) the weighting's slopes at the distances, the largest 1.
        shift: whether f is taken from its mode on.
        at_edge: parameters whose best value is the first or last of all that were tried: there may be better ones.
    """

    family: str
    parameters: dict[str, float]
    loss: float
    curve: Array
    shift: bool = True
    at_edge: tuple[str, ...] = ()

    @property
    def criterion(self) -> str:
        """The loss as settings name it."""
        return write(self.family, self.parameters if self.shift else {**self.parameters, "shift": 0.0})


def teacher_curve(name: str, parameters: Mapping[str, float], distances: Distances) -> Array:
    """Return the slopes (n,) of a loss at the distances, the largest 1.

    The teacher of the paper is `hyper`, 2 alpha / sqrt(2 alpha + alpha^2 d^2) (equation 3). Of `dcd` it is the slope
    where every point has a neighbour of its own; that of `info` depends on all distances through its mean.

    Raises:
        SettingsError: there is no such teacher, it has no such parameters, or none of its slopes is more than 0.
    """
    if name not in TEACHERS:
        raise SettingsError(f"unknown teacher {name!r}, expected one of {', '.join(TEACHERS)}")
    p = complete(name, parameters)
    # Parameters that leave float64 show in what they lead to.
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
    """Return the mean over the distances of how far two curves (n,) are apart (equation 3)."""
    return float(distances.p @ np.abs(teacher - curve))


def search(family: str, teacher: Array, distances: Distances, shift: bool = True) -> Match:
    """Find the parameters of a family whose curve is nearest to a teacher's (n,) (Algorithm 1).

    All combinations of a grid are tried, and the best refined (Nelder and Mead, 1965). Where distances are small, many
    parameters are as good as each other.

    Args:
        family: of `FAMILIES`.
        teacher: its slopes, the largest 1.
        distances: n of them.
        shift: take f from its mode on, as the paper does; the authors' released losses do not.

    Raises:
        SettingsError: there is no such family.
    """
    if family not in FAMILIES:
        raise SettingsError(f"unknown family {family!r}, expected one of {', '.join(FAMILIES)}")
    largest = float(distances.d[-1])
    reach = {key: _reach(family, key, largest) for key in DENSITIES[family]}

    def match(logs: Iterable[float]) -> Match:
        parameters = {key: float(np.exp(value)) for key, value in zip(reach, logs, strict=True)}
        curve = weighted_curve(family, parameters, distances.d, shift)
        return Match(family, parameters, matching_loss(teacher, curve, distances), curve, shift)

    # Parameters spread over powers of ten: the grid is even in their logarithms.
    bounds = [(float(np.log(low)), float(np.log(high))) for low, high in reach.values()]
    grid = product(*(np.linspace(low, high, _VALUES) for low, high in bounds))
    starts = sorted(grid, key=lambda logs: match(logs).loss)[:_STARTS]
    if not bounds:
        return match(())
    # Where shape and length make up for each other the best lies on a ridge that no grid follows.
    refined = [
        minimize(lambda x: match(x).loss, start, method="Nelder-Mead", bounds=bounds, options=_REFINED)
        for start in starts
    ]
    best = min(refined, key=lambda r: float(r.fun)).x
    edge = [key for key, x, ends in zip(reach, best, bounds, strict=True) if np.abs(np.subtract(x, ends)).min() < 1e-3]
    return replace(match(best), at_edge=tuple(edge))


def _reach(family: str, key: str, largest: float) -> tuple[float, float]:
    """Return the least and the greatest value of a parameter that are tried."""
    if (least := _LEAST_SHAPES.get((family, key))) is not None:
        return least, least * _SHAPES
    low, high = (factor * largest for factor in _LENGTHS)
    return (1 / high, 1 / low) if (family, key) in _RATES else (low, high)


def rank(
    teacher: Array,
    distances: Distances,
    families: Iterable[str] = FAMILIES,
    shift: bool = True,
    monitor: Monitor = SILENT,
) -> list[Match]:
    """Search families as `search` does and return what was found, the nearest to a teacher's curve (n,) first."""
    found, families = [], list(families)
    monitor.update(Stage.SEARCH, 0, len(families), "families")
    for done, family in enumerate(families, 1):
        found.append(search(family, teacher, distances, shift))
        monitor.update(Stage.SEARCH, done, len(families), "families")
    return sorted(found, key=lambda match: match.loss)


def _thinned(values: Array, step: int) -> Array:
    """Return every `step`-th of values (n,), each the mean of those that are nearest to it."""
    nearest = np.rint(np.arange(len(values)) / step).astype(np.int64)
    means: Array = np.bincount(nearest, values) / np.bincount(nearest)
    return means


class Family(TypedDict):
    """What was found in a family: the loss as `compress --criterion` takes it, and its slopes at `d`."""

    family: str
    criterion: str
    parameters: dict[str, float]
    shift: bool
    mode: float
    loss: float
    at_edge: list[str]
    slope: list[float]


class Distillation(TypedDict):
    """What `distil` returns, and `pcqaad distill --json` prints: all curves by a hundred points, at distances `d`."""

    teacher: dict[str, Any]
    distances: dict[str, Any]
    d: list[float]
    density: list[float]
    slope: list[float]
    families: list[Family]


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
    """Search families for the weighting that is nearest to a teacher.

    Args:
        teacher: of `TEACHERS`.
        parameters: of the teacher.
        distances: that the curves are compared on.
        families: that are searched.
        shift: as for `search`.
        source: of the distances, for the record.
        monitor: told of every family.

    Returns:
        The families, the nearest first.

    Raises:
        SettingsError: there is no such teacher, or no such family.
    """
    curve = teacher_curve(teacher, parameters, distances)
    few = slice(None, None, max((len(distances.d) - 1) // 100, 1))
    return {
        "teacher": {"name": teacher, "parameters": complete(teacher, parameters)},
        "distances": {"source": source, "mean": distances.mean, "largest": float(distances.d[-1])},
        "d": distances.d[few].tolist(),
        "density": _thinned(distances.density, few.step).tolist(),
        "slope": curve[few].tolist(),
        "families": [
            {
                "family": match.family,
                "criterion": match.criterion,
                "parameters": match.parameters,
                "shift": match.shift,
                "mode": float(FAMILIES[match.family].mode(**match.parameters)) if match.shift else 0.0,
                "loss": match.loss,
                "at_edge": list(match.at_edge),
                "slope": match.curve[few].tolist(),
            }
            for match in rank(curve, distances, families, shift, monitor)
        ],
    }
