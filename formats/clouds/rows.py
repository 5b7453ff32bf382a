"""Rows of numbers as lines of text, by which every number comes back as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_ROWS_AT_ONCE = 1 << 16


def write_rows(stream: BinaryIO, line: str, rows: NDArray[Any]) -> None:
    """Write rows (n, c) as lines of one form, which has a place for each of the c numbers."""
    for low in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[low : low + _ROWS_AT_ONCE]
        stream.write((line * len(some) % tuple(some.reshape(-1).tolist())).encode("ascii"))


def write_columns(stream: BinaryIO, columns: Sequence[NDArray[Any]], separator: str, before: str = "") -> None:
    """Write columns (n,) of any types side by side, each number in as many digits as tell it from its neighbours."""
    line = before + separator.join(form(column.dtype) for column in columns) + "\n"
    for low in range(0, len(columns[0]), _ROWS_AT_ONCE):
        some = [column[low : low + _ROWS_AT_ONCE].tolist() for column in columns]
        numbers = [number for row in zip(*some, strict=True) for number in row]
        stream.write((line * len(some[0]) % tuple(numbers)).encode("ascii"))


def form(dtype: np.dtype[Any]) -> str:
    """Return the form of a number of a type: integers as they are, float32 in 9 significant digits, float64 in 17."""
    if dtype.kind != "f":
        return "%d"
    return "%.9g" if dtype.itemsize <= 4 else "%.17g"
