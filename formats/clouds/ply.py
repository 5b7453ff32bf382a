"""PLY files: plyfile parses the header; numpy reads the rows where their form allows it, else plyfile does."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO, TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement, PlyListProperty, PlyParseError

from pcqaad.formats.atomic import named_os_errors
from pcqaad.formats.clouds.npy import Points
from pcqaad.formats.clouds.ply_write import write_ply as write_ply
from pcqaad.formats.clouds.shape import Polygons, Shape, joined
from pcqaad.formats.clouds.triangulate import MAX_CORNERS, Triangles, triangulate
from pcqaad.formats.errors import FormatError

_HEADER_USUAL = 1 << 16  # bytes
_MAX_HEADER = 1 << 20  # bytes, of one with a long history in its comments
_MAX_HEADER_LINES = 4096
_MAX_QUOTED = 160  # characters of the file in a message
_REMARKS = ("comment", "obj_info")
_CORNERS = ("vertex_indices", "vertex_index")  # of a face: the two names in common use


class _Header(NamedTuple):
    lines: list[str]
    layout: PlyData  # its elements without their rows
    counts: dict[str, int]  # rows of each
    end: int  # where the body begins


def read_ply(path: str | Path) -> tuple[Points, list[str]]:
    """Read the vertex positions of a PLY file, ASCII or binary of either byte order, and notes on what was not kept.

    The points are in the file's own order and units, float64 where float32 could not hold its type of x, y, z. There
    may be no points, and coordinates may be infinite or NaN.

    Raises `FormatError` when the file is no PLY file, has no vertex positions, or holds less than it claims.
    """
    with _opened(path) as stream:
        header = _read_header(stream)
        return _points(stream, header), _notes(header, "vertex")


def read_ply_mesh(path: str | Path) -> tuple[Points, Triangles, list[str]]:
    """Read a PLY file as `read_ply` does, and its faces as triangles (t, 3); raises `FormatError` without them, too."""
    with _opened(path) as stream:
        header = _read_header(stream)
        points = _points(stream, header)
        if "face" not in header.counts:
            raise FormatError("expected an element face to draw points from, found none", where="header")
        corners = [p.name for p in _lists(header.layout["face"]) if p.name in _CORNERS]
        if not corners:
            raise FormatError(f"expected a list property {' or '.join(_CORNERS)}", where="element face")
        polygons = _rows(stream, header, "face")[corners[0]]
        return points, triangulate(polygons, len(points), "element face"), _notes(header, "vertex", "face")


def read_ply_shape(path: str | Path) -> Shape:
    """Read all of a PLY file that is of its points: positions, faces and the scalar properties of vertices.

    Raises `FormatError` as `read_ply` does, and where a face has a corner that is no vertex.
    """
    with _opened(path) as stream:
        header = _read_header(stream)
        vertices = header.layout["vertex"]
        rows = _rows(stream, header, "vertex")
        lists = [p.name for p in _lists(vertices)]
        columns = {p.name: rows[p.name] for p in vertices.properties if p.name not in ("x", "y", "z", *lists)}
        notes = [f"vertex properties {_listed(lists)} not kept"] if lists else []
        found = [p.name for p in _lists(header.layout["face"]) if p.name in _CORNERS] if "face" in header.counts else []
        polygons = None
        if found and header.counts["face"]:
            polygons = Polygons.of_rows(_rows(stream, header, "face")[found[0]], len(rows), "element face")
            others = [p.name for p in header.layout["face"].properties if p.name != found[0]]
            notes += [f"face properties {_listed(others)} not kept"] if others else []
        kept = ("vertex", "face") if found else ("vertex",)
        notes += _elements_not_kept(header, kept)
        return Shape(_positions(rows), polygons, joined(columns), tuple(notes))


def count_ply(path: str | Path) -> int:
    """Return how many vertices the header of a PLY file promises; raises `FormatError` as `read_ply` does."""
    with _opened(path) as stream:
        return _read_header(stream).counts["vertex"]


@contextmanager
def _opened(path: str | Path) -> Iterator[BinaryIO]:
    try:
        with named_os_errors(path, "read"), Path(path).open("rb") as stream:
            yield stream
    except FormatError as error:
        raise error.in_file(str(path)) from error
    except (PlyParseError, ValueError, OverflowError, MemoryError) as error:
        raise FormatError(f"malformed PLY: {_brief(str(error))}", file=str(path)) from error


def _read_header(stream: BinaryIO) -> _Header:
    lines, end = _header_lines(stream)
    layout, counts = _layout(lines)
    if "vertex" not in layout:
        found = _listed(counts) or "no elements"
        raise FormatError(f"expected an element vertex, found {found}", where="header")
    scalars = {p.name for p in layout["vertex"].properties if not isinstance(p, PlyListProperty)}
    if missing := _listed(axis for axis in "xyz" if axis not in scalars):
        raise FormatError(f"expected the scalar properties x, y, z, found no {missing}", where="element vertex")
    _check_size(layout, counts, os.fstat(stream.fileno()).st_size - end)
    return _Header(lines, layout, counts, end)


def _points(stream: BinaryIO, header: _Header) -> Points:
    return _positions(_rows(stream, header, "vertex"))


def _positions(rows: NDArray[np.void]) -> Points:
    columns = [rows[axis] for axis in "xyz"]
    return np.stack(columns, axis=1, dtype=np.result_type(np.float32, *columns))


def _notes(header: _Header, *kept: str) -> list[str]:
    others = [p.name for p in header.layout["vertex"].properties if p.name not in ("x", "y", "z")]
    notes = [f"vertex properties {_listed(others)} not kept"] if others else []
    return notes + _elements_not_kept(header, kept)


def _elements_not_kept(header: _Header, kept: Sequence[str]) -> list[str]:
    rows = header.counts.items()
    return [f"element {_brief(name)} not kept ({count} rows)" for name, count in rows if name not in kept]


def _rows(stream: BinaryIO, header: _Header, name: str) -> NDArray[np.void]:
    """Read the rows of an element, at once where their form allows; what follows them stays unparsed."""
    layout, element, count = header.layout, header.layout[name], header.counts[name]
    before = list(header.counts)[: list(header.counts).index(name)]
    stream.seek(header.end)
    if not layout.text and not any(_lists(layout[other]) for other in before):
        stream.seek(sum(header.counts[other] * _least_row_size(layout, other) for other in before), os.SEEK_CUR)
        if not _lists(element):
            return np.fromfile(stream, element.dtype(layout.byte_order), count)
        if len(element.properties) == 1 and (rows := _alike(stream, layout, element, count)) is not None:
            return rows
        stream.seek(header.end)
    body = stream.read()
    if layout.text and not _lists(element):
        skipped = sum(header.counts[other] for other in before)  # A row is a line, whatever it holds.
        if (rows := _rows_by_numpy(body, element, skipped, count)) is not None:
            return rows
    return _rows_by_plyfile(header.lines, body, len(before) + 1, name)


def _alike(stream: BinaryIO, layout: PlyData, element: PlyElement, count: int) -> NDArray[np.void] | None:
    """Read rows of one list each, from where the stream is; None unless all are as long as the first."""
    (of,) = element.properties
    length, item = (np.dtype(t).newbyteorder(layout.byte_order) for t in (of.len_dtype, of.val_dtype))
    start = stream.tell()
    first = int(np.fromfile(stream, length, min(count, 1)).sum())
    stream.seek(start)
    row = np.dtype([("", length), (of.name, item, (max(min(first, MAX_CORNERS), 0),))])
    if count * row.itemsize > os.fstat(stream.fileno()).st_size - start:
        return None
    rows = np.fromfile(stream, row, count)
    return rows if (rows["f0"] == row[1].shape[0]).all() else None


def _header_lines(stream: BinaryIO) -> tuple[list[str], int]:
    """Return the header's lines, `ply` to `end_header`, in printable ASCII, and the offset of the body."""
    head = stream.read(_HEADER_USUAL)
    opening = re.match(rb"ply[ \t]*(\r\n|\n|\r)", head)
    if opening is None:
        found = f"first bytes {head[:4]!r}" if head else "an empty file"
        raise FormatError(f"expected a PLY file, whose first line is ply, found {found}")
    newline = opening[1]
    last = newline + rb"end_header[ \t]*" + newline
    ending = re.search(last, head)
    if ending is None and len(head) == _HEADER_USUAL:
        head += stream.read(_MAX_HEADER - _HEADER_USUAL)
        ending = re.search(last, head)
    if ending is None:
        extent = f"the first {_MAX_HEADER} bytes" if len(head) == _MAX_HEADER else "the whole file"
        raise FormatError(f"expected a line end_header, found none in {extent}", where="header")
    raw = head[: ending.start()].decode("latin-1").split(newline.decode())
    if len(raw) > _MAX_HEADER_LINES:
        raise FormatError(f"expected at most {_MAX_HEADER_LINES} lines, found {len(raw)}", where="header")
    # plyfile takes ASCII alone, but comments are written in any encoding; nor may escapes reach a terminal,
    # nor stray line ends within a line make two of it.
    lines = [re.sub(r"[^\x20-\x7e]", "?", re.sub(r"\s", " ", line)) for line in raw[1:]]
    return ["ply", *lines, "end_header"], ending.end()


