"""PCD files of the Point Cloud Library: text, binary, or binary compressed by LZF."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.clouds.lzf import inflate
from pcqaad.formats.clouds.npy import point_type
from pcqaad.formats.clouds.shape import Shape, joined, put
from pcqaad.formats.clouds.words import Lines, quoted, table
from pcqaad.formats.errors import FormatError

_MAX_HEADER = 1 << 16  # bytes
_MAX_FIELDS = 256
_KEYS = ("VERSION", "FIELDS", "COLUMNS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT", "VIEWPOINT", "POINTS")
_NORMAL = {"normal_x": "nx", "normal_y": "ny", "normal_z": "nz"}
_PACKED = ("rgb", "rgba")
_TYPES = {(kind, size): f"{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)}
_TYPES |= {("F", 4): "f4", ("F", 8): "f8"}


class _Field(NamedTuple):
    name: str
    dtype: np.dtype[Any]
    width: int  # numbers of a point


class _Header(NamedTuple):
    fields: list[_Field]
    points: int
    form: str  # ascii, binary or binary_compressed
    notes: list[str]
    end: int  # where the data begin


def parse_pcd(data: bytes) -> Shape:
    """Read the points of a file and its other fields: `rgb`, packed as PCL does, as `colour`, normals as `normal`.

    Raises `FormatError` where it is no PCD file, or holds less than it claims.
    """
    header = read_header(data)
    columns = _columns(data, header)
    coordinates = [columns.pop(axis) for axis in "xyz"]
    kind = np.result_type(*(point_type(values.dtype) for values in coordinates))
    attributes = joined({_NORMAL.get(name, name): values for name, values in columns.items() if values.ndim == 1})
    for name, values in columns.items():
        if values.ndim == 2:
            put(attributes, name, values)
    for name in [name for name in _PACKED if name in attributes]:
        packed = attributes[name]
        if packed.ndim == 1 and packed.dtype.itemsize == 4:
            bits = packed.view(np.uint32)
            del attributes[name]
            put(attributes, "colour", np.stack([bits >> shift & 255 for shift in (16, 8, 0)], axis=1).astype(np.uint8))
            if name == "rgba":
                put(attributes, "alpha", (bits >> 24).astype(np.uint8))
    return Shape(np.stack(coordinates, axis=1).astype(kind), None, attributes, tuple(header.notes))


def count_pcd(data: bytes) -> int:
    """Return how many points the header promises; raises `FormatError` as `parse_pcd` does."""
    return read_header(data).points


def read_header(data: bytes) -> _Header:
    """Read and check the lines down to DATA; raises `FormatError` for such as no reader could take."""
    found: dict[str, list[str]] = {}
    place = 0
    while True:
        end = data.find(b"\n", place, _MAX_HEADER)
        if end < 0:
            raise FormatError("expected a line DATA, found none", where="header")
        line, place = data[place:end], end + 1
        words = [word.decode("latin-1") for word in line.split(b"#", 1)[0].split()]
        if not words:
            continue
        if words[0] == "DATA":
            break
        if words[0] not in _KEYS:
            first = "a PCD file" if not found else f"a line of a header ({', '.join(_KEYS)})"
            raise FormatError(f"expected {first}, found {quoted(line)}", where="header")
        found[words[0]] = words[1:]
    form = " ".join(words[1:]).lower()
    if form not in ("ascii", "binary", "binary_compressed"):
        raise FormatError(f"expected DATA ascii, binary or binary_compressed, found {form[:60]!r}", where="header")
    fields = _fields(found)
    points = _points(found)
    notes = ["viewpoint not kept"] if [*map(_zero_or_one, found.get("VIEWPOINT", []))] not in ([], [*"0001000"]) else []
    return _Header(fields, points, form, notes, place)


def _zero_or_one(word: str) -> str:
    return re.sub(r"^([01])(\.0*)?$", r"\1", word)


def _fields(found: dict[str, list[str]]) -> list[_Field]:
    names = found.get("FIELDS", found.get("COLUMNS", []))
    sizes, kinds = found.get("SIZE", ["4"] * len(names)), found.get("TYPE", ["F"] * len(names))
    counts = found.get("COUNT", ["1"] * len(names))
    if not 1 <= len(names) <= _MAX_FIELDS or {len(sizes), len(kinds), len(counts)} != {len(names)}:
        found_ = f"{len(names)} FIELDS, {len(sizes)} SIZE, {len(kinds)} TYPE and {len(counts)} COUNT"
        raise FormatError(f"expected 1 to {_MAX_FIELDS} fields with a size, type and count each, found {found_}")
    fields = []
    for name, size, kind, count in zip(names, sizes, kinds, counts, strict=True):
        dtype = _TYPES.get((kind.upper(), int(size) if size.isdecimal() and len(size) < 3 else 0))
        if dtype is None or not re.fullmatch(r"[0-9]{1,6}", count):
            problem = f"expected a size, type and count, found {size[:9]} {kind[:9]} {count[:9]}"
            raise FormatError(problem, where=name[:60])
        fields.append(_Field(name, np.dtype(f"<{dtype}"), int(count)))
    for axis in "xyz":
        if [field.width for field in fields if field.name == axis] != [1]:
            problem = f"expected one field {axis} of one number, found {' '.join(names)[:60]!r}"
            raise FormatError(problem, where="header")
    own = [field.name for field in fields if field.name != "_"]
    if len(set(own)) < len(own):
        raise FormatError("expected fields of different names, found two of one", where="header")
    return fields


def _points(found: dict[str, list[str]]) -> int:
    numbers: dict[str, int] = {}
    for key in ("WIDTH", "HEIGHT", "POINTS"):
        words = found.get(key, [])
        if words and not (len(words) == 1 and re.fullmatch(r"[0-9]{1,18}", words[0])):
            raise FormatError(f"expected a number as {key}, found {' '.join(words)[:60]!r}", where="header")
        if words:
            numbers[key] = int(words[0])
    whole = math.prod(numbers[key] for key in ("WIDTH", "HEIGHT")) if {"WIDTH", "HEIGHT"} <= set(numbers) else None
    points = numbers.get("POINTS", whole)
    if points is None or (whole is not None and whole != points):
        raise FormatError(f"expected WIDTH times HEIGHT as POINTS, found {numbers}", where="header")
    return points


def _columns(data: bytes, header: _Header) -> dict[str, NDArray[Any]]:
    """Return the fields by name, (n,) or (n, count), those that are padding left out."""
    width = sum(field.dtype.itemsize * field.width for field in header.fields)
    size, left = header.points * width, len(data) - header.end
    if header.form == "ascii":
        return _of_text(data, header)
    if header.form == "binary":
        if size > left:
            raise FormatError(f"expected {size} bytes for {header.points} points, found {left}")
        rows = np.frombuffer(data, np.uint8, size, header.end).reshape(header.points, width)
        parts = np.split(rows, np.cumsum([f.dtype.itemsize * f.width for f in header.fields])[:-1], axis=1)
        return _named(header, [np.ascontiguousarray(part).reshape(-1) for part in parts])
    heads = np.frombuffer(data[header.end : header.end + 8].ljust(8, b"\0"), "<u4").tolist()
    if heads[0] > left - 8 or heads[1] != size:
        raise FormatError(f"expected {size} bytes, compressed in {max(left - 8, 0)}, found {heads[1]} in {heads[0]}")
    plain = np.frombuffer(inflate(data[header.end + 8 : header.end + 8 + heads[0]], size), np.uint8)
    # Compressed files have one field of all points behind the other.
    ends = np.cumsum([header.points * f.dtype.itemsize * f.width for f in header.fields])[:-1]
    return _named(header, np.split(plain, ends))


def _named(header: _Header, parts: list[NDArray[np.uint8]]) -> dict[str, NDArray[Any]]:
    named = {}
    for field, part in zip(header.fields, parts, strict=True):
        if field.name != "_" and field.width:
            values = part.view(field.dtype).astype(field.dtype.newbyteorder("="))
            named[field.name] = values.reshape(header.points, field.width) if field.width > 1 else values
    return named


def _of_text(data: bytes, header: _Header) -> dict[str, NDArray[Any]]:
    lines = Lines()
    first = data.count(b"\n", 0, header.end) + 1
    for number, text in enumerate(data[header.end :].split(b"\n"), start=first):
        if text := text.strip():
            lines.add(number, text)
    if len(lines) != header.points:
        raise FormatError(f"expected {header.points} lines of points, found {len(lines)}")
    rows = table(lines)
    width = sum(field.width for field in header.fields)
    if len(lines) and rows.shape[1] != width:
        raise lines.error(f"expected {width} numbers, found {{}}", 0)
    named, place = {}, 0
    for field in header.fields:
        values = rows[:, place : place + field.width] if len(lines) else np.zeros((0, field.width))
        place += field.width
        if field.name == "_" or not field.width:
            continue
        named[field.name] = _cast(values.reshape(header.points, field.width), field)
    return {name: values[:, 0] if values.shape[1] == 1 else values for name, values in named.items()}


def _cast(values: NDArray[np.float64], field: _Field) -> NDArray[Any]:
    """Return numbers of a text in the field's type; raises `FormatError` where that does not hold one."""
    dtype = field.dtype.newbyteorder("=")
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    limits = np.iinfo(dtype)
    bad = ~((values >= limits.min) & (values < float(limits.max) + 1) & (values == np.trunc(values)))
    if bad.any():
        problem = f"expected integers of {dtype.itemsize} bytes, found {values[bad][0]:.6g}"
        raise FormatError(problem, where=f"field {field.name[:60]}")
    return values.astype(dtype)
