"""STL files of triangles, binary or ASCII. The format repeats every corner; equal ones become one vertex again."""

from __future__ import annotations

import re

import numpy as np

from pcqaad.formats.clouds.npy import Points
from pcqaad.formats.clouds.shape import Polygons, Shape
from pcqaad.formats.clouds.stl_write import HEADER, TRIANGLE
from pcqaad.formats.clouds.words import numbers, quoted
from pcqaad.formats.errors import FormatError

_BEGIN = HEADER + 4  # of the triangles, behind their number
_MERGED = "corners at exactly the same place merged"
_NUMBERS = rb"(\S+\s+\S+\s+\S+)\s+"
_FACET = re.compile(
    rb"\s*facet\s+normal\s+\S+\s+\S+\s+\S+\s+outer\s+loop\s+"
    + 3 * (rb"vertex\s+" + _NUMBERS)
    + rb"endloop\s+endfacet(?=\s|$)",
    re.IGNORECASE,
)
_SOLID = re.compile(rb"\s*(?:end\s?)?solid\b[^\n]*", re.IGNORECASE)


def parse_stl(data: bytes) -> Shape:
    """Read the triangles of a file, and as vertices their different corners, in the order in which they come first.

    Binary ones are float32, those of text float64. Two corners are the same where all three coordinates are.

    Raises `FormatError` where it is no STL file, or holds fewer triangles than it claims.
    """
    claimed = int.from_bytes(data[HEADER:_BEGIN], "little")
    size = _BEGIN + claimed * TRIANGLE.itemsize
    begins_as_text = re.match(rb"\s*solid\b", data, re.IGNORECASE) is not None
    # Many binary files begin with the word `solid` too, so their size says what they are.
    if len(data) < _BEGIN or (begins_as_text and len(data) != size):
        if not begins_as_text:
            raise FormatError(f"expected an STL file, found first bytes {quoted(data[:8])}" if data else "is empty")
        return _merged(_corners_of_text(data), ())
    if len(data) < size:
        raise FormatError(f"expected {size} bytes for {claimed} triangles, found {len(data)}")
    rows = np.frombuffer(data, TRIANGLE, claimed, _BEGIN)
    notes = ["attributes of triangles not kept"] if rows["attribute"].any() else []
    notes += ["bytes behind the triangles not kept"] if len(data) > size else []
    return _merged(rows["corners"].reshape(-1, 3).astype(np.float32), notes)


def _corners_of_text(data: bytes) -> Points:
    found: list[bytes] = []
    place, ended = 0, False
    while True:
        if facet := _FACET.match(data, place):
            found += facet.groups()
            place, ended = facet.end(), False
        elif solid := _SOLID.match(data, place):
            ended = b"end" in solid[0].lower().split(b"solid")[0]
            place = solid.end()
        else:
            break
    line = data.count(b"\n", 0, place) + 1
    if rest := data[place:].strip():
        raise FormatError(f"expected a facet of three corners, found {quoted(rest)}", where=f"line {line}")
    if not ended:
        raise FormatError("expected endsolid, found the end of the file", where=f"line {line}")
    return numbers(b" ".join(found), 3 * len(found), np.float64, "corners").reshape(-1, 3)


def _merged(corners: Points, notes: list[str] | tuple[str, ...]) -> Shape:
    """Return the shape of triangles whose corners (3 t, 3) repeat: the first of equal ones stays."""
    corners = corners + np.zeros((), corners.dtype)  # -0 is 0
    bits = corners.view(f"u{corners.itemsize}")
    order = np.lexsort(bits.T)
    fresh = np.ones(len(order), bool)
    fresh[1:] = (bits[order[1:]] != bits[order[:-1]]).any(axis=1)
    firsts = order[fresh]  # of each different corner, as the sort is stable
    first_of = np.empty(len(order), np.int64)
    first_of[order] = firsts[np.cumsum(fresh) - 1]
    kept = np.sort(firsts)
    faces = Polygons.of_triangles(np.searchsorted(kept, first_of).reshape(-1, 3))
    return Shape(corners[kept], faces, {}, (*notes, _MERGED))
