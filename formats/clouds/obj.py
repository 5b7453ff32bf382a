"""OBJ files of meshes: vertices with colours where they have some, and faces of any numbers of corners."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.clouds.shape import Polygons, Shape
from pcqaad.formats.clouds.words import Lines, numbers, quoted, table, words_of_lines
from pcqaad.formats.errors import FormatError

# Statements that say nothing of the shape.
_PASSED_OVER = {b"g", b"o", b"s", b"mtllib", b"usemtl", b"mg", b"shadow_obj", b"trace_obj", b"bevel", b"lod"}
_PASSED_OVER |= {b"c_interp", b"d_interp", b"call", b"csh", b"usemap", b"maplib", b"vp"}
_NOT_KEPT = {b"vt": "texture coordinates", b"vn": "normals", b"l": "lines", b"p": "lists of points"}
_SURFACES = {b"curv", b"curv2", b"surf", b"cstype", b"deg", b"bmat", b"step", b"parm", b"trim", b"hole", b"scrv"}
_SURFACES |= {b"sp", b"end", b"con", b"ctech", b"stech"}


def parse_obj(data: bytes) -> Shape:
    """Read the vertices of a file, as float64, and its faces, in their order.

    Three numbers behind the coordinates of every vertex are its `colour`. Texture coordinates and normals belong to
    the corners of faces, not to vertices: they are not kept.

    Raises `FormatError` with the line where it is malformed, or where a face has a corner that is no vertex.
    """
    vertices, faces = Lines(), Lines()
    before = array("q")  # vertices that stand above each face
    others: Counter[str] = Counter()
    for place, word, rest in _statements(data):
        if word == b"v":
            vertices.add(place, rest)
        elif word in (b"f", b"fo"):
            faces.add(place, rest)
            before.append(len(vertices))
        elif word in _NOT_KEPT:
            others[_NOT_KEPT[word]] += 1
        elif word in _SURFACES:
            others["free-form curves and surfaces"] += 1
        elif word not in _PASSED_OVER:
            raise FormatError(f"expected a statement of OBJ, found {quoted(word)}", where=f"line {place}")
    rows = table(vertices)
    if len(rows) and rows.shape[1] not in (3, 4, 6, 7):
        raise vertices.error("expected 3 coordinates, or with a colour 6 numbers, found {}", 0)
    points = rows[:, :3] if len(rows) else np.zeros((0, 3))
    attributes = {"colour": np.ascontiguousarray(rows[:, 3:6])} if len(rows) and rows.shape[1] > 5 else {}
    notes = [f"{what} not kept ({count} rows)" for what, count in others.items()]
    if len(rows) and rows.shape[1] in (4, 7):
        notes.append("the last number of vertices not kept")
    polygons = _polygons(faces, np.array(before), len(rows)) if len(faces) else None
    return Shape(np.ascontiguousarray(points), polygons, attributes, tuple(notes))


def _statements(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the lines that say something: the number of each, its first word and the rest, without comments."""
    number = 0
    for whole in re.split(rb"(?<!\\)\n", data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")):
        number += 1
        first, words = number, whole.split(b"#", 1)[0].split(None, 1)
        if whole.endswith(b"\\") or b"\\\n" in whole:
            number += whole.count(b"\n")
            words = whole.replace(b"\\\n", b" ").split(b"#", 1)[0].split(None, 1)
        if words:
            yield first, words[0], words[1].rstrip() if len(words) > 1 else b""


def _polygons(faces: Lines, before: NDArray[np.int64], vertices: int) -> Polygons:
    text = b"\n".join(faces.texts)
    if b"/" in text:
        text = re.sub(rb"/[^\s]*", b"", text)
    sizes = words_of_lines(text)
    try:
        corners = numbers(text, int(sizes.sum()), np.int64, "")
    except FormatError:
        raise _odd_face(faces) from None
    of_face = np.repeat(np.arange(len(sizes)), sizes)
    # Numbers count from 1, or with a minus backwards from the last vertex above the face.
    own = np.where(corners < 0, before[of_face] + corners, corners - 1)
    outside = np.flatnonzero((corners == 0) | (own < 0) | (own >= vertices))
    if len(outside):
        place = f"line {faces.places[int(of_face[outside[0]])]}"
        problem = f"expected corners among the {vertices} vertices, found {corners[outside[0]]}"
        raise FormatError(f"{problem} ({len(outside)} such corners)", where=place)
    return Polygons(sizes, own)


def _odd_face(faces: Lines) -> FormatError:
    odd = 0
    for index, text in enumerate(faces.texts):
        words = [word.partition(b"/")[0] for word in text.split()]
        if not all(re.fullmatch(rb"[+-]?[0-9]{1,18}", word) for word in words):
            odd = index
            break
    return faces.error("expected numbers of vertices, found {}", odd)
