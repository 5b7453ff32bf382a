"""Triangles through the points of a cloud: an advancing front over the triangles of its Delaunay tetrahedra.

Cohen-Steiner and Da, "A greedy Delaunay-based surface reconstruction algorithm", The Visual Computer 20, 2004. A
surface grows from its smallest triangle over its rim, the smallest empty ball first, straight on before round a bend.
No edge gets a third triangle, and the two of an edge run along it in opposite directions. A point whose fan is closed
takes no more triangles.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import cos, radians

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, KDTree

from pcqaad.seeds import Use, generator
from pcqaad.surfaces.edges import normals_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NEIGHBOURS = 10  # to the last of them: how far apart the points lie here
SHARP = 1.0  # where the triangle stands upright on the one before
REACH = 1.8  # empty balls up to so many times that distance may carry a triangle
BENDS = tuple(cos(radians(x)) for x in (30, 50, 70, 90, 120, 150))
SMOOTH = cos(radians(30))  # two triangles that meet flatter than this go on straight
FOLD = cos(radians(150))  # two triangles that meet sharper than this lie on each other
NUDGE = 1e-6  # of the diagonal: no five points on a sphere, no four in a plane


def spacing(points: Floats) -> Floats:
    """Return the distance of each point (m, 3) to its tenth neighbour, or its last where there are fewer."""
    count = min(NEIGHBOURS, len(points) - 1)
    found: Floats = KDTree(points).query(points, k=[count + 1])[0][:, 0]
    return found


def faces_of_tetrahedra(points: Floats) -> tuple[Integers, Floats]:
    """Return the triangles (t, 3) of the Delaunay tetrahedra and the radius (t,) of the least empty ball through each.

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
    for corner, there in (
        (corners[own, slot], np.ones(len(own), bool)),
        (corners[np.maximum(other, 0), back], other >= 0),
    ):
        out = points[corner] - centre
        height = np.einsum("ij,ij->i", normal, out)
        along = (np.einsum("ij,ij->i", out, out) - squared) / (2 * np.where(height == 0, 1e-300, height))
        high = np.where(there & (height > 0), np.minimum(high, along), high)
        low = np.where(there & (height <= 0), np.maximum(low, along), low)
    offset = np.clip(0, np.minimum(low, high), np.maximum(low, high))
    radius = np.sqrt(squared + offset**2)
    return triangles, np.where(area > 0, radius, np.inf)


def advancing_front(points: Floats, seed: int = 0) -> Integers:
    """Return triangles (t, 3) through points (m, 3), all different, of which at least four: a surface with rims.

    Deterministic. Points where the surface could not go on smoothly stay without a triangle.
    """
    diagonal = float(np.linalg.norm(np.ptp(points, axis=0)))
    nudged = points + generator(seed, Use.NUDGED_POINTS).uniform(-1, 1, points.shape) * (NUDGE * diagonal)
    triangles, radius = faces_of_tetrahedra(nudged)
    near = spacing(points)
    kept = radius <= REACH * near[triangles].min(axis=1)
    triangles, radius = triangles[kept], radius[kept]
    order = np.lexsort((*triangles.T, radius))
    return _grown(nudged, triangles[order], radius[order], (radius / near[triangles].min(axis=1))[order])


