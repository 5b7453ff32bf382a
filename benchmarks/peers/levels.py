"""Fields over points, coded from coarse to fine: each point is predicted from its nearest neighbours among the coarser.

The levels come from the points alone, so a decoder that has the points needs nothing else. The prediction is in the
loop: it starts from decoded values. Where all residuals are rounded to zero a field is still smooth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COARSEST = 16  # points of the first level, which nothing predicts
NEIGHBOURS = 8  # that predict a point
# Of kriging with the generalised covariance -distance**POWER and a nugget: what measured best on a horse in motion.
POWER, NUGGET = 1.5, 0.05


class Level(NamedTuple):
    """Points (n,) of a level, and what predicts each of them: coarser points (n, k) and their weights (n, k)."""

    points: Ints
    neighbours: Ints
    weights: Floats


def morton(points: Floats, bits: int = 12) -> Ints:
    """Return the order (n,) of points (n, 3) along a Z-shaped curve."""
    low, extent = points.min(0), max(float(np.ptp(points, axis=0).max()), 1e-300)
    grid = ((points - low) / extent * (2**bits - 1)).astype(np.int64)
    key = np.zeros(len(points), np.int64)
    for bit in range(bits):
        for axis in range(3):
            key |= ((grid[:, axis] >> bit) & 1) << (3 * bit + axis)
    return np.argsort(key, kind="stable")


def halved(points: Floats, bits: int = 12) -> list[Ints]:
    """Cut points (n, 3) into levels, coarsest first. Each holds about as many as all before it, as evenly spread."""
    order = morton(points, bits)
    levels = []
    while len(order) > COARSEST:
        # Every other point along the curve.
        levels.append(order[1::2])
        order = order[::2]
    return [order, *reversed(levels)]


def plan(points: Floats) -> list[Level]:
    """Return the levels of points (n, 3), with the predictors of each."""
    first, *rest = halved(points)
    levels = [Level(first, np.empty((len(first), 0), np.int64), np.empty((len(first), 0)))]
    known = first
    for new in rest:
        k = min(NEIGHBOURS, len(known))
        distance, index = cKDTree(points[known]).query(points[new], k)
        neighbours = known[index.reshape(len(new), k)]
        levels.append(Level(new, neighbours, kriging(points[neighbours], distance.reshape(len(new), k))))
        known = np.concatenate([known, new])
    return levels


def kriging(neighbours: Floats, distance: Floats) -> Floats:
    """Return the weights (n, k), of sum 1, that predict points from neighbours (n, k, 3) at some distance (n, k).

    They leave the least expected square of the error for a field whose differences grow with distance, as equation
    3.2.12 of Cressie, "Statistics for Spatial Data", solves it.
    """
    n, k = distance.shape
    unit = np.maximum(distance.mean(1), 1e-300)[:, None, None]
    between = np.linalg.norm(neighbours[:, :, None] - neighbours[:, None], axis=-1)
    system = np.ones((n, k + 1, k + 1))
    system[:, :k, :k] = NUGGET * np.eye(k) - (between / unit) ** POWER
    system[:, k, k] = 0
    right = np.ones((n, k + 1, 1))
    right[:, :k] = -((distance[..., None] / unit) ** POWER)
    weights: Floats = np.linalg.solve(system, right)[:, :k, 0]
    return weights


def walk(levels: list[Level], fields: int, step: Callable[[int, Level, Floats], Floats]) -> Floats:
    """Rebuild fields (fields, n) level by level: `step(number, level, prediction)` returns the values of its points."""
    values = np.zeros((fields, sum(len(level.points) for level in levels)))
    for number, level in enumerate(levels):
        prediction = np.einsum("fnk,nk->fn", values[:, level.neighbours], level.weights)
        values[:, level.points] = step(number, level, prediction)
    return values
