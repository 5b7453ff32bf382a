"""Files whose template is a surface, as a user meets them: any number of points, and meshes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import pcqaad
from pcqaad.formats.clouds.ply import read_ply, read_ply_mesh, write_ply
from tests.cli.commands import refused, run

SIZES = (1024, 1056, 1032, 1048)


def egg(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return points spread evenly over an ellipsoid (count, 3), from a turn of their own."""
    k = np.arange(count) + 0.5
    z, turn = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    ball = np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], 1)
    ball = ball @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return (ball * [40 + rng.uniform(0, 20), 40, 60]).astype(np.float32)


@pytest.fixture(scope="module")
def eggs_of_own_sizes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("own"), np.random.default_rng(2)
    for i, count in enumerate(SIZES):
        write_ply(folder / f"egg{i}.ply", egg(count, rng))
    return folder


@pytest.fixture(scope="module")
def surface(eggs_of_own_sizes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file too small for a list of points."""
    file = tmp_path_factory.mktemp("surface") / "eggs.qaad"
    quick = ["--epochs", "2", "--patches", "1", "--device", "cpu", "--max-bytes", "1400"]
    result = run("compress", eggs_of_own_sizes, "-o", file, *quick, "--unit", "mm")
    assert result.exit_code == 0, result.output
    with pcqaad.open(file) as clouds:
        assert clouds.info["model"]["triangles"] > 0
    return file


def read_obj(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rows = [line.split() for line in path.read_text().splitlines()]
    vertices = [[float(value) for value in row[1:]] for row in rows if row[0] == "v"]
    return np.array(vertices), np.array([[int(corner) - 1 for corner in row[1:]] for row in rows if row[0] == "f"])


def test_clouds_keep_their_own_numbers_of_points(surface: Path, tmp_path: Path) -> None:
    result = run("decompress", surface, "-o", tmp_path / "own")
    assert result.stdout.startswith(f"{tmp_path / 'own'}: 4 clouds of 1,024 to 1,056 points in ")
    assert [len(read_ply(tmp_path / "own" / f"egg{i}.ply")[0]) for i in range(4)] == list(SIZES)
    line = refused("decompress", surface, "-o", tmp_path / "all.npy")
    assert "1,024 to 1,056 points" in line
    assert "give --points M" in line
    assert run("decompress", surface, "-o", tmp_path / "one.npy", "--only", "1").exit_code == 0
    assert np.load(tmp_path / "one.npy").shape == (1, 1056, 3)


@pytest.mark.parametrize("even", [[], ["--even"]])
def test_as_many_points_are_written_as_asked_for(surface: Path, tmp_path: Path, even: list[str]) -> None:
    for points in (1, 700):
        target = tmp_path / f"{points}.npy"
        assert run("decompress", surface, "-o", target, "--points", str(points), *even).exit_code == 0
        written = np.load(target)
        assert written.shape == (4, points, 3)
        with pcqaad.open(surface) as clouds:
            np.testing.assert_array_equal(written[2], clouds.read(2, points, even=bool(even)))


@pytest.mark.parametrize("level", [0, 2])
def test_meshes_are_read_back_and_share_their_faces(surface: Path, tmp_path: Path, level: int) -> None:
    for to in ("ply", "obj"):
        options = ["--faces", "--to", to, *(["--level", str(level)] if level else [])]
        result = run("decompress", surface, "-o", tmp_path / to, *options)
        assert result.exit_code == 0, result.output
    with pcqaad.open(surface) as clouds:
        for i in range(4):
            vertices, triangles = clouds.mesh(i, level)
            assert f"4 meshes of {len(vertices):,} vertices and {len(triangles):,} triangles" in result.stdout
            assert len(triangles) == 4**level * clouds.info["model"]["triangles"]
            np.testing.assert_array_equal(triangles, clouds.mesh(0, level)[1])
            for points, corners in (
                read_ply_mesh(tmp_path / "ply" / f"egg{i}.ply")[:2],
                read_obj(tmp_path / "obj" / f"egg{i}.obj"),
            ):
                np.testing.assert_array_equal(points.astype(np.float32), vertices)
                np.testing.assert_array_equal(corners, triangles)


def test_meshes_replace_nothing_unasked(surface: Path, tmp_path: Path) -> None:
    (tmp_path / "egg1.obj").write_text("mine")
    line = refused("decompress", surface, "-o", tmp_path, "--faces", "--to", "obj")
    assert line == f"{tmp_path / 'egg1.obj'}: is there already; --overwrite replaces it"
    assert run("decompress", surface, "-o", tmp_path, "--faces").exit_code == 0


@pytest.mark.parametrize("options", [["--points", "99"], ["--even"], ["--faces"]])
def test_a_list_of_points_is_no_surface(eggs: Path, tmp_path: Path, options: list[str]) -> None:
    line = refused("decompress", eggs, "-o", tmp_path / "x", *options)
    assert line.startswith(f"{eggs}: its template is a list of points")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--points", "0"], "not in the range"),
        (["--points", "16777217"], "not in the range"),
        (["--faces", "--points", "9"], "found both"),
        (["--faces", "--even"], "found both"),
        (["--level", "1"], "--level needs --faces"),
        (["--faces", "--level", "9"], "not in the range"),
        (["--to", "stl"], "--to stl needs --faces, which are all that stl files hold"),
        (["--faces", "--to", "xyz"], "expected --faces or --to xyz, found both: xyz files hold no faces"),
        (["--faces", "-o", "x.npy"], "--faces writes files to a folder"),
        (["--to", "ply", "-o", "x.h5"], "--to ply writes files to a folder"),
    ],
)
def test_choices_that_say_nothing_together_are_wrong_usage(eggs: Path, options: list[str], reason: str) -> None:
    result = run("decompress", eggs, "-o", "x", *options)
    assert result.exit_code == 2
    assert reason in result.stderr


def test_info_tells_the_surface_and_the_numbers_of_points(surface: Path) -> None:
    lines = run("info", surface).stdout.splitlines()
    rows = {line[:18].strip(): line[18:].strip() for line in lines if len(line) > 18}
    with pcqaad.open(surface) as clouds:
        info = clouds.info
        raw = sum(12 * len(cloud) for cloud in clouds)
    model = info["model"]
    assert rows["clouds"] == "4 of 1,024 to 1,056 points"
    assert rows["surface"].startswith(f"{model['vertices']} vertices, {model['triangles']} triangles in ")
    assert "no network" in rows["model"]
    assert (info["least_points"], info["most_points"], info["bytes"]["raw_float32"]) == (1024, 1056, raw)
    assert 0 < model["triangle_bytes"] < info["bytes"]["sections"]["SURF"]


def test_verify_measures_the_files_own_meshes(surface: Path, eggs_of_own_sizes: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    call = ["verify", surface, eggs_of_own_sizes, "--metric", "surface", "--metric", "emkd"]
    printed = json.loads(run(*call, "--json", "--report", page).stdout)
    meshes = printed["meshes"]
    # The originals have no faces.
    assert "decoded" not in meshes
    assert printed["metrics"]["surface"]["mean"] == pytest.approx(meshes["original"]["mean"])
    assert 0 < meshes["original"]["mean_percent"] < printed["metrics"]["emkd"]["mean_percent"]
    with pcqaad.open(surface) as clouds:
        assert meshes["triangles"] == clouds.info["model"]["triangles"]
        # Of all points, not of as many as the smallest cloud has.
        assert [cloud["sum"] / cloud["mean"] for cloud in printed["metrics"]["surface"]["per_cloud"]] == pytest.approx(
            SIZES
        )
        assert [cloud["sum"] / cloud["mean"] for cloud in printed["metrics"]["emkd"]["per_cloud"]] == pytest.approx(
            SIZES
        )
        own = [clouds.mesh(i, 3) for i in range(4)]
        # The vertices of its finer meshes lie on its mesh.
        result = pcqaad.verify(clouds, own, ("surface",))
    assert result["meshes"]["original"]["mean"] < 1e-4
    assert result["meshes"]["decoded"]["mean"] < 1e-4
    for text in (run(*call).stdout, page.read_text()):
        assert f"of {meshes['triangles']} triangles" in text
        assert "original points to decoded mesh" in text
