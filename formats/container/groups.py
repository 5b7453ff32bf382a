"""Groups: byte strings inside one section, each found and checked on its own, for random access."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from pcqaad.formats.container.source import Source, get_exactly
from pcqaad.formats.errors import FormatError

_PAIR = struct.Struct("<II")  # of a length, or of the count of groups, and of a checksum


def pack_groups(groups: Sequence[bytes]) -> bytes:
    """Return the groups behind a table of their lengths and checksums. Raises ValueError past 32 bits."""
    if len(groups) >= 2**32 or any(len(group) >= 2**32 for group in groups):
        raise ValueError("a count or length of groups does not fit in 32 bits")
    table = b"".join(_PAIR.pack(len(group), zlib.crc32(group)) for group in groups)
    checksum = zlib.crc32(struct.pack("<I", len(groups)) + table)
    return b"".join([_PAIR.pack(len(groups), checksum), table, *groups])


def groups_size(count: int) -> int:
    """Return the bytes of the table of `count` groups, the least that their section takes."""
    return (1 + count) * _PAIR.size


class Groups:
    """A section of groups: the table is read and checked here, a group when it is asked for."""

    def __init__(self, source: Source, offset: int, length: int, *, file: str = "", where: str = "") -> None:
        """Read the table of the `length` bytes at `offset`; raises FormatError."""
        self._source = source
        self._file = file
        self._where = where
        if length < _PAIR.size:
            raise self._error(f"{_PAIR.size} bytes expected, found {length}")
        head = self._get(offset, _PAIR.size)
        count, checksum = _PAIR.unpack(head)
        end = groups_size(count)
        if end > length:
            raise self._error(f"{end} bytes expected for a table of {count} groups, found {length}")
        table = self._get(offset + _PAIR.size, end - _PAIR.size)
        computed = zlib.crc32(table, zlib.crc32(head[:4]))
        if computed != checksum:
            raise self._error(f"checksum of the table expected {checksum:08x}, found {computed:08x}")
        self._rows: list[tuple[int, int, int]] = []
        for size, crc in _PAIR.iter_unpack(table):
            self._rows.append((offset + end, size, crc))
            end += size
        if end != length:
            raise self._error(f"{end} bytes expected, found {length}")

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, index: int) -> bytes:
        """Return one group, checked; raises FormatError, and IndexError outside 0 <= index < len."""
        if not 0 <= index < len(self._rows):
            raise IndexError(f"group {index} of {len(self._rows)}")
        offset, length, checksum = self._rows[index]
        data = self._get(offset, length)
        if zlib.crc32(data) != checksum:
            raise self._error(f"checksum of group {index} expected {checksum:08x}, found {zlib.crc32(data):08x}")
        return data

    def _get(self, offset: int, length: int) -> bytes:
        try:
            return get_exactly(self._source, offset, length)
        except FormatError as error:
            raise self._error(error.problem) from None

    def _error(self, problem: str) -> FormatError:
        return FormatError(problem, file=self._file, where=self._where)
