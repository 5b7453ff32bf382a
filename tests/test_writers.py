"""Writers of one shape: other programs' readers where there are some, and what a format has no place for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

from pcqaad.formats.clouds.ply import read_ply_shape
from pcqaad.formats.clouds.shape import Polygons, Shape
from pcqaad.formats.clouds.writers import WRITERS, not_written, write_shape
from pcqaad.formats.errors import FormatError


def shape(dtype: str = "f4", *, faces: bool = True) -> Shape:
    rng = np.random.default_rng(5)
    attributes = {
        "colour": rng.integers(0, 256, (6, 3)).astype("u1"),
        "normal": rng.normal(size=(6, 3)).astype("f4"),
        "label": rng.integers(-9, 9, 6).astype("i2"),
        "weight": rng.normal(size=6),
    }
    polygons = [[0, 1, 2, 3], [5, 4, 0], [1, 2, 5], [0, 1, 2, 3, 4]] if faces else None
    rows = None if polygons is None else Polygons.of_rows([np.array(row) for row in polygons], 6, "")
    return Shape(rng.normal(size=(6, 3)).astype(dtype), rows, attributes)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_ply_holds_all(tmp_path, dtype):
    given = shape(dtype)
    write_shape(tmp_path / "a.ply", given)
    found = read_ply_shape(tmp_path / "a.ply")
    assert found.points.dtype == given.points.dtype
    np.testing.assert_array_equal(found.points, given.points)
    for own, other in zip(given.polygons, found.polygons, strict=True):
        np.testing.assert_array_equal(own, other)
    assert list(found.attributes) == list(given.attributes)
    for name, values in given.attributes.items():
        assert found.attributes[name].dtype == values.dtype
        np.testing.assert_array_equal(found.attributes[name], values)
    rows = PlyData.read(tmp_path / "a.ply")["face"]["vertex_indices"]
    assert [row.tolist() for row in rows] == [[0, 1, 2, 3], [5, 4, 0], [1, 2, 5], [0, 1, 2, 3, 4]]


def test_a_polygon_of_many_corners_is_written_whole(tmp_path):
    points = np.zeros((300, 3), np.float32)
    write_shape(tmp_path / "a.ply", Shape(points, Polygons(np.array([300, 3]), np.r_[np.arange(300), 0:3])))
    assert read_ply_shape(tmp_path / "a.ply").polygons.sizes.tolist() == [300, 3]


def test_ply_has_no_integers_of_64_bits(tmp_path):
    path = tmp_path / "a.ply"
    write_shape(path, Shape(np.zeros((2, 3)), attributes={"id": np.array([1, -7])}))
    assert read_ply_shape(path).attributes["id"].tolist() == [1, -7]
    with pytest.raises(FormatError, match=r"a\.ply: expected integers of at most 32 bits, .* as id, found larger ones"):
        write_shape(path, Shape(np.zeros((2, 3)), attributes={"id": np.array([1, 2**40])}))


def test_stl_is_of_faces(tmp_path):
    with pytest.raises(FormatError, match=r"a\.stl: expected faces, which are all that STL holds, found points alone"):
        write_shape(tmp_path / "a.stl", shape(faces=False))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_shape_without_anything_but_points_is_written(tmp_path: Path, suffix: str, dtype: str) -> None:
    if suffix != ".stl":
        write_shape(tmp_path / f"a{suffix}", Shape(np.eye(3, dtype=dtype)))
        assert (tmp_path / f"a{suffix}").stat().st_size > 12


def test_what_has_no_place_is_named():
    assert not_written(".ply", shape()) == []
    assert not_written(".obj", shape()) == ["normal", "label", "weight"]
    assert not_written(".xyz", shape()) == ["faces", "normal", "label", "weight"]
    assert not_written(".csv", shape(faces=False)) == []
