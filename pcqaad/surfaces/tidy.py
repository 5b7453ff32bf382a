"""A surface that grew over points is made whole: points where it only touches itself come apart, small holes close."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components

from pcqaad.surfaces.edges import edges_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

HOLE = 32  # edges: a longer rim is taken for a rim of the shape
FLAP = 2  # triangles: a fan that may go where its vertex has a larger one
TRIMS = 4
BEND = -0.85  # cosine: what closes a hole meets no triangle sharper than at about 30 degrees


def fans(triangles: Integers) -> tuple[Integers, Integers]:
    """Part the vertices where triangles (t, 3) meet in nothing but a point: each keeps one fan of triangles.

    Triangles that run along their edge in the same direction do not meet there. No edge may have more than two.
    Returns the triangles of the new vertices and the old vertex (v,) of each.
    """
    _, counts, of = edges_of(triangles)
    # Corners of a vertex belong together where their triangles share an edge of it.
    slot = np.argsort(of.ravel(), kind="stable")
    first = np.cumsum(counts) - counts
    pair = first[counts == 2]
    one, two = slot[pair], slot[pair + 1]
    corner = np.arange(triangles.size).reshape(-1, 3)

    def ends(slots: Integers) -> tuple[Integers, Integers]:
        t, i = slots // 3, slots % 3
        return corner[t, (i + 1) % 3], corner[t, (i + 2) % 3]

    (a, b), (c, d) = ends(one), ends(two)
    flat = triangles.ravel()
    meet = flat[a] == flat[d]
    rows, columns = np.concatenate([a[meet], b[meet]]), np.concatenate([d[meet], c[meet]])
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(flat.size, flat.size))
    _, label = connected_components(graph, directed=False)
    origin = np.empty(label.max(initial=-1) + 1, np.int64)
    origin[label] = flat
    # In the order of the old vertices.
    order = np.argsort(origin, kind="stable")
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    return number[label].reshape(-1, 3).astype(np.int64), origin[order]


def oriented(triangles: Integers) -> Integers:
    """Return triangles (t, 3), turned so that two that are alone at an edge run along it in opposite directions.

    Most of those that hang together stay as they are. Where that cannot be, as on a Moebius strip, some edges remain.
    """
    _, counts, of = edges_of(triangles)
    # The two slots, three a triangle, of each edge that two triangles share.
    slots = np.argsort(of.ravel(), kind="stable")
    first = (np.cumsum(counts) - counts)[counts == 2]
    one, two = slots[first], slots[first + 1]
    begins = np.roll(triangles, -1, axis=1).ravel()
    # A 2 where one of the two has to be turned, else a 1.
    turn = 1 + (begins[one] == begins[two])
    # Of triangles that share two edges the first one counts.
    once = np.unique((one // 3) * len(triangles) + two // 3, return_index=True)[1]
    pairs, turn = (one[once] // 3, two[once] // 3), turn[once]
    shape = (len(triangles), len(triangles))
    graph = coo_matrix((np.tile(turn, 2), (np.concatenate(pairs), np.concatenate(pairs[::-1]))), shape=shape).tocsr()
    _, label = connected_components(graph, directed=False)
    turned = np.zeros(len(triangles), bool)
    for root in np.unique(label, return_index=True)[1]:
        order, before = breadth_first_order(graph, root, directed=False)
        tree = order[1:]
        if not len(tree):
            continue
        ways = np.asarray(graph[before[tree], tree]).ravel() == 2
        for triangle, parent, way in zip(tree.tolist(), before[tree].tolist(), ways.tolist(), strict=True):
            turned[triangle] = turned[parent] ^ way
        turned[order] ^= 2 * np.count_nonzero(turned[order]) > len(order)
    return np.where(turned[:, None], triangles[:, ::-1], triangles)


def manifold(triangles: Integers) -> Integers:
    """Return those of triangles (t, 3) that have three corners, no double, and share no direction of an edge.

    So at most two are left at an edge. Of two that lie on each other none is left, of others the first.
    """
    triangles = triangles[(triangles != np.roll(triangles, 1, axis=1)).all(axis=1)]
    corners, of, counts = np.unique(np.sort(triangles, axis=1), axis=0, return_inverse=True, return_counts=True)
    first = np.full(len(corners), len(triangles))
    np.minimum.at(first, of.ravel(), np.arange(len(triangles)))
    # Which way a triangle runs round its corners in their order.
    way = np.zeros(len(corners), np.int64)
    low = np.argmin(triangles, axis=1)
    rows = np.arange(len(triangles))
    np.add.at(way, of.ravel(), np.where(triangles[rows, low - 2] < triangles[rows, low - 1], 1, -1))
    triangles = triangles[(first[of.ravel()] == rows) & ((counts == 1) | (way != 0))[of.ravel()]]
    width = int(triangles.max(initial=0)) + 1
    directed = (triangles * width + np.roll(triangles, -1, axis=1)).ravel()
    _, at = np.unique(directed, return_index=True)
    new = np.zeros(len(directed), bool)
    new[at] = True
    return triangles[new.reshape(-1, 3).all(axis=1)]


def parts(triangles: Integers) -> Integers:
    """Return the number of the part (t,) that each triangle (t, 3) is connected with over vertices, from 0."""
    size = int(triangles.max(initial=-1)) + 1
    rows = np.concatenate([triangles[:, 0], triangles[:, 1]])
    columns = np.concatenate([triangles[:, 1], triangles[:, 2]])
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(size, size))
    _, label = connected_components(graph, directed=False)
    _, number = np.unique(label[triangles[:, 0]], return_inverse=True)
    return number.astype(np.int64)


def rims(triangles: Integers) -> list[list[int]]:
    """Return the loops of edges with one triangle as lists of vertices, run through as their triangles do.

    Every vertex must have one fan of triangles.
    """
    _, counts, of = edges_of(triangles)
    t, i = np.nonzero(counts[of] == 1)
    after = dict(zip(triangles[t, (i + 1) % 3].tolist(), triangles[t, (i + 2) % 3].tolist(), strict=True))
    loops = []
    while after:
        first = next(iter(after))
        loop, at = [first], after.pop(first)
        while at != first:
            loop.append(at)
            at = after.pop(at)
        loops.append(loop)
    return loops


def close_holes(vertices: Floats, triangles: Integers, span: Floats, longest: int = HOLE) -> Integers:
    """Return triangles (t, 3) and those that close the holes no wider than `span` (v,) at their vertices.

    A hole is closed with the least area (Barequet and Sharir, 1995), and left open where that would fold the surface.
    """
    edges, counts, of = edges_of(triangles)
    width = len(vertices)
    known = set((edges[:, 0] * width + edges[:, 1]).tolist())
    t, i = np.nonzero(counts[of] == 1)
    facing = dict(zip(triangles[t, (i + 1) % 3].tolist(), triangles[t, i].tolist(), strict=True))
    added: list[tuple[int, int, int]] = []
    for loop in rims(triangles):
        place = vertices[loop]
        if len(loop) > longest or np.linalg.norm(np.ptp(place, axis=0)) > span[loop].mean():
            continue
        patch = _patch(vertices, loop, [facing[v] for v in loop], known, width)
        if patch:
            added += patch
            for a, b, c in patch:
                known.update(min(p, q) * width + max(p, q) for p, q in ((a, b), (b, c), (c, a)))
    return np.concatenate([triangles, np.array(added, np.int64).reshape(-1, 3)])


def _patch(
    vertices: Floats, loop: list[int], facing: list[int], known: set[int], width: int
) -> list[tuple[int, int, int]]:
    """Return triangles of the least area over a loop of vertices, none where every choice folds or repeats an edge."""
    n = len(loop)
    place = vertices[loop]
    least = {(i, i + 1): (0.0, -1) for i in range(n - 1)}

    def bends(i: int, j: int, k: int, beyond: Floats) -> bool:
        """Tell whether triangle i, j, k folds back on the one that lies over its edge i, j and reaches `beyond`."""
        axis = place[j] - place[i]
        one = np.cross(axis, place[k] - place[i])
        two = np.cross(beyond - place[i], axis)
        return bool(one @ two < BEND * np.sqrt((one @ one) * (two @ two)))

    for gap in range(2, n):
        for i in range(n - gap):
            k = i + gap
            chord = min(loop[i], loop[k]) * width + max(loop[i], loop[k])
            if gap < n - 1 and chord in known:
                continue
            best = (np.inf, -1)
            for j in range(i + 1, k):
                if (i, j) not in least or (j, k) not in least:
                    continue
                sharp = (
                    (j == i + 1 and bends(i, j, k, vertices[facing[i]]))
                    or (k == j + 1 and bends(j, k, i, vertices[facing[j]]))
                    or (gap == n - 1 and bends(k, i, j, vertices[facing[k]]))
                )
                if sharp:
                    continue
                cost = (
                    least[i, j][0]
                    + least[j, k][0]
                    + float(np.linalg.norm(np.cross(place[j] - place[i], place[k] - place[i])))
                )
                if cost < best[0]:
                    best = (cost, j)
            if best[1] >= 0:
                least[i, k] = best
    if (0, n - 1) not in least:
        return []
    patch, left = [], [(0, n - 1)]
    while left:
        i, k = left.pop()
        if k - i < 2:
            continue
        j = least[i, k][1]
        patch.append((loop[k], loop[j], loop[i]))
        left += [(i, j), (j, k)]
    return patch


def trimmed(triangles: Integers) -> Integers:
    """Return triangles (t, 3) without the flaps that touch the surface in a point: fans of one or two beside a larger.

    Their vertices are old ones, and each keeps its largest fan.
    """
    for _ in range(TRIMS):
        apart, origin = fans(triangles)
        size = np.bincount(apart.ravel(), minlength=len(origin))
        largest = np.zeros(int(origin.max(initial=-1)) + 1, np.int64)
        np.maximum.at(largest, origin, size)
        flap = (size <= FLAP) & (size < largest[origin])
        gone = flap[apart].any(axis=1)
        if not gone.any():
            break
        triangles = triangles[~gone]
    return triangles
