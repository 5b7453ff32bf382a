"""PLY: the header is plyfile's to parse; rows are read whole where their form allows, else by plyfile too."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO, TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement, PlyListProperty, PlyParseError

from pcqaad.formats.atomic import atomic_path, named_os_errors
from pcqaad.formats.clouds.triangulate import Triangles, triangulate
from pcqaad.formats.errors import FormatError

_HEADER_USUAL = 1 << 16  # bytes
_MAX_HEADER = 1 << 20  # bytes, of one with a long history in its comments
_MAX_HEADER_LINES = 4096
_MAX_QUOTED = 160  # characters of the file in a message
_REMARKS = ("comment", "obj_info")
# What the corners of a face are called: the two names in common use.
_CORNERS = ("vertex_indices", "vertex_index")
_COMMENT = "decoded by pcqaad"
_ROW = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4")])


def read_ply(path: str | Path) -> tuple[NDArray[np.float32 | np.float64], list[str]]:
    """Read the vertex positions of a PLY file, ASCII or binary of either byte order.

    Returns the points, shape (points, 3), in the file's own order and units, and notes on what of the file
    was not kept. The points are float64 where float32 could not hold the file's type of x, y, z, else
    float32. There may be no points, and coordinates may be infinite or NaN.

    Raises `FormatError` when the file is no PLY file, has no vertex positions, or holds less than it claims.
    """
    with _opened(path) as stream:
        lines, layout, counts, body_start = _header(stream)
        return _points(stream, lines, layout, counts, body_start), _notes(layout, counts, ("vertex",))


def read_ply_mesh(path: str | Path) -> tuple[NDArray[np.float32 | np.float64], Triangles, list[str]]:
    """Read the vertex positions (points, 3) of a PLY file as `read_ply` does, and its faces as triangles (t, 3).

    Faces of more corners are cut into fans of triangles. Raises `FormatError` as `read_ply` does, and when
    there are no faces, or one has a corner that is not there.
    """
    with _opened(path) as stream:
        lines, layout, counts, body_start = _header(stream)
        points = _points(stream, lines, layout, counts, body_start)
        if "face" not in counts:
            raise FormatError("expected an element face to draw points from, found none", where="header")
        corners = [p.name for p in layout["face"].properties if p.name in _CORNERS and isinstance(p, PlyListProperty)]
        if not corners:
            raise FormatError(f"expected a list property {' or '.join(_CORNERS)}", where="element face")
        stream.seek(body_start)
        polygons = _polygons(stream, lines, layout, counts, corners[0])
        return points, triangulate(polygons, len(points), "element face"), _notes(layout, counts, ("vertex", "face"))


def count_ply(path: str | Path) -> int:
    """Return how many vertices the header of a PLY file promises; raises `FormatError` as `read_ply` does."""
    with _opened(path) as stream:
        return _header(stream)[2]["vertex"]


def write_ply(path: str | Path, points: NDArray[np.float32]) -> None:
    """Write points, shape (points, 3), as a binary little-endian PLY file of float32 x, y, z.

    Raises `FormatError` when the file cannot be written; nothing is left of it then.
    """
    rows = np.ascontiguousarray(points, dtype="<f4").view(_ROW).reshape(-1)
    ply = PlyData([PlyElement.describe(rows, "vertex")], byte_order="<", comments=[_COMMENT])
    with atomic_path(Path(path)) as temporary, temporary.open("wb") as stream:
        ply.write(stream)


@contextmanager
def _opened(path: str | Path) -> Iterator[BinaryIO]:
    try:
        with named_os_errors(path, "read"), Path(path).open("rb") as stream:
            yield stream
    except FormatError as error:
        raise error.in_file(str(path)) from error
    except (PlyParseError, ValueError, OverflowError, MemoryError) as error:
        raise FormatError(f"malformed PLY: {_brief(str(error))}", file=str(path)) from error


def _header(stream: BinaryIO) -> tuple[list[str], PlyData, dict[str, int], int]:
    """Return the header's lines, its elements emptied, their counts, and the offset of the body, all checked."""
    lines, body_start = _header_lines(stream)
    layout, counts = _layout(lines)
    if "vertex" not in layout:
        found = _listed(counts) or "no elements"
        raise FormatError(f"expected an element vertex, found {found}", where="header")
    scalars = {p.name for p in layout["vertex"].properties if not isinstance(p, PlyListProperty)}
    missing = [axis for axis in "xyz" if axis not in scalars]
    if missing:
        problem = f"expected the scalar properties x, y, z, found no {_listed(missing)}"
        raise FormatError(problem, where="element vertex")
    _check_size(layout, counts, os.fstat(stream.fileno()).st_size - body_start)
    return lines, layout, counts, body_start


