"""Point-to-plane errors: how far decoded points lie off the planes of the original, as MPEG's D2 takes them.

A point that slid along the surface makes no such error. After Tian et al., "Geometric distortion metrics for point
cloud compression" (ICIP 2017).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pcqaad.evaluation.reference import Reference
from pcqaad.evaluation.surface import Surface
from pcqaad.points.collect import Points

Floats = NDArray[np.float64]

# Nearest points, itself among them, that the normal of a point without faces is estimated from.
NEIGHBOURS = 12
# Neighbours whose second extent is below this part of the first lie on a line, which has no normal.
_LINE = 1e-6


def distances(reference: Reference, decoded: Points) -> tuple[Floats, Floats]:
    """Return the errors of decoded points (n, 3) and of the original ones (M, 3), one direction each: (n,), (M,).

    A decoded point's error is its way to the nearest original point, along the normal there. An original point's is
    its way to the nearest decoded one, along the mean normal of the original points that this one is nearest to, all
    turned to one side. Where there is no normal the whole way counts.
    """
    points, decoded = reference.points.astype(np.float64), decoded.astype(np.float64)
    normals = normals_of(reference)
    there, back = cKDTree(points).query(decoded)[1], cKDTree(decoded).query(points)[1]
    sides = np.where(np.einsum("ij,ij->i", normals, normals[there[back]]) < 0, -1.0, 1.0)
    means: Floats = np.zeros((len(decoded), 3))
    np.add.at(means, back, sides[:, None] * normals)
    means = _unit(means)
    return _along(decoded - points[there], normals[there]), _along(points - decoded[back], means[back])


def normals_of(reference: Reference) -> Floats:
    """Return the unit normals (M, 3) of an original's points, of any sign; zeros where there is none.

    With faces they are those of the faces: of the triangle that a point was drawn from, or of those about a vertex,
    by their areas. Without they are estimated from the nearest points.
    """
    if reference.mesh is None:
        return estimated_normals(reference.points)
    surface = Surface(reference.mesh)
    of_triangles = surface.normals()
    if reference.rows is None:
        return _unit(of_triangles[surface.nearest(reference.points)[1]])
    vertices, triangles = reference.mesh
    of_vertices = np.zeros((len(vertices), 3))
    for corner in triangles.T:
        np.add.at(of_vertices, corner, of_triangles)
    return _unit(of_vertices[reference.rows])


def estimated_normals(points: Points) -> Floats:
    """Return unit normals (n, 3) of points (n, 3): across the two widest directions of the nearest points."""
    points = points.astype(np.float64)
    count = min(NEIGHBOURS, len(points))
    rows = cKDTree(points).query(points, count)[1].reshape(len(points), count)
    near = points[rows]
    near -= near.mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", near, near))
    normals: Floats = np.where(values[:, 1:2] > _LINE**2 * values[:, 2:], vectors[..., 0], 0.0)
    return normals


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: Floats = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return units


def _along(ways: Floats, normals: Floats) -> Floats:
    along = np.abs(np.einsum("ij,ij->i", ways, normals))
    errors: Floats = np.where(normals.any(1), along, np.linalg.norm(ways, axis=1))
    return errors
