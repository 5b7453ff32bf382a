"""Public data sets as their owners lay them out: names, order, faces, and what does not fit."""

from __future__ import annotations

import itertools
import tracemalloc
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement

import pcqaad
from pcqaad.errors import CloudError
from pcqaad.formats.clouds.find import LazyClouds, LazyMeshes, find_clouds
from pcqaad.formats.clouds.names import Origin, choose_names, safe_name
from pcqaad.formats.clouds.ply import read_ply, read_ply_mesh
from pcqaad.formats.clouds.write import write_clouds
from pcqaad.formats.errors import FormatError
from pcqaad.points.surface import Surfaces
from tests.layouts import EXPRESSIONS, SEQUENCES, SUBJECTS, coma, globe, halves, registrations, write_mesh


def names(*inputs):
    return [source.name for source in find_clouds(inputs)]


def test_coma_is_found_from_any_folder_of_it(tmp_path):
    written = coma(tmp_path / "COMA")
    sources = find_clouds([tmp_path / "COMA"])
    assert [source.name for source in sources] == list(written)
    for source in sources:
        np.testing.assert_array_equal(source.read().points, written[source.name])
        assert source.count() == len(source.read().points)
    # The shortest names that tell them apart: below the folder given, from the common one, or the file's alone.
    subjects = [tmp_path / "COMA" / subject for subject in SUBJECTS]
    assert names(subjects[0]) == [name.removeprefix(f"{SUBJECTS[0]}/") for name in list(written)[:6]]
    assert names(*subjects) == list(written)
    assert names(*sorted((tmp_path / "COMA").glob("*/*/*.ply"))) == list(written)
    assert names(subjects[0] / EXPRESSIONS[0]) == [f"bareteeth.00000{i}" for i in (1, 2, 3)]


def test_folders_come_back_as_they_were(tmp_path):
    written = coma(tmp_path / "COMA")
    write_clouds(tmp_path / "out", list(written), 64, iter(written.values()))
    files = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.ply"))
    assert [path.with_suffix("").as_posix() for path in files] == list(written)
    assert names(tmp_path / "out") == names(tmp_path / "COMA")
    write_clouds(tmp_path / "out.h5", list(written), 64, iter(written.values()))
    assert names(tmp_path / "out.h5") == list(written)


def test_files_come_before_folders_and_numbers_count(tmp_path):
    points, faces = globe(4)
    for name in ("b/x10", "b/x9", "a10/x", "a9/x", "z", ".hidden/x", "b/.x"):
        write_mesh(tmp_path / f"{name}.ply", points, faces)
    (tmp_path / "b" / "around").symlink_to(tmp_path)
    (tmp_path / "c").symlink_to(tmp_path / "a9")
    assert names(tmp_path) == ["z", "a9/x", "a10/x", "b/x9", "b/x10"]
    assert names(tmp_path / "b") == ["x9", "x10", "around/z", "around/a9/x", "around/a10/x"]


def test_a_folder_in_the_way_of_a_file_is_one_line(tmp_path):
    cloud = np.zeros((1, 3), np.float32)
    with pytest.raises(FormatError, match=r"a\.ply: cannot make this folder: (File exists|Not a directory)"):
        write_clouds(tmp_path, ["a", "a.ply/b"], 1, iter([cloud, cloud]))


PARTS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(tuple)


@given(st.lists(st.tuples(PARTS, st.integers(1, 2), st.integers(0, 2)), max_size=12))
def test_names_are_ends_of_paths_and_tell_them_apart(drawn):
    origins = [Origin(parts, min(least, len(parts)), given) for parts, least, given in drawn]
    chosen = choose_names(origins)
    assert len(set(chosen)) == len(chosen)
    assert all(map(safe_name, chosen))
    paths = {origin.parts for origin in origins}
    for name, origin in zip(chosen, origins, strict=True):
        if sum(other.parts == origin.parts for other in origins) == 1:
            parts = tuple(name.split("/"))
            assert len(parts) >= origin.least
            # A number may follow where one path ends another.
            assert origin.parts[-len(parts) :] == parts or name.rstrip("0123456789").endswith("_")
    if len(paths) == len(origins) and all(len(parts) == 1 for parts in paths):
        assert chosen == [origin.parts[0] for origin in origins]


def test_d_faust_s_sequences_are_all_meant_or_the_one_that_is_named(tmp_path):
    path = tmp_path / "registrations_f.hdf5"
    written = registrations(path)
    sources = find_clouds([path])
    assert [source.name for source in sources] == list(written)
    for source in sources:
        assert source.count() == 64
        np.testing.assert_array_equal(source.read().points, written[source.name])
        mesh = source.read_mesh()
        np.testing.assert_array_equal(mesh.vertices, written[source.name])
        np.testing.assert_array_equal(mesh.triangles, halves(globe()[1]))
    assert sources[0].file == f"{path}:50004_jumping_jacks[0]"
    for sequence, frames in SEQUENCES.items():
        assert names(f"{path}:{sequence}") == [f"{sequence}/{i:05d}" for i in range(frames)]
    both = [f"{path}:{sequence}" for sequence in SEQUENCES]
    assert names(*both) == list(written)
    (tmp_path / "m").mkdir()
    registrations(tmp_path / "m" / path.name)
    assert names(path, tmp_path / "m" / path.name)[::7] == [
        "registrations_f/50004_jumping_jacks/00000",
        "m/registrations_f/50004_jumping_jacks/00000",
    ]