def _layout(lines: list[str]) -> tuple[PlyData, dict[str, int]]:
    """Have plyfile read the header with its counts set to 0, so that it allocates nothing; return the counts too."""
    counts: dict[str, int] = {}
    emptied = []
    for number, line in enumerate(lines, start=1):
        match line.split():
            case [word, *_] if word in _REMARKS:  # plyfile takes some of them above all elements only
                continue
            case ["element", name, count] if re.fullmatch(r"[0-9]{1,18}", count):
                if name in counts:
                    raise FormatError(f"element {_brief(name)} declared twice", where=f"header line {number}")
                counts[name] = int(count)
                emptied.append(f"element {name} 0")
            case ["element", *_]:
                found = _brief(line)
                raise FormatError(f"expected 'element NAME COUNT', found {found!r}", where=f"header line {number}")
            case _:
                emptied.append(line)
    return PlyData.read(_as_stream(emptied)), counts


def _least_row_size(layout: PlyData, name: str) -> int:
    """Return the least bytes that a row of this element takes: in binary without lists, all it takes."""
    properties = layout[name].properties
    if layout.text:
        return 2 * len(properties)
    types = [p.len_dtype if isinstance(p, PlyListProperty) else p.val_dtype for p in properties]
    return sum(np.dtype(of).itemsize for of in types)


