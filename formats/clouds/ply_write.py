"""PLY files, written binary and little-endian: vertices with their attributes, and faces of any numbers of corners."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement

from pcqaad.formats.atomic import atomic_path
from pcqaad.formats.clouds.npy import Points
from pcqaad.formats.clouds.shape import Polygons, Shape, separated
from pcqaad.formats.clouds.triangulate import Triangles
from pcqaad.formats.errors import FormatError

_COMMENT = "decoded by pcqaad"
_LARGEST = {"i": np.iinfo(np.int32), "u": np.iinfo(np.uint32)}  # integers of more bits have no type in PLY


def write_ply(path: str | Path, points: Points, triangles: Triangles | None = None) -> None:
    """Write points (v, 3) as binary little-endian float32 x, y, z, and triangles (t, 3), if any, as faces.

    Raises `FormatError` as `atomic_path` does.
    """
    polygons = None if triangles is None else Polygons.of_triangles(triangles)
    with atomic_path(Path(path)) as temporary, temporary.open("wb") as stream:
        write_ply_shape(stream, Shape(np.asarray(points, np.float32), polygons))


def write_ply_shape(stream: BinaryIO, shape: Shape) -> None:
    """Write a shape; raises `FormatError` for an attribute of integers that PLY has no type for."""
    columns: dict[str, NDArray[Any]] = dict(zip("xyz", np.asarray(shape.points).T, strict=True))
    columns |= {_property(name): _stored(name, values) for name, values in separated(shape.attributes).items()}
    rows = np.empty(len(shape.points), [(name, values.dtype.newbyteorder("<")) for name, values in columns.items()])
    for name, values in columns.items():
        rows[name] = values
    elements = [PlyElement.describe(rows, "vertex")]
    faces = shape.polygons
    counts = np.dtype("u1" if faces is None or faces.sizes.max(initial=0) <= 255 else "<i4")
    if faces is not None:
        empty = np.empty(0, [("vertex_indices", "<i4", (3,))])
        elements.append(PlyElement.describe(empty, "face", len_types={"vertex_indices": counts.str.lstrip("|<")}))
    # plyfile writes lists one by one in Python.
    header = PlyData(elements, byte_order="<", comments=[_COMMENT]).header
    header = header.replace("element face 0", f"element face {0 if faces is None else len(faces.sizes)}")
    stream.write(header.encode("ascii") + b"\n")
    stream.write(rows.tobytes())
    if faces is not None:
        stream.write(_lists(faces, counts))


def _lists(faces: Polygons, counts: np.dtype[Any]) -> bytes:
    """Return each face's number of corners and its corners, one behind the other."""
    starts = np.arange(len(faces.sizes)) * counts.itemsize + 4 * (np.cumsum(faces.sizes) - faces.sizes)
    body = np.empty(len(faces.sizes) * counts.itemsize + 4 * len(faces.corners), np.uint8)
    of_count = np.zeros(len(body), bool)
    places = (starts[:, None] + np.arange(counts.itemsize)).reshape(-1)
    of_count[places] = True
    body[places] = faces.sizes.astype(counts).view(np.uint8)
    body[~of_count] = faces.corners.astype("<i4").view(np.uint8)
    return body.tobytes()


def _property(name: str) -> str:
    """Return a name as one word of printable ASCII, as headers have it."""
    return re.sub(r"[^\x21-\x7e]", "_", name) or "_"


def _stored(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return values in a type that PLY has, none of them changed."""
    if values.dtype.kind == "f":
        return values.astype(np.float32) if values.dtype.itemsize < 4 else values
    if values.dtype.itemsize < 8:
        return values
    limits = _LARGEST[values.dtype.kind]
    if len(values) and not limits.min <= int(values.min()) <= int(values.max()) <= limits.max:
        raise FormatError(f"expected integers of at most 32 bits, as PLY has them, as {name}, found larger ones")
    return values.astype(limits.dtype)
