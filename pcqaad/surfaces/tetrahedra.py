"""The triangles of the Delaunay tetrahedra of points, and which of their sides is the outside of what they enclose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Delaunay, KDTree

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NEIGHBOURS = 10  # to the last of them: how far apart the points lie here,
LONELY = 1.5  # and at most so many times what its neighbours have in the middle


def spacing(points: Floats) -> Floats:
    """Return the distance of each point (m, 3) to its tenth neighbour, or its last where there are fewer.

    A stray point, much farther from its neighbours than they are from theirs, gets what is usual there.
    """
    count = min(NEIGHBOURS, len(points) - 1)
    found, at = KDTree(points).query(points, k=count + 1)
    last = found[:, -1]
    reach: Floats = np.minimum(last, LONELY * np.median(last[at[:, 1:]], axis=1))
    return reach


def faces_of_tetrahedra(points: Floats) -> tuple[Integers, Floats, Integers, Floats]:
    """Return the triangles (t, 3) of the Delaunay tetrahedra and the radius (t,) of the least empty ball through each.

    And the tetrahedra (t, 2) over and under each, -1 for none, seen with its corners in a left turn; and the
    volume (n,) of every tetrahedron.
    Raises scipy.spatial.QhullError where the points (m, 3) span no volume.
    """
    tetrahedra = Delaunay(points)
    corners, beside = tetrahedra.simplices.astype(np.int64), tetrahedra.neighbors.astype(np.int64)
    own, slot = np.nonzero(beside < np.arange(len(corners))[:, None])
    other = beside[own, slot]
    rest = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    triangles = corners[own[:, None], rest[slot]]
    a, b, c = points[triangles[:, 0]], points[triangles[:, 1]], points[triangles[:, 2]]
    u, v = b - a, c - a
    normal = np.cross(u, v)
    area = np.einsum("ij,ij->i", normal, normal)
    safe = np.maximum(area, np.finfo(float).tiny)
    uu, vv = np.einsum("ij,ij->i", u, u), np.einsum("ij,ij->i", v, v)
    centre = (np.cross(normal, u) * vv[:, None] - np.cross(normal, v) * uu[:, None]) / (2 * safe[:, None])
    squared = np.einsum("ij,ij->i", centre, centre)
    centre += a
    normal /= np.sqrt(safe)[:, None]
    # Centres of empty balls through a triangle lie on a piece of the line through its circumcentre; 0 is that centre.
    low, high = np.full(len(triangles), -np.inf), np.full(len(triangles), np.inf)
    # The corner of each tetrahedron that the triangle lacks.
    back = np.argmax(beside[np.maximum(other, 0)] == own[:, None], axis=1)
    over = np.zeros(len(triangles), bool)  # the tetrahedron `own` is
    far = corners[np.maximum(other, 0), back]
    for corner, there in ((far, other >= 0), (corners[own, slot], np.ones(len(own), bool))):
        out = points[corner] - centre
        height = np.einsum("ij,ij->i", normal, out)
        along = (np.einsum("ij,ij->i", out, out) - squared) / (2 * np.where(height == 0, 1e-300, height))
        over = height > 0
        high = np.where(there & (height > 0), np.minimum(high, along), high)
        low = np.where(there & (height <= 0), np.maximum(low, along), low)
    offset = np.clip(0, np.minimum(low, high), np.maximum(low, high))
    radius = np.sqrt(squared + offset**2)
    sides = np.where(over[:, None], np.stack([own, other], axis=1), np.stack([other, own], axis=1))
    first = points[corners[:, 0]]
    u, v, w = (points[corners[:, i]] - first for i in (1, 2, 3))
    volume = np.abs(np.einsum("ij,ij->i", u, np.cross(v, w))) / 6
    return triangles, np.where(area > 0, radius, np.inf), sides, volume


def outsides(sides: Integers, open_: NDArray[np.bool_], area: Floats, volume: Floats, thick: float) -> Integers:
    """Return 1 for each triangle (t,) that has the outside over it alone, -1 under it alone, and else 0.

    `sides` has the tetrahedra over and under each (t, 2), -1 for none. Outside are those that open triangles lead to
    from beyond all points. The others lie in rooms. Where a room has less than `thick` times the area
    (t,) of its walls as the volume (n,) of its tetrahedra, it lies in a sheet, and its triangles tell nothing.
    """
    size = int(sides.max()) + 1
    ends = np.where(sides < 0, size, sides)[open_]
    graph = coo_matrix((np.ones(len(ends), np.int8), ends.T), shape=(size + 1, size + 1))
    _, label = connected_components(graph, directed=False)
    outside = label == label[size]
    shut = ~outside[sides].any(axis=1)
    ends = np.where(sides < 0, size, sides)[shut]
    graph = coo_matrix((np.ones(len(ends), np.int8), ends.T), shape=(size + 1, size + 1))
    _, room = connected_components(graph, directed=False)
    inside = ~outside
    count = int(room.max()) + 1
    content = np.bincount(room[:-1], volume, minlength=count)
    wall = inside[sides[:, 0]] != inside[sides[:, 1]]
    inner = np.where(inside[sides[:, 0]], sides[:, 0], sides[:, 1])[wall]
    walls = np.bincount(room[inner], area[wall], minlength=count)
    flat = (content < thick * walls)[room] & inside
    value = np.where(outside, 1, 0)
    over, under = sides[:, 0], sides[:, 1]
    known = ~(flat[over] | flat[under])
    return np.where(known, value[over] - value[under], 0)
