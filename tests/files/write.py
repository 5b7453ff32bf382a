"""Writes the files beside it: one small mesh, by other programs' libraries. The tests read them and need none of these.

    python tests/files/write.py

It takes vtk, open3d, trimesh, numpy-stl, meshio, pypcd4 and laspy[lazrs], and prints the versions that README.md
lists. The mesh is in `mesh.py`; the coordinates are whole eighths, so that all formats hold them exactly.
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import h5py
import laspy
import meshio
import numpy as np
import open3d
import pypcd4
import stl
import trimesh
import vtk
from plyfile import PlyData, PlyElement
from vtk.util.numpy_support import numpy_to_vtk

sys.path.insert(0, str(Path(__file__).parent))
from mesh import COLOUR, FACES, HEIGHT, LABEL, NORMAL, POINTS, TRIANGLES

HERE = Path(__file__).parent
LIBRARIES = ("vtk", "open3d", "trimesh", "numpy-stl", "meshio", "pypcd4", "laspy", "lazrs", "plyfile", "h5py", "numpy")


def surface(faces: list[list[int]] = FACES, attributes: bool = True, texture: bool = False) -> vtk.vtkPolyData:
    data, points, cells = vtk.vtkPolyData(), vtk.vtkPoints(), vtk.vtkCellArray()
    points.SetData(numpy_to_vtk(POINTS.astype("f4"), deep=True))
    for face in faces:
        cells.InsertNextCell(len(face))
        for corner in face:
            cells.InsertCellPoint(corner)
    data.SetPoints(points)
    data.SetPolys(cells)
    if attributes:
        normals = numpy_to_vtk(NORMAL.astype("f4"), deep=True)
        normals.SetName("Normals")
        normals.GetRange(-1)  # makes it write a block of METADATA with INFORMATION
        data.GetPointData().SetNormals(normals)
        for name, values in (("colour", COLOUR), ("label", LABEL), ("height", HEIGHT)):
            array = numpy_to_vtk(values, deep=True)
            array.SetName(name)
            if name == "colour":
                array.SetComponentName(0, "R")
            data.GetPointData().AddArray(array)
    if texture:
        coordinates = numpy_to_vtk(POINTS[:, :2].astype("f4"), deep=True)
        coordinates.SetName("uv")
        data.GetPointData().SetTCoords(coordinates)
        data.GetPointData().SetNormals(numpy_to_vtk(NORMAL.astype("f4"), deep=True))
    return data


def by_vtk() -> None:
    for name, binary, version in (("51-ascii", 0, 51), ("51-binary", 1, 51), ("42-ascii", 0, 42), ("42-binary", 1, 42)):
        writer = vtk.vtkPolyDataWriter()
        writer.SetFileVersion(version)
        writer.SetFileType(1 + binary)
        _save(writer, surface(), f"vtk-{name}.vtk")
    strips = vtk.vtkStripper()
    triangles = vtk.vtkTriangleFilter()
    triangles.SetInputData(surface(attributes=False))
    strips.SetInputConnection(triangles.GetOutputPort())
    strips.Update()
    _save(vtk.vtkPolyDataWriter(), strips.GetOutput(), "vtk-strips.vtk")
    for name, mode, encoded, zipped in (
        ("ascii", 0, 0, None),
        ("binary", 1, 0, None),
        ("binary-zlib", 1, 0, vtk.vtkZLibDataCompressor),
        ("raw", 2, 0, None),
        ("raw-zlib", 2, 0, vtk.vtkZLibDataCompressor),
        ("appended", 2, 1, None),
        ("appended-zlib", 2, 1, vtk.vtkZLibDataCompressor),
        ("appended-lzma", 2, 1, vtk.vtkLZMADataCompressor),
    ):
        writer = vtk.vtkXMLPolyDataWriter()
        writer.SetDataMode(mode)
        writer.SetEncodeAppendedData(encoded)
        writer.SetCompressor(zipped() if zipped else None)
        if name == "raw":
            writer.SetByteOrderToBigEndian()
        if name == "binary":
            writer.SetHeaderTypeToUInt64()
        _save(writer, surface(attributes=name not in ("binary", "appended", "appended-lzma")), f"vtk-{name}.vtp")
    writer = vtk.vtkOBJWriter()
    _save(writer, surface(attributes=False, texture=True), "vtk-quads-vt-vn.obj")
    for name, binary in (("ascii", 0), ("binary", 1)):
        writer = vtk.vtkSTLWriter()
        writer.SetFileType(1 + binary)
        _save(writer, surface(TRIANGLES, attributes=False), f"vtk-{name}.stl")
    writer = vtk.vtkPLYWriter()
    writer.SetDataByteOrderToBigEndian()
    _save(writer, surface(attributes=False), "vtk-big-endian.ply")


def _save(writer: object, data: vtk.vtkPolyData, name: str) -> None:
    writer.SetFileName(str(HERE / name))
    writer.SetInputData(data)
    assert writer.Write() == 1


def by_open3d() -> None:
    mesh = open3d.geometry.TriangleMesh(
        open3d.utility.Vector3dVector(POINTS), open3d.utility.Vector3iVector(np.array(TRIANGLES))
    )
    mesh.vertex_colors = open3d.utility.Vector3dVector(COLOUR / 255)
    mesh.vertex_normals = open3d.utility.Vector3dVector(NORMAL)
    for suffix in ("off", "obj", "ply"):
        open3d.io.write_triangle_mesh(str(HERE / f"open3d.{suffix}"), mesh)
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(POINTS))
    cloud.colors = open3d.utility.Vector3dVector(COLOUR / 255)
    cloud.normals = open3d.utility.Vector3dVector(NORMAL)
    for suffix in ("xyz", "xyzn", "xyzrgb", "pts"):
        open3d.io.write_point_cloud(str(HERE / f"open3d.{suffix}"), cloud)
    open3d.io.write_point_cloud(str(HERE / "open3d-ascii.pcd"), cloud, write_ascii=True)
    open3d.io.write_point_cloud(str(HERE / "open3d-binary.pcd"), cloud)
    open3d.io.write_point_cloud(str(HERE / "open3d-binary-compressed.pcd"), cloud, compressed=True)


def by_trimesh() -> None:
    visual = trimesh.visual.TextureVisuals(uv=POINTS[:, :2])
    whole = trimesh.Trimesh(POINTS, TRIANGLES, vertex_normals=NORMAL, process=False)
    for suffix in ("off", "stl", "stl_ascii"):
        data = trimesh.Trimesh(POINTS, TRIANGLES, process=False).export(file_type=suffix)
        name = f"trimesh{'-ascii' if suffix == 'stl_ascii' else ''}.{suffix.removesuffix('_ascii')}"
        (HERE / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    whole.visual = visual
    text = trimesh.exchange.obj.export_obj(whole, include_normals=True, include_texture=True, write_texture=False)
    (HERE / "trimesh-vt-vn.obj").write_text(text)


def by_others() -> None:
    solid = stl.mesh.Mesh(np.zeros(len(TRIANGLES), stl.mesh.Mesh.dtype))
    solid.vectors[:] = POINTS[np.array(TRIANGLES)]
    solid.save(str(HERE / "numpy-stl-ascii.stl"), mode=stl.Mode.ASCII)
    solid.save(str(HERE / "numpy-stl-binary.stl"), mode=stl.Mode.BINARY)
    cells = [
        ("quad", np.array([f for f in FACES if len(f) == 4])),
        ("triangle", np.array([f for f in FACES if len(f) == 3])),
    ]
    meshio.Mesh(POINTS, cells).write(HERE / "meshio-quads.obj")
    meshio.Mesh(POINTS, cells).write(HERE / "meshio-quads.ply", binary=False)
    meshio.Mesh(POINTS, [("triangle", np.array(TRIANGLES))]).write(HERE / "meshio-comments.off")
    fields = ("x", "y", "z", "label", "height")
    types = (np.float32, np.float32, np.float32, np.int16, np.float64)
    cloud = pypcd4.PointCloud.from_points([*POINTS.astype("f4").T, LABEL, HEIGHT], fields, types)
    for encoding in (pypcd4.Encoding.ASCII, pypcd4.Encoding.BINARY, pypcd4.Encoding.BINARY_COMPRESSED):
        cloud.save(HERE / f"pypcd4-{encoding.name.lower().replace('_', '-')}.pcd", encoding)
    rows = np.zeros(
        len(POINTS),
        [*((axis, "f8") for axis in "xyz"), *((c, "u1") for c in ("red", "green", "blue")), ("label", "i2")],
    )
    for number, axis in enumerate("xyz"):
        rows[axis] = POINTS[:, number]
    for number, shade in enumerate(("red", "green", "blue")):
        rows[shade] = COLOUR[:, number]
    rows["label"] = LABEL
    faces = np.array([(np.array(face),) for face in FACES], [("vertex_indices", "O")])
    elements = [PlyElement.describe(rows, "vertex"), PlyElement.describe(faces, "face")]
    PlyData(elements, byte_order=">").write(HERE / "plyfile-big-endian.ply")
    table = np.column_stack([POINTS, HEIGHT])
    np.savetxt(HERE / "numpy.csv", table, delimiter=",", header="x,y,z,height", fmt="%.17g", comments="")
    np.savetxt(HERE / "numpy.txt", table, header="x y z height")
    np.savez(HERE / "numpy.npz", vertices=POINTS, f=np.array(TRIANGLES), colour=COLOUR, label=LABEL)
    np.save(HERE / "numpy.npy", POINTS)
    with h5py.File(HERE / "h5py.h5", "w", libver="latest") as file:
        file["points"], file["faces"] = POINTS, np.array(TRIANGLES)
        file["label"] = LABEL
    for name, version, format_ in (("laspy.las", "1.2", 2), ("laspy.laz", "1.4", 7)):
        header = laspy.LasHeader(version=version, point_format=format_)
        header.scales, header.offsets = np.full(3, 0.125), np.zeros(3)
        las = laspy.LasData(header)
        las.x, las.y, las.z = POINTS.T
        las.red, las.green, las.blue = COLOUR.astype("u2").T * 257
        las.intensity = LABEL.astype("u2")
        las.write(HERE / name)


if __name__ == "__main__":
    by_vtk()
    by_open3d()
    by_trimesh()
    by_others()
    for library in LIBRARIES:
        print(library, importlib.metadata.version(library))
    for path in sorted(HERE.iterdir()):
        print(path.stat().st_size, path.name)
