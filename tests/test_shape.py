"""What a file holds of a shape: its points as `read` has them, its polygons, the attributes of its points."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement

from pcqaad.formats.clouds.find import LazyClouds, find_clouds
from pcqaad.formats.clouds.shape import JOINED, Polygons, joined, separated
from pcqaad.formats.clouds.triangulate import triangulate
from pcqaad.formats.errors import FormatError

FACES = st.lists(st.lists(st.integers(0, 8), max_size=6), max_size=8)
KINDS = ("u1", "i2", ">u2", "f4", ">f8")


def polygons(faces: list[list[int]]) -> Polygons:
    return Polygons.of_rows([np.array(face, np.int64) for face in faces], 9, "here")


@given(faces=FACES)
def test_polygons_are_cut_as_triangulate_cuts_them(faces):
    found = polygons(faces)
    assert [row.tolist() for row in found.rows()] == faces
    if len(found.triangles()):
        want = triangulate([np.array(face, np.int64) for face in faces], 9, "here")
        np.testing.assert_array_equal(found.triangles(), want)
    else:
        assert max(map(len, faces), default=0) < 3


@given(faces=FACES, kept=st.lists(st.booleans(), min_size=9, max_size=9))
def test_faces_among_kept_points_are_the_same_in_their_new_numbers(faces, kept):
    names = np.array(list("abcdefghi"))
    left = polygons(faces).among(np.array(kept))
    found = ["".join(names[kept][row]) for row in left.rows()]
    assert found == ["".join(names[face]) for face in faces if all(kept[corner] for corner in face)]


@settings(max_examples=50)
@given(data=st.data())
def test_columns_come_back_from_attributes(data):
    names = data.draw(st.lists(st.sampled_from([*sum(JOINED.values(), ()), *JOINED, "alpha", "label"]), unique=True))
    columns = {name: np.arange(4).astype(data.draw(st.sampled_from(KINDS))) for name in names}
    attributes = joined(columns)
    back = separated(attributes)
    assert sorted(back) == sorted(names)
    for name, column in columns.items():
        assert back[name].dtype == column.dtype.newbyteorder("=")
        np.testing.assert_array_equal(back[name], column)


@pytest.mark.parametrize("layout", ["ascii", "<", ">"])
def test_a_ply_file_with_quads_colours_normals_and_labels(tmp_path, layout):
    kinds = [("x", "f4"), ("red", "u1"), ("y", "f4"), ("green", "u1"), ("z", "f4"), ("blue", "u1"), ("alpha", "u1")]
    rows = np.zeros(5, [*kinds, *((n, "f4") for n in ("nx", "ny", "nz")), ("label", "i2"), ("l", "O")])
    for number, name in enumerate(rows.dtype.names[:-1]):
        rows[name] = np.arange(5) + 10 * number
    rows["l"] = [[1]] * 5
    faces = np.array([([0, 1, 2, 3], 7), ([4, 3, 2], 8)], [("vertex_index", "O"), ("flags", "u1")])
    elements = [PlyElement.describe(rows, "vertex"), PlyElement.describe(faces, "face")]
    PlyData(elements, text=layout == "ascii", byte_order="=" if layout == "ascii" else layout).write(tmp_path / "a.ply")
    (source,) = find_clouds([tmp_path / "a.ply"])
    shape = source.read_shape()
    np.testing.assert_array_equal(shape.points, source.read().points)
    assert [row.tolist() for row in shape.polygons.rows()] == [[0, 1, 2, 3], [4, 3, 2]]
    np.testing.assert_array_equal(shape.polygons.triangles(), source.read_mesh().triangles)
    kept = {name: (values.dtype.str, values.shape) for name, values in shape.attributes.items()}
    assert kept == {
        "colour": ("|u1", (5, 3)),
        "alpha": ("|u1", (5,)),
        "normal": ("<f4", (5, 3)),
        "label": ("<i2", (5,)),
    }
    np.testing.assert_array_equal(shape.attributes["colour"][2], [12, 32, 52])
    assert shape.notes == ("vertex properties l not kept", "face properties flags not kept")


def test_a_face_without_its_vertices_is_refused(tmp_path):
    text = "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
    text += "element face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n3 0 1 0\n"
    (tmp_path / "a.ply").write_text(text)
    (source,) = find_clouds([tmp_path / "a.ply"])
    assert source.read().points.tolist() == [[0, 0, 0]]
    with pytest.raises(FormatError, match=r"a\.ply: element face: expected corners among the vertices 0 to 0, found 1"):
        source.read_shape()


def test_arrays_have_what_lies_beside_them(tmp_path):
    clouds = np.random.default_rng(1).normal(size=(3, 4, 3)).astype("f4")
    np.save(tmp_path / "a.npy", clouds)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["set/clouds"] = clouds
        file["set/faces"] = np.array([[0, 1, 2, 3]])
        file["set/label"] = np.arange(12).reshape(3, 4).astype(">u2")
        file["set/colour"] = np.zeros((3, 4, 3), "u1")
        file["set/other"] = np.zeros(5)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["points"], file["age"] = clouds[0], np.arange(4.0)
    sources = find_clouds([tmp_path / name for name in ("a.npy", "b.h5", "c.h5")])
    shapes = [LazyClouds(sources).shape(i) for i in range(7)]
    for shape, cloud in zip(shapes, [*clouds, *clouds, clouds[0]], strict=True):
        np.testing.assert_array_equal(shape.points, cloud)
    assert all(shape.polygons is None and not shape.attributes for shape in shapes[:3])
    for i, shape in enumerate(shapes[3:6]):
        assert [row.tolist() for row in shape.polygons.rows()] == [[0, 1, 2, 3]]
        assert set(shape.attributes) == {"label", "colour"}
        assert shape.attributes["label"].dtype == np.dtype("u2")
        assert shape.attributes["label"].tolist() == [4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3]
    assert shapes[6].attributes["age"].tolist() == [0, 1, 2, 3]
