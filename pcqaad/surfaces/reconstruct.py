"""A triangle mesh of few vertices from points that lie on a surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from pcqaad.errors import CloudError, SettingsError
from pcqaad.points.collect import Points, check_cloud
from pcqaad.points.surface import check_corners
from pcqaad.seeds import Use, generator
from pcqaad.surfaces.decimate import coarser, collapse
from pcqaad.surfaces.edges import compact, edges_of, normals_of
from pcqaad.surfaces.fit import fit, nearest_on
from pcqaad.surfaces.front import advancing_front
from pcqaad.surfaces.tetrahedra import spacing
from pcqaad.surfaces.tidy import close_holes, fans, manifold, oriented, trimmed

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FEWEST = 4  # vertices that a surface may have
MOST = 24576  # points that the surface goes through, if not more of them for each vertex:
DENSE = 12
ROUNDS = 4  # in which the vertices move to the points
WIDE = 4.0  # a hole is closed up to so many times the distance to the tenth neighbour
FEW, FEW_WIDE = 10, 3.0  # edges of a hole that is closed among few vertices, and its width in edges' lengths
STRAY = 2.0  # and a point farther than so many times that from the surface gets a triangle of its own,
TINY = 0.05  # whose sides have this part of that distance,
STRAYS = 0.125  # as long as they take no more than this part of the vertices
FINE = 6  # triangles for each vertex of a mesh that its own vertices are chosen from
FINEST = 16 * MOST  # triangles of a mesh that is taken as it is


@dataclass(frozen=True)
class DenseSurface:
    """A surface through points, or through some of them, from which meshes of fewer vertices follow."""

    points: Floats  # (m, 3), all different
    normals: Floats  # (m, 3) of the surface at each, 0 where it has none
    vertices: Floats  # (v, 3)
    triangles: Integers  # (t, 3)
    strays: Floats  # (s, 3) points that lie far from it, the farthest first
    scale: float  # how far apart points are
    guessed: bool = True  # from points alone: a hole of a few edges is none of the shape's

    @classmethod
    def through(cls, points: Points, vertices: int, seed: int = 0) -> DenseSurface:
        """Lay a surface through points (m, 3): fine enough for meshes of so many vertices.

        Raises CloudError where the points are no cloud or lie on no surface.
        """
        places = np.unique(np.asarray(check_cloud(points, "points"), np.float64), axis=0)
        fewer = _thinned(places, max(MOST, DENSE * vertices), seed)
        dense, triangles, origin = _surface(fewer, seed)
        gap, nearest = KDTree(fewer).query(places)
        scale = float(np.median(spacing(fewer)))
        lonely = np.ones(len(fewer), bool)
        lonely[origin] = False
        strays = _strays(places[lonely[nearest] | (gap > STRAY * scale)], dense, triangles, STRAY * scale)
        return cls(places, vertex_normals(fewer, origin[triangles])[nearest], dense, triangles, strays, scale)

    @classmethod
    def of_mesh(cls, vertices: Points, triangles: NDArray[np.integer], points: Points) -> DenseSurface:
        """Take a mesh, vertices (v, 3) and triangles (t, 3), that points (m, 3) lie on.

        Raises CloudError where a triangle names no vertex, or none has an area.
        """
        dense, faces = _tidied(vertices, triangles)
        places = np.unique(np.asarray(check_cloud(points, "points"), np.float64), axis=0)
        normal = normals_of(dense, faces)
        unit = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
        facing = unit[nearest_on(places, dense, faces)[0]]
        return cls(places, facing, dense, faces, np.zeros((0, 3)), 1.0, guessed=False)

    def mesh(self, vertices: int) -> tuple[Floats, Integers]:
        """Return a mesh as `control_mesh` does; raises SettingsError for fewer than four vertices."""
        _check_count(vertices)
        strays = self.strays[: int(STRAYS * vertices) // 3]
        control, faces = collapse(*coarser(self.vertices, self.triangles, FINE * vertices), vertices - 3 * len(strays))
        if self.guessed:
            edges = edges_of(faces)[0]
            side = float(np.linalg.norm(control[edges[:, 0]] - control[edges[:, 1]], axis=1).mean())
            faces = close_holes(control, faces, np.full(len(control), FEW_WIDE * side), FEW)
        control = fit(self.points, self.normals, control, faces, ROUNDS)
        return _with_strays(control, faces, strays, self.scale * TINY)


def control_mesh(points: Points, vertices: int, seed: int = 0) -> tuple[Floats, Integers]:
    """Return a mesh of at most `vertices` vertices (v, 3) whose triangles (t, 3) lie nearest to points (m, 3).

    At most two triangles meet at an edge, and run along it in opposite directions. A part that encloses a volume faces
    outward. Fewer points than vertices, or points that lie on each other, give fewer vertices.

    Raises CloudError where the points are no cloud or lie on no surface, SettingsError for fewer than four vertices.
    """
    _check_count(vertices)
    return DenseSurface.through(points, vertices, seed).mesh(vertices)


def _tidied(vertices: Points, triangles: NDArray[np.integer]) -> tuple[Floats, Integers]:
    """Return a mesh in which at most two triangles meet at an edge, without vertices of no triangle."""
    places = np.asarray(check_cloud(vertices, "vertices"), np.float64)
    check_corners(triangles, len(places))
    places, faces = coarser(places, np.asarray(triangles, np.int64), FINEST)
    faces, origin = fans(manifold(oriented(faces)))
    dense, faces = compact(places[origin], faces)
    if not normals_of(dense, faces).any():
        raise CloudError(f"expected faces with an area, found {len(triangles)} without")
    return dense, faces


def _check_count(vertices: int) -> None:
    if vertices < FEWEST:
        raise SettingsError(f"expected a surface of at least {FEWEST} vertices, asked for {vertices}")


def _surface(places: Floats, seed: int) -> tuple[Floats, Integers, Integers]:
    """Return the vertices of a surface through points (m, 3), all different, its triangles, and each vertex's point."""
    triangles = np.zeros((0, 3), np.int64)
    if len(places) == 3 and np.linalg.norm(normals_of(places, np.array([[0, 1, 2]]))) > 1e-9 * np.ptp(places) ** 2:
        triangles = np.array([[0, 1, 2]])
    elif len(places) > 3:
        triangles = advancing_front(places, seed)
    if len(triangles) == 0:
        raise CloudError(f"expected points on a surface, found {len(places)} different points that span no triangle")
    triangles, origin = fans(trimmed(triangles))
    dense = places[origin]
    return dense, close_holes(dense, triangles, WIDE * spacing(places)[origin]), origin


