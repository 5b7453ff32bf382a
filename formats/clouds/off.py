"""OFF files of meshes: vertices with normals and colours where the first word says so, and faces."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.clouds.shape import Polygons, Shape
from pcqaad.formats.clouds.words import Lines, table
from pcqaad.formats.errors import FormatError

_FIRST = re.compile(rb"(ST)?(C)?(N)?(4)?(n)?OFF\b|(?=[0-9])")
_GLUED = re.compile(rb"OFF(?=[0-9])")  # ModelNet's files have no blank behind the word


def parse_off(data: bytes) -> Shape:
    """Read the vertices of a file, as float64, and its faces, in their order.

    Normals of NOFF are `normal`, colours of COFF `colour`, of bytes where they are whole numbers up to 255.

    Raises `FormatError` with the line where it is malformed, or where a face has a corner that is no vertex.
    """
    lines = _lines(data)
    if not len(lines):
        raise FormatError("expected an OFF file, found no line in it")
    first = lines.texts[0]
    head = _GLUED.match(first) or _FIRST.match(first)
    if head is None:
        raise lines.error("expected the word OFF, found {}", 0)
    texture, colour, normal, four, other = (bool(group) for group in (*head.groups(), *5 * [None])[:5])
    if four or other or b"BINARY" in first:
        raise lines.error("expected text of three dimensions, found {}", 0)
    if rest := first[head.end() :].strip():
        lines.texts[0] = rest
    else:
        lines = lines.part(1, len(lines))
    vertices, faces = _counts(lines)
    if 2 * (3 * vertices + faces) > len(data) + 1:
        raise FormatError(f"claims {vertices} vertices and {faces} faces, more than {len(data)} bytes can hold")
    body = lines.part(1, len(lines))
    if len(body) < vertices + faces:
        raise FormatError(f"expected {vertices} lines of vertices and {faces} of faces, found {len(body)} lines")
    rows = table(body.part(0, vertices)) if vertices else np.zeros((0, 3))
    widths = [3 + 3 * normal + more + 2 * texture for more in ((3, 4) if colour else (0,))]
    if rows.shape[1] < widths[0]:
        raise body.error(f"expected {widths[0]} numbers, found {{}}", 0)
    notes = ["texture coordinates not kept"] if texture else []
    notes += ["more numbers of vertices not kept"] if rows.shape[1] not in widths else []
    notes += ["lines behind the faces not kept"] if len(body) > vertices + faces else []
    attributes = {"normal": np.ascontiguousarray(rows[:, 3:6])} if normal else {}
    if colour:
        shades = rows[:, 3 + 3 * normal : 6 + 3 * normal]
        whole = b"." not in b"".join(text.split(None, 3)[-1] for text in body.texts[: min(vertices, 1)])
        bytes_ = whole and bool(((shades >= 0) & (shades <= 255)).all())
        attributes["colour"] = shades.astype(np.uint8) if bytes_ else np.ascontiguousarray(shades)
    polygons = None
    if faces:
        polygons, coloured = _polygons(body.part(vertices, vertices + faces), vertices)
        notes += ["colours of faces not kept"] if coloured else []
    return Shape(np.ascontiguousarray(rows[:, :3]), polygons, attributes, tuple(notes))


def _lines(data: bytes) -> Lines:
    """Return the lines that say something, without comments."""
    lines = Lines()
    for number, line in enumerate(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"), start=1):
        if text := line.split(b"#", 1)[0].strip():
            lines.add(number, text)
    return lines


def _counts(lines: Lines) -> tuple[int, int]:
    """Return the numbers of vertices and faces; that of edges, behind them, means nothing."""
    if not len(lines):
        raise FormatError("expected the numbers of vertices and faces, found the end of the file")
    if not re.fullmatch(rb"[0-9]{1,18}\s+[0-9]{1,18}(\s+-?[0-9]{1,18})?", lines.texts[0]):
        raise lines.error("expected the numbers of vertices, faces and edges, found {}", 0)
    vertices, faces = map(int, lines.texts[0].split()[:2])
    return vertices, faces


def _polygons(lines: Lines, vertices: int) -> tuple[Polygons, bool]:
    """Return the faces of lines: how many corners, these, and perhaps a colour; and whether there is one."""
    rows: list[NDArray[np.int64]] = []
    coloured = False
    for index, text in enumerate(lines.texts):
        words = text.split()
        size = int(words[0]) if re.fullmatch(rb"[0-9]{1,9}", words[0]) else len(words)
        corners = words[1 : 1 + size]
        if len(corners) < size or not all(re.fullmatch(rb"[0-9]{1,18}", corner) for corner in corners):
            raise lines.error("expected a number of corners and the corners, found {}", index)
        coloured |= len(words) > 1 + size
        rows.append(np.array(corners, np.int64) if size else np.zeros(0, np.int64))
    return Polygons.of_rows(rows, vertices, "faces"), coloured
