"""Legacy VTK files of surfaces: POLYDATA in text or binary, of versions 1.0 to 5.1, and the attributes of points."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.clouds.npy import Points, point_type
from pcqaad.formats.clouds.shape import Polygons, Shape, put
from pcqaad.formats.clouds.vtk_cells import cells_to_polygons, check_offsets
from pcqaad.formats.clouds.vtk_cursor import Cursor, whole_number
from pcqaad.formats.clouds.words import quoted
from pcqaad.formats.errors import FormatError

_CELLS = ("VERTICES", "LINES", "POLYGONS", "TRIANGLE_STRIPS")
_WIDTHS = {"VECTORS": 3, "NORMALS": 3, "TENSORS": 9, "TENSORS6": 6, "GLOBAL_IDS": 1, "PEDIGREE_IDS": 1}
_WIDTHS |= {"EDGE_FLAGS": 1}


def parse_vtk(data: bytes) -> Shape:
    """Read the points, the polygons, behind them triangle strips as triangles, and the arrays of one row a point.

    Attributes have the names of their arrays. Blocks of METADATA say nothing of the shape.

    Raises `FormatError` where it is no such file, or holds less than it claims.
    """
    cursor = Cursor(data)
    _check_head(cursor)
    reader = _Reader(cursor)
    while words := cursor.line():
        reader.read(words)
    return reader.shape()


def _check_head(cursor: Cursor) -> None:
    first = cursor.raw_line()
    if not re.match(rb"#\s*vtk DataFile Version", first, re.IGNORECASE):
        raise FormatError(f"expected a line '# vtk DataFile Version', found {quoted(first[:60])}")
    cursor.raw_line()  # the title
    kind = " ".join(cursor.line()).upper()
    if kind not in ("ASCII", "BINARY"):
        raise FormatError(f"expected ASCII or BINARY, found {kind[:60]!r}", where="line 3")
    cursor.binary = kind == "BINARY"


class _Reader:
    """What was read of a file so far."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._is_polydata = False
        self._points: Points | None = None
        self._cells: dict[str, Polygons] = {}
        self._attributes: dict[str, NDArray[Any]] = {}
        self._tuples: int | None = None  # rows of each array; None before POINT_DATA and CELL_DATA
        self._of_points = False
        self._notes: list[str] = []

    def shape(self) -> Shape:
        if self._points is None:
            raise FormatError("expected POINTS, found none")
        polygons, notes = cells_to_polygons(
            self._cells.get("POLYGONS"), self._cells.get("TRIANGLE_STRIPS"), len(self._points), "POLYGONS"
        )
        lines = self._cells.get("LINES")
        notes += [f"lines not kept ({len(lines.sizes)} rows)"] if lines is not None and len(lines.sizes) else []
        return Shape(self._points, polygons, self._attributes, tuple(dict.fromkeys([*notes, *self._notes])))

    def read(self, words: list[str]) -> None:
        """Read what a line begins."""
        word = words[0].upper()
        match word, words[1:]:
            case "DATASET", [kind, *_]:
                if kind.upper() != "POLYDATA":
                    problem = f"expected DATASET POLYDATA, a surface, found {kind[:60]!r}: extract its surface first"
                    raise FormatError(problem)
                self._is_polydata = True
            case "METADATA", _:
                while self._cursor.raw_line().strip():
                    pass
            case "FIELD", [_, count]:
                self._read_field(whole_number(count, "FIELD"))
            case (("POINT_DATA" | "CELL_DATA"), [count]):
                self._tuples, self._of_points = whole_number(count, word), word == "POINT_DATA"
                if self._of_points and self._points is not None and self._tuples != len(self._points):
                    raise FormatError(f"expected POINT_DATA {len(self._points)}, found {count}")
            case "POINTS", [count, kind] if self._is_polydata and self._points is None:
                number = whole_number(count, "POINTS")
                values = self._cursor.numbers(3 * number, kind, "POINTS")
                self._points = values.reshape(-1, 3).astype(point_type(values.dtype))
            case kind, [first, second] if kind in _CELLS and self._is_polydata and kind not in self._cells:
                self._cells[kind] = self._read_cells(kind, whole_number(first, kind), whole_number(second, kind))
            case _ if self._tuples is None or not self._read_array(word, words[1:]):
                raise FormatError(f"expected a keyword of POLYDATA, found {' '.join(words)[:60]!r}")

    def _read_cells(self, kind: str, first: int, second: int) -> Polygons:
        cursor = self._cursor
        if cursor.peek()[:1] == ["OFFSETS"]:  # since version 5.0
            offsets = self._read_part("OFFSETS", first, kind)
            corners = self._read_part("CONNECTIVITY", second, kind)
            return Polygons(check_offsets(offsets, len(corners), kind), corners.astype(np.int64))
        rows = cursor.numbers(second, "int", kind).astype(np.int64)
        return _split(rows, first, kind)

    def _read_part(self, name: str, count: int, where: str) -> NDArray[Any]:
        words = self._cursor.line()
        if len(words) != 2 or words[0] != name:
            raise FormatError(f"expected {name}, found {' '.join(words)[:60]!r}", where=where)
        return self._cursor.numbers(count, words[1], f"{where} {name}")

    def _read_field(self, arrays: int) -> None:
        for _ in range(arrays):
            words = self._cursor.line()
            if words[:1] == ["METADATA"]:
                self.read(words)
                words = self._cursor.line()
            if len(words) != 4:
                raise FormatError(
                    f"expected NAME COMPONENTS TUPLES TYPE, found {' '.join(words)[:60]!r}", where="FIELD"
                )
            name, width, tuples = words[0], whole_number(words[1], "FIELD"), whole_number(words[2], "FIELD")
            if words[3].lower() in ("string", "utf8_string"):
                self._cursor.skip_strings(width * tuples, f"FIELD {name[:60]}")
                self._notes += ["texts of points not kept"] if self._tuples is not None and self._of_points else []
                continue
            values = self._cursor.numbers(width * tuples, words[3], f"FIELD {name[:60]}")
            self._keep(name, values, width, tuples)

    def _read_array(self, word: str, words: list[str]) -> bool:
        """Read what a keyword of POINT_DATA or CELL_DATA begins; False where it is none."""
        assert self._tuples is not None
        match word, words:
            case "SCALARS", [name, kind, *width]:
                columns = whole_number(width[0], word) if width else 1
                if self._cursor.peek()[:1] == ["LOOKUP_TABLE"]:
                    self._cursor.line()
                self._keep_next(name, kind, columns)
            case "COLOR_SCALARS", [name, width]:
                self._keep_next(name, "unsigned_char" if self._cursor.binary else "float", whole_number(width, word))
            case "LOOKUP_TABLE", [_, size]:
                kind = "unsigned_char" if self._cursor.binary else "float"
                self._cursor.numbers(4 * whole_number(size, word), kind, word)
            case "TEXTURE_COORDINATES", [name, width, kind]:
                self._keep_next(name, kind, whole_number(width, word))
            case _, [name, kind] if word in _WIDTHS:
                # The name of normals is that of one attribute in every format.
                self._keep_next(name, kind, _WIDTHS[word])
            case _:
                return False
        return True

    def _keep_next(self, name: str, kind: str, width: int) -> None:
        tuples = self._tuples or 0
        self._keep(name, self._cursor.numbers(width * tuples, kind, name[:60]), width, tuples)

    def _keep(self, name: str, values: NDArray[Any], width: int, tuples: int) -> None:
        if self._tuples is None:
            return  # of the whole file: a time, a name
        if not self._of_points:
            self._notes.append("arrays of faces not kept")
        elif tuples != self._tuples or width == 0:
            self._notes.append("arrays of other lengths than the points not kept")
        else:
            put(self._attributes, unquote(name), values.reshape(tuples, width) if width > 1 else values)