def _thinned(places: Floats, most: int, seed: int) -> Floats:
    """Return the points (m, 3), or some of them drawn by the seed where they are more than `most`."""
    if len(places) <= most:
        return places
    return places[np.sort(generator(seed, Use.SURFACE_POINTS).choice(len(places), most, replace=False))]


def _strays(places: Floats, dense: Floats, triangles: Integers, reach: float) -> Floats:
    """Return those of points (n, 3) that lie farther than `reach` from a surface, the farthest first."""
    if len(places) == 0:
        return places
    away = nearest_on(places, dense, triangles)[2]
    far = np.argsort(-away, kind="stable")
    return places[far[away[far] > reach]]


def _with_strays(vertices: Floats, triangles: Integers, strays: Floats, side: float) -> tuple[Floats, Integers]:
    """Return a mesh with a small triangle round each stray point (s, 3)."""
    corner = side / np.sqrt(3) * np.array([[1.0, 0, 0], [-0.5, np.sqrt(0.75), 0], [-0.5, -np.sqrt(0.75), 0]])
    added = (strays[:, None] + corner).reshape(-1, 3)
    numbers = len(vertices) + np.arange(len(added)).reshape(-1, 3)
    return np.concatenate([vertices, added]), np.concatenate([triangles, numbers])


def vertex_normals(vertices: Floats, triangles: Integers) -> Floats:
    """Return unit normals (v, 3), 0 where a vertex has no triangle."""
    total = np.zeros_like(vertices)
    normal = normals_of(vertices, triangles)
    for i in range(3):
        for j in range(3):
            total[:, j] += np.bincount(triangles[:, i], normal[:, j], minlength=len(vertices))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 0, total / np.maximum(length, 1e-300), 0)
