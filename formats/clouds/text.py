"""Text files of points: columns with blanks, commas, semicolons or tabs between, a line of names above or none."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.clouds.shape import Shape, joined
from pcqaad.formats.clouds.words import Lines, is_number, table
from pcqaad.formats.errors import FormatError

_SEPARATORS = (b",", b";", b"\t")
_MAX_COLUMNS = 1024
_HEAD = 1 << 14  # bytes that tell whether a file is such a table
# Of other programs, and what they are called here; those of coordinates are ParaView's.
_ALIKE = {"points:0": "x", "points:1": "y", "points:2": "z", "r": "red", "g": "green", "b": "blue"}
_ALIKE |= {"normal_x": "nx", "normal_y": "ny", "normal_z": "nz"}
_SHADES = ("red", "green", "blue", "alpha")
# What the columns behind x y z are where the format's name says so, and no line of the file.
_CONVENTIONS = {
    (".xyzn", 3): ["nx", "ny", "nz"],
    (".xyzrgb", 3): ["red", "green", "blue"],
    (".pts", 1): ["intensity"],
    (".pts", 4): ["intensity", "red", "green", "blue"],
}


def parse_text(data: bytes, suffix: str = ".txt") -> Shape:
    """Read the columns x, y, z of a file, as float64, and all others as attributes.

    A first line of names says which columns they are. Without one they are the first three, and the others are
    `red`, `green`, `blue`, `nx` and so on where the suffix tells, else `column_4`, `column_5`... Lines that begin
    with `#` or `//` are remarks, but a first one that names the columns. A first line of one number is the number of
    points. A column of whole numbers without a decimal point is of integers; of bytes where it is a colour.

    Raises `FormatError` with the line where it is malformed.
    """
    if b"\0" in data[:_HEAD]:
        raise FormatError("expected text, found other bytes")
    lines, named = _lines(data)
    if not len(lines):
        return Shape(np.zeros((0, 3)))
    lines, separator = _without_count(lines), _separator(lines.texts[-1])
    rows = table(lines, separator)
    width = rows.shape[1]
    if not 3 <= width <= _MAX_COLUMNS:
        raise lines.error("expected 3 numbers or more, found {}", 0)
    names = _names(named, separator, width) or _usual_names(suffix, width)
    axes = [names.index(axis) for axis in "xyz"]
    columns = {name: _typed(rows[:, i], name, lines, i, separator) for i, name in enumerate(names) if i not in axes}
    shades = {name: columns[name].dtype for name in _SHADES[:3] if name in columns}
    columns |= {name: columns[name].astype(np.result_type(*shades.values())) for name in shades}
    return Shape(np.ascontiguousarray(rows[:, axes]), None, joined(columns))


def is_table(head: bytes, whole: bool) -> bool:
    """Say whether the first bytes of a file seem to be those of points: three columns of numbers or more.

    Args:
        head: the first bytes.
        whole: whether these are all.
    """
    if b"\0" in head:
        return False
    lines, named = _lines(head if whole else head.rpartition(b"\n")[0])
    # A text of another kind may have one line of numbers, a date for example.
    if len(lines) < (2 if named and not _if_names(named) else 1):
        return False
    try:
        lines = lines.part(int(_counts(lines)), len(lines))
        return bool(table(lines, _separator(lines.texts[-1])).shape[1] >= 3)
    except FormatError:
        return False


def _lines(data: bytes) -> tuple[Lines, bytes]:
    """Return the lines of numbers, and the line of names above them, if any."""
    lines, named = Lines(), b""
    text = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for number, line in enumerate(text.split(b"\n"), start=1):
        line = line.strip(b" \t\f\v")
        if not line:
            continue
        remark = re.match(rb"(#|//|%)+", line)
        if remark:
            if not len(lines) and not named:
                named = _if_names(line[remark.end() :])
        elif not len(lines) and not named and not any(map(is_number, re.split(rb"[,;\s]+", line))):
            named = line
        else:
            lines.add(number, line)
    return lines, named


def _if_names(line: bytes) -> bytes:
    """Return a line that names the columns x, y and z; nothing for any other."""
    words = [word.strip(b"\"' ").lower() for word in re.split(rb"[,;\t ]+", line.strip())]
    return line.strip() if all(axis in words for axis in (b"x", b"y", b"z")) else b""


def _without_count(lines: Lines) -> Lines:
    """Return the lines below one that counts the points, as in PTS files; raises `FormatError` for a false one."""
    if not _counts(lines):
        return lines
    if int(lines.texts[0]) != len(lines) - 1:
        raise lines.error(f"expected as many lines of points as this says, {{}}, found {len(lines) - 1}", 0)
    return lines.part(1, len(lines))


def _counts(lines: Lines) -> bool:
    return len(lines) > 1 and re.fullmatch(rb"[0-9]{1,18}", lines.texts[0]) is not None


def _separator(line: bytes) -> bytes | None:
    return next((separator for separator in _SEPARATORS if separator in line), None)


def _names(line: bytes, separator: bytes | None, width: int) -> list[str]:
    """Return the names of all columns in a line; none where they are fewer or more, or x, y, z are not among them."""
    words = line.split(separator) if separator is not None and separator in line else re.split(rb"[,;\s]+", line)
    plain = [re.sub(r"[^\x20-\x7e]", "_", word.strip(b"\"' ").decode("latin-1")) for word in words]
    lower = [name.lower() for name in plain]
    known = {**_ALIKE, **{name: name for name in ("x", "y", "z", "nx", "ny", "nz", *_SHADES)}}
    names = [known.get(low, name) for name, low in zip(plain, lower, strict=True)]
    return names if len(names) == len(set(names)) == width and set("xyz") <= set(names) else []


def _usual_names(suffix: str, width: int) -> list[str]:
    others = _CONVENTIONS.get((suffix, width - 3)) or [f"column_{i}" for i in range(4, width + 1)]
    return ["x", "y", "z", *others]


def _typed(column: NDArray[np.float64], name: str, lines: Lines, index: int, separator: bytes | None) -> NDArray[Any]:
    """Return a column as integers where its text is of such."""
    if not (np.abs(column) < 2**53).all() or (column != np.trunc(column)).any():
        return column
    if any(not re.fullmatch(rb"\s*[+-]?[0-9]+\s*", text.split(separator)[index]) for text in lines.texts):
        return column
    small = name in _SHADES and bool(((column >= 0) & (column <= 255)).all())
    return column.astype(np.uint8 if small else np.int64)
