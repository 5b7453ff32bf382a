"""NumPy arrays of clouds: one `.npy` file of shape (clouds, points, 3), or (points, 3) for a single cloud."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pcqaad.formats.atomic import atomic_path, named_os_errors
from pcqaad.formats.errors import FormatError


def point_type(stored: np.dtype[Any]) -> DTypeLike | None:
    """Return the type to read coordinates as: float32 where it holds all of `stored`, else float64.

    None where `stored` is no type of coordinates (booleans, complex numbers, text, objects, long doubles).
    """
    if stored.kind not in "iuf" or stored.itemsize > 8:
        return None
    return np.result_type(np.float32, stored)


def count_npy(path: str | Path) -> tuple[int | None, int]:
    """Return how many clouds a `.npy` file holds, None if it is one cloud of shape (points, 3), and of how many points.

    Raises `FormatError` when it is no array of clouds of at least one point.
    """
    array = _open(path)
    return len(array) if array.ndim == 3 else None, array.shape[-2]


def read_npy(path: str | Path, index: int | None) -> NDArray[np.float32 | np.float64]:
    """Read one cloud, shape (points, 3), of a `.npy` file; `index` is None if it is of shape (points, 3).

    No more of the file is read than this cloud. Raises `FormatError` as `count_npy` does.
    """
    array = _open(path)
    return np.array(array if index is None else array[index], dtype=point_type(array.dtype), order="C")


def write_npy(path: str | Path, count: int, points: int, clouds: Iterable[NDArray[np.float32]]) -> None:
    """Write `count` clouds of shape (points, 3), taken one at a time, as float32 (count, points, 3).

    Raises `FormatError` when the file cannot be written; nothing is left of it then.
    """
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, points, 3)}
    with atomic_path(Path(path)) as temporary, temporary.open("wb") as stream:
        # A plain stream, since a full disk ends the process when it is met through a memory map.
        np.lib.format.write_array_header_1_0(stream, header)
        for _, cloud in zip(range(count), clouds, strict=True):
            if cloud.shape != (points, 3):
                raise ValueError(f"expected clouds of shape {(points, 3)}, found {cloud.shape}")
            stream.write(np.ascontiguousarray(cloud, dtype="<f4").data)


def _open(path: str | Path) -> NDArray[Any]:
    try:
        with named_os_errors(path, "read"), Path(path).open("rb") as stream:
            if stream.read(6) != b"\x93NUMPY":
                raise FormatError("expected a .npy file, found other first bytes", file=str(path))
        # Mapped, an array of objects is refused before anything is unpickled.
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except FormatError:
        raise
    except Exception as error:  # whatever numpy makes of a hostile header
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise FormatError(f"malformed .npy: {reason}", file=str(path)) from error
    if point_type(array.dtype) is None:
        raise FormatError(f"expected real numbers, found dtype {array.dtype}", file=str(path))
    if array.ndim not in (2, 3) or array.shape[-1] != 3:
        problem = f"expected shape (clouds, points, 3) or (points, 3), found {array.shape}"
        raise FormatError(problem, file=str(path))
    if array.size == 0:
        raise FormatError(f"holds no points: its shape is {array.shape}", file=str(path))
    return array
