"""The example population keeps to its description, and its picture shows the front of things."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from plyfile import PlyData
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.special import chdtri

import pcqaad
from examples import picture, skulls
from pcqaad.formats.errors import FormatError
from tests.generators import population


def identity(seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(len(skulls.parameters()))


def crossings(who: NDArray[np.float64], start: list[float], direction: list[float]) -> NDArray[np.float64]:
    """Sorted distances at which a ray meets the surface (Möller-Trumbore, all triangles at once)."""
    vertices, faces = skulls.skull(who)
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    ray = np.array(direction) / np.linalg.norm(direction)
    u, v, from_a = b - a, c - a, np.array(start) - a
    p, q = np.cross(ray, v), np.cross(from_a, u)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1 / (u * p).sum(1)
        first, second, far = (from_a * p).sum(1) * inverse, q @ ray * inverse, (v * q).sum(1) * inverse
        # Triangles along the ray give NaN, which no comparison holds for.
        hit = (first >= 0) & (second >= 0) & (first + second <= 1) & (far > 0)
    return np.sort(far[hit])


def chamfer(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float((cKDTree(a).query(b)[0] ** 2).mean() + (cKDTree(b).query(a)[0] ** 2).mean())


def test_one_seed_gives_one_population_of_any_length() -> None:
    short, long = list(skulls.population(2, 500, 7)), list(skulls.population(4, 500, 7))
    assert [cloud.tobytes() for cloud in short] == [cloud.tobytes() for cloud in long[:2]]
    assert len({cloud.tobytes() for cloud in long}) == 4
    assert next(skulls.population(1, 500, 8)).tobytes() != long[0].tobytes()
    assert all(cloud.shape == (500, 3) and cloud.dtype == np.float32 for cloud in long)


def test_skulls_have_the_size_of_heads_in_millimetres() -> None:
    for cloud in skulls.population(5, 2000, 1):
        breadth, length, height = np.ptp(cloud, axis=0)
        assert 110 < breadth < 180
        assert 155 < length < 230
        assert 180 < height < 280
        assert np.all(np.abs(cloud) < 160)


@pytest.mark.parametrize("seed", range(2))
def test_surface_is_closed_and_the_jaw_is_apart(seed: int) -> None:
    vertices, faces = skulls.skull(identity(seed))
    tail, head = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    forward = coo_array((np.ones(len(tail), np.int64), (tail, head)), shape=(len(vertices),) * 2).tocsr()
    assert abs(forward - forward.T).sum() == 0
    parts, label = connected_components(forward, directed=False)
    large = [vertices[label == i] for i in range(parts) if (label == i).sum() > 0.05 * len(vertices)]
    cranium, jaw = sorted(large, key=len, reverse=True)
    assert len(cranium) + len(jaw) == len(vertices)
    assert jaw[:, 2].min() < cranium[:, 2].min() - 20


@pytest.mark.parametrize("direction", [[0, 0, 1], [1, 0.1, 0.3], [-1, -0.5, 0.8], [0.1, -1, 0.2], [0.3, 1, 0.7]])
def test_vault_has_an_outer_and_an_inner_table(direction: list[float]) -> None:
    met = crossings(identity(1), [0.3, -15.2, 55.1], direction)
    assert len(met) == 2
    assert 4 < met[1] - met[0] < 16


@pytest.mark.parametrize("side", [-1, 1])
def test_zygomatic_arch_stands_free(side: int) -> None:
    *_, wall, inner, outer = crossings(identity(0), [0.2, 28.1, -4.3], [side, 0, 0])
    assert inner - wall > 6
    assert 3 < outer - inner < 12


@pytest.mark.parametrize("side", [-1, 1])
def test_orbits_are_deep_and_have_a_floor(side: int) -> None:
    mean = np.zeros(len(skulls.parameters()))
    # Along the axis of the socket, which leads inward, and level with the brow.
    socket = crossings(mean, [side * 50.3, 150, 17.2], [-0.25 * side, -1, 0])
    brow = crossings(mean, [side * 32.1, 150, 42.2], [0, -1, 0])
    assert 25 < socket[0] - brow[0] < 60


def test_sampling_is_uniform_by_area() -> None:
    vertices, faces = skulls.skull(identity(2))
    # One half of the mesh is cut finer: many small triangles must draw no more points than few large ones.
    middle = vertices[faces].mean(1)
    right = middle[:, 0] > 0
    a, b, c = faces[right].T
    m = np.arange(len(a)) + len(vertices)
    split = np.concatenate([np.stack(t, 1) for t in ((a, b, m), (b, c, m), (c, a, m))])
    mesh = np.concatenate([vertices, middle[right]]), np.concatenate([faces[~right], split])
    cloud = skulls.sample(*mesh, 20_000, np.random.default_rng(3))

    corners = mesh[0][mesh[1]].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    edges = [(-1000, -20, 20, 1000), (-1000, -30, 30, 1000), (-1000, -30, 40, 1000)]
    expected = np.histogramdd(corners.mean(1), edges, weights=area)[0].ravel()
    expected *= len(cloud) / expected.sum()
    found = np.histogramdd(cloud, edges)[0].ravel()
    used = expected > 20
    assert used.sum() >= 15
    statistic = ((found - expected)[used] ** 2 / expected[used]).sum()
    assert statistic < chdtri(used.sum() - 1, 0.001)


def test_clouds_of_one_person_are_near_but_not_in_correspondence() -> None:
    clouds = [skulls.make_skull(identity(i // 2), 3000, np.random.default_rng(i)) for i in range(6)]
    same = [chamfer(clouds[i], clouds[i + 1]) for i in (0, 2, 4)]
    other = [chamfer(clouds[i], clouds[j]) for i, j in ((0, 2), (0, 4), (2, 4))]
    assert max(same) < 0.75 * min(other)
    # Points of equal index are as far apart as points drawn blindly.
    a, b = clouds[:2]
    paired = np.linalg.norm(a - b, axis=1).mean()
    blind = np.linalg.norm(a - np.roll(b, 1, axis=0), axis=1).mean()
    assert abs(paired - blind) < 0.05 * blind
    assert not set(map(bytes, a)) & set(map(bytes, b))


def test_points_come_in_no_order() -> None:
    cloud = skulls.make_skull(identity(0), 4000, np.random.default_rng(0))
    steps = np.linalg.norm(np.diff(cloud, axis=0), axis=1).mean()
    shuffled = np.random.default_rng(1).permutation(cloud)
    assert abs(steps / np.linalg.norm(np.diff(shuffled, axis=0), axis=1).mean() - 1) < 0.05


def test_identity_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"identity: expected shape \(\d+,\), found \(3,\)"):
        skulls.make_skull(np.zeros(3), 10, np.random.default_rng(0))


def test_skulls_on_the_command_line(tmp_path: Path) -> None:
    skulls.main([str(tmp_path / "a"), "--count", "2", "--points", "100", "--seed", "4"])
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["skull_0000.ply", "skull_0001.ply"]
    rows = PlyData.read(tmp_path / "a" / "skull_0001.ply")["vertex"]
    second = list(skulls.population(2, 100, 4))[1]
    np.testing.assert_array_equal(np.stack([rows["x"], rows["y"], rows["z"]], 1), second)


def plates() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A small red plate in front (+y) of a large green one, and their colours."""
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 25), np.linspace(-1, 1, 25)), -1).reshape(-1, 2)
    front = np.insert(10 * grid, 1, 15.0, axis=1)
    back = np.insert(30 * grid, 1, -15.0, axis=1)
    colours = np.repeat([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], len(grid), axis=0)
    return np.concatenate([front, back]), colours


