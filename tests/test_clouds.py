"""Readers and writers of clouds: round trips, files of other libraries, and refusals to the letter."""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import h5py
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement

from pcqaad.formats.atomic import atomic_path
from pcqaad.formats.clouds.find import KNOWN, find_clouds
from pcqaad.formats.clouds.names import safe_name
from pcqaad.formats.clouds.ply import count_ply, read_ply, write_ply
from pcqaad.formats.clouds.shape import Polygons, Shape
from pcqaad.formats.clouds.write import write_clouds
from pcqaad.formats.clouds.writers import WRITERS, write_shape
from pcqaad.formats.errors import FormatError

COLLECTIONS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 9), st.just(3)),
    elements=st.floats(allow_nan=False, allow_infinity=False, width=32),
)
XYZ = "property float x\nproperty float y\nproperty float z\n"


def ply(body: str = "", *, count: int | str = 1, properties: str = XYZ, kind: str = "ascii") -> bytes:
    header = f"ply\nformat {kind} 1.0\nelement vertex {count}\n{properties}end_header\n"
    return (header + body).encode("latin-1")


def refusal(path: Path | str) -> str:
    with pytest.raises(FormatError) as caught:
        [source.read() for source in find_clouds([path])]
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(7).normal(size=(50, 3)).astype(np.float32)


@pytest.mark.parametrize("target", ["out", "out.npy", "out.h5", "out.HDF5"])
@settings(max_examples=15, deadline=None)
@given(clouds=COLLECTIONS)
def test_what_is_written_reads_back_to_the_bit(tmp_path_factory, target, clouds):
    target = tmp_path_factory.mktemp("round") / target
    names = [f"skull {i}" for i in range(len(clouds))]
    write_clouds(target, names, clouds.shape[1], iter(clouds))
    sources = find_clouds([target])
    if target.suffix != ".npy":
        assert [source.name for source in sources] == names
    read = [source.read().points for source in sources]
    assert all(cloud.dtype == np.float32 for cloud in read)
    assert np.array(read).tobytes() == clouds.tobytes()


def test_plyfile_reads_what_is_written(tmp_path, points):
    write_ply(tmp_path / "a.ply", points)
    vertex = PlyData.read(tmp_path / "a.ply", mmap=False)["vertex"]
    np.testing.assert_array_equal(np.stack([vertex[axis] for axis in "xyz"], axis=1), points)


@pytest.mark.parametrize("layout", ["ascii", "<", ">"])
@pytest.mark.parametrize(
    ("stored", "read"), [("f4", "f4"), ("f8", "f8"), ("i2", "f4"), ("u1", "f4"), ("i4", "f8"), ("u4", "f8")]
)
@pytest.mark.parametrize("lists_first", [False, True])
def test_reads_what_plyfile_writes(tmp_path, layout, stored, read, lists_first):
    rng = np.random.default_rng(3)
    rows = np.zeros(20, [("nx", "f4"), ("z", stored), ("x", stored), ("red", "u1"), ("y", stored)])
    for axis in "xyz":
        rows[axis] = rng.integers(0, 100, 20) if stored[0] in "iu" else rng.normal(size=20)
    faces = np.array([([0, 1, 2],), ([],), ([3, 4, 5, 6],)], dtype=[("vertex_indices", "O")])
    elements = [PlyElement.describe(rows, "vertex"), PlyElement.describe(faces, "face")]
    if lists_first:
        elements.reverse()
    text, order = layout == "ascii", "=" if layout == "ascii" else layout
    PlyData(elements, text=text, byte_order=order).write(tmp_path / "a.ply")

    (source,) = find_clouds([tmp_path / "a.ply"])
    data = source.read()
    assert data.points.dtype == np.dtype(read)
    assert data.points.flags.owndata
    np.testing.assert_array_equal(data.points, np.stack([rows[axis] for axis in "xyz"], axis=1))
    assert data.notes == ("vertex properties nx, red not kept", "element face not kept (3 rows)")