def test_a_frame_is_read_without_the_others(tmp_path):
    path = tmp_path / "registrations_m.hdf5"
    with h5py.File(path, "w") as file:
        file["50002_hips"] = np.zeros((5000, 3, 400), np.float32)
        file["faces"] = np.array([[0, 1, 4999]])
    tracemalloc.start()
    try:
        sources = find_clouds([path])
        assert len(sources) == 400
        assert sources[-1].read_mesh().vertices.shape == (5000, 3)
        assert tracemalloc.get_traced_memory()[1] < 5e6  # of 24 MB
    finally:
        tracemalloc.stop()


def test_datasets_that_are_no_sequences_of_one_mesh_are_still_to_be_named(tmp_path):
    path = tmp_path / "a.h5"
    for faces, second, read_as in (
        (None, (9, 3, 5), ["a_0000", "a_0001"]),  # no faces
        ([[0, 1, 8]], (8, 3, 5), ["one/00000", "one/00001"]),  # of another number of points
        ([[0, 1, 8]], (5, 9, 3), ["one/00000", "one/00001"]),  # of another order
        ([[0.0, 1.0, 8.0]], (9, 3, 5), ["a_0000", "a_0001"]),  # no integers
    ):
        with h5py.File(path, "w") as file:
            file["one"], file["two"] = np.ones((9, 3, 2)), np.ones(second)
            if faces:
                file["faces"] = np.array(faces)
        with pytest.raises(FormatError, match=r"expected one dataset of clouds, found .; name one as FILE:DATASET"):
            find_clouds([path])
        assert names(f"{path}:one") == read_as


