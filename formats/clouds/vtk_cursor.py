"""A place in a legacy VTK file that moves on: lines of words, arrays of numbers in text or binary."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.clouds.vtk_types import LEGACY
from pcqaad.formats.clouds.words import Words, quoted
from pcqaad.formats.errors import FormatError

_MAX_LINE = 4096  # bytes
_COUNT = re.compile(r"[0-9]{1,18}")


class Cursor:
    """The bytes of a file from a place on.

    Attributes:
        place: of the next byte.
        binary: whether arrays are binary, and big-endian.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0
        self.binary = False

    @cached_property
    def _words(self) -> Words:
        return Words.of(self._data)

    def line(self) -> list[str]:
        """Return the words of the next line that has some; none at the end of the file."""
        while self.place < len(self._data):
            if words := self.raw_line().split():
                return [word.decode("latin-1") for word in words]
        return []

    def raw_line(self) -> bytes:
        """Return the next line, empty or not, without its end; raises `FormatError` where it is too long."""
        end = self._data.find(b"\n", self.place, self.place + _MAX_LINE)
        if end < 0:
            end = len(self._data)
            if end - self.place > _MAX_LINE:
                found = quoted(self._data[self.place : self.place + 80])
                raise FormatError(f"expected a line of words, found {found}", where=f"byte {self.place}")
        line, self.place = self._data[self.place : end], end + 1
        return line

    def peek(self) -> list[str]:
        """Return the words of the next line that has some, and stay."""
        place = self.place
        # Binary numbers may follow, with no end of a line near.
        start = re.compile(rb"\s*([!-~]{1,80}[^\n]{0,200})").match(self._data, place)
        return start[1].decode("latin-1").split() if start else []

    def numbers(self, count: int, kind: str, where: str) -> NDArray[Any]:
        """Return the next numbers, of a type by its name in the file; raises `FormatError` where there are fewer."""
        if kind == "bit":
            return self._bits(count, where)
        if kind.lower() not in LEGACY:
            raise FormatError(f"expected a type of numbers, found {kind[:60]!r}", where=where)
        dtype = np.dtype(LEGACY[kind.lower()])
        if self.binary:
            return self._taken(count, dtype, where)
        low = int(np.searchsorted(self._words.starts, self.place))
        found = self._words.numbers(low, count, dtype, where)
        if count:
            self.place = int(self._words.ends[low + count - 1])
        return found

    def _taken(self, count: int, dtype: np.dtype[Any], where: str) -> NDArray[Any]:
        size, left = count * dtype.itemsize, len(self._data) - self.place
        if size > left:
            raise FormatError(f"expected {size} bytes for {count} numbers, found {max(left, 0)}", where=where)
        found = np.frombuffer(self._data, dtype.newbyteorder(">"), count, min(self.place, len(self._data)))
        self.place += size
        return found.astype(dtype)

    def _bits(self, count: int, where: str) -> NDArray[Any]:
        if not self.binary:
            return self.numbers(count, "unsigned_char", where)
        packed = self._taken((count + 7) // 8, np.dtype("u1"), where)
        return np.unpackbits(packed)[:count]

    def skip_strings(self, count: int, where: str) -> None:
        """Pass over texts: a line each or, in binary, each behind its length."""
        for _ in range(count):
            if self.place >= len(self._data):
                raise FormatError(f"expected {count} texts, found the end of the file", where=where)
            if not self.binary:
                self.raw_line()
                continue
            # The first two bits of the length say in how many bytes it stands: 8, 4, 2 or 1.
            size = 8 >> (self._data[self.place] >> 6)
            head = int.from_bytes(self._data[self.place : self.place + size], "big")
            self.place += size + (head & ((1 << (8 * size - 2)) - 1))


def whole_number(word: str, where: str) -> int:
    """Return a count as a number; raises `FormatError` where it is none."""
    if not _COUNT.fullmatch(word):
        raise FormatError(f"expected a number of 0 or more, found {word[:60]!r}", where=where)
    return int(word)
