"""Metrics of the shape: known answers of D2, of distances to a surface, of the sampling floor, of points far off."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pcqaad
from pcqaad.evaluation.floor import sampling_floor
from pcqaad.evaluation.metrics import beyond, d1, d2, emkd, measure, surface
from pcqaad.evaluation.point_to_plane import estimated_normals, normals_of
from pcqaad.evaluation.reference import Reference
from pcqaad.evaluation.surface import Surface, point_triangle_distances
from pcqaad.formats.clouds.ply import write_ply
from pcqaad.monitor import SILENT
from pcqaad.points.surface import sample_surface
from tests.cli.commands import refused, run
from tests.generators import clouds
from tests.layouts import globe, halves, write_mesh

TINY = {"epochs": 1, "tune": 0, "latent": 2, "device": "cpu"}


def turned(seed=0):
    """Return a random rotation (3, 3)."""
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    return q * np.sign(np.diag(r))


def plane(points=400, seed=0):
    """Return points of a turned plane (n, 3), and its unit normal and a direction within it (3,)."""
    rng, axes = np.random.default_rng(seed), turned(seed)
    return rng.random((points, 2)) @ axes[:2], axes[2], axes[0]


@pytest.mark.parametrize("side", [1, -1])
def test_d2_of_a_plane_is_how_far_it_was_lifted(side):
    points, normal, within = plane()
    reference = Reference(points)
    for found in (d2(reference, points + 0.01 * side * normal), d2(reference, points + 0.01 * normal + 0.3 * within)):
        assert (found.mean, found.rms) == (pytest.approx(0.01), pytest.approx(0.01))
    # What slides in the plane is no error of D2, and one of D1.
    assert d2(reference, points + 0.3 * within).mean == pytest.approx(0, abs=1e-12)
    assert d1(points, points + 0.3 * within).mean > 0.05


def test_d1_of_a_shifted_grid_is_the_shift():
    points = np.stack(np.meshgrid(*[np.arange(6.0)] * 3), -1).reshape(-1, 3)
    shift = 0.3 * turned()[0]
    assert d1(points, points + shift).mean == pytest.approx(0.3)
    assert d1(points, points + shift).rms == pytest.approx(0.3)


@pytest.mark.parametrize("points", [np.arange(9.0)[:, None] * [1, 2, 3], np.ones((3, 3))])
def test_where_there_is_no_plane_the_whole_way_counts(points):
    moved = points + 0.1 * turned()[0]
    assert d2(Reference(points), moved) == d1(points, moved)


@given(clouds(count=2, max_points=60))
def test_d2_is_at_most_d1_and_of_a_cloud_with_itself_nothing(pair):
    a, b = pair
    assert d2(Reference(a), b).mean_squared <= d1(a, b).mean_squared * (1 + 1e-9)
    assert d2(Reference(a), a).mean <= 1e-9 * np.abs(a).max()


def test_normals_point_out_of_a_sphere():
    vertices, quads = globe(40)
    triangles = halves(quads)
    rows = np.arange(0, len(vertices), 3)
    by_faces = normals_of(Reference(vertices[rows], 0.0, (vertices, triangles), rows))
    drawn = sample_surface(vertices, triangles, 300, np.random.default_rng(0))
    of_drawn = normals_of(Reference(drawn, 0.0, (vertices, triangles)))
    x = np.random.default_rng(1).standard_normal((4000, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    inner = np.abs(vertices[rows][:, 2]) < 0.9  # the open rims lie beyond
    for normals, out in ((by_faces[inner], vertices[rows][inner]), (of_drawn, drawn), (estimated_normals(x), x)):
        assert np.linalg.norm(normals, axis=1) == pytest.approx(1)
        assert np.abs((normals * out).sum(1)).min() > 0.95


def test_distances_to_one_triangle_by_hand():
    corners = np.array([[0, 0, 0], [4, 0, 0], [0, 3, 0]], float)
    cases = {(1, 1, 2): 2, (2, -1, 0): 1, (-3, -4, 0): 5, (7, 0, 4): 5, (2, 1.5, 0): 0, (4, 3, 0): 2.4}
    points = np.array(list(cases), float)
    found = point_triangle_distances(points, np.broadcast_to(corners, (len(points), 3, 3)))
    assert found == pytest.approx(list(cases.values()))
    # Of a side and of a point, which are no triangles any more.
    flat = np.array([[0, 0, 0], [4, 0, 0], [2, 0, 0]], float)
    assert point_triangle_distances(np.array([[2.0, 1, 0]]), flat[None]) == pytest.approx([1])
    assert point_triangle_distances(np.array([[3.0, 4, 0]]), np.zeros((1, 3, 3))) == pytest.approx([5])


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0, 8))
def test_the_nearest_of_triangles_of_all_sizes_is_found(seed, count, octaves):
    rng = np.random.default_rng(seed)
    sizes = 2.0 ** -(octaves * rng.random((count, 1, 1)))
    corners = rng.random((count, 1, 3)) + sizes * rng.standard_normal((count, 3, 3))
    points = 2 * rng.random((30, 3)) - 0.5
    found, triangles = Surface((corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3))).nearest(points)
    every = [point_triangle_distances(np.repeat(point[None], count, 0), corners) for point in points]
    assert found == pytest.approx(np.min(every, 1), rel=1e-9)
    assert [row[i] for row, i in zip(every, triangles, strict=True)] == pytest.approx(found)


def test_points_of_a_surface_are_no_distance_off_and_lifted_ones_as_far_as_they_were_lifted():
    points, normal, _ = plane(3)
    mesh = (points, np.array([[0, 1, 2]]))
    drawn = sample_surface(*mesh, 500, np.random.default_rng(0))
    reference = Reference(points, 0.0, mesh)
    assert surface(reference, drawn).mean == pytest.approx(0, abs=1e-12)
    assert surface(reference, drawn + 0.2 * normal).mean == pytest.approx(0.2)
    with pytest.raises(pcqaad.CloudError, match="expected an original with faces, found points alone"):
        surface(Reference(points), drawn)
    with pytest.raises(pcqaad.CloudError, match="expected faces of vertices 0 to 2, found vertex 3"):
        Surface((points, np.array([[0, 1, 3]])))


def test_points_are_counted_beyond_a_part_of_the_diagonal():
    rng = np.random.default_rng(3)
    points = rng.random((200, 3))
    reference = Reference(points, 1.0)
    assert beyond(reference, rng.permutation(points), 0.01) == (0, 0)
    # Half of them stay, and the others go.
    moved = np.concatenate([points[:100], points[100:] + 50])
    assert beyond(reference, moved, 40.0) == (0.5, 0)
    assert beyond(reference, points + 5, 0.01) == (1, 1)


def test_the_floor_is_what_a_second_sampling_would_score():
    rng = np.random.default_rng(0)
    axes = turned(1)
    first, second = rng.random((2, 12, 2048, 2)) @ axes[:2]
    found = sampling_floor(first, 2**0.5, 1024, "cpu", SILENT, 12)
    scored = np.mean([emkd(a, b).mean for a, b in zip(first, second, strict=True)])
    assert found["mean"] == pytest.approx(scored, rel=0.15)
    assert found["mean_percent"] == pytest.approx(100 * found["mean"] / 2**0.5)
    assert (found["points"], found["measured"]) == (1024, 12)
    assert sampling_floor([np.zeros((1, 3))], 1.0, 1024, "cpu", SILENT, 1) is None


def test_plain_arrays_are_measured_as_references_are():
    points, normal, _ = plane()
    found = measure([(points, points + normal)], ("d1", "d2"))
    assert found["d2"][0].mean == pytest.approx(1)
    assert found["d1"][0] == d1(points, points + normal)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Globes, one mesh each, a folder of their files, and files of their vertices and of points drawn from them."""
    folder = tmp_path_factory.mktemp("globes")
    vertices, quads = globe(16)
    scales = np.random.default_rng(2).uniform(0.7, 1.3, (4, 3)).astype(np.float32)
    meshes = [(vertices * scale, halves(quads)) for scale in scales]
    for name, mesh in zip("abcd", meshes, strict=True):
        write_mesh(folder / "in" / f"{name}.ply", *mesh)
    settings = pcqaad.Settings(**TINY)
    pcqaad.fit([v for v, _ in meshes], settings, names=list("abcd"), points=200).save(folder / "vertices.qaad")
    drawn = pcqaad.Settings(**TINY, surface=200)
    pcqaad.fit(meshes, drawn, names=list("abcd")).save(folder / "drawn.qaad")
    return folder, meshes


