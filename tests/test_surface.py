"""Points drawn from a surface lie on it, as many in every part as it has area."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import chdtri

from pcqaad.errors import CloudError
from pcqaad.points.surface import sample_surface

# A unit square of two triangles, and beside it one triangle of three times the square's area; one without any.
VERTICES = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 5], [3, 0, 5], [0, 2, 5]], np.float64)
TRIANGLES = np.array([[0, 1, 2], [0, 2, 3], [1, 1, 2], [4, 5, 6], [3, 3, 3]])


def test_parts_are_drawn_by_their_area():
    points = sample_surface(VERTICES, TRIANGLES, 40_000, np.random.default_rng(0))
    square = points[points[:, 2] == 0]
    assert np.all((square[:, :2] >= 0) & (square[:, :2] <= 1))
    triangle = points[points[:, 2] == 5]
    assert np.all(triangle[:, 0] / 3 + triangle[:, 1] / 2 <= 1 + 1e-12)
    assert len(square) + len(triangle) == len(points)
    # 16 bins of equal area in the square, and the triangle, which has three times the square's.
    bins = np.bincount((square[:, 0] * 4).astype(int) * 4 + (square[:, 1] * 4).astype(int), minlength=16)
    found, expected = np.append(bins, len(triangle)), np.append(np.full(16, 625), 30_000)
    assert ((found - expected) ** 2 / expected).sum() < chdtri(16, 1e-6)
    # Halved at half its height, a triangle has a quarter of its area above.
    assert np.mean(triangle[:, 1] > 1) == pytest.approx(0.25, abs=0.015)


@given(st.integers(0, 1000), st.integers(1, 50))
def test_points_are_weighted_means_of_a_triangles_corners(seed, count):
    rng = np.random.default_rng(seed)
    vertices = rng.normal(size=(5, 3)).astype(np.float32)
    triangles = rng.permuted(np.tile(np.arange(5), (2, 1)), axis=1)[:, :3]
    points = sample_surface(vertices, triangles, count, rng)
    assert points.shape == (count, 3) and points.dtype == np.float64
    corners = vertices[triangles].astype(np.float64)
    sides = np.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]], 2)  # (t, 3, 2)
    weights = np.linalg.pinv(sides) @ (points[:, None] - corners[:, 0])[..., None]  # (count, t, 2, 1)
    on = np.abs(sides @ weights - (points[:, None] - corners[:, 0])[..., None]).max((2, 3)) < 1e-9
    inside = (weights > -1e-6).all((2, 3)) & (weights.sum((2, 3)) < 1 + 1e-6)
    assert (on & inside).any(1).all()


def test_one_state_of_a_generator_gives_one_cloud():
    first, again = (sample_surface(VERTICES, TRIANGLES, 100, np.random.default_rng(7)) for _ in range(2))
    assert first.tobytes() == again.tobytes()


@pytest.mark.parametrize(
    ("triangles", "message"),
    [
        (np.zeros((0, 3), int), "expected faces with an area to draw points from, found 0 without"),
        (TRIANGLES[[2, 4]], "expected faces with an area to draw points from, found 2 without"),
        (np.array([[0, 1, 7]]), "expected faces of vertices 0 to 6, found vertex 7"),
        (np.array([[0, -1, 2]]), "expected faces of vertices 0 to 6, found vertex -1"),
    ],
)
def test_what_is_no_surface_is_refused(triangles, message):
    with pytest.raises(CloudError, match=message):
        sample_surface(VERTICES, triangles, 10, np.random.default_rng(0))
