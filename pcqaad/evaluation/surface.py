"""Distances from points to the triangles of a mesh, exact up to rounding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pcqaad.points.surface import Mesh, check_corners

Floats = NDArray[np.float64]

# Points that are searched for at once, and pairs of a point and a triangle that are measured at once.
_POINTS_AT_ONCE = 1 << 12
_PAIRS_AT_ONCE = 1 << 18
# Octaves of the triangles' sizes that are told apart; smaller ones are searched with the last.
_OCTAVES = 24
# A triangle whose height is below this part of its longest side is measured as its sides alone.
_FLAT = 1e-10


class Surface:
    """The triangles of a mesh, for searches of the nearest one.

    A triangle lies within a ball about its centre. Triangles of one octave of balls are searched together: about a
    point, as far as the nearest known triangle and once more the octave's largest ball. So none is missed, and large
    triangles do not make the search among small ones wide.
    """

    def __init__(self, mesh: Mesh) -> None:
        """Take vertices (v, 3) and triangles (t, 3); raises CloudError where a triangle names no vertex."""
        vertices, triangles = mesh
        check_corners(triangles, len(vertices))
        self.corners = vertices[triangles].astype(np.float64)  # (t, 3, 3)
        centres = self.corners.mean(1)
        radii = np.linalg.norm(self.corners - centres[:, None], axis=2).max(1)
        least = max(float(radii.max()) * 2.0**-_OCTAVES, np.finfo(np.float64).tiny)
        octaves = np.floor(np.log2(np.maximum(radii, least)))
        groups = [np.flatnonzero(octaves == octave) for octave in np.unique(octaves)]
        self._groups = [(rows, cKDTree(centres[rows]), float(radii[rows].max())) for rows in groups]

    def nearest(self, points: NDArray[np.floating]) -> tuple[Floats, NDArray[np.int64]]:
        """Return the distances (n,) of points (n, 3) to the surface, and the number of the triangle nearest to each."""
        parts = np.array_split(points.astype(np.float64), max(-(-len(points) // _POINTS_AT_ONCE), 1))
        distances, triangles = zip(*map(self._nearest, parts), strict=True)
        return np.concatenate(distances), np.concatenate(triangles)

    def _nearest(self, points: Floats) -> tuple[Floats, NDArray[np.int64]]:
        best, found = np.full(len(points), np.inf), np.zeros(len(points), np.int64)
        every = np.arange(len(points))
        for rows, tree, _ in self._groups:
            self._improve(points, every, rows[tree.query(points)[1]], best, found)
        for rows, tree, radius in self._groups:
            # Rounding may put the nearest triangle a little outside.
            reach = (best + radius) * (1 + 1e-9)
            # Counted first: about a point far off lie all triangles, and lists of them take memory.
            counts = tree.query_ball_point(points, reach, return_length=True)
            for low, high in _slabs(counts):
                near = tree.query_ball_point(points[low:high], reach[low:high])
                pairs = np.repeat(every[low:high], counts[low:high])
                candidates = rows[np.concatenate([np.asarray(some, np.int64) for some in near])]
                self._improve(points, pairs, candidates, best, found)
        return best, found

    def _improve(
        self,
        points: Floats,
        of: NDArray[np.int64],
        triangles: NDArray[np.int64],
        best: Floats,
        found: NDArray[np.int64],
    ) -> None:
        """Measure pairs of points and triangles, those of a point one behind the other, and keep the nearest."""
        for low in range(0, len(of), _PAIRS_AT_ONCE):
            some, candidates = of[low : low + _PAIRS_AT_ONCE], triangles[low : low + _PAIRS_AT_ONCE]
            distances = point_triangle_distances(points[some], self.corners[candidates])
            order = np.lexsort((distances, some))
            first = np.unique(some[order], return_index=True)[1]
            nearest = order[first]
            nearest = nearest[distances[nearest] < best[some[nearest]]]
            best[some[nearest]], found[some[nearest]] = distances[nearest], candidates[nearest]

    def normals(self) -> Floats:
        """Return the triangles' normals (t, 3), each as long as twice its area."""
        a, b, c = self.corners.transpose(1, 0, 2)
        normals: Floats = np.cross(b - a, c - a)
        return normals


def _slabs(counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Cut points into runs of about as many pairs as are measured at once; `counts` (n,) are each point's."""
    if not counts.sum():
        return []
    last = np.unique(np.cumsum(counts) // _PAIRS_AT_ONCE, return_index=True)[1]
    return list(zip(last.tolist(), [*last[1:].tolist(), len(counts)], strict=True))


def point_triangle_distances(points: Floats, corners: Floats) -> Floats:
    """Return the distances (n,) of points (n, 3) to triangles (n, 3, 3), each to its own.

    The nearest point of a triangle lies on one of its sides, or it is the foot of the perpendicular on its plane.
    """
    a, b, c = corners.transpose(1, 0, 2)
    normal = np.cross(b - a, c - a)
    squared_area, longest = _dot(normal, normal), np.zeros(len(points))
    squared, inside = np.full(len(points), np.inf), np.ones(len(points), np.bool_)
    for u, v in ((a, b), (b, c), (c, a)):
        side, way = v - u, points - u
        length = _dot(side, side)
        longest = np.maximum(longest, length)
        along = np.clip(np.divide(_dot(way, side), length, out=np.zeros_like(length), where=length > 0), 0, 1)
        squared = np.minimum(squared, np.square(way - along[:, None] * side).sum(1))
        inside &= _dot(np.cross(side, way), normal) >= 0
    inside &= squared_area > np.square(_FLAT * longest)
    height = np.divide(_dot(points - a, normal) ** 2, squared_area, out=squared.copy(), where=inside)
    distances: Floats = np.sqrt(np.minimum(squared, height))
    return distances


def _dot(a: Floats, b: Floats) -> Floats:
    product: Floats = np.einsum("ij,ij->i", a, b)
    return product
