"""Vertices of a mesh move so that the mesh lies nearest to the points of a cloud, in the sense of least squares."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix, identity
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree

from pcqaad.surfaces.edges import edges_of, normals_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SAMPLES = 8  # on each triangle, about, by which the near triangles of a point are found
NEAR = 6  # of them
STIFF = 0.05  # weight of the Laplacian of the moves, where a point has 1
STILL = 0.02  # weight of the moves themselves
TURN = 0.5  # cosine: a move that turns a triangle further is not made
SIDE = 1.0  # how much a triangle that faces the other way counts as farther off, in edge lengths squared


def weights_of(place: Floats, a: Floats, b: Floats, c: Floats) -> Floats:
    """Return the barycentric weights (n, 3) of the points of triangles a, b, c nearest to `place`, all (n, 3).

    Ericson, Real-Time Collision Detection, 2005, 5.1.5, for all at once.
    """
    u, v, w = b - a, c - a, place - a
    uu, uv, vv = (np.einsum("ij,ij->i", p, q) for p, q in ((u, u), (u, v), (v, v)))
    wu, wv = np.einsum("ij,ij->i", w, u), np.einsum("ij,ij->i", w, v)
    area = np.maximum(uu * vv - uv * uv, 1e-300)
    s, t = (vv * wu - uv * wv) / area, (uu * wv - uv * wu) / area
    inside = (s >= 0) & (t >= 0) & (s + t <= 1)
    zero = np.zeros_like(s)
    choices = [np.stack([1 - s - t, s, t], axis=1)]
    far = [np.where(inside, 0.0, np.inf)]
    on_u = np.clip(wu / np.maximum(uu, 1e-300), 0, 1)
    on_v = np.clip(wv / np.maximum(vv, 1e-300), 0, 1)
    side = c - b
    on_side = np.clip(
        np.einsum("ij,ij->i", place - b, side) / np.maximum(np.einsum("ij,ij->i", side, side), 1e-300), 0, 1
    )
    for weight in ((1 - on_u, on_u, zero), (1 - on_v, zero, on_v), (zero, 1 - on_side, on_side)):
        choices.append(np.stack(weight, axis=1))
        gap = place - weight[0][:, None] * a - weight[1][:, None] * b - weight[2][:, None] * c
        far.append(np.einsum("ij,ij->i", gap, gap))
    best = np.argmin(far, axis=0)
    nearest: Floats = np.stack(choices)[best, np.arange(len(best))]
    return nearest


def spread(vertices: Floats, triangles: Integers, per_triangle: float) -> tuple[Floats, Integers]:
    """Return points (n, 3) spread evenly over triangles (t, 3), one at least on each, and their triangles (n,)."""
    area = np.linalg.norm(normals_of(vertices, triangles), axis=1)
    level = np.sqrt(per_triangle * area / max(area.mean(), 1e-300))
    level = np.clip(np.rint(level), 1, 64).astype(np.int64)
    places, numbers = [], []
    for n in np.unique(level):
        of = np.nonzero(level == n)[0]
        i, j = np.nonzero(np.add.outer(np.arange(n), np.arange(n)) < n)
        up = np.stack([i, j], axis=1) + 1 / 3
        i, j = np.nonzero(np.add.outer(np.arange(n), np.arange(n)) < n - 1)
        down = np.stack([i, j], axis=1) + 2 / 3
        s = np.concatenate([up, down]) / n
        w = np.concatenate([1 - s.sum(axis=1, keepdims=True), s], axis=1)
        places.append((w[None, :, :] @ vertices[triangles[of]]).reshape(-1, 3))
        numbers.append(np.repeat(of, len(w)))
    return np.concatenate(places), np.concatenate(numbers)


def nearest_on(
    points: Floats, vertices: Floats, triangles: Integers, normals: Floats | None = None
) -> tuple[Integers, Floats, Floats]:
    """Return for each point (n, 3) the nearest triangle (n,), weights (n, 3) of the place on it and the distance (n,).

    Of several triangles that are near, the one that faces as the point does, where unit normals (n, 3) are given; a
    point whose normal is 0 faces everywhere.
    """
    samples, of = spread(vertices, triangles, SAMPLES)
    _, found = KDTree(samples).query(points, k=min(NEAR, len(samples)))
    near = of[np.asarray(found).reshape(len(points), -1)]
    corners = vertices[triangles[near]]
    count = near.shape[1]
    flat = corners.reshape(-1, 3, 3)
    weights = weights_of(np.repeat(points, count, axis=0), flat[:, 0], flat[:, 1], flat[:, 2]).reshape(-1, count, 3)
    gap = np.linalg.norm(np.einsum("nki,nkij->nkj", weights, corners) - points[:, None], axis=2)
    worth = gap**2
    if normals is not None:
        normal = normals_of(vertices, triangles)
        length = np.linalg.norm(normal, axis=1)
        unit = normal / np.maximum(length, 1e-300)[:, None]
        facing = np.einsum("nki,ni->nk", unit[near], normals)
        facing[~normals.any(axis=1)] = 1
        worth = worth + SIDE * length.mean() * np.maximum(-facing, 0)
    best = np.argmin(worth, axis=1)
    every = np.arange(len(points))
    return near[every, best], weights[every, best], gap[every, best]


def fit(points: Floats, normals: Floats, vertices: Floats, triangles: Integers, rounds: int) -> Floats:
    """Return the vertices (v, 3) moved to where triangles (t, 3) lie nearest to points (m, 3), in some rounds.

    In each, a point draws the place of the mesh that is nearest to it now and faces as it does (`normals`, (m, 3)).
    A vertex whose move would turn a triangle stays.
    """
    count = len(vertices)
    edges, _, _ = edges_of(triangles)
    one = np.ones(len(edges))
    beside = coo_matrix((one, edges.T), shape=(count, count)).tocsr()
    beside = beside + beside.T
    degree = np.asarray(beside.sum(axis=1)).ravel()
    smooth = (
        identity(count, format="csr")
        - csr_matrix((1 / np.maximum(degree, 1), (range(count), range(count))), shape=(count, count)) @ beside
    )
    each = len(points) / count
    calm = each * (STIFF * smooth.T @ smooth + STILL * identity(count))
    for _ in range(rounds):
        of, weights, _ = nearest_on(points, vertices, triangles, normals)
        rows = np.repeat(np.arange(len(points)), 3)
        draw = csr_matrix((weights.ravel(), (rows, triangles[of].ravel())), shape=(len(points), count))
        missing = points - draw @ vertices
        move = splu((draw.T @ draw + calm).tocsc()).solve(draw.T @ missing)
        vertices = _without_turns(vertices, triangles, move)
    return vertices


def _without_turns(vertices: Floats, triangles: Integers, move: Floats) -> Floats:
    """Return the vertices (v, 3) moved, but those that would turn a triangle (t, 3)."""
    before = normals_of(vertices, triangles)
    free = np.ones(len(vertices), bool)
    while True:
        moved = vertices + move * free[:, None]
        after = normals_of(moved, triangles)
        turn = np.einsum("ij,ij->i", before, after)
        bad = turn < TURN * np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        held = np.unique(triangles[bad])
        if not free[held].any():
            return moved
        free[held] = False