def _grown(points: Floats, triangles: Integers, radius: Floats, wide: Floats) -> Integers:
    """Return the triangles that the front takes of those given (t, 3), which stand in the order of their radii (t,).

    `wide` has the radii relative to the spacing of the points.
    """
    count, edges, slots = len(triangles), [], []
    # Slot i of a triangle is the edge that faces corner i. Its arm lies in the triangle, at right angles to the edge.
    pairs = triangles[:, [[1, 2], [2, 0], [0, 1]]].reshape(-1, 2)
    keys = pairs.min(axis=1) * len(points) + pairs.max(axis=1)
    _, edge_of = np.unique(keys, return_inverse=True)
    along = points[pairs[:, 1]] - points[pairs[:, 0]]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    arm = points[triangles.reshape(-1)] - points[pairs[:, 0]]
    arm -= along * np.einsum("ij,ij->i", arm, along)[:, None]
    arm /= np.maximum(np.linalg.norm(arm, axis=1, keepdims=True), 1e-300)
    normal = normals_of(points, triangles)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)

    by_edge = np.argsort(edge_of, kind="stable")  # an edge's slots, smallest radius first
    start = np.searchsorted(edge_of[by_edge], np.arange(edge_of.max(initial=-1) + 2)).tolist()
    by_edge = by_edge.tolist()
    edges, slots = edge_of.reshape(-1, 3).tolist(), triangles.tolist()
    arms, normals, radii = arm.tolist(), normal.tolist(), radius.tolist()
    widths = wide.tolist()

    owner = [-1] * (len(start) - 1)  # the slot that stands on this edge of the rim
    full = bytearray(len(start) - 1)  # an edge with both its triangles
    rim = [0] * len(points)  # edges of the rim at this point
    used = bytearray(len(points))
    banned = bytearray(count)  # triangles that lie over others
    leaning = np.zeros((len(points), 3)).tolist()  # the sum of the normals at this point, as `sheet` sees them
    sheet = [-1] * len(points)
    around: list[list[int]] = [[] for _ in sheet]  # the triangles at this point
    places = points.tolist()
    of = [-1] * count  # the sheet of a triangle that is taken
    signs = [1] * count  # -1: taken turned over, as its sheet sees it
    above: list[int] = []
    flips: list[int] = []  # sheets that met are one: the sheet that this one joined, and -1 where it had to be turned
    queue: list[tuple[float, int, int]] = []
    taken: list[int] = []
    bend = 1.0

    def top(number: int) -> tuple[int, int]:
        """Return the sheet that a sheet has become part of, and -1 where it lies there turned."""
        sign = 1
        while above[number] != number:
            sign *= flips[number]
            number = above[number]
        return number, sign

    def against(slot: int, other: int) -> tuple[int, int]:
        """Return the sheet at an edge, and the sign with which the triangle of `slot` runs against `other` there."""
        a, b = divmod(slot, 3), divmod(other, 3)
        number, sign = top(of[b[0]])
        same = slots[a[0]][a[1] - 2] == slots[b[0]][b[1] - 2]
        return number, sign * signs[b[0]] * (-1 if same else 1)

    def allowed(edge: int, slot: int) -> bool:
        """Tell whether the triangle of a slot may stand on its edge now: on the rim, and no fold with what is there."""
        triangle, i = divmod(slot, 3)
        sides = edges[triangle]
        tip = slots[triangle][i]
        if banned[triangle] or (used[tip] and not rim[tip]):
            return False
        number, sign = against(slot, owner[edge])
        third = (-1, 0)
        for j in ((i + 1) % 3, (i + 2) % 3):
            side = sides[j]
            if full[side]:
                return False
            if owner[side] >= 0:
                x, y, z = arms[owner[side]]
                p, q, r = arms[3 * triangle + j]
                if -(x * p + y * q + z * r) < FOLD:
                    return False
                met = against(3 * triangle + j, owner[side])
                if (met[0] == number and met[1] != sign) or (met[0] == third[0] and met[1] != third[1]):
                    return False
                third = met
        if used[tip]:
            here, turn = top(sheet[tip])
            if here == number:
                x, y, z = leaning[tip]
                p, q, r = normals[triangle]
                if sign * turn * (x * p + y * q + z * r) <= 0:
                    return False
        return True

    def candidate(edge: int) -> None:
        """Put the best triangle that an edge of the rim can take into the queue."""
        ax, ay, az = arms[owner[edge]]
        best, worth = -1, 0.0
        for slot in by_edge[start[edge] : start[edge + 1]]:
            if slot == owner[edge]:
                continue
            x, y, z = arms[slot]
            straight = -(ax * x + ay * y + az * z)
            if straight > bend and widths[slot // 3] <= SHARP + (REACH - SHARP) * straight and allowed(edge, slot):
                best, worth = slot, -1.0 / radii[slot // 3]
                if straight <= SMOOTH:
                    worth = 2.0 - straight
                break
        if best >= 0:
            heappush(queue, (worth, edge, best))

    def covered(triangle: int, corner: int, beside: list[int]) -> bool:
        """Tell whether a triangle and one that is taken cover the same ground beside a corner that both have."""
        nx, ny, nz = leaning[corner]
        x, y, z = places[corner]

        def side(first: tuple[float, ...], second: tuple[float, ...]) -> float:
            """Return on which side of the first direction the second lies, seen from above."""
            a, b, c = first
            d, e, f = second
            return nx * (b * f - c * e) + ny * (c * d - a * f) + nz * (a * e - b * d)

        def sector(number: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
            one, two = [(p - x, q - y, r - z) for p, q, r in (places[v] for v in slots[number] if v != corner)]
            return (one, two) if side(one, two) > 0 else (two, one)

        one, two = sector(triangle)
        mid = tuple(p + q for p, q in zip(one, two, strict=True))
        for other in around[corner]:
            if other in beside:
                continue
            three, four = sector(other)
            between = tuple(p + q for p, q in zip(three, four, strict=True))
            if side(three, mid) > 0 < side(mid, four) or side(one, between) > 0 < side(between, two):
                return True
            if side(three, one) > 0 < side(one, four) or side(three, two) > 0 < side(two, four):
                return True
        return False

    def overlaps(triangle: int) -> bool:
        """Tell whether a triangle covers what others cover, beside one of its corners."""
        beside = [owner[side] // 3 for side in edges[triangle]]
        return any(covered(triangle, corner, beside) for corner in slots[triangle] if used[corner])

    def take(triangle: int, number: int, sign: int) -> None:
        """Add a triangle to a sheet, and join it with those that the triangle meets."""
        of[triangle], signs[triangle] = number, sign
        taken.append(triangle)
        p, q, r = normals[triangle]
        corners = slots[triangle]
        for i in range(3):
            side = edges[triangle][i]
            enters, leaves = corners[i - 2], corners[i - 1]
            if owner[side] >= 0:
                other, turn = against(3 * triangle + i, owner[side])
                if other != number:
                    above[other], flips[other] = number, turn * sign
                full[side] = 1
                rim[enters] -= 1
                rim[leaves] -= 1
            else:
                owner[side] = 3 * triangle + i
                rim[enters] += 1
                rim[leaves] += 1
        for corner in corners:
            around[corner].append(triangle)
            if not used[corner]:
                used[corner] = 1
                sheet[corner] = number
            here, turn = top(sheet[corner])
            if here == number:
                sums = leaning[corner]
                sums[0] += turn * sign * p
                sums[1] += turn * sign * q
                sums[2] += turn * sign * r
        for side in edges[triangle]:
            if not full[side]:
                candidate(side)

    def grow() -> None:
        while queue:
            _, edge, slot = heappop(queue)
            if full[edge]:
                continue
            if allowed(edge, slot):
                if overlaps(slot // 3):
                    banned[slot // 3] = 1
                    candidate(edge)
                    continue
                take(slot // 3, *against(slot, owner[edge]))
            else:
                candidate(edge)

    for bend in BENDS:  # noqa: B007 (candidate reads it)
        for edge in range(len(owner)):
            if owner[edge] >= 0 and not full[edge]:
                candidate(edge)
        grow()
        for seed in range(count):
            a, b, c = slots[seed]
            if used[a] or used[b] or used[c]:
                continue
            above.append(len(above))
            flips.append(1)
            take(seed, len(above) - 1, 1)
            grow()
    turned = [signs[triangle] * top(of[triangle])[1] < 0 for triangle in taken]
    return np.where(np.array(turned, bool)[:, None], triangles[taken][:, ::-1], triangles[taken]).reshape(-1, 3)
