"""VTP files, VTK's surfaces in XML: arrays in text, base64 or raw at the end, compressed by zlib or LZMA or plain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element, ParseError, XMLParser

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.clouds.npy import point_type
from pcqaad.formats.clouds.shape import Polygons, Shape, put
from pcqaad.formats.clouds.vtk_cells import cells_to_polygons, check_offsets
from pcqaad.formats.clouds.vtk_types import XML
from pcqaad.formats.clouds.vtp_arrays import Arrays
from pcqaad.formats.errors import FormatError

_APPENDED = re.compile(rb"<AppendedData\b([^>]*)>\s*_")
_MAX_ELEMENTS = 1 << 16  # of XML: a file has a few dozen for every piece


def parse_vtp(data: bytes) -> Shape:
    """Read the points, the polygons, behind them triangle strips as triangles, and the arrays of the points.

    Attributes have the names of their arrays. The pieces of a file are put together, one behind the other.

    Raises `FormatError` where it is no such file, or holds less than it claims.
    """
    root, arrays = _parsed(data)
    grid = root.find("PolyData")
    if grid is None:
        kind = root.get("type", "")[:60]
        raise FormatError(f"expected a VTKFile of type PolyData, a surface, found {kind!r}: extract its surface first")
    pieces = [_piece(piece, arrays) for piece in grid.iterfind("Piece")]
    if not pieces:
        raise FormatError("expected a Piece, found none")
    return pieces[0] if len(pieces) == 1 else _together(pieces)


def _parsed(data: bytes) -> tuple[Element, Arrays]:
    """Return the XML, and what reads its arrays; what is appended stays outside of it, as it may be no text."""
    appended = _APPENDED.search(data)
    text = data if appended is None else data[: appended.start()]
    if text.count(b"<") > _MAX_ELEMENTS:
        raise FormatError(f"expected at most {_MAX_ELEMENTS} tags of XML, found more")
    # Definitions of entities could make much of little, and read other files.
    if any(part[:2] != b"--" for part in text.split(b"<!")[1:]):
        raise FormatError("expected plain XML, found a definition in it")
    parser = XMLParser(encoding="utf-8")
    try:
        parser.feed(text)
        if appended is not None:
            parser.feed(b"</VTKFile>")
        root = parser.close()
    except (ParseError, ValueError) as error:
        raise FormatError(f"malformed XML: {error}") from error
    if root.tag != "VTKFile":
        raise FormatError(f"expected the XML of a VTKFile, found {root.tag[:60]!r}")
    tail, raw = b"", False
    if appended is not None:
        raw = b"raw" in appended[1]
        tail = data[appended.end() :]
    return root, Arrays(root, tail, raw)


def _piece(piece: Element, arrays: Arrays) -> Shape:
    count = _whole(piece, "NumberOfPoints")
    found = piece.find("Points/DataArray")
    if found is None:
        raise FormatError("expected Points with a DataArray, found none")
    values = arrays.read(found, 3 * count, "Points")
    points = values.reshape(-1, 3).astype(point_type(values.dtype))
    notes: list[str] = []
    polys, strips = _cells(piece, "Polys", arrays), _cells(piece, "Strips", arrays)
    polygons, made = cells_to_polygons(polys, strips, count, "Polys")
    lines = _whole(piece, "NumberOfLines")
    notes += made
    notes += [f"lines not kept ({lines} rows)"] if lines else []
    attributes: dict[str, NDArray[Any]] = {}
    for item in piece.iterfind("PointData/DataArray"):
        name, width = item.get("Name", "array"), _whole(item, "NumberOfComponents", 1)
        if item.get("type") not in XML:
            notes.append("texts of points not kept")
        elif width and count:
            values = arrays.read(item, width * count, name[:60])
            put(attributes, name, values.reshape(count, width) if width > 1 else values)
    if piece.find("CellData/DataArray") is not None:
        notes.append("arrays of faces not kept")
    return Shape(points, polygons, attributes, tuple(notes))


def _cells(piece: Element, kind: str, arrays: Arrays) -> Polygons | None:
    count = _whole(piece, f"NumberOf{kind}")
    if not count:
        return None
    found = {item.get("Name"): item for item in piece.iterfind(f"{kind}/DataArray")}
    if "offsets" not in found or "connectivity" not in found:
        raise FormatError(f"expected {kind} with the arrays connectivity and offsets, found {_listed(found)}")
    ends = arrays.read(found["offsets"], count, f"{kind} offsets")
    last = int(ends[-1]) if np.isfinite(ends[-1]) else -1
    if last < 0:
        raise FormatError(f"expected offsets of 0 and more, found {last}", where=kind)
    corners = arrays.read(found["connectivity"], last, f"{kind} connectivity")
    return Polygons(check_offsets(np.insert(ends.astype(np.int64), 0, 0), len(corners), kind), corners.astype(np.int64))


def _together(pieces: list[Shape]) -> Shape:
    """Return the points and polygons of all pieces, and the attributes that all of them have alike."""
    starts = np.cumsum([0, *(len(piece.points) for piece in pieces)]).tolist()
    faces = [
        Polygons(piece.polygons.sizes, piece.polygons.corners + start)
        for piece, start in zip(pieces, starts, strict=False)
        if piece.polygons is not None
    ]
    attributes = dict(_shared(pieces))
    notes = [note for piece in pieces for note in piece.notes]
    if any(set(piece.attributes) - set(attributes) for piece in pieces):
        notes.append("arrays that not all pieces have not kept")
    polygons = Polygons(*(np.concatenate(parts) for parts in zip(*faces, strict=True))) if faces else None
    return Shape(np.concatenate([p.points for p in pieces]), polygons, attributes, tuple(dict.fromkeys(notes)))


def _shared(pieces: list[Shape]) -> Iterator[tuple[str, NDArray[Any]]]:
    for name, first in pieces[0].attributes.items():
        found = [piece.attributes.get(name) for piece in pieces]
        alike = [item for item in found if item is not None and item.shape[1:] == first.shape[1:]]
        if len(alike) == len(pieces) and all(item.dtype == first.dtype for item in alike):
            yield name, np.concatenate(alike)


def _whole(element: Element, name: str, missing: int = 0) -> int:
    text = element.get(name, str(missing))
    if not re.fullmatch(r"[0-9]{1,18}", text.strip()):
        raise FormatError(f"expected a number of 0 or more as {name}, found {text[:60]!r}")
    return int(text)


def _listed(names: dict[str | None, Element]) -> str:
    return ", ".join(sorted(str(name)[:60] for name in names)[:5]) or "none"
