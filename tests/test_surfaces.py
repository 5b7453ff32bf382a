"""Laws of control surfaces: manifold edges, every point near, parts and sheets and rims kept, the same again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from pcqaad.errors import CloudError, SettingsError
from pcqaad.surfaces.edges import edges_of, normals_of
from pcqaad.surfaces.fit import nearest_on
from pcqaad.surfaces.reconstruct import FINEST, DenseSurface, control_mesh
from pcqaad.surfaces.tidy import manifold, oriented, parts


def sphere(rng, count, radius=1.0):
    directions = rng.normal(size=(count, 3))
    return radius * directions / np.linalg.norm(directions, axis=1, keepdims=True)


def torus(rng, count):
    u, v = rng.random((2, 2 * count)) * 2 * np.pi
    even = rng.random(2 * count) * 1.4 < 1 + 0.4 * np.cos(v)
    u, v = u[even][:count], v[even][:count]
    ring = 1 + 0.4 * np.cos(v)
    return np.stack([ring * np.cos(u), ring * np.sin(u), 0.4 * np.sin(v)], axis=1)


def square(rng, count):
    return np.concatenate([rng.random((count, 2)), np.zeros((count, 1))], axis=1)


def check(vertices, triangles, most):
    """Hold the laws of every mesh, and return its Euler characteristic and the number of edges on its rim."""
    assert vertices.dtype == np.float64 and triangles.dtype == np.int64
    assert 3 <= len(vertices) <= most and np.isfinite(vertices).all()
    assert np.array_equal(np.unique(triangles), np.arange(len(vertices)))
    directed = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed)
    edges, counts, _ = edges_of(triangles)
    assert counts.max() <= 2
    return len(vertices) - len(edges) + len(triangles), int((counts == 1).sum())


def worst(points, vertices, triangles):
    return nearest_on(points, vertices, triangles)[2].max()


def test_a_sphere_stays_a_sphere():
    points = sphere(np.random.default_rng(0), 2000)
    vertices, triangles = control_mesh(points.astype(np.float32), 200, 0)
    assert check(vertices, triangles, 200) == (2, 0)
    assert len(vertices) == 200
    assert worst(points, vertices, triangles) < 0.04
    corners = vertices[triangles]
    assert (np.einsum("ij,ij->i", normals_of(vertices, triangles), corners.mean(axis=1)) > 0).all()


def test_a_torus_keeps_its_hole():
    points = torus(np.random.default_rng(1), 2000)
    vertices, triangles = control_mesh(points, 200, 0)
    assert check(vertices, triangles, 200) == (0, 0)
    assert worst(points, vertices, triangles) < 0.08


def test_two_sheets_stay_two_and_keep_their_rims():
    rng = np.random.default_rng(2)
    low, high = square(rng, 1500), square(rng, 1500) + [0, 0, 0.2]
    vertices, triangles = control_mesh(np.concatenate([low, high]), 120, 0)
    euler, rim = check(vertices, triangles, 120)
    assert parts(triangles).max() == 1 and euler == 2 and rim > 0
    assert (np.minimum(abs(vertices[:, 2]), abs(vertices[:, 2] - 0.2)) < 0.01).all()
    assert worst(np.concatenate([low, high]), vertices, triangles) < 0.06
    area = np.linalg.norm(normals_of(vertices, triangles), axis=1).sum() / 2
    assert 1.8 < area < 2.02


def test_parts_and_stray_points_survive():
    rng = np.random.default_rng(3)
    strays = np.array([[4.0, 4.0, 4.0], [-4.0, 4.0, 0.0]])
    points = np.concatenate([sphere(rng, 1000), sphere(rng, 300, 0.3) + [2, 0, 0], strays])
    vertices, triangles = control_mesh(points, 200, 0)
    euler, _ = check(vertices, triangles, 200)
    assert parts(triangles).max() + 1 == 4 and euler == 2 + 2 + 1 + 1
    assert worst(points, vertices, triangles) < 0.1


def test_balls_that_nearly_touch_stay_two_that_face_outward():
    rng = np.random.default_rng(8)
    points = np.concatenate([sphere(rng, 1500) - [1.04, 0, 0], sphere(rng, 1500) + [1.04, 0, 0]])
    vertices, triangles = control_mesh(points, 200, 0)
    assert check(vertices, triangles, 200) == (4, 0)
    assert parts(triangles).max() == 1
    middle = vertices[triangles].mean(axis=1)
    out = middle - np.sign(middle[:, :1]) * [1.04, 0, 0]
    assert (np.einsum("ij,ij->i", normals_of(vertices, triangles), out) > 0).all()


def test_order_and_doubles_change_nothing():
    points = torus(np.random.default_rng(4), 700).astype(np.float32)
    first = control_mesh(points, 90, 5)
    again = control_mesh(np.concatenate([points[::-1], points[:50]]), 90, 5)
    for one, other in zip(first, again, strict=True):
        assert one.tobytes() == other.tobytes()


def test_few_points_are_the_vertices():
    points = sphere(np.random.default_rng(6), 30)
    vertices, triangles = control_mesh(points, 500, 0)
    assert check(vertices, triangles, 30)[0] == 2
    assert worst(points, vertices, triangles) < 0.1


@pytest.mark.parametrize("count", [3, 4, 5, 9])
def test_a_handful_of_points_is_a_mesh(count):
    angles = 2 * np.pi * np.arange(count) / count
    points = np.stack([np.cos(angles), np.sin(angles), np.zeros(count)], axis=1)
    vertices, triangles = control_mesh(points, 20, 0)
    check(vertices, triangles, 20)


@pytest.mark.parametrize(
    "points",
    [
        np.ones((50, 3)),
        np.outer(np.arange(40), [1, 2, 3]),
        np.array([[0.0, 0, 0], [1, 1, 1]]),
    ],
)
def test_points_on_no_surface_are_refused(points):
    with pytest.raises(CloudError, match="different points that span no triangle"):
        control_mesh(points, 20, 0)


def test_noise_through_a_volume_is_a_mesh_all_the_same():
    points = np.random.default_rng(7).random((500, 3))
    for most in (4, 30, 200):
        vertices, triangles = control_mesh(points, most, 0)
        check(vertices, triangles, most)


def grid(count):
    """Return a bent square of count x count vertices."""
    x, y = np.meshgrid(np.linspace(0, 1, count), np.linspace(0, 1, count), indexing="ij")
    vertices = np.stack([x, y, 0.2 * np.sin(3 * x)], axis=2).reshape(-1, 3)
    corner = (np.arange(count - 1)[:, None] * count + np.arange(count - 1)).ravel()
    triangles = [[corner, corner + count, corner + 1], [corner + 1, corner + count, corner + count + 1]]
    return vertices, np.concatenate([np.stack(t, axis=1) for t in triangles])


def decimated(vertices, triangles, count):
    """Return a mesh of `count` vertices from a finer one, through its vertices."""
    return DenseSurface.of_mesh(vertices, triangles, vertices).mesh(count)


def test_a_decimated_mesh_lies_on_its_original():
    vertices, triangles = grid(40)
    few, left = decimated(vertices, triangles, 60)
    euler, rim = check(few, left, 60)
    assert len(few) == 60 and euler == 1 and rim > 0
    assert worst(vertices, few, left) < 0.035
    assert (normals_of(few, left)[:, 2] > 0).all()


def test_a_mesh_in_which_edges_have_many_triangles_is_decimated_too():
    vertices, triangles = grid(12)
    fin = vertices + [0, 0, 0.5]
    extra = np.concatenate([triangles, triangles + len(vertices), [[0, 1, 200], [1, 0, 201], [0, 1, 210], [5, 5, 6]]])
    few, left = decimated(np.concatenate([vertices, fin]), extra, 50)
    check(few, left, 50)


def test_a_very_fine_mesh_is_made_coarser_first():
    vertices, triangles = grid(480)
    assert len(triangles) > FINEST
    dense = DenseSurface.of_mesh(vertices, triangles, vertices[::7])
    assert len(dense.triangles) <= FINEST
    few, left = dense.mesh(60)
    euler, _ = check(few, left, 60)
    assert euler == 1
    assert worst(vertices, few, left) < 0.035


def test_bad_input_gets_one_line():
    vertices, triangles = grid(4)
    with pytest.raises(SettingsError, match="at least 4 vertices, asked for 3"):
        control_mesh(vertices, 3, 0)
    with pytest.raises(SettingsError, match="at least 4 vertices, asked for 1"):
        decimated(vertices, triangles, 1)
    with pytest.raises(CloudError, match="found vertex 99"):
        decimated(vertices, triangles + 84, 8)
    with pytest.raises(CloudError, match="with an area"):
        decimated(np.zeros((16, 3)), triangles, 8)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_triangles_of_a_sphere_are_turned_alike(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sphere = rng.standard_normal((60, 3))
    # A hull's triangles run either way round.
    faces = oriented(ConvexHull(sphere / np.linalg.norm(sphere, axis=1, keepdims=True)).simplices.astype(np.int64))
    directed = np.stack([faces, np.roll(faces, -1, axis=1)], 2).reshape(-1, 2)
    assert len(np.unique(directed, axis=0)) == len(directed)
    assert len(manifold(faces)) == len(faces)
