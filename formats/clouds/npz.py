"""NPZ files: NumPy arrays by name. The points of one shape or of many, their faces, attributes and names.

Of many clouds each is read when it is asked for. In their order that inflates an array once, in another one more often.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.atomic import named_os_errors
from pcqaad.formats.clouds.names import safe_name
from pcqaad.formats.clouds.npy import point_type, read_header
from pcqaad.formats.clouds.shape import Polygons, Shape, put
from pcqaad.formats.errors import FormatError

POINTS = ("points", "vertices", "verts", "v", "xyz", "positions", "pos", "clouds", "coords")
FACES = ("faces", "f", "triangles", "tris", "polygons", "cells")
_SIZES, _CORNERS, _NAMES = "face_sizes", "face_corners", "names"
_MAX_GAIN = 1100  # of deflate: 1032 to 1
_MAX_ARRAYS = 4096
_AT_ONCE = 1 << 20  # bytes that are passed over


@dataclass(frozen=True)
class Array:
    """What the header of an array says of it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    transposed: bool


class Npz:
    """The arrays of a file: their headers are read at once, their numbers when they are asked for.

    Raises `FormatError` where it is no such file, or has no array of points.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._streams: dict[str, tuple[IO[bytes], int]] = {}  # of arrays that are read a part at a time
        with self._errors(), zipfile.ZipFile(path) as archive:
            found = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            if len(found) > _MAX_ARRAYS:
                raise FormatError(f"expected at most {_MAX_ARRAYS} arrays, found {len(found)}")
            self.arrays = {info.filename.removesuffix(".npy"): _header(archive, info) for info in found}
        self.points = self._points()

    @property
    def count(self) -> int | None:
        """Clouds of the file; None for one of shape (points, 3)."""
        shape = self.arrays[self.points].shape
        return shape[0] if len(shape) == 3 else None

    @property
    def size(self) -> int:
        """Points of each cloud."""
        return self.arrays[self.points].shape[-2]

    @cached_property
    def names(self) -> list[str] | None:
        """Names of the clouds, where there are some, one for each, that may be those of files."""
        array = self.arrays.get(_NAMES)
        if array is None or array.dtype.kind != "U" or array.shape != (self.count or 1,):
            return None
        names = [str(name) for name in self._read(_NAMES)]
        return names if all(map(safe_name, names)) else None

    def shape(self, index: int | None) -> Shape:
        """Return one cloud, the only one where `index` is None, its faces and attributes."""
        points = self._read(self.points, index)
        attributes: dict[str, NDArray[Any]] = {}
        rows = self.arrays[self.points].shape[:-1]
        special = {self.points, self._faces, _SIZES, _CORNERS, _NAMES}
        notes = []
        for name, array in self.arrays.items():
            if name in special:
                continue
            if _is_attribute(array, rows):
                put(attributes, name, self._read(name, index))
            else:
                notes.append(f"array {name[:60]} not kept")
        kind = point_type(points.dtype)
        return Shape(points.astype(kind), self._polygons(len(points)), attributes, tuple(notes))

    @cached_property
    def _faces(self) -> str | None:
        lower = {name.lower(): name for name in self.arrays}
        for name in FACES:
            array = self.arrays.get(lower.get(name, ""))
            if array is not None and array.dtype.kind in "iu" and len(array.shape) == 2 and array.shape[1] >= 3:
                return lower[name]
        return None

    def _polygons(self, points: int) -> Polygons | None:
        if self._faces is not None:
            return Polygons.of_rows(self._read(self._faces), points, f"array {self._faces}")
        kinds = [self.arrays[name].dtype.kind for name in (_SIZES, _CORNERS) if name in self.arrays]
        if len(kinds) < 2 or set(kinds) - set("iu"):
            return None
        sizes, corners = self._read(_SIZES).reshape(-1).astype(np.int64), self._read(_CORNERS).reshape(-1)
        if (sizes < 0).any() or (sizes > len(corners)).any() or int(sizes.sum()) != len(corners):
            raise FormatError(
                f"expected the numbers of corners of faces, {len(corners)} in all", where=f"array {_SIZES}"
            )
        return Polygons.checked(sizes, corners, points, f"array {_CORNERS}")

    def _points(self) -> str:
        possible = {
            name: array
            for name, array in self.arrays.items()
            if point_type(array.dtype) is not None and len(array.shape) in (2, 3) and array.shape[-1] == 3
        }
        lower = {name.lower(): name for name in possible}
        named = [lower[name] for name in POINTS if name in lower]
        reals = [name for name, array in possible.items() if array.dtype.kind == "f"]
        chosen = named[:1] or (reals if len(reals) == 1 else [])
        if not chosen:
            kinds = f"{' or '.join(POINTS[:3])} of shape (points, 3) or (clouds, points, 3)"
            raise FormatError(f"expected an array {kinds}, found {_described(self.arrays)}", file=str(self._path))
        if 0 in possible[chosen[0]].shape:
            problem = f"holds no points: its shape is {possible[chosen[0]].shape}"
            raise FormatError(problem, file=str(self._path), where=f"array {chosen[0]}")
        return chosen[0]

    def _read(self, name: str, index: int | None = None) -> NDArray[Any]:
        """Read an array, or what of it belongs to one of many clouds, and no more than its header says."""
        array = self.arrays[name]
        size = math.prod(array.shape) * array.dtype.itemsize
        # Of an array in Fortran's order no cloud lies in one piece.
        whole = index is None or array.transposed
        row = size // array.shape[0] if array.shape else size
        low, high = (0, size) if index is None or whole else (index * row, (index + 1) * row)
        data = self._bytes(name, low, high)
        values = np.frombuffer(data, array.dtype)
        values = values.reshape(array.shape if whole else array.shape[1:], order="F" if array.transposed else "C")
        values = values[index] if whole and index is not None else values
        return np.array(values, dtype=array.dtype.newbyteorder("="), order="C")

    def _bytes(self, name: str, low: int, high: int) -> bytes:
        """Return a part of an array's numbers. Parts that follow each other are inflated once in all."""
        with self._errors():
            stream, place = self._streams.pop(name, (None, 0))
            if stream is None or place > low:
                # Left open for the next part, which goes on from there.
                stream, place = zipfile.ZipFile(self._path).open(f"{name}.npy"), 0  # noqa: SIM115
                read_header(stream)
            while place < low and (skipped := len(stream.read(min(low - place, _AT_ONCE)))):
                place += skipped
            data = stream.read(high - low)
            if len(data) < high - low:
                raise FormatError(f"expected {high - low} bytes, found {len(data)}", where=f"array {name[:60]}")
            self._streams[name] = stream, high
        return data

    @contextmanager
    def _errors(self) -> Iterator[None]:
        path = self._path
        try:
            with named_os_errors(path, "read"):
                path.open("rb").close()
            yield
        except FormatError as error:
            raise error.in_file(str(path)) from error
        except Exception as error:  # whatever the module makes of a damaged file
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise FormatError(f"malformed .npz: {reason}", file=str(path)) from error


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """Read the header of an array, checked against what the file stores of it."""
    where = f"array {info.filename.removesuffix('.npy')[:60]}"
    with archive.open(info) as stream:
        try:
            shape, transposed, dtype = read_header(stream)
        except FormatError as error:
            raise FormatError(error.problem, where=where) from error
    claimed = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or min(shape, default=0) < 0 or claimed > _MAX_GAIN * info.compress_size:
        problem = f"shape {shape} of {dtype} claims {claimed} bytes, but {info.compress_size} are stored"
        raise FormatError(f"expected no objects, found {dtype}" if dtype.hasobject else problem, where=where)
    return Array(shape, dtype, transposed)


def _is_attribute(array: Array, rows: tuple[int, ...]) -> bool:
    """Say whether an array holds numbers of one row a point: (points,), (points, c), or the same behind the clouds."""
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        return False
    return array.shape[: len(rows)] == rows and len(array.shape) - len(rows) in (0, 1) and 0 not in array.shape


def _described(arrays: Mapping[str, Array]) -> str:
    some = [f"{name[:60]} {array.shape}" for name, array in list(arrays.items())[:5]]
    return ", ".join(some) + (" ..." if len(arrays) > 5 else "") if some else "no arrays"