def _split(rows: NDArray[np.int64], count: int, where: str) -> Polygons:
    """Return the cells of one list: of each its number of corners, and these."""
    sizes = np.zeros(min(count, len(rows)), np.int64)
    place = 0
    numbers = rows.tolist() if len(rows) and not _alike(rows, count) else []
    if not numbers and count and len(rows):
        return Polygons(np.full(count, rows[0]), rows.reshape(count, -1)[:, 1:].reshape(-1))
    for cell in range(count):
        if place >= len(numbers) or not 0 <= numbers[place] < len(numbers) - place:
            raise FormatError(f"expected {count} cells in {len(rows)} numbers, found {cell}", where=where)
        sizes[cell] = numbers[place]
        place += numbers[place] + 1
    if place != len(numbers):
        raise FormatError(f"expected {count} cells in {len(rows)} numbers, found more numbers", where=where)
    kept = np.ones(len(rows), bool)
    kept[np.cumsum(sizes + 1) - sizes - 1] = False
    return Polygons(sizes, rows[kept])


def _alike(rows: NDArray[np.int64], count: int) -> bool:
    """Say whether all cells have as many corners as the first."""
    width = int(rows[0]) + 1
    return width > 0 and count > 0 and count * width == len(rows) and bool((rows[::width] == rows[0]).all())