def test_faces_of_an_array_have_to_be_there_and_fit(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["clouds"] = np.ones((2, 5, 3))
    with pytest.raises(FormatError, match=r"a.h5:clouds\[0\]: dataset clouds: expected a dataset faces of integers"):
        find_clouds([path])[0].read_mesh()
    with h5py.File(path, "a") as file:
        file["faces"] = [[0, 1, 5]]
    with pytest.raises(FormatError, match="dataset faces: expected corners among the vertices 0 to 4, found 5"):
        find_clouds([path])[0].read_mesh()
    np.save(tmp_path / "a.npy", np.ones((2, 5, 3)))
    with pytest.raises(FormatError, match=r"a.npy\[1\]: expected faces to draw points from, found points alone"):
        find_clouds([tmp_path / "a.npy"])[1].read_mesh()


POLYGONS = {
    "triangles": ([[0, 1, 2], [3, 4, 5]], [[0, 1, 2], [3, 4, 5]]),
    "quadrilaterals": ([[0, 1, 2, 3], [2, 3, 4, 5]], [[0, 1, 2], [0, 2, 3], [2, 3, 4], [2, 4, 5]]),
    "mixed": ([[0, 1, 2], [1, 2, 3, 4, 5], [1, 2], []], [[0, 1, 2], [1, 2, 3], [1, 3, 4], [1, 4, 5]]),
}


@pytest.mark.parametrize("layout", ["ascii", "<", ">"])
@pytest.mark.parametrize("polygons", POLYGONS)
def test_faces_of_any_form_become_triangles(tmp_path, layout, polygons):
    given, wanted = POLYGONS[polygons]
    rows = np.zeros(6, [("x", "f4"), ("y", "f8"), ("z", "f4"), ("red", "u1")])
    rows["y"] = np.arange(6)
    text, order = layout == "ascii", "=" if layout == "ascii" else layout
    for name, flags, first in itertools.product(("vertex_indices", "vertex_index"), (False, True), (False, True)):
        faces = np.zeros(len(given), [(name, "O")] + [("flags", "u1")] * flags)
        for i, corners in enumerate(given):
            faces[name][i] = np.array(corners, "i4")
        kinds = {"len_types": {name: "u1"}, "val_types": {name: "i4"}}
        elements = [PlyElement.describe(rows, "vertex"), PlyElement.describe(faces, "face", **kinds)]
        PlyData(elements[:: -1 if first else 1], text=text, byte_order=order).write(tmp_path / "a.ply")
        points, triangles, notes = read_ply_mesh(tmp_path / "a.ply")
        np.testing.assert_array_equal(points, read_ply(tmp_path / "a.ply")[0])
        assert sorted(map(tuple, triangles)) == sorted(map(tuple, wanted))
        assert notes == ["vertex properties red not kept"]


HEAD = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
FACELESS = {
    "end_header\n": "header: expected an element face to draw points from, found none",
    "element face 0\nproperty list uchar int vertex_indices\nend_header\n": (
        "element face: expected faces to draw points from, found none"
    ),
    "element face 1\nproperty list uchar int corners\nend_header\n": (
        "element face: expected a list property vertex_indices or vertex_index"
    ),
    "element face 1\nproperty int vertex_index\nend_header\n": (
        "element face: expected a list property vertex_indices or vertex_index"
    ),
    "element face 1\nproperty list uchar int vertex_index\nend_header\n": (
        "element face: expected corners among the vertices 0 to 2, found 3 (1 such corners)"
    ),
    "element face 2\nproperty list uchar int vertex_index\nend_header\n": (
        "malformed PLY: element 'face': row 1: early end-of-file"
    ),
}


@pytest.mark.parametrize(("head", "problem"), FACELESS.items(), ids=range(len(FACELESS)))
def test_a_file_without_faces_is_refused_when_they_are_asked_for(tmp_path, head, problem):
    path = tmp_path / "a.ply"
    path.write_text(HEAD + head + "0 0 0\n1 0 0\n0 1 0\n3 0 1 3\n")
    (source,) = find_clouds([path])
    assert len(source.read().points) == 3
    with pytest.raises(FormatError) as caught:
        source.read_mesh()
    assert str(caught.value) == f"{path}: {problem}"


def test_a_count_of_faces_is_checked_before_memory_is_taken_for_it(tmp_path, monkeypatch):
    # A first face of 64 corners would make 257 bytes of every row, and the file promises one of each.
    body = np.zeros(3, "<f4").tobytes() + b"\x40" + bytes(20_000)
    head = HEAD.replace("ascii", "binary_little_endian").replace("vertex 3", "vertex 1")
    head += "element face 20000\nproperty list uchar int vertex_index\nend_header\n"
    path = tmp_path / "a.ply"
    path.write_bytes(head.encode() + body)
    asked = []
    read = np.fromfile
    monkeypatch.setattr(np, "fromfile", lambda f, of, n: asked.append(np.dtype(of).itemsize * n) or read(f, of, n))
    with pytest.raises(FormatError, match="early end-of-file"):
        read_ply_mesh(path)
    assert 0 < max(asked) <= len(body)


def test_points_are_drawn_by_seed_and_number_alone(tmp_path):
    coma(tmp_path)
    sources = find_clouds([tmp_path])
    meshes, called = LazyMeshes(sources), [source.name for source in sources]
    drawn = Surfaces(meshes, called, 100, 3)
    assert drawn[5].tobytes() == drawn[-len(called) + 5].tobytes()
    assert Surfaces(meshes[5:], called[5:], 100, 3, first=5)[0].tobytes() == drawn[5].tobytes()
    assert len({cloud.tobytes() for cloud in drawn}) == len(drawn) == len(meshes)
    assert Surfaces(meshes, called, 100, 4)[5].tobytes() != drawn[5].tobytes()
    assert drawn[5].shape == (100, 3) and drawn[5].dtype == np.float32
    # Inside the box of its own vertices, and near the surface of an ellipsoid.
    vertices = LazyClouds(sources)[5]
    assert np.all((drawn[5] >= vertices.min(0) - 1e-6) & (drawn[5] <= vertices.max(0) + 1e-6))
    assert not meshes.notes


@pytest.mark.parametrize(
    ("mesh", "problem"),
    [
        (np.zeros((4, 3)), r"expected a mesh, its vertices \(v, 3\) and triangles \(t, 3\)"),
        ((np.zeros((4, 3)), np.zeros((1, 4), int)), r"expected triangles of integers \(t, 3\), found int64 \(1, 4\)"),
        ((np.zeros((4, 3)), np.zeros((1, 3))), r"expected triangles of integers \(t, 3\), found float64 \(1, 3\)"),
        ((np.full((4, 3), np.nan), np.array([[0, 1, 2]])), "expected finite coordinates"),
        ((np.zeros((4, 3)), np.array([[0, 1, 2]])), "expected faces with an area to draw points from, found 1 without"),
    ],
)
def test_what_is_no_mesh_is_refused_by_its_name(mesh, problem):
    with pytest.raises(CloudError, match=f"^who: {problem}"):
        Surfaces([mesh], ["who"], 10, 0)[0]


def test_meshes_are_fitted_by_points_drawn_from_them():
    vertices, faces = globe()
    meshes = [(vertices * np.float32(scale), halves(faces)) for scale in (1, 1.2, 1.4)]
    settings = pcqaad.Settings(surface=100, epochs=1, patches=1, latent=1, device="cpu", seed=2)
    fitted = pcqaad.fit(meshes, settings)
    drawn = pcqaad.fit([Surfaces(meshes, ["a"] * 3, 100, 2)[i] for i in range(3)], replace(settings, surface=None))
    assert fitted.names == drawn.names == ["cloud_0000", "cloud_0001", "cloud_0002"]
    assert np.array_equal(fitted.model.template, drawn.model.template)
    assert (fitted.settings.surface, drawn.settings.surface) == (100, None)
    with pytest.raises(CloudError, match="cloud_0000: expected a mesh"):
        pcqaad.fit([vertices, vertices], settings)
    with pytest.raises(pcqaad.SettingsError, match="surface is 0, expected 1 to 16,777,216"):
        pcqaad.Settings(surface=0)
