"""Files that are whole or not there at all, and file system errors that name their file."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pcqaad.formats.errors import FormatError


@contextmanager
def named_os_errors(file: str | Path, action: str) -> Iterator[None]:
    """Turn any `OSError` of the block into a `FormatError`: `FILE: cannot ACTION: Permission denied`."""
    try:
        yield
    except OSError as error:
        # Libraries raise OSErrors of their own wording, with more lines than one, some without an errno.
        reason = os.strerror(error.errno) if error.errno else (str(error) or "unknown reason").splitlines()[0]
        raise FormatError(f"cannot {action}: {reason}", file=str(file)) from error


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Give a path to write to, whose file takes the name `final` only when the block ends well.

    The temporary file lies hidden in the folder of `final` (a rename is atomic within one file system only)
    and is gone after any failure, an interruption by the user included. A file already named `final` keeps
    its bytes until the new ones are on disk. A symbolic link is followed: what it points to is replaced.

    Raises `FormatError` with the file's name and the reason when the file cannot be written.
    """
    target = Path(os.path.realpath(final))
    temporary = target.parent / f".pcqaad-{os.getpid()}-{secrets.token_hex(4)}.tmp"
    with named_os_errors(final, "write"):
        # Renaming over a device would put a plain file in its place.
        if target.exists() and not target.is_file():
            raise FormatError("expected a regular file or a free name, found something else", file=str(final))
        try:
            yield temporary
            if target.exists():
                # What was kept from others stays so.
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            with temporary.open("r+b") as stream:
                os.fsync(stream.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
