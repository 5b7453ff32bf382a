"""Fewer vertices for a mesh: edges collapse, those first whose loss moves the surface least.

Garland and Heckbert, "Surface simplification using quadric error metrics", SIGGRAPH 1997. Edges that share no triangle
collapse at once, a few per cent a round. The link condition (Dey et al., "Topology preserving edge contraction", 1999)
keeps sheets, holes and parts as they are. A library brings very fine meshes to the size where this is worth its time:
it is a hundred times faster, and minds neither.
"""

from __future__ import annotations

import numpy as np
from fast_simplification import simplify
from numpy.typing import NDArray
from scipy.sparse import coo_matrix

from pcqaad.surfaces.edges import compact, edges_of, normals_of
from pcqaad.surfaces.tidy import fans, manifold

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SHARE = 0.35  # of the edges that could collapse: the cheapest, which a round chooses from
# No triangle turns further in one collapse than by this cosine, or gets thinner than this, from 0 to 1 for equal sides.
# Where no edge is left that keeps the first pair, the next one serves.
FAIR = ((0.3, 0.12), (0.0, 0.03), (-0.9, 0.0))
RIM = 3.0  # weight of a plane that stands on the rim, at right angles to the surface
STEADY = 1e-3  # pull of an edge's middle on its new vertex, relative to the quadric


def coarser(vertices: Floats, triangles: Integers, wanted: int) -> tuple[Floats, Integers]:
    """Return a mesh of about `wanted` triangles at most, with at most two at an edge, and one fan at a vertex."""
    if len(triangles) <= wanted:
        return vertices, triangles
    places, faces = simplify(vertices, triangles.astype(np.int32), target_count=wanted)
    faces, origin = fans(manifold(faces.astype(np.int64)))
    return compact(places[origin], faces)


def quadrics(vertices: Floats, triangles: Integers) -> Floats:
    """Return the quadrics (v, 4, 4) of the planes at each vertex, weighted by area; a rim has planes of its own."""
    normal = normals_of(vertices, triangles)
    twice = np.linalg.norm(normal, axis=1)
    unit = normal / np.maximum(twice, 1e-300)[:, None]
    total = np.zeros((len(vertices), 4, 4))
    plane = np.concatenate([unit, -np.einsum("ij,ij->i", unit, vertices[triangles[:, 0]])[:, None]], axis=1)
    _add(total, triangles, plane, twice / 6)
    edges, counts, of = edges_of(triangles)
    rim = np.nonzero(counts[of] == 1)
    ends = edges[of[rim]]
    along = vertices[ends[:, 1]] - vertices[ends[:, 0]]
    across = np.cross(along, unit[rim[0]])
    length = np.linalg.norm(across, axis=1)
    across /= np.maximum(length, 1e-300)[:, None]
    plane = np.concatenate([across, -np.einsum("ij,ij->i", across, vertices[ends[:, 0]])[:, None]], axis=1)
    _add(total, ends, plane, RIM * length**2 / 2)
    return total


def _add(total: Floats, corners: Integers, plane: Floats, weight: Floats) -> None:
    """Add weighted planes (n, 4) to the quadrics (v, 4, 4) of their corners (n, k), in the corners' order."""
    square = (weight[:, None, None] * plane[:, :, None] * plane[:, None, :]).reshape(-1, 16)
    for i in range(corners.shape[1]):
        for j in range(16):
            total.reshape(-1, 16)[:, j] += np.bincount(corners[:, i], square[:, j], minlength=len(total))