def test_renderer_draws_the_nearer_surface() -> None:
    points, colours = plates()
    size = 60
    ahead = picture.render(points, colours, size=size, view=(0, 0)).astype(int)
    behind = picture.render(points, colours, size=size, view=(180, 0)).astype(int)
    middle = slice(size // 2 - 4, size // 2 + 4)
    assert ahead.shape == (size, size, 3)
    assert np.all(ahead[middle, middle, 0] > 60)
    assert np.all(ahead[middle, middle, 1] < 5)
    assert np.all(behind[middle, middle, 1] > 60)
    assert np.all(behind[middle, middle, 0] < 5)
    assert np.all(ahead[10:14, middle, 1] > ahead[10:14, middle, 0])
    assert np.all(ahead[0, 0] < 30)


def test_renderer_puts_left_up_and_right_where_they_are() -> None:
    points, _ = plates()
    spot = np.array([[25.0, -15.0, 25.0]])  # +x is on the picture's left for an eye on +y, +z is up
    colours = np.where(np.linalg.norm(points - spot, axis=1)[:, None] < 12, [1.0, 0, 0], [0, 0, 1.0])
    red = picture.render(points, colours, size=60, view=(0, 0))[..., 0].astype(float)
    rows, columns = np.nonzero(red > 60)
    assert rows.max() < 30
    assert columns.max() < 30


@pytest.mark.parametrize("points", [np.zeros((1, 3)), np.ones((5, 3)), np.eye(3)[:2]])
def test_renderer_draws_clouds_without_a_surface(points: NDArray[np.float64]) -> None:
    image = picture.render(points, size=20)
    assert image.max() > 30


def test_normals_keep_the_sides_of_a_thin_wall_apart() -> None:
    rng = np.random.default_rng(0)
    wall = rng.uniform(-50, 50, (1000, 3))
    wall[:, 2] = np.repeat([-3.25, 3.25], 500)  # spaced as on a skull of 8,192 points
    inner = np.abs(wall[:, :2]).max(1) < 40
    normals, _ = picture.surfels(wall)
    assert np.mean(np.abs(normals[inner, 2]) > 0.95) > 0.97


class Decoded:
    """What the picture asks of an opened file."""

    names = ("b", "a", "unknown")
    info = {"fidelity": {"mean_percent": 0.912}}  # noqa: RUF012

    def __init__(self, clouds: list[NDArray[np.float32]]) -> None:
        self.clouds = clouds

    def __len__(self) -> int:
        return len(self.clouds)

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        return self.clouds[index]


def test_picture_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    originals = list(skulls.population(2, 300, 0))
    for name, cloud in zip("ab", originals, strict=True):
        skulls.write_ply(tmp_path / f"{name}.ply", cloud)
    file = tmp_path / "x.qaad"
    file.write_bytes(bytes(100))
    clouds = Decoded([originals[1], originals[0], originals[0]])
    monkeypatch.setattr(pcqaad, "open", lambda path: clouds, raising=False)
    seen: dict[str, object] = {}

    def compare(
        left: list[NDArray[np.float32]],
        right: list[NDArray[np.float32]],
        names: list[str],
        title: str,
        path: Path,
        *,
        unit: str,
    ) -> None:
        seen.update(names=names, title=title, unit=unit)
        for a, b in zip(left, right, strict=True):
            np.testing.assert_array_equal(a, b)  # paired by name, whatever the order

    monkeypatch.setattr(picture, "compare", compare)
    picture.main([str(file), str(tmp_path), "-o", str(tmp_path / "x.png")])
    assert seen["names"] == ["b", "a"]
    assert seen["unit"] == "mm"
    expected = "3 clouds × 300 points,  11 KB → 100 bytes (108 : 1),  EM-kD 0.91 % of the diagonal"
    assert seen["title"] == expected


def test_picture_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    cloud = next(skulls.population(1, 400, 0))
    picture.compare([cloud], [cloud + 1], ["one"], "title", tmp_path / "one.png", size=70)
    pixels = imread(tmp_path / "one.png")
    assert pixels.ndim == 3
    assert np.ptp(pixels[..., :3]) > 0.5
    assert [p.name for p in tmp_path.iterdir()] == ["one.png"]
    with pytest.raises(FormatError, match="cannot write"):
        picture.compare([cloud], [cloud], ["one"], "title", tmp_path / "none" / "one.png", size=70)


def test_completions_are_drawn_beside_views_and_whole_clouds(
    fitted_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    np.save(tmp_path / "new.npy", np.stack(population(1, seed=9)))
    # Python finds what lies beside a script.
    monkeypatch.syspath_prepend(str(Path(picture.__file__).parent))
    arguments = [fitted_file, tmp_path / "new.npy", "-o", tmp_path / "whole.png", "--rows", "1"]
    import_module("completion").main(list(map(str, arguments)))
    assert (tmp_path / "whole.png").read_bytes().startswith(b"\x89PNG")


def test_vertex_clouds_hold_the_same_vertices_of_different_people() -> None:
    mean = np.zeros(len(skulls.parameters()))
    chosen = np.random.default_rng(0).choice(len(skulls.skull(mean)[0]), 500, replace=False)
    for i, cloud in enumerate(skulls.population(2, 500, seed=3, vertices=True)):
        who = np.clip(np.random.default_rng([3, i]).standard_normal(len(mean)), -2.5, 2.5)
        expected = skulls.skull(who)[0][chosen].astype(np.float32)
        assert np.array_equal(cloud[np.lexsort(cloud.T)], expected[np.lexsort(expected.T)])
        assert not np.array_equal(cloud, expected)
    with pytest.raises(ValueError, match="expected at most"):
        next(skulls.population(1, 10**7, seed=0, vertices=True))


def test_more_vertices_than_there_are_end_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        skulls.main([str(tmp_path), "--points", "10000000", "--vertices"])
    assert refused.value.code == 2
    assert "expected at most" in capsys.readouterr().err
