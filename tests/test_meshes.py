"""Flipped and torn triangles of meshes, by cases where they are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pcqaad.evaluation.meshes import TORN, flipped, torn
from tests.layouts import globe, halves

Floats = NDArray[np.float64]


def sheet(across: int = 9) -> tuple[Floats, NDArray[np.int64]]:
    """Return a flat square of triangles, its sides of length 1."""
    x, y = np.meshgrid(np.arange(across), np.arange(across), indexing="ij")
    at = (x * across + y)[:-1, :-1].ravel()
    quads = np.stack([at, at + across, at + across + 1, at + 1], 1)
    return np.stack([x, y, 0 * x], -1).reshape(-1, 3).astype(np.float64), halves(quads)


def moved(points: Floats, vertex: int, by: list[float]) -> Floats:
    changed = points.copy()
    changed[vertex] += by
    return changed


@pytest.mark.parametrize("seed", range(3))
def test_turned_and_scaled_meshes_are_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, quads = globe()
    template, triangles = points.astype(np.float64), halves(quads)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn[0] *= np.sign(np.linalg.det(turn))
    for scale in (1e-3, 1.0, 1e3):
        cloud = scale * template @ turn.T + rng.normal(size=3)
        assert not flipped(template, cloud, triangles).any()
        assert not torn(template, cloud, triangles).any()


def test_a_bend_flips_nothing() -> None:
    template, triangles = sheet(17)
    x, y, _ = template.T
    roll = np.stack([3 * np.sin(x / 3), y, 3 * np.cos(x / 3)], 1)
    assert not flipped(template, roll, triangles).any()
    assert not torn(template, roll, triangles).any()


def test_a_vertex_across_a_side_flips_what_it_passes() -> None:
    template, triangles = sheet()
    middle = 4 * 9 + 4
    found = flipped(template, moved(template, middle, [1.5, 0, 0]), triangles)
    assert found.any()
    assert (triangles[found] == middle).any(1).all()
    # The signed areas of a flat sheet tell the same, wherever its plane lies.
    turned = moved(template, middle, [1.5, 0, 0])[:, [2, 0, 1]]
    np.testing.assert_array_equal(flipped(template, turned, triangles), found)
    a, b, c = (moved(template, middle, [1.5, 0, 0])[triangles[:, i], :2] for i in range(3))
    np.testing.assert_array_equal(found, np.linalg.det(np.stack([b - a, c - a], 1)) < 0)


def test_a_vertex_pulled_out_tears_its_triangles() -> None:
    template, triangles = sheet(17)
    middle = 8 * 17 + 8
    for height, tears in ((0.5, False), (100.0, True)):
        cloud = moved(template, middle, [0, 0, height])
        found = torn(template, cloud, triangles)
        assert found.any() == tears
        assert not found[~(triangles == middle).any(1)].any()
    # All sides stretched alike are none.
    assert not torn(template, 10 * TORN * template, triangles).any()