def thickness(vertices: Floats, triangles: Integers) -> Floats:
    """Return the shape of each triangle (t,): 1 with equal sides, 0 without an area."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    sides = sum(np.einsum("ij,ij->i", side, side) for side in (b - a, c - b, a - c))
    shape: Floats = 2 * np.sqrt(3) * np.linalg.norm(np.cross(b - a, c - a), axis=1) / np.maximum(sides, 1e-300)
    return shape


def collapse(vertices: Floats, triangles: Integers, wanted: int) -> tuple[Floats, Integers]:
    """Return a mesh of `wanted` vertices, or of fewer, and its triangles.

    Takes vertices (v, 3), each with one fan of triangles, and triangles (t, 3) with at most two at an edge. Edges keep
    that and their directions, and the surface its parts, sheets and rims as long as enough edges can collapse so.
    """
    vertices, triangles = vertices.copy(), triangles.copy()
    total = quadrics(vertices, triangles)
    alive, level = len(np.unique(triangles)), 0
    while alive > wanted and level < len(FAIR):
        chosen, places = _round(vertices, triangles, total, alive - wanted, *FAIR[level])
        if len(chosen) == 0:
            level += 1
            continue
        stays, goes = chosen[:, 0], chosen[:, 1]
        vertices[stays] = places
        total[stays] += total[goes]
        onto = np.arange(len(vertices))
        onto[goes] = stays
        triangles = onto[triangles]
        flat = (triangles == np.roll(triangles, 1, axis=1)).any(axis=1)
        triangles = triangles[~flat]
        alive -= len(chosen)
    vertices, triangles = compact(vertices, triangles)
    return (vertices, triangles) if alive <= wanted else _pinched(vertices, triangles, wanted)


def _pinched(vertices: Floats, triangles: Integers, wanted: int) -> tuple[Floats, Integers]:
    """Return a mesh of at most `wanted` vertices where no edge can collapse in keeping: handles and small parts go."""
    while len(vertices) > wanted:
        edges, counts, _ = edges_of(triangles)
        rim = np.zeros(len(vertices), bool)
        rim[edges[counts == 1]] = True
        places, costs = _places(vertices, edges, quadrics(vertices, triangles), rim)
        onto, free, goes = np.arange(len(vertices)), np.ones(len(vertices), bool), 0
        # A sixteenth of the surplus at a time, that fans which come apart do not outrun it.
        most = max((len(vertices) - wanted) // 16, 1)
        for edge in np.argsort(costs, kind="stable"):
            a, b = edges[edge]
            if free[a] and free[b]:
                free[[a, b]] = False
                onto[b], vertices[a] = a, places[edge]
                goes += 1
                if goes == most:
                    break
        triangles, origin = fans(manifold(onto[triangles]))
        vertices = vertices[origin]
    return vertices, triangles


def _round(
    vertices: Floats, triangles: Integers, total: Floats, most: int, turn: float, thin: float
) -> tuple[Integers, Floats]:
    """Return edges (n, 2) that may collapse at once, n up to `most`, and where their vertices go (n, 3)."""
    edges, counts, _ = edges_of(triangles)
    size = len(vertices)
    # The link condition: two ends have no common neighbours but those that face their edge.
    ones = np.ones(len(edges), np.int32)
    beside = coo_matrix((ones, edges.T), shape=(size, size)).tocsr()
    beside = beside + beside.T
    common = np.asarray((beside[edges[:, 0]].multiply(beside[edges[:, 1]])).sum(axis=1)).ravel()
    rim = np.zeros(size, bool)
    rim[edges[counts == 1]] = True
    both = rim[edges].all(axis=1)
    # Two triangles are the least that a fan keeps, three that a closed one does: a part of four faces is left alone.
    degree = np.asarray(beside.sum(axis=1)).ravel()
    small = (degree[edges] <= 3).all(axis=1) & (counts == 2)
    able = (common == counts) & ~(both & (counts == 2)) & ~small
    loose = np.bincount(triangles.ravel(), minlength=size)
    able &= ~((loose[edges] == 1).all(axis=1))  # the last triangle of a part
    edges = edges[able]
    if len(edges) == 0:
        return edges, np.zeros((0, 3))
    places, costs = _places(vertices, edges, total, rim)
    share = SHARE if thin >= FAIR[0][1] else 1.0
    cheap = np.argsort(costs, kind="stable")[: max(int(share * len(edges)), min(len(edges), 64))]
    edges, places = edges[cheap], places[cheap]
    good = _stays_fair(vertices, triangles, edges, places, turn, thin)
    edges, places = edges[good], places[good]
    # An edge collapses if none that is cheaper touches a triangle that it touches.
    rank = np.full(size, len(edges))
    np.minimum.at(rank, edges.ravel(), np.repeat(np.arange(len(edges)), 2))
    least = rank[triangles].min(axis=1)
    around = np.full(size, len(edges))
    np.minimum.at(around, triangles.ravel(), np.repeat(least, 3))
    first = np.nonzero((around[edges] == np.arange(len(edges))[:, None]).all(axis=1))[0][:most]
    return edges[first], places[first]


def _places(vertices: Floats, edges: Integers, total: Floats, rim: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return where the vertex of each collapsed edge goes (e, 3) and what it costs (e,); a rim's vertex stays there."""
    both = total[edges[:, 0]] + total[edges[:, 1]]
    ends = vertices[edges]
    middle = ends.mean(axis=1)
    matrix, vector = both[:, :3, :3].copy(), both[:, :3, 3]
    pull = STEADY * np.trace(matrix, axis1=1, axis2=2) + 1e-300
    matrix[:, range(3), range(3)] += pull[:, None]
    best = np.linalg.solve(matrix, (pull[:, None] * middle - vector)[:, :, None])[:, :, 0]
    length = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    away = np.linalg.norm(best - middle, axis=1)
    best = np.where((away > 1.5 * length)[:, None], middle, best)
    one = rim[edges[:, 0]] != rim[edges[:, 1]]
    best[one] = np.where(rim[edges[one, 0]][:, None], ends[one, 0], ends[one, 1])
    longer = np.concatenate([best, np.ones((len(best), 1))], axis=1)
    cost = np.einsum("ni,nij,nj->n", longer, both, longer)
    # Where all is flat, short edges go first.
    cost = np.maximum(cost, 0) + 1e-6 * np.trace(both[:, :3, :3], axis1=1, axis2=2) * length**2
    return best, cost


