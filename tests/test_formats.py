"""Files of other programs in, and the same through our own writers: what each format keeps, and damage to it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pytest

from pcqaad.formats.clouds.find import find_clouds
from pcqaad.formats.clouds.readers import PARSERS, parse
from pcqaad.formats.clouds.shape import Polygons, Shape
from pcqaad.formats.clouds.writers import WRITERS, not_written, write_shape
from pcqaad.formats.errors import FormatError
from tests.files.mesh import COLOUR, FACES, HEIGHT, LABEL, NORMAL, POINTS, TRIANGLES

FILES = Path(__file__).parent / "files"
QUADS_FIRST = sorted(FACES, key=len, reverse=True)
MERGED = "corners at exactly the same place merged"
ALL = {"Normals": NORMAL.astype("f4"), "colour": COLOUR, "label": LABEL, "height": HEIGHT}
SHADED = {"normal": NORMAL.astype("f4"), "colour": COLOUR}
LABELLED = {"label": LABEL, "height": HEIGHT}


class Row(NamedTuple):
    """What a file is expected to give: faces in its order, attributes, notes. Points are those of the mesh."""

    faces: list[list[int]] | None = None
    attributes: Mapping[str, np.ndarray] = MappingProxyType({})
    notes: tuple[str, ...] = ()


NOT_OF_VERTICES = ("normals not kept (10 rows)", "texture coordinates not kept (10 rows)")
ROWS = {
    "h5py.h5": Row(TRIANGLES, {"label": LABEL}),
    "meshio-comments.off": Row(TRIANGLES),
    "meshio-quads.obj": Row(QUADS_FIRST),
    "meshio-quads.ply": Row(QUADS_FIRST),
    "numpy.csv": Row(None, {"height": HEIGHT}),
    "numpy.npy": Row(),
    "numpy.npz": Row(TRIANGLES, {"colour": COLOUR, "label": LABEL}),
    "numpy.txt": Row(None, {"height": HEIGHT}),
    "numpy-stl-ascii.stl": Row(TRIANGLES, {}, (MERGED,)),
    "numpy-stl-binary.stl": Row(TRIANGLES, {}, (MERGED,)),
    "open3d.obj": Row(TRIANGLES, {"colour": COLOUR / 255}, NOT_OF_VERTICES[:1]),
    "open3d.off": Row(TRIANGLES, {"normal": NORMAL, "colour": COLOUR}),
    "open3d.ply": Row(TRIANGLES, {"normal": NORMAL, "colour": COLOUR}),
    "open3d.pts": Row(None, {"colour": COLOUR}),
    "open3d.xyz": Row(),
    "open3d.xyzn": Row(None, {"normal": NORMAL}),
    "open3d.xyzrgb": Row(None, {"colour": COLOUR / 255}),
    "open3d-ascii.pcd": Row(None, SHADED),
    "open3d-binary.pcd": Row(None, SHADED),
    "open3d-binary-compressed.pcd": Row(None, SHADED),
    "plyfile-big-endian.ply": Row(FACES, {"colour": COLOUR, "label": LABEL}),
    "pypcd4-ascii.pcd": Row(None, LABELLED),
    "pypcd4-binary.pcd": Row(None, LABELLED),
    "pypcd4-binary-compressed.pcd": Row(None, LABELLED),
    "trimesh.off": Row(TRIANGLES),
    "trimesh.stl": Row(TRIANGLES, {}, (MERGED,)),
    "trimesh-ascii.stl": Row(TRIANGLES, {}, (MERGED,)),
    "trimesh-vt-vn.obj": Row(TRIANGLES, {}, NOT_OF_VERTICES),
    "vtk-42-ascii.vtk": Row(FACES, ALL),
    "vtk-42-binary.vtk": Row(FACES, ALL),
    "vtk-51-ascii.vtk": Row(FACES, ALL),
    "vtk-51-binary.vtk": Row(FACES, ALL),
    "vtk-appended.vtp": Row(FACES),
    "vtk-appended-lzma.vtp": Row(FACES),
    "vtk-appended-zlib.vtp": Row(FACES, ALL),
    "vtk-ascii.stl": Row(TRIANGLES, {}, (MERGED,)),
    "vtk-ascii.vtp": Row(FACES, ALL),
    "vtk-big-endian.ply": Row(FACES),
    "vtk-binary.stl": Row(TRIANGLES, {}, (MERGED,)),
    "vtk-binary.vtp": Row(FACES),
    "vtk-binary-zlib.vtp": Row(FACES, ALL),
    "vtk-quads-vt-vn.obj": Row(FACES, {}, NOT_OF_VERTICES),
    "vtk-raw.vtp": Row(FACES, ALL),
    "vtk-raw-zlib.vtp": Row(FACES, ALL),
}
# Their triangles are in an order of their own.
ELSEWHERE = {"vtk-strips.vtk": "triangle strips cut into triangles"}
BY_LIBRARIES = ("laspy.las", "laspy.laz")


def read(path: Path) -> Shape:
    (source,) = find_clouds([path])
    shape = source.read_shape()
    np.testing.assert_array_equal(source.read().points, shape.points)
    if shape.polygons is not None:
        np.testing.assert_array_equal(source.read_mesh().triangles, shape.polygons.triangles())
    assert source.count() == len(shape.points)
    return shape


def faces(shape: Shape) -> list[list[int]] | None:
    return None if shape.polygons is None else [row.tolist() for row in shape.polygons.rows()]


def test_every_file_is_read():
    named = {path.name for path in FILES.iterdir() if path.suffix not in (".py", ".md") and path.is_file()}
    assert named == {*ROWS, *ELSEWHERE, *BY_LIBRARIES}
    assert all((FILES / name).stat().st_size <= 4096 for name in named)


@pytest.mark.parametrize("name", ROWS)
def test_a_file_of_another_program_gives_what_is_in_it(name):
    shape, row = read(FILES / name), ROWS[name]
    if name.endswith(".stl"):
        # Vertices come in the order in which triangles name them.
        corners = np.array(faces(shape))
        np.testing.assert_array_equal(shape.points[corners], POINTS[TRIANGLES])
        assert len(shape.points) == len(POINTS)
        assert [np.flatnonzero(corners.reshape(-1) == i)[0] for i in range(10)] == sorted(
            np.flatnonzero(corners.reshape(-1) == i)[0] for i in range(10)
        )
    else:
        np.testing.assert_array_equal(shape.points, POINTS)
        assert faces(shape) == row.faces
    for key, values in row.attributes.items():
        found = shape.attributes[key]
        assert found.dtype == values.dtype
        # Colours of text have six digits or so.
        np.testing.assert_allclose(found, values, rtol=0, atol=0 if values.dtype.kind != "f" else 5e-7)
    assert set(shape.attributes) - set(row.attributes) <= {"intensity"}  # which PTS files have whether one wants or not
    assert shape.notes == row.notes


def test_triangle_strips_are_the_same_surface():
    shape = read(FILES / "vtk-strips.vtk")
    np.testing.assert_array_equal(shape.points, POINTS)
    turned = {tuple(np.roll(row, -int(np.argmin(row)))) for row in shape.polygons.triangles().tolist()}
    assert len(turned) == len(TRIANGLES)
    # Quads may be cut along either diagonal, but every triangle faces the way its polygon does.
    for a, b, c in turned:
        ways = [[face[(face.index(v) + 1) % len(face)] for v in face] for face in FACES if {a, b, c} <= set(face)]
        assert len(ways) == 1
    normals = [np.cross(POINTS[b] - POINTS[a], POINTS[c] - POINTS[a]).sum() for a, b, c in sorted(turned)]
    wanted = [np.cross(POINTS[b] - POINTS[a], POINTS[c] - POINTS[a]).sum() for a, b, c in TRIANGLES]
    assert np.isclose(sum(normals), sum(wanted))


@pytest.mark.parametrize("name", BY_LIBRARIES)
def test_scanners_files_are_read_by_laspy(name):
    pytest.importorskip("laspy")
    pytest.importorskip("lazrs")
    shape = read(FILES / name)
    np.testing.assert_array_equal(shape.points, POINTS)
    np.testing.assert_array_equal(shape.attributes["colour"], COLOUR.astype("u2") * 257)
    np.testing.assert_array_equal(shape.attributes["intensity"], LABEL)


def given(suffix: str, dtype: str) -> Shape:
    polygons = Polygons.of_rows([np.array(face) for face in FACES], 10, "") if WRITERS[suffix].faces else None
    attributes = {"colour": COLOUR, "normal": NORMAL.astype("f4"), "label": LABEL.astype("i4"), "height": HEIGHT}
    shape = Shape((POINTS / 3).astype(dtype), polygons, attributes)
    lost = not_written(suffix, shape)
    return shape._replace(attributes={key: values for key, values in attributes.items() if key not in lost})


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("suffix", [suffix for suffix in WRITERS if suffix != ".stl"])
def test_what_is_written_reads_back(tmp_path, suffix, dtype):
    shape = given(suffix, dtype)
    write_shape(tmp_path / f"a{suffix}", shape)
    found = read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(found.points.astype(dtype), shape.points)
    assert faces(found) == faces(shape)
    assert found.notes == ()
    for key, values in shape.attributes.items():
        if suffix in (".obj", ".xyz"):
            # Of one the colours are from 0 to 1, of the other the columns have no names.
            continue
        np.testing.assert_array_equal(found.attributes[key].astype(values.dtype), values)
        if suffix not in (".txt", ".csv"):
            assert found.attributes[key].dtype == values.dtype
    if suffix == ".obj":
        np.testing.assert_array_equal(np.rint(found.attributes["colour"] * 255), COLOUR)


def test_stl_reads_back_as_its_triangles(tmp_path):
    shape = given(".stl", "f4")
    write_shape(tmp_path / "a.stl", shape)
    found = read(tmp_path / "a.stl")
    np.testing.assert_array_equal(found.points[np.array(faces(found))], shape.points[shape.polygons.triangles()])


SMALL = [name for name in (*ROWS, *ELSEWHERE) if Path(name).suffix in PARSERS]
# These say how much they hold.
COUNTED = (".off", ".vtk", ".vtp", ".pcd")


def checked(data: bytes, suffix: str) -> Shape | None:
    """Return a shape that holds together, or None for a line of refusal; any other error passes."""
    try:
        shape = parse(data, suffix)
    except FormatError as error:
        assert "\n" not in str(error)
        assert str(error).isprintable()
        return None
    points = len(shape.points)
    assert shape.points.shape == (points, 3)
    assert all(len(values) == points for values in shape.attributes.values())
    if shape.polygons is not None:
        sizes, corners = shape.polygons
        assert sizes.sum() == len(corners)
        assert not len(corners) or (corners.min() >= 0 and corners.max() < points)
    return shape


@pytest.mark.parametrize("name", SMALL)
def test_a_file_cut_short_is_refused_or_holds_together(name):
    data, suffix = (FILES / name).read_bytes(), Path(name).suffix
    for end in range(len(data)):
        shape = checked(data[:end], suffix)
        if shape is not None and suffix in COUNTED:
            assert len(shape.points) == len(POINTS)
            assert len(shape.polygons.triangles() if shape.polygons else []) in (0, len(TRIANGLES))


@pytest.mark.parametrize("name", SMALL)
def test_damage_is_refused_or_holds_together(name):
    data, suffix = (FILES / name).read_bytes(), Path(name).suffix
    rng = np.random.default_rng(len(data))
    for _ in range(100):
        damaged = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            damaged[place] = rng.choice([rng.integers(256), damaged[place] ^ 1 << rng.integers(8), *b"09-. \n"])
        checked(bytes(damaged), suffix)


BIG = 10**15
TEXT = b"# vtk DataFile Version 3.0\n\nASCII\nDATASET POLYDATA\nPOINTS "
BYTES = TEXT.replace(b"ASCII", b"BINARY")
PCD = b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nHEIGHT 1\nWIDTH "
VTP = b'<VTKFile type="PolyData"%s><PolyData><Piece NumberOfPoints="%d"><Points>'
VTP += b'<DataArray type="Float64" format="%s">%s</DataArray></Points></Piece></PolyData></VTKFile>'
ZLIB = b' compressor="vtkZLibDataCompressor"'
PROMISES = {
    "a.stl": b"x" * 80 + b"\xff\xff\xff\xff" + b"0" * 50,
    "a.off": b"OFF\n%d 1 0\n0 0 0\n" % BIG,
    "b.off": b"OFF 1 1 0\n0 0 0\n%d 0 0 0\n" % BIG,
    "a.obj": b"v 0 0 0\nf %d 1 1\n" % BIG,
    "a.vtk": TEXT + b"%d float\n0 0 0\n" % BIG,
    "b.vtk": BYTES + b"%d double\n" % BIG + bytes(99),
    "c.vtk": TEXT + b"1 float\n0 0 0\nPOLYGONS %d 4\n3 0 0 0" % BIG,
    "d.vtk": TEXT + b"1 float\n0 0 0\nPOLYGONS 1 2\n%d 0" % BIG,
    "e.vtk": TEXT + b"1 float\n0 0 0\nPOINT_DATA %d\nSCALARS x float 9\nLOOKUP_TABLE default\n0\n" % BIG,
    "f.vtk": TEXT + b"1 float\n0 0 0\nFIELD f %d\n" % BIG,
    "g.vtk": BYTES + b"1 float\n" + bytes(12) + b"\nPOINT_DATA 1\nFIELD f 1\nt 1 %d string\n\xc1a" % BIG,
    "h.vtk": TEXT + b"1 float\n0 0 0\nPOLYGONS %d 4\nOFFSETS vtktypeint64\n0\n" % BIG,
    "a.pcd": PCD + b"%d\nDATA binary\n" % BIG + bytes(99),
    "b.pcd": PCD + b"300000000\nDATA binary_compressed\n\x08\0\0\0\x00\xa4\x93\xd6" + bytes(8),
    "c.pcd": PCD.replace(b"1 1 1", b"1 1 999999") + b"%d\nDATA ascii\n0" % BIG,
    "d.pcd": PCD + b"%d\nDATA ascii\n0 0 0\n" % BIG,
    "a.pts": b"%d\n0 0 0\n0 0 0\n" % BIG,
    "a.vtp": VTP % (b"", BIG, b"ascii", b"0 0 0"),
    "b.vtp": VTP % (b"", BIG, b"binary", b"AAAAAA=="),
    "c.vtp": VTP % (ZLIB, 10**8, b"binary", b"AQAAAABeDI8AAAAACAAAAA==eNoDAAAAAAE="),
    "d.vtp": VTP % (ZLIB, 10**8, b"binary", b"////fwAAAAEAAAAA"),
    "e.vtp": b"<VTKFile>" + b"<a>" * 200_000,
    "f.vtp": b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]><VTKFile>&a;</VTKFile>',
}


@pytest.mark.parametrize("name", PROMISES)
def test_counts_of_gigabytes_are_refused_before_memory_is_asked_for(name):
    tracemalloc.start()
    try:
        assert checked(PROMISES[name], Path(name).suffix) is None
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()


def test_scans_are_read_by_pye57_where_their_poses_put_them(tmp_path):
    pye57 = pytest.importorskip("pye57")
    half = np.sqrt(0.5)
    columns = dict(zip(("cartesianX", "cartesianY", "cartesianZ"), POINTS.T.copy(), strict=True))
    columns |= dict(zip(("colorRed", "colorGreen", "colorBlue"), COLOUR.T.copy(), strict=True))
    with pye57.E57(str(tmp_path / "a.e57"), mode="w") as file:
        for _ in range(2):
            # A quarter turn about z, and a step along x.
            file.write_scan_raw(columns, rotation=np.array([half, 0, 0, half]), translation=np.array([8.0, 0, 0]))
    shape = read(tmp_path / "a.e57")
    moved = POINTS @ [[0, 1, 0], [-1, 0, 0], [0, 0, 1]] + [8, 0, 0]
    np.testing.assert_allclose(shape.points, np.concatenate([moved, moved]), atol=1e-9)
    np.testing.assert_array_equal(shape.attributes["colour"], np.concatenate([COLOUR, COLOUR]))
    assert shape.notes == ("scans of one file put together",)
    (tmp_path / "b.e57").write_bytes((tmp_path / "a.e57").read_bytes()[:2000])
    with pytest.raises(FormatError, match=r"b\.e57: malformed E57: "):
        find_clouds([tmp_path / "b.e57"])[0].read()


@pytest.mark.parametrize(("suffix", "module", "extra"), [(".las", "laspy", "las"), (".e57", "pye57", "e57")])
def test_a_library_that_is_not_there_is_one_line(tmp_path, monkeypatch, suffix, module, extra):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"x")
    with pytest.raises(
        FormatError, match=rf"a{suffix}: reading {suffix} needs {module}: pip install 'pcqaad\[{extra}\]'"
    ):
        find_clouds([path])[0].read()
