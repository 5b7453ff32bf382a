"""What reads a file of one shape, by its suffix."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from pcqaad.formats.atomic import named_os_errors
from pcqaad.formats.clouds.e57 import read_e57
from pcqaad.formats.clouds.las import read_las
from pcqaad.formats.clouds.obj import parse_obj
from pcqaad.formats.clouds.off import parse_off
from pcqaad.formats.clouds.pcd import count_pcd, parse_pcd
from pcqaad.formats.clouds.shape import Shape
from pcqaad.formats.clouds.stl import parse_stl
from pcqaad.formats.clouds.text import is_table, parse_text
from pcqaad.formats.clouds.vtk import parse_vtk
from pcqaad.formats.clouds.vtp import parse_vtp
from pcqaad.formats.errors import FormatError

# Of these suffixes are files of other content too: what is in them says whether they are points.
TEXTS = (".txt", ".csv", ".tsv", ".asc", ".xyz", ".xyzn", ".xyzrgb", ".pts")
PARSERS: dict[str, Callable[[bytes], Shape]] = {
    ".stl": parse_stl,
    ".obj": parse_obj,
    ".off": parse_off,
    ".vtk": parse_vtk,
    ".vtp": parse_vtp,
    ".pcd": parse_pcd,
    **{suffix: partial(parse_text, suffix=suffix) for suffix in TEXTS},
}
_BY_LIBRARIES: dict[str, Callable[[Path], Shape]] = {".las": read_las, ".laz": read_las, ".e57": read_e57}
SUFFIXES = (*PARSERS, *_BY_LIBRARIES)
_HEAD = 1 << 14  # bytes that tell whether a file of text is a table


def read_file(path: Path) -> Shape:
    """Read a file of one of `SUFFIXES`; raises `FormatError` with its name where it cannot be read."""
    suffix = path.suffix.lower()
    if suffix in _BY_LIBRARIES:
        return _BY_LIBRARIES[suffix](path)
    try:
        return parse(_bytes(path), suffix)
    except FormatError as error:
        raise error.in_file(str(path)) from error


def parse(data: bytes, suffix: str) -> Shape:
    """Read the bytes of a file of one of the suffixes that need no library; raises `FormatError`."""
    try:
        return PARSERS[suffix](data)
    except FormatError as error:
        # Words of the file are in the line, and may have characters that a terminal obeys.
        raise FormatError(_printable(error.problem), where=_printable(error.where)) from error


def count_file(path: Path) -> int:
    """Return how many points a file holds, from its header where it has one; raises as `read_file` does."""
    if path.suffix.lower() != ".pcd":
        return len(read_file(path).points)
    try:
        return count_pcd(_bytes(path))
    except FormatError as error:
        raise error.in_file(str(path)) from error


def is_cloud(path: Path) -> bool:
    """Say whether a file of text is a table of points, by how it begins: no where it is missing, yes if unreadable."""
    if path.suffix.lower() not in TEXTS:
        return True
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return is_table(head, len(head) < _HEAD)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _bytes(path: Path) -> bytes:
    with named_os_errors(path, "read"):
        return path.read_bytes()
