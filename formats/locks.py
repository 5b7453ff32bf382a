"""Files that one process at a time works on: who writes a file holds its name from the start of the work."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from pcqaad.formats.atomic import named_os_errors
from pcqaad.formats.errors import FormatError

try:
    import fcntl
except ImportError:  # Windows: nothing is held there.
    fcntl = None  # type: ignore[assignment]

# What a lock fails with where another process has it. Any other failure is that of a file system without locks.
_TAKEN = (errno.EACCES, errno.EAGAIN)


@contextmanager
def held(final: Path) -> Iterator[None]:
    """Hold a file's name until the block ends, whether there is such a file or not.

    The lock is on a hidden file beside it, `.pcqaad-CRC.lock`, which goes with the block. The system releases it
    however the process ends, so what a killed one left behind stops nobody. A symbolic link is followed, as when the
    file is written. Where the system has no such locks, nothing is held.

    Raises `FormatError` where another process holds the name, or the folder cannot be written to.
    """
    target = Path(os.path.realpath(final))
    lock = target.with_name(f".pcqaad-{zlib.crc32(os.fsencode(target.name)):08x}.lock")
    if fcntl is None:
        yield
        return
    with named_os_errors(final, "lock"):
        stream = _locked(lock, final)
    try:
        yield
    finally:
        # While it is locked: who opened it meanwhile finds that it is gone, and makes another.
        with suppress(OSError):
            lock.unlink()
        stream.close()


def _locked(lock: Path, final: Path) -> FileIO:
    """Return the file of a lock, open and locked, with the number of this process in it."""
    while True:
        stream = lock.open("a+b", buffering=0)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _TAKEN:
                return stream  # the file system has no locks
            stream.seek(0)
            holder = (stream.read(20) or b"").decode("ascii", "replace").strip()
            stream.close()
            by = f"process {holder}" if holder.isdigit() else "another process"
            raise FormatError(f"{by} is writing it: wait for it to end, or stop it", file=str(final)) from None
        if _is_still(stream, lock):
            with suppress(OSError):  # on a full disk it stays a lock without a number
                stream.truncate(0)
                stream.write(b"%d\n" % os.getpid())
            return stream
        stream.close()


def _is_still(stream: FileIO, path: Path) -> bool:
    """Say whether a path leads to an open file: its last holder may have removed it before it was locked."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False