def _stays_fair(
    vertices: Floats, triangles: Integers, edges: Integers, places: Floats, least: float, thin: float
) -> NDArray[np.bool_]:
    """Tell for each edge (e, 2) whether its collapse turns no triangle beyond a cosine and leaves none thinner."""
    size = len(vertices)
    order = np.argsort(triangles.ravel(), kind="stable")
    start = np.searchsorted(triangles.ravel()[order], np.arange(size + 1))
    good = np.ones(len(edges), bool)
    before = normals_of(vertices, triangles)
    before /= np.maximum(np.linalg.norm(before, axis=1, keepdims=True), 1e-300)
    was = thickness(vertices, triangles)
    for end in range(2):
        here, other = edges[:, end], edges[:, 1 - end]
        count = start[here + 1] - start[here]
        edge = np.repeat(np.arange(len(edges)), count)
        within = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
        at = order[np.repeat(start[here], count) + within]
        triangle, corner = at // 3, at % 3
        keeps = ~(triangles[triangle] == other[edge][:, None]).any(axis=1)
        edge, triangle, corner = edge[keeps], triangle[keeps], corner[keeps]
        a, b = vertices[triangles[triangle, (corner + 1) % 3]], vertices[triangles[triangle, (corner + 2) % 3]]
        p = places[edge]
        normal = np.cross(a - p, b - p)
        norm = np.linalg.norm(normal, axis=1)
        turn = np.einsum("ij,ij->i", normal, before[triangle])
        sides = sum(np.einsum("ij,ij->i", side, side) for side in (a - p, b - a, p - b))
        shape = 2 * np.sqrt(3) * norm / np.maximum(sides, 1e-300)
        bad = (turn <= least * norm) | ((shape < thin) & (shape < was[triangle]))
        good[edge[bad]] = False
    return good