@pytest.mark.parametrize("file", ["vertices.qaad", "drawn.qaad"])
def test_verify_measures_the_shape(fitted, file):
    folder, meshes = fitted
    found = pcqaad.verify(folder / file, folder / "in", ("emkd", "d1", "d2", "surface"))
    assert pcqaad.verify(folder / file, meshes, ("emkd", "d1", "d2", "surface")) == found
    metrics = found["metrics"]
    assert metrics["d2"]["normals"] == "faces"
    assert metrics["surface"]["mean"] <= metrics["d1"]["mean"] <= metrics["emkd"]["mean"]
    assert metrics["d2"]["psnr"] >= metrics["d1"]["psnr"]
    assert 0 < found["floor"]["mean"] < found["floor"]["halves"]
    assert (found["floor"]["points"], found["floor"]["measured"]) == (100, 4)
    with pcqaad.open(folder / file) as collection:
        decoded = [collection[i].astype(np.float64) for i in range(4)]
    means = [Surface(mesh).nearest(points)[0].mean() for mesh, points in zip(meshes, decoded, strict=True)]
    assert [cloud["mean"] for cloud in metrics["surface"]["per_cloud"]] == pytest.approx(means)
    assert all(0 <= share <= 100 for share in found["beyond_one_percent"].values())


def test_verify_shows_them(fitted, tmp_path):
    folder, _ = fitted
    page = tmp_path / "page.html"
    call = ["verify", folder / "vertices.qaad", folder / "in", "--metric", "d2", "--metric", "surface", "--quiet"]
    shown = run(*call, "--metric", "emkd", "--report", page).stdout
    for text in (
        "D2",
        "surface",
        "sampling floor",
        "over 1 % of the diagonal off",
        "estimated from halves of 4 originals",
    ):
        assert text in shown
    assert all(text in page.read_text() for text in ("D2", "surface", "sampling floor", "% of decoded points"))
    found = json.loads(run(*call, "--json").stdout)
    # The floor is of EM-kD, which was not asked for.
    assert found.keys() >= {"metrics", "beyond_one_percent"}
    assert "floor" not in found


def test_a_surface_is_wanted_for_distances_to_it(fitted, tmp_path):
    folder, meshes = fitted
    for name, (vertices, _) in zip("abcd", meshes, strict=True):
        write_ply(tmp_path / f"{name}.ply", vertices)
    line = refused("verify", folder / "vertices.qaad", tmp_path, "--metric", "surface", "--quiet")
    assert line.startswith("a: no distance to a surface without faces: ")
    with pytest.raises(pcqaad.CloudError, match=r"^a: no distance to a surface without faces: expected a mesh"):
        pcqaad.verify(folder / "vertices.qaad", [vertices for vertices, _ in meshes], ("surface",))
    found = pcqaad.verify(folder / "vertices.qaad", tmp_path, ("d2",))
    assert found["metrics"]["d2"]["normals"] == "12 nearest points"
