"""Triangles through the points of a cloud: an advancing front over the triangles of its Delaunay tetrahedra.

Cohen-Steiner and Da, "A greedy Delaunay-based surface reconstruction algorithm", The Visual Computer 20, 2004. A
surface grows from its smallest triangle over its rim, the smallest empty ball first, straight on before round a bend.
No edge gets a third triangle, and the two of an edge run along it in opposite directions. A point whose fan is closed
takes no more triangles.

Where points enclose volumes, empty balls as wide as a gap between them lead from the outside to one side of most of the
triangles that are wanted. These come first, and face outward; so sheets that touch do not run into each other.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import cos, radians

import numpy as np
from numpy.typing import NDArray

from pcqaad.seeds import Use, generator
from pcqaad.surfaces.edges import normals_of
from pcqaad.surfaces.tetrahedra import faces_of_tetrahedra, outsides, spacing

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# A triangle's empty ball is at most so many times as wide as the points lie apart. Where the triangle stands upright on
# the one before, it is SHARP times as wide at most.
REACH, SHARP = 1.8, 1.0
# The front goes round bends up to these angles, one after the other. At first only triangles that have the outside on
# one side come in.
BENDS = tuple(cos(radians(angle)) for angle in (30, 50, 70, 90, 120, 150))
PHASES = ((BENDS[0], True), (BENDS[2], True), *((bend, False) for bend in BENDS))
SMOOTH = cos(radians(30))  # two triangles that meet flatter than this go on straight
FOLD = cos(radians(150))  # two triangles that meet sharper than this lie on each other
# Empty balls so many times as wide as the points lie apart lead on from the outside. The first that tells counts.
GATES = (1.8, 2.6, 4.0)
NARROW = 1.0  # a triangle that comes first has an empty ball at most so many times as wide,
THICK = 0.1  # volume by walls, in the distance of points: what the outside surrounds is thicker
TOLD = 0.5  # and if fewer of the points than this part have such triangles, no outside is known
ROOMY = radians(240)  # a fan that has less turned round its point has room
NUDGE = 1e-6  # of the diagonal: no five points on a sphere, no four in a plane


def advancing_front(points: Floats, seed: int = 0) -> Integers:
    """Return triangles (t, 3) through points (m, 3), all different, of which at least four: a surface with rims.

    Deterministic. Points where the surface could not go on smoothly stay without a triangle.
    """
    diagonal = float(np.linalg.norm(np.ptp(points, axis=0)))
    nudged = points + generator(seed, Use.NUDGED_POINTS).uniform(-1, 1, points.shape) * (NUDGE * diagonal)
    triangles, radius, sides, volume = faces_of_tetrahedra(nudged)
    near = spacing(points)
    typical = float(np.median(near))
    area = np.linalg.norm(normals_of(nudged, triangles), axis=1) / 2
    wide = radius / near[triangles].min(axis=1)
    kept = wide <= REACH
    facing = np.zeros(len(triangles), np.int64)
    for gate in GATES:
        facing = np.where(facing == 0, outsides(sides, wide > gate, area, volume, THICK * typical), facing)
    told = np.zeros(len(points), bool)
    told[triangles[(facing != 0) & (wide < NARROW)]] = True
    facing = facing[kept] * int(told.mean() > TOLD)
    wide = wide[kept]
    triangles, radius = triangles[kept], radius[kept]
    order = np.lexsort((*triangles.T, radius))
    return _grown(nudged, triangles[order], radius[order], facing[order], wide[order])


def _grown(points: Floats, triangles: Integers, radius: Floats, facing: Integers, wide: Floats) -> Integers:
    """Return the triangles that the front takes of those given (t, 3), which stand in the order of their radii (t,).

    `facing` says which side of each is outside, `wide` has the radii relative to the spacing of the points.
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
    a, b, c = (points[triangles[:, [i, (i + 1) % 3, (i + 2) % 3]].T] for i in range(3))
    height = np.linalg.norm(normals_of(points, triangles), axis=1)
    angles = [np.arctan2(height, np.einsum("ij,ij->i", q - p, r - p)) for p, q, r in (a, b, c)]
    angles = np.stack(angles, axis=1).ravel().tolist()
    normal = normals_of(points, triangles)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)

    by_edge = np.argsort(edge_of, kind="stable")  # an edge's slots, smallest radius first
    start = np.searchsorted(edge_of[by_edge], np.arange(edge_of.max(initial=-1) + 2)).tolist()
    by_edge = by_edge.tolist()
    edges, slots = edge_of.reshape(-1, 3).tolist(), triangles.tolist()
    arms = list(zip(*arm.T.tolist(), strict=True))
    normals = list(zip(*normal.T.tolist(), strict=True))
    radii = radius.tolist()
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
    # Sheets that met are one: the sheet that this one joined, and -1 where it had to be turned. Those that know their
    # outside join sheet 0.
    above, flips = [0], [1]
    outer = facing.tolist()
    queue: list[tuple[float, int, int]] = []
    taken: list[int] = []
    turns = [0.0] * len(points)  # the sum of the angles of the triangles at this point
    bend, plain = 1.0, True

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
        world, way = top(0)
        if outer[triangle] and number == world and sign * way != outer[triangle]:
            return False
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
                if outer[triangle] and met[0] == world and met[1] * way != outer[triangle]:
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
            if (
                straight > bend
                and (not plain or (outer[slot // 3] and widths[slot // 3] < NARROW))
                and widths[slot // 3] <= SHARP + (REACH - SHARP) * straight
                and allowed(edge, slot)
            ):
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
        sides, corners = edges[triangle], slots[triangle]
        beside = [owner[side] // 3 for side in sides]
        for i in range(3):
            corner = corners[i]
            # A fan that the triangle goes on and that stays far from closed has room.
            joined = beside[i - 2] >= 0 or beside[i - 1] >= 0
            roomy = joined and rim[corner] == 2 and turns[corner] + angles[3 * triangle + i] < ROOMY
            if used[corner] and not roomy and covered(triangle, corner, beside):
                return True
        return False

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
        world, way = top(0)
        if outer[triangle] and world != number:
            above[number], flips[number] = world, sign * way * outer[triangle]
            number, sign = world, way * outer[triangle]
        for i, corner in enumerate(corners):
            around[corner].append(triangle)
            turns[corner] += angles[3 * triangle + i]
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

    for bend, plain in PHASES:  # noqa: B007 (candidate reads them)
        for edge in range(len(owner)):
            if owner[edge] >= 0 and not full[edge]:
                candidate(edge)
        grow()
        for seed in sorted(range(count), key=lambda triangle: outer[triangle] == 0):
            a, b, c = slots[seed]
            if used[a] or used[b] or used[c]:
                continue
            if plain and (not outer[seed] or widths[seed] >= NARROW):
                continue
            if outer[seed]:
                number, sign = top(0)
                take(seed, number, sign * outer[seed])
            else:
                above.append(len(above))
                flips.append(1)
                take(seed, len(above) - 1, 1)
            grow()
    tops = [top(of[triangle]) for triangle in taken]
    ways = np.array([signs[triangle] for triangle in taken], np.int64) * np.array([t[1] for t in tops], np.int64)
    chosen = triangles[taken].reshape(-1, 3)
    chosen = np.where((ways * top(0)[1] < 0)[:, None], chosen[:, ::-1], chosen)
    return outward(points, chosen, np.array([t[0] for t in tops], np.int64), top(0)[0])


def outward(points: Floats, triangles: Integers, sheet: Integers, sure: int) -> Integers:
    """Return triangles (t, 3), those of a sheet (t,) turned that has a negative volume, but for the sheet `sure`."""
    count = int(sheet.max(initial=-1)) + 1
    corners = points[triangles]
    size = np.maximum(np.bincount(sheet, minlength=count), 1)[:, None]
    middle = corners.mean(axis=1)
    centre = np.stack([np.bincount(sheet, middle[:, j], minlength=count) for j in range(3)], axis=1) / size
    near = corners - centre[sheet][:, None]
    volume = np.bincount(sheet, np.einsum("ij,ij->i", near[:, 0], np.cross(near[:, 1], near[:, 2])), minlength=count)
    return np.where(((volume[sheet] < 0) & (sheet != sure))[:, None], triangles[:, ::-1], triangles)
