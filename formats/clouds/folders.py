"""The files of a folder and of all folders below it, in natural order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pcqaad.formats.clouds.names import natural
from pcqaad.formats.errors import FormatError


def files_in(top: Path, suffixes: Sequence[str], meant: Callable[[Path], bool]) -> Iterator[Path]:
    """Find the files of a folder, then those of the folders in it, then those of the folders that links lead to.

    Every folder is visited once, by its device and inode: links to folders may lead around in a circle, and by
    ever more ways to the same place. One that lies below `top` keeps its own name.

    Args:
        top: the folder.
        suffixes: of the files that are looked for, in small letters.
        meant: whether one of them is to be taken.
    """
    folders, links = [top], list[Path]()
    visited = set[tuple[int, int]]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        status = folder.stat()
        if (status.st_dev, status.st_ino) in visited:
            continue
        visited.add((status.st_dev, status.st_ino))
        # Hidden files are not meant: some systems leave such beside every real one.
        entries = [entry for entry in folder.iterdir() if entry.name[0] != "."]
        entries.sort(key=lambda entry: (natural(entry.stem)[0], entry.name))
        inner = {entry for entry in entries if entry.is_dir()}
        for entry in entries:
            if entry.is_symlink() and not entry.exists():
                # Without a suffix it may have led to a folder.
                if not entry.suffix or (entry.suffix.lower() in suffixes and meant(entry)):
                    raise FormatError("a link to nothing", file=str(entry))
                continue
            if entry.suffix.lower() in suffixes and entry not in inner:
                if not entry.is_file():
                    raise FormatError("expected a file, found something else", file=str(entry))
                if meant(entry):
                    yield entry
        links += [entry for entry in entries if entry in inner and entry.is_symlink()]
        folders += [entry for entry in reversed(entries) if entry in inner and not entry.is_symlink()]