def _points(
    stream: BinaryIO, lines: list[str], layout: PlyData, counts: dict[str, int], body_start: int
) -> NDArray[np.float32 | np.float64]:
    stream.seek(body_start)
    rows = _vertex_rows(stream, lines, layout, counts)
    columns = [rows[axis] for axis in "xyz"]
    points: NDArray[np.float32 | np.float64] = np.stack(columns, axis=1, dtype=np.result_type(np.float32, *columns))
    return points


def _notes(layout: PlyData, counts: dict[str, int], kept: tuple[str, ...]) -> list[str]:
    """Say what of the file is not among the elements that are kept."""
    others = [p.name for p in layout["vertex"].properties if p.name not in ("x", "y", "z")]
    notes = [f"vertex properties {_listed(others)} not kept"] if others else []
    return notes + [
        f"element {_brief(name)} not kept ({count} rows)" for name, count in counts.items() if name not in kept
    ]


def _polygons(
    stream: BinaryIO, lines: list[str], layout: PlyData, counts: dict[str, int], corners: str
) -> NDArray[np.void] | list[NDArray[np.integer]]:
    """Read the faces from a stream at the start of the body: (f, n) where all have n corners, else one by one."""
    face, count = layout["face"], counts["face"]
    before = list(counts)[: list(counts).index("face")]
    if not layout.text and len(face.properties) == 1 and not any(_lists(layout[name]) for name in before):
        start = stream.tell()
        stream.seek(sum(counts[name] * _least_row_size(layout, name) for name in before), os.SEEK_CUR)
        available = os.fstat(stream.fileno()).st_size - stream.tell()
        of, order = face.properties[0], layout.byte_order
        length, corner = (np.dtype(t).newbyteorder(order) for t in (of.len_dtype, of.val_dtype))
        first = int(np.fromfile(stream, length, min(count, 1)).sum())
        # The rows are all alike as a rule; that they are is seen once they were read as such.
        row = np.dtype([("length", length), ("corners", corner, (max(min(first, 64), 0),))])
        if count * row.itemsize <= available:
            stream.seek(-length.itemsize * min(count, 1), os.SEEK_CUR)
            rows = np.fromfile(stream, row, count)
            if (rows["length"] == row["corners"].shape[0]).all():
                polygons: NDArray[np.void] = rows["corners"]
                return polygons
        stream.seek(start)
    rows = _rows_by_plyfile(lines, stream.read(), len(before) + 1, "face")
    return list(rows[corners])


def _vertex_rows(stream: BinaryIO, lines: list[str], layout: PlyData, counts: dict[str, int]) -> NDArray[np.void]:
    """Read the rows of vertex from a stream at the start of the body; those behind them stay unparsed."""
    vertex, count = layout["vertex"], counts["vertex"]
    before = list(counts)[: list(counts).index("vertex")]
    if not layout.text and not any(_lists(layout[name]) for name in [*before, "vertex"]):
        stream.seek(sum(counts[name] * _least_row_size(layout, name) for name in before), os.SEEK_CUR)
        return np.fromfile(stream, vertex.dtype(layout.byte_order), count)
    body = stream.read()
    if layout.text and not _lists(vertex):
        # A row is a line, whatever it holds.
        rows = _rows_by_numpy(body, vertex, sum(counts[name] for name in before), count)
        if rows is not None:
            return rows
    return _rows_by_plyfile(lines, body, len(before) + 1, "vertex")


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
    """Have plyfile read the header with its counts set to 0, so that it allocates nothing; return those."""
    counts: dict[str, int] = {}
    emptied = []
    for number, line in enumerate(lines, start=1):
        match line.split():
            # plyfile takes some of them above all elements only.
            case [word, *_] if word in _REMARKS:
                continue
            case ["element", name, count] if re.fullmatch(r"[0-9]{1,18}", count):
                if name in counts:
                    raise FormatError(f"element {_brief(name)} declared twice", where=f"header line {number}")
                counts[name] = int(count)
                emptied.append(f"element {name} 0")
            case ["element", *_]:
                problem = f"expected 'element NAME COUNT', found {_brief(line)!r}"
                raise FormatError(problem, where=f"header line {number}")
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
        ply = PlyData.read(_as_stream([*kept, "end_header"], body), mmap=False)
    rows: NDArray[np.void] = ply[name].data
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


def _lists(element: PlyElement) -> bool:
    return any(isinstance(p, PlyListProperty) for p in element.properties)


def _as_stream(lines: list[str], body: bytes = b"") -> BytesIO:
    return BytesIO("".join(f"{line}\n" for line in lines).encode("ascii") + body)


def _brief(text: str) -> str:
    return text if len(text) <= _MAX_QUOTED else f"{text[: _MAX_QUOTED - 4]} ..."


def _listed(names: Iterable[str]) -> str:
    return _brief(", ".join(names))
