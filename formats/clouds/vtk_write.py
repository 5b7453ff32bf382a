"""VTK files of surfaces, in the legacy format and in XML: both binary, and both with the points' attributes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, BinaryIO
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.clouds.shape import Polygons, Shape
from pcqaad.formats.clouds.vtk_types import LEGACY_NAMES, XML_NAMES

_LEGACY_SECTIONS = {"Polys": "POLYGONS", "Verts": "VERTICES"}


def write_vtk(stream: BinaryIO, shape: Shape) -> None:
    """Write a shape as legacy POLYDATA, version 3.0, which all readers know. Without faces each point is a vertex."""
    points = shape.points
    section, cells = _cells(shape)
    rows = np.insert(cells.corners, np.cumsum(cells.sizes) - cells.sizes, cells.sizes)
    stream.write(b"# vtk DataFile Version 3.0\ndecoded by pcqaad\nBINARY\nDATASET POLYDATA\n")
    stream.write(f"POINTS {len(points)} {LEGACY_NAMES[_kind(points)]}\n".encode("ascii"))
    stream.write(_big_endian(points))
    stream.write(f"\n{_LEGACY_SECTIONS[section]} {len(cells.sizes)} {len(rows)}\n".encode("ascii"))
    stream.write(_big_endian(rows.astype(np.int32)))
    if not shape.attributes:
        return
    stream.write(f"\nPOINT_DATA {len(points)}\n".encode("ascii"))
    others = dict(shape.attributes)
    normal = others.pop("normal", None)
    if normal is not None:
        normal = normal.astype(np.float32) if normal.dtype.kind != "f" else normal
        stream.write(f"NORMALS normal {LEGACY_NAMES[_kind(normal)]}\n".encode("ascii"))
        stream.write(_big_endian(normal) + b"\n")
    if others:
        stream.write(f"FIELD FieldData {len(others)}\n".encode("ascii"))
    for name, values in others.items():
        line = f"{quote(name, safe='')} {values[0].size} {len(values)} {LEGACY_NAMES[_kind(values)]}\n"
        stream.write(line.encode("ascii") + _big_endian(values) + b"\n")


def write_vtp(stream: BinaryIO, shape: Shape) -> None:
    """Write a shape as XML, its arrays in base64. Without faces each point is a vertex of its own."""
    section, cells = _cells(shape)
    numbers = {kind: len(cells.sizes) if kind == section else 0 for kind in ("Verts", "Lines", "Strips", "Polys")}
    counts = "".join(f' NumberOf{kind}="{count}"' for kind, count in numbers.items())
    normals = ' Normals="normal"' if "normal" in shape.attributes else ""

    def lines() -> Iterator[str]:
        yield '<?xml version="1.0"?>'
        yield '<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64">'
        yield f'<PolyData><Piece NumberOfPoints="{len(shape.points)}"{counts}>'
        yield f"<PointData{normals}>"
        yield from (_data_array(name, values) for name, values in shape.attributes.items())
        yield "</PointData><CellData></CellData><Points>"
        yield _data_array("Points", shape.points)
        yield f"</Points><{section}>"
        yield _data_array("connectivity", cells.corners)
        yield _data_array("offsets", np.cumsum(cells.sizes))
        yield f"</{section}></Piece></PolyData></VTKFile>"

    for line in lines():
        stream.write(f"{line}\n".encode("ascii", "xmlcharrefreplace"))


def _cells(shape: Shape) -> tuple[str, Polygons]:
    """Return the faces, or a vertex for each point where there are none, and the name of the section for them."""
    if shape.polygons is not None:
        return "Polys", shape.polygons
    return "Verts", Polygons(np.ones(len(shape.points), np.int64), np.arange(len(shape.points)))


def _data_array(name: str, values: NDArray[Any]) -> str:
    plain = np.ascontiguousarray(values, dtype=np.dtype(f"<{_kind(values)}")).tobytes()
    text = base64.b64encode(np.array(len(plain), "<u8").tobytes() + plain).decode("ascii")
    width = values.shape[1] if values.ndim == 2 else 1
    printable = "".join(c if c.isprintable() else "_" for c in name)
    head = f'<DataArray type="{XML_NAMES[_kind(values)]}" Name={quoteattr(printable)} NumberOfComponents="{width}"'
    return f'{head} format="binary">{text}</DataArray>'


def _big_endian(values: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(values, dtype=np.dtype(f">{_kind(values)}")).tobytes()


def _kind(values: NDArray[Any]) -> str:
    """Return the kind and the size of numbers; halves are written as float32."""
    return "f4" if values.dtype == np.float16 else values.dtype.str[1:]