def test_reads_lists_among_the_vertex_properties(tmp_path):
    rows = np.array([(1.0, [7, 8], 2.0, 3.0), (4.0, [], 5.0, 6.0)], [("x", "f4"), ("l", "O"), ("y", "f4"), ("z", "f4")])
    for text in (False, True):
        PlyData([PlyElement.describe(rows, "vertex")], text=text).write(tmp_path / "a.ply")
        points, notes = read_ply(tmp_path / "a.ply")
        np.testing.assert_array_equal(points, [[1, 2, 3], [4, 5, 6]])
        assert notes == ["vertex properties l not kept"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_reads_any_line_ends_and_comments_in_any_encoding(tmp_path, newline):
    text = "ply\nformat ascii 1.0\ncomment \xe9t\xe9 \x1b[31m\nelement vertex 1\n" + XYZ + "end_header\n1 2 3\n"
    (tmp_path / "a.ply").write_bytes(text.replace("\n", newline).encode("latin-1"))
    np.testing.assert_array_equal(read_ply(tmp_path / "a.ply")[0], [[1, 2, 3]])


@pytest.mark.parametrize("lists", ["", "property list uchar int l\n"])
def test_reads_headers_as_other_programs_leave_them(tmp_path, lists):
    """Remarks behind an element, blanks at the ends of lines, a history longer than most headers."""
    header = f"ply \nformat ascii 1.0\nobj_info num_cols 2\nelement vertex 2\nobj_info x\n{XYZ}{lists}comment "
    path = tmp_path / "a.ply"
    for remark in ("y", "y" * 100_000):
        more = " 1 7" if lists else ""
        path.write_text(f"{header}{remark}\nend_header\t\n1 2 3{more}\n4 5 6{more}\n")
        assert read_ply(path)[0].tolist() == [[1, 2, 3], [4, 5, 6]]
        assert count_ply(path) == 2


def test_no_vertices_are_no_points(tmp_path):
    write_ply(tmp_path / "a.ply", np.zeros((0, 3), np.float32))
    assert read_ply(tmp_path / "a.ply")[0].shape == (0, 3)
    assert refusal(tmp_path / "a.ply") == f"{tmp_path}/a.ply: holds no points"


MALFORMED = {
    b"": "expected a PLY file, whose first line is ply, found an empty file",
    b"solid cube": "expected a PLY file, whose first line is ply, found first bytes b'soli'",
    b"ply\nformat ascii 1.0\n": "header: expected a line end_header, found none in the whole file",
    b"ply\ncomment " + b"a" * 70_000: "header: expected a line end_header, found none in the whole file",
    b"ply\ncomment " + b"a" * 2**20: "header: expected a line end_header, found none in the first 1048576 bytes",
    b"ply\nend_header\n": "malformed PLY: line 2: expected one of {format, comment, obj_info}",
    b"ply\nformat ascii 1.0\nend_header\n": "header: expected an element vertex, found no elements",
    ply("1 2\n", properties="property float x\nproperty float z\n"): (
        "element vertex: expected the scalar properties x, y, z, found no y"
    ),
    ply("1 2 3\n10 20\n", count=2): "malformed PLY: element 'vertex': row 1: property 'z': early end-of-line",
    ply("1 2 3 4\n"): "malformed PLY: element 'vertex': row 0: expected end-of-line",
    ply("1 two 3\n"): "malformed PLY: element 'vertex': row 0: property 'y': malformed input",
    ply("1 2 3\n", count=2): "element vertex: expected at least 12 bytes for 2 rows, found 6",
    ply("1 2 3\n", count=-1): "header line 3: expected 'element NAME COUNT', found 'element vertex -1'",
    ply("1 2 3\n", count="9" * 99): (
        f"header line 3: expected 'element NAME COUNT', found 'element vertex {'9' * 99}'"
    ),
    ply("a" * 23, count=2, kind="binary_little_endian"): (
        "element vertex: expected at least 24 bytes for 2 rows, found 23"
    ),
    ply("a" * 24, count=10**12, kind="binary_big_endian"): (
        "element vertex: expected at least 12000000000000 bytes for 1000000000000 rows, found 24"
    ),
    ply("1 2 3\n", count=10**12): (
        "element vertex: expected at least 6000000000000 bytes for 1000000000000 rows, found 6"
    ),
    ply("1 2 3\n", properties=XYZ + f"element nothing {10**12}\n"): (
        "element nothing: expected at least 1000000000000 bytes for 1000000000000 rows, found 0"
    ),
    ply("1 2 3\n", properties=XYZ + "element vertex 1\n"): "header line 7: element vertex declared twice",
    # A stray line end within a comment must not let a second count past the check.
    b"ply\r\nformat ascii 1.0\r\ncomment a\nelement vertex 1000000000000\r\nend_header\r\n": (
        "header: expected an element vertex, found no elements"
    ),
    ply(
        "\xff\xff\xff\x7f" + "a" * 24,
        properties="property list int double l\n" + XYZ,
        kind="binary_little_endian",
    ): ("malformed PLY: element 'vertex': row 0: property 'l': early end-of-file"),
    ply("1 2 3\nnan 0.1 0.2\n4 -inf 6\n", count=3): (
        "point 1: expected finite coordinates, found (nan, 0.1, 0.2) (2 such points)"
    ),
    ply("0 0 1e300\n", properties=XYZ.replace("float", "double")): (
        "point 0: expected coordinates of at most 3.403e+38, found (0, 0, 1e+300) (1 such points)"
    ),
}


@pytest.mark.parametrize(("body", "problem"), MALFORMED.items(), ids=range(len(MALFORMED)))
def test_a_malformed_ply_is_refused_at_once_and_without_allocation(tmp_path, body, problem):
    path = tmp_path / "a.ply"
    path.write_bytes(body)
    tracemalloc.start()
    started = time.perf_counter()
    try:
        assert refusal(path) == f"{path}: {problem}"
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - started < 2


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_to_a_file_is_a_format_error_or_a_cloud(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damage")
    suffix = data.draw(st.sampled_from([".ply", ".npy"]))
    clouds = np.ones((2, 4, 3), np.float32)
    good = folder / f"good{suffix}"
    write_ply(good, clouds[0]) if suffix == ".ply" else np.save(good, clouds)
    damaged = bytearray(good.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(0, len(damaged))) :]
    bad = folder / f"bad{suffix}"
    bad.write_bytes(damaged)
    try:
        shapes = [source.read().points.shape for source in find_clouds([bad])]
    except FormatError:
        assert str(bad) in refusal(bad)
    else:
        assert all(len(shape) == 2 and shape[1] == 3 for shape in shapes)


@pytest.mark.parametrize("stored", ["<f2", ">f4", "<f8", ">f8", "<i2", ">i4", "u8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_reads_npy_of_any_real_type(tmp_path, stored, order):
    clouds = np.arange(24).reshape(2, 4, 3).astype(stored, order=order)
    np.save(tmp_path / "a.npy", clouds)
    sources = find_clouds([tmp_path / "a.npy"])
    assert [(s.name, s.file) for s in sources] == [(f"a_000{i}", f"{tmp_path}/a.npy[{i}]") for i in range(2)]
    read = np.array([source.read().points for source in sources])
    assert read.dtype == (np.float32 if stored[1:] in ("f2", "f4", "i2") else np.float64)
    np.testing.assert_array_equal(read, clouds)


def test_an_array_of_points_is_one_cloud(tmp_path, points):
    np.save(tmp_path / "a.npy", points)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["points"] = points
    sources = find_clouds([tmp_path / "a.npy", tmp_path / "b.h5"])
    assert [(s.name, s.file) for s in sources] == [
        ("a", f"{tmp_path}/a.npy"),
        ("b", f"{tmp_path}/b.h5:points"),
    ]
    for source in sources:
        np.testing.assert_array_equal(source.read().points, points)


def test_refuses_other_arrays(tmp_path):
    path = tmp_path / "a.npy"
    shapes = "expected shape (clouds, points, 3) or (points, 3), found"
    for array, problem in [
        (np.zeros((4, 2)), f"{shapes} (4, 2)"),
        (np.zeros((2, 2, 4, 3)), f"{shapes} (2, 2, 4, 3)"),
        (np.zeros((4, 3), complex), "expected real numbers, found dtype complex128"),
        (np.zeros((4, 3), bool), "expected real numbers, found dtype bool"),
        (np.full((4, 3), None), "expected real numbers, found dtype object"),
        (np.zeros((0, 4, 3)), "holds no points: its shape is (0, 4, 3)"),
    ]:
        np.save(path, array)
        assert refusal(path) == f"{path}: {problem}"
    path.write_bytes(b"PK\x03\x04")
    assert refusal(path) == f"{path}: expected a .npy file, found other first bytes"
    np.save(path, np.full((2, 2, 3), np.nan))
    assert refusal(path).startswith(f"{path}[0]: point 0: expected finite coordinates, found (nan, nan, nan)")


def test_refuses_a_truncated_npy(tmp_path, points):
    path = tmp_path / "a.npy"
    np.save(path, points)
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(path).endswith(": shape (50, 3) claims 600 bytes, found 599")


def test_h5_layouts_and_choice(tmp_path):
    clouds = np.random.default_rng(5).normal(size=(5, 7, 3)).astype(">f8")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["run/frames"] = clouds.transpose(1, 2, 0)  # the layout of D-FAUST
        file["faces"] = np.zeros((12, 3), np.int32)
        file["run/names"] = [f"frame {i}" if i else "../up" for i in range(5)]
    for named in (path, f"{path}:run/frames"):
        sources = find_clouds([named])
        assert [source.name for source in sources] == ["a_0000", *(f"frame {i}" for i in range(1, 5))]
        assert sources[4].file == f"{path}:run/frames[4]"
        np.testing.assert_array_equal([source.read().points for source in sources], clouds)
    assert np.array_equal(find_clouds([f"{path}:faces"])[0].read().points, np.zeros((12, 3)))

    with h5py.File(path, "a") as file:
        file["other"] = clouds
    choice = "name one as FILE:DATASET, of faces, other, run/frames"
    assert refusal(path) == f"{path}: expected one dataset of clouds, found 2; {choice}"
    assert refusal(f"{path}:nothing") == f"{path}: dataset nothing: expected a dataset, found none; {choice}"
    assert refusal(f"{path}:run") == f"{path}: dataset run: expected a dataset, found none; {choice}"
    assert "expected real numbers, found dtype object" in refusal(f"{path}:run/names")


def test_refuses_h5_that_claims_more_than_it_stores(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("clouds", (10**9, 10**6, 3), "f4", chunks=(1, 100, 3))
    claim = "shape (1000000000, 1000000, 3) claims 12000000000000000 bytes, but 0 are stored"
    assert refusal(path) == f"{path}: dataset clouds: {claim}"


def test_refuses_damaged_h5(tmp_path, points):
    path = tmp_path / "a.h5"
    path.write_bytes(b"not HDF5")
    assert refusal(path) == f"{path}: expected an HDF5 file, found other first bytes"
    write_clouds(path, ["a"], 50, iter([points]))
    path.write_bytes(path.read_bytes()[:600])
    assert refusal(path).startswith(f"{path}: malformed HDF5: ")


def test_a_folder_is_its_files_in_natural_order(tmp_path, points):
    for name in ("x10.ply", "x2.PLY", "x.ply", "1.ply", "._x.ply", "y.png"):
        write_ply(tmp_path / name, points)
    (tmp_path / "sub.ply").mkdir()
    assert [source.name for source in find_clouds([tmp_path])] == ["1", "x", "x2", "x10"]


def test_a_folder_is_files_of_all_formats_but_texts_of_other_content(tmp_path, points):
    (tmp_path / "sub").mkdir()
    for suffix in WRITERS:
        write_shape(tmp_path / "sub" / f"{suffix[1:]}{suffix}", Shape(points, Polygons.of_triangles([[0, 1, 2]])))
    write_clouds(tmp_path / "sub" / "h5.h5", ["a"], 50, iter([points]))
    (tmp_path / "sub" / "README.txt").write_text("Scans of ours, in mm.\n2026 11 25\n")
    (tmp_path / "sub" / "labels.csv").write_text("name,age\na,3\n")
    (tmp_path / "sub" / "scan.mtl").write_text("newmtl x\n")
    named = [source.name for source in find_clouds([tmp_path])]
    assert sorted(named) == sorted(["sub/h5/clouds/a", *(f"sub/{suffix[1:]}" for suffix in WRITERS)])


def test_refuses_inputs_that_hold_no_clouds(tmp_path):
    assert refusal(tmp_path).startswith(
        f"no files of clouds in folder {tmp_path}: expected such as end in .ply, .npy, "
    )
    assert refusal(tmp_path / "no.ply") == f"{tmp_path}/no.ply: no such file or folder"
    assert refusal(r"C:\no.h5:set") == r"C:\no.h5: no such file or folder"
    (tmp_path / "a.gltf").touch()
    found = f"expected a folder or a file ending in {', '.join(KNOWN[:-1])} or {KNOWN[-1]}, found '.gltf'"
    assert refusal(tmp_path / "a.gltf") == f"{tmp_path}/a.gltf: {found}"


def test_names_are_unique_and_safe(tmp_path, points):
    files = [tmp_path / name for name in ("a/x.ply", "b/x.ply", "c/a/x.ply", "c/b\\y.ply", "c/z.ply")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_ply(file, points)
    assert [s.name for s in find_clouds(files)] == ["a/x", "b/x", "c/a/x", "b_y", "z"]
    many = [source.name for source in find_clouds([*files, *files])]
    assert len(set(many)) == 10
    assert all(map(safe_name, many))


@pytest.mark.parametrize("name", ["", ".", "..", "a//b", "/a", "a/", "a/..", "a\\b", "C:a", "a\0b", "a\nb", "a\udcff"])
@pytest.mark.parametrize("target", ["out", "out.npy", "out.h5"])
def test_refuses_to_write_unsafe_names(tmp_path, points, name, target):
    with pytest.raises(FormatError, match="is not safe as the name of a file"):
        write_clouds(tmp_path / target, [name], 50, iter([points]))
    assert not list(tmp_path.iterdir())


def test_refuses_equal_names_and_bad_targets(tmp_path, points):
    with pytest.raises(FormatError, match="name 'a' of a cloud is given twice"):
        write_clouds(tmp_path / "out", ["a", "a"], 50, iter([points, points]))
    with pytest.raises(FormatError, match="expected a folder to write"):
        write_clouds(tmp_path / "out.ply", ["a"], 50, iter([points]))
    (tmp_path / "file").touch()
    with pytest.raises(FormatError, match=r"file: cannot make this folder: File exists"):
        write_clouds(tmp_path / "file", ["a"], 50, iter([points]))
    for target in ("none/a.npy", "none/a.h5"):
        with pytest.raises(FormatError, match=r"a\.\w+: cannot write: No such file or directory"):
            write_clouds(tmp_path / target, ["a"], 50, iter([points]))


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), FormatError("damaged"), ValueError("too few")])
@pytest.mark.parametrize("target", ["out", "out.npy", "out.h5"])
def test_an_interrupted_write_leaves_only_whole_files(tmp_path, points, target, failure):
    def clouds():
        yield points
        raise failure

    with pytest.raises(type(failure)):
        write_clouds(tmp_path / target, ["a", "b"], 50, clouds())
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == ([tmp_path / "out/a.ply"] if target == "out" else [])
    assert all(find_clouds([path])[0].read().points.shape == (50, 3) for path in left)


@pytest.mark.parametrize("target", ["out", "out.npy", "out.h5"])
@pytest.mark.parametrize("count", [1, 3])
def test_clouds_must_be_as_many_as_names(tmp_path, points, target, count):
    with pytest.raises(ValueError, match="zip"):
        write_clouds(tmp_path / target, ["a", "b"], 50, iter([points] * count))
    assert not (tmp_path / target).is_file()


def test_a_failed_write_keeps_the_former_file(tmp_path):
    final = tmp_path / "a"
    final.write_bytes(b"former")

    def fail():
        with atomic_path(final) as temporary:
            assert temporary.parent == tmp_path
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"former"]
    with atomic_path(final) as temporary:
        temporary.write_bytes(b"whole")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"whole"]


def test_writes_through_links_and_never_over_devices(tmp_path):
    (tmp_path / "link").symlink_to("real")
    with atomic_path(tmp_path / "link") as temporary:
        temporary.write_bytes(b"whole")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"whole"
    with pytest.raises(FormatError, match="expected a regular file or a free name"), atomic_path(tmp_path):
        pass


FULL_DISK = """
import resource, sys, numpy as np
from pathlib import Path
from pcqaad.formats.clouds.write import write_clouds
from pcqaad.formats.errors import FormatError
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
names = [str(i) for i in range(100)]
try:
    write_clouds(Path(sys.argv[1]), names, 5000, iter(np.ones((100, 5000, 3), np.float32)))
except FormatError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
@pytest.mark.parametrize("target", ["out", "out.npy", "out.h5"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, target):
    # In a process of its own, which must end well too: HDF5 is prone to crash on its way out.
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / target)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    file = tmp_path / target / "0.ply" if target == "out" else tmp_path / target
    assert (ended.stdout, ended.stderr) == (f"{file}: cannot write: File too large\n", "")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
