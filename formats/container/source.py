"""Where a container's bytes come from: memory, a file, or anything else that can return a range."""

from __future__ import annotations

import stat
import threading
from pathlib import Path
from typing import Protocol

from pcqaad.formats.atomic import named_os_errors
from pcqaad.formats.errors import FormatError


class Source(Protocol):
    """A fixed run of bytes read by range: a file, a buffer, an object in a remote store."""

    @property
    def size(self) -> int:
        """Total number of bytes."""

    def get_bytes(self, offset: int, length: int) -> bytes:
        """Return the `length` bytes from `offset`, or those of them that are there."""


def get_exactly(source: Source, offset: int, length: int) -> bytes:
    """Return `length` bytes from `offset`; raises FormatError where the source returns fewer or more."""
    data = source.get_bytes(offset, length)
    if len(data) != length:
        raise FormatError(f"{length} bytes expected at byte {offset}, found {len(data)}")
    return data


class MemorySource:
    """Bytes already in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def get_bytes(self, offset: int, length: int) -> bytes:
        """Return the `length` bytes from `offset`, or those of them that are there."""
        return self._data[offset : offset + length]


class FileSource:
    """A local file, held open until `close`. Raises FormatError where it cannot be opened or read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with named_os_errors(path, "open"):
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for somebody to write to it
                kind = "a folder" if stat.S_ISDIR(found.st_mode) else "something else"
                raise FormatError(f"expected a file, found {kind}", file=str(path))
            self.size = found.st_size  # bytes
            self._file = path.open("rb")
        self._lock = threading.Lock()

    def get_bytes(self, offset: int, length: int) -> bytes:
        """Return the `length` bytes from `offset`, or those of them that are there."""
        with named_os_errors(self._path, "read"), self._lock:  # threads may share the file, and it has one position
            self._file.seek(offset)
            return self._file.read(length)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