def _check_size(layout: PlyData, counts: dict[str, int], available: int) -> None:
    """Refuse counts that the file is too short for, before anything is allocated by them."""
    unended = int(layout.text)  # the last line may lack its end
    for name, count in counts.items():
        # Rows without properties take no bytes, and yet each would take time.
        least = count * max(1, _least_row_size(layout, name))
        if least > available + unended:
            problem = f"expected at least {least} bytes for {count} rows, found {available}"
            raise FormatError(problem, where=f"element {_brief(name)}")
        available -= least


def _rows_by_plyfile(lines: list[str], body: bytes, elements: int, name: str) -> NDArray[np.void]:
    """Read the first `elements`, whatever their rows, and return those of the last of them, of this name."""
    starts = [index for index, line in enumerate(lines) if line.split()[:1] == ["element"]]
    kept = [line for line in lines[: [*starts, len(lines) - 1][elements]] if not line.startswith(_REMARKS)]
    # From memory, a list that claims more than the file holds can allocate no more than that.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # numpy's on parsing an empty list
        rows: NDArray[np.void] = PlyData.read(_as_stream([*kept, "end_header"], body), mmap=False)[name].data
    return rows


def _rows_by_numpy(body: bytes, vertex: PlyElement, skipped: int, count: int) -> NDArray[np.void] | None:
    """Read rows of text without lists; None unless all is well, for plyfile, slow but exact, to say why."""
    text = TextIOWrapper(BytesIO(body), "ascii")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # no rows, or a number beyond float32
            rows = np.loadtxt(islice(text, skipped, skipped + count), vertex.dtype(), comments=None, ndmin=1)
    except ValueError:
        return None
    return rows if len(rows) == count else None


def _lists(element: PlyElement) -> list[PlyListProperty]:
    return [p for p in element.properties if isinstance(p, PlyListProperty)]


def _as_stream(lines: list[str], body: bytes = b"") -> BytesIO:
    return BytesIO("".join(f"{line}\n" for line in lines).encode("ascii") + body)


def _brief(text: str) -> str:
    return text if len(text) <= _MAX_QUOTED else f"{text[: _MAX_QUOTED - 4]} ..."


def _listed(names: Iterable[str]) -> str:
    return _brief(", ".join(names))
