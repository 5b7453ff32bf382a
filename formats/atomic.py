"""Files that are written whole or not at all, and file system errors that name their file."""

from __future__ import annotations

import os
import platform
import re
import secrets
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from pcqaad.formats.errors import FormatError

try:
    import fcntl
except ImportError:  # Windows: leftovers of killed processes stay there.
    fcntl = None  # type: ignore[assignment]

_TEMPORARY = re.compile(r"\.pcqaad-([0-9a-f]{8})-[0-9]+-[0-9a-f]{8}\.tmp")  # .pcqaad-HOST-PROCESS-RANDOM.tmp
_HOST = f"{zlib.crc32(platform.node().encode()):08x}"
_FOREIGN_AGE = 24 * 3600  # seconds


@contextmanager
def named_os_errors(file: str | Path, action: str) -> Iterator[None]:
    """Turn any `OSError` of the block into a `FormatError`: `FILE: cannot ACTION: Permission denied`."""
    try:
        yield
    except OSError as error:
        # Libraries raise OSErrors of their own wording, of several lines, some without an errno.
        reason = os.strerror(error.errno) if error.errno else (str(error) or "unknown reason").splitlines()[0]
        raise FormatError(f"cannot {action}: {reason}", file=str(file)) from error


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Give a path to write to, whose file takes the name `final` only when the block ends well.

    The temporary file lies hidden in the folder of `final`: a rename is atomic within one file system only. Any
    failure removes it, and an interruption does. Where the process was killed, the next one to write into the folder
    removes it. A file named `final` keeps its bytes until the new ones are on disk, and the new name is on disk when
    the block has ended. A symbolic link is followed: what it points to is replaced.

    Raises `FormatError` with the file's name and the reason when the file cannot be written.
    """
    target = Path(os.path.realpath(final))
    with named_os_errors(final, "write"):
        if target.exists() and not target.is_file():  # renaming over a device would put a plain file in its place
            raise FormatError("expected a regular file or a free name, found something else", file=str(final))
        _remove_leftovers(target.parent)
        temporary, held = _create(target.parent)
        try:
            yield temporary
            if target.exists():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))  # a file that was kept from others stays so
            with temporary.open("r+b") as stream:
                os.fsync(stream.fileno())
            temporary.replace(target)
            sync_folder(target.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            held.close()


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to disk: a rename that is in memory alone is lost when the power fails.

    Systems that open no folders, and file systems that sync none, are left to their own ways.
    """
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _create(folder: Path) -> tuple[Path, BinaryIO]:
    """Create a temporary file; return it, and the lock on it: an open file, locked until it is closed."""
    while True:
        path = folder / f".pcqaad-{_HOST}-{os.getpid()}-{secrets.token_hex(4)}.tmp"
        held = path.open("xb")
        if fcntl is None:
            held.close()  # an open file cannot be renamed there
            return path, held
        with suppress(OSError):  # Without locks, nobody takes the file for a leftover either.
            fcntl.flock(held, fcntl.LOCK_EX)
        if path.exists():  # another process may have removed the file before it was locked
            return path, held
        held.close()


@cache
def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes from a folder, once for every process that writes to it.

    The system releases a lock however its holder ends, so a file that can be locked is nobody's. Some file systems
    keep locks from other machines: a file of another one has to be a day old too. Files of other users stay.
    """
    if fcntl is None:
        return
    for path in folder.glob(".pcqaad-*.tmp"):
        with suppress(OSError):
            name, status = _TEMPORARY.fullmatch(path.name), path.lstat()
            if name is None or not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                continue
            if name[1] == _HOST or time.time() - status.st_mtime > _FOREIGN_AGE:
                with path.open("r+b") as stream:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
