"""Tears of a matching: neighbours on the template whose partners lie far apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pcqaad.matching.solvers import Points

NEIGHBOURS = 8  # of a point
# Neighbours are torn apart where they end farther from each other than this many times the spacing of points there.
# Two samplings of one surface, matched at best, move points by one spacing or so; a body grows to twice its size.
_TORN = 4.0


def neighbours(points: Points, count: int = NEIGHBOURS) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the distances and the numbers (n, count) of each point's nearest others, fewer where there are fewer."""
    distances, found = cKDTree(points).query(points, min(count + 1, len(points)))
    shape = len(points), -1
    return distances.reshape(shape)[:, 1:], found.reshape(shape)[:, 1:]


class Neighbourhood:
    """The neighbours of a template's points."""

    def __init__(self, template: Points) -> None:
        """Take a template (n, 3). The spacing at a pair is that of its points, and the median one at least."""
        distances, self._near = neighbours(template)
        spacing = distances.mean(1) if distances.shape[1] else np.zeros(len(template))
        own = np.maximum(spacing, np.median(spacing))[:, None]
        self._longest = _TORN * np.maximum(own, own[:, 0][self._near])

    def kept(self, placed: Points) -> float:
        """Return the share of neighbours that still are, where the template's points lie at `placed` (n, 3)."""
        apart = np.linalg.norm(placed[self._near] - placed[:, None], axis=2)
        return float(np.mean(apart <= self._longest)) if apart.size else 1.0
