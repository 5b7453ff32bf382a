"""NumPy arrays of clouds: one `.npy` file of shape (clouds, points, 3), or (points, 3) for a single cloud."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pcqaad.formats.atomic import atomic_path, named_os_errors
from pcqaad.formats.errors import FormatError

Points = NDArray[np.float32 | np.float64]  # (points, 3)


def point_type(stored: np.dtype[Any]) -> DTypeLike | None:
    """Return the type to read coordinates as: float32 where it holds all of `stored`, else float64.

    None where `stored` is no type of coordinates (booleans, complex numbers, text, objects, long doubles).
    """
    if stored.kind not in "iuf" or stored.itemsize > 8:
        return None
    return np.result_type(np.float32, stored)


def count_npy(path: str | Path) -> tuple[int | None, int]:
    """Return the number of clouds, None for one of shape (points, 3), and the points of each.

    Raises `FormatError` when it is no array of clouds of at least one point.
    """
    array = _open(path)
    return len(array) if array.ndim == 3 else None, array.shape[-2]


def read_npy(path: str | Path, index: int | None) -> tuple[Points, list[str]]:
    """Read one cloud and no more, the only one where `index` is None; no notes. Raises as `count_npy` does."""
    array = _open(path)
    return np.array(array if index is None else array[index], dtype=point_type(array.dtype), order="C"), []


def write_npy(path: str | Path, count: int, points: int, clouds: Iterable[NDArray[np.float32]]) -> None:
    """Write `count` clouds (points, 3), taken one at a time, as float32; raises `FormatError` as `atomic_path` does."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, points, 3)}
    with atomic_path(Path(path)) as temporary, temporary.open("wb") as stream:
        # A plain stream, since a full disk ends the process when it is met through a memory map.
        np.lib.format.write_array_header_1_0(stream, header)
        for _, cloud in zip(range(count), clouds, strict=True):
            if cloud.shape != (points, 3):
                raise ValueError(f"expected clouds of shape {(points, 3)}, found {cloud.shape}")
            stream.write(np.ascontiguousarray(cloud, dtype="<f4").data)


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an array: its shape, whether it is in Fortran's order, and its type; raises `FormatError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the Python code that a header is
            # Version 3 differs from 2 in the names of fields alone, and coordinates have none.
            first = np.lib.format.read_magic(stream)[0] == 1
            read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
            sides, transposed, dtype = read(stream)
            return tuple(map(int, sides)), transposed, dtype
    except Exception as error:  # whatever numpy makes of a hostile header
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise FormatError(f"malformed .npy: {reason}") from error


def _open(path: str | Path) -> NDArray[Any]:
    """Map the array of a file, once its header was checked against the file's size."""
    with named_os_errors(path, "read"), Path(path).open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if stream.read(6) != b"\x93NUMPY":
            raise FormatError("expected a .npy file, found other first bytes", file=str(path))
        stream.seek(0)
        try:
            shape, transposed, dtype = read_header(stream)
        except FormatError as error:
            raise error.in_file(str(path)) from error
        start = stream.tell()
    if point_type(dtype) is None:
        raise FormatError(f"expected real numbers, found dtype {dtype}", file=str(path))
    if len(shape) not in (2, 3) or shape[-1] != 3 or min(shape) < 0:
        raise FormatError(f"expected shape (clouds, points, 3) or (points, 3), found {shape}", file=str(path))
    if 0 in shape:
        raise FormatError(f"holds no points: its shape is {shape}", file=str(path))
    claimed = math.prod(shape) * dtype.itemsize  # in Python's integers: numpy's own overflow
    if claimed > size - start:
        raise FormatError(f"shape {shape} claims {claimed} bytes, found {size - start}", file=str(path))
    with named_os_errors(path, "read"):
        return np.memmap(path, dtype, "r", start, shape, "F" if transposed else "C")
