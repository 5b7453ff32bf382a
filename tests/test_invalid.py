"""What no fit can use: all of it named in one line, or left out with a line each."""

from __future__ import annotations

import numpy as np
import pytest

import pcqaad
from pcqaad.formats.clouds.find import LazyClouds, find_clouds
from pcqaad.formats.clouds.invalid import without_invalid
from pcqaad.formats.clouds.shape import Polygons, Shape
from pcqaad.formats.clouds.writers import write_shape
from pcqaad.formats.errors import UnusableError
from tests.cli.commands import refused, run


@pytest.fixture
def folder(tmp_path):
    points = np.arange(15.0).reshape(5, 3)
    faces = Polygons.of_triangles([[0, 1, 2], [2, 3, 4], [0, 3, 4]])
    label = np.arange(5, dtype=np.int16)
    for name, bad in (("a", None), ("b", np.nan), ("c", 1e300), ("e", None)):
        given = points.copy()
        if bad:
            given[1, 2] = bad
        write_shape(tmp_path / f"{name}.ply", Shape(given, faces, {"label": label}))
    write_shape(tmp_path / "d.off", Shape(np.full((2, 3), np.nan)))
    (tmp_path / "f.obj").write_text("v 1 2\n")
    return tmp_path


def test_all_are_named_in_one_line(folder):
    clouds = LazyClouds(find_clouds([folder]))
    assert len(clouds[0]) == 5
    with pytest.raises(UnusableError) as caught:
        list(clouds)
    message = str(caught.value)
    assert caught.value.count == 4
    assert message.startswith(f"4 files or clouds cannot be used: {folder}/b.ply: point 1: expected finite coordinates")
    named = [message.count(f"/{name}: ") for name in ("b.ply", "c.ply", "d.off", "f.obj", "a.ply", "e.ply")]
    assert named == [1, 1, 1, 1, 0, 0]


def test_of_very_many_the_rest_are_counted(tmp_path):
    for i in range(30):
        (tmp_path / f"{i}.obj").write_text("v\n")
    with pytest.raises(
        UnusableError, match=r"^30 files or clouds .*/19\.obj: .*; and 10 others; --drop-invalid leaves them out$"
    ):
        list(LazyClouds(find_clouds([tmp_path])))


def test_what_is_left_out_is_told_line_by_line(folder):
    told = []
    kept, lines = without_invalid(find_clouds([folder]), tell=lambda done, total: told.append((done, total)))
    assert [source.name for source in kept] == ["a", "b", "c", "e"]
    assert [source.count() for source in kept] == [5, 4, 4, 5]
    assert told == [(i, 6) for i in range(7)]
    assert lines[0] == f"{folder}/b.ply: 1 rows not finite: these points are left out"
    assert [line.rpartition(": ")[2] for line in lines[2:]] == ["left out", "left out"]
    clouds = LazyClouds(kept)
    assert clouds.drops_invalid
    assert clouds[1].tolist() == np.arange(15.0).reshape(5, 3)[[0, 2, 3, 4]].tolist()
    shape = kept[1].read_shape()
    # The face at the point is left out, the others have new numbers.
    assert [row.tolist() for row in shape.polygons.rows()] == [[1, 2, 3], [0, 2, 3]]
    assert shape.attributes["label"].tolist() == [0, 2, 3, 4]
    np.testing.assert_array_equal(kept[1].read_mesh().triangles, shape.polygons.triangles())


def test_a_registered_cloud_is_left_out_as_a_whole(folder):
    kept, lines = without_invalid(find_clouds([folder]), whole=True)
    assert [source.name for source in kept] == ["a", "e"]
    assert len(lines) == 4


def test_what_has_no_faces_is_no_mesh(folder):
    write_shape(folder / "g.xyz", Shape(np.eye(3)))
    kept, lines = without_invalid(find_clouds([folder]), meshes=True)
    assert [source.name for source in kept] == ["a", "b", "c", "e"]
    assert lines[-1].endswith("g.xyz: expected faces to draw points from, found none: left out")


def test_commands_leave_out_what_cannot_be_used(folder, tmp_path):
    file, options = tmp_path / "x.qaad", ["--drop-invalid", "--device", "cpu"]
    fit = ["--epochs", "1", "--points", "4", "--patches", "1", "--latent", "1"]
    message = refused("compress", folder, "-o", file, *fit, "--device", "cpu")
    assert "4 files or clouds cannot be used" in message and message.endswith("--drop-invalid leaves them out")
    result = run("compress", folder, "-o", file, *fit, *options)
    assert result.exit_code == 0, result.output
    assert f"note: {folder}/b.ply: 1 rows not finite: these points are left out" in result.stderr
    assert f"{folder}/f.obj: " in result.stderr
    with pcqaad.open(file) as clouds:
        assert clouds.names == ["a", "b", "c", "e"]
    assert "b.ply: point 1: expected finite" in refused("verify", file, folder)
    assert run("verify", file, folder, "--drop-invalid").exit_code == 0
    (folder / "new.ply").write_bytes((folder / "b.ply").read_bytes())
    assert run("append", file, folder / "new.ply", "--steps", "1", *options).exit_code == 0
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    (nothing / "a.obj").write_text("v\n")
    message = refused("compress", nothing, "-o", tmp_path / "y.qaad", *options)
    assert message == "expected clouds that can be used, found none among 1"
