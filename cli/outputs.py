"""Outputs of commands: checked before the long job, and replaced only where someone asked for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pcqaad.cli.errors import CommandError
from pcqaad.cli.show.text import plural
from pcqaad.formats.atomic import named_os_errors
from pcqaad.formats.container.container import MAGIC
from pcqaad.formats.locks import held

_MAX_FILE_NAME = 255  # bytes, on most systems
TOGETHER = (".npy", ".h5", ".hdf5")  # of files that hold all clouds
_CLOUD_SUFFIXES = (".ply", *TOGETHER)
# A name that ends so is a file's; any other becomes a folder.
_FILE_SUFFIXES = (
    *(".npz", ".csv", ".txt", ".xyz", ".pcd", ".las", ".laz", ".obj", ".off", ".stl", ".vtk", ".zip"),
    *(".qaad", ".json", ".html", ".png"),
)


class Kind(NamedTuple):
    """A kind of file that a command writes, and may replace: its name, and the bytes it begins with."""

    name: str
    begins: bytes


QAAD = Kind("a .qaad file", MAGIC)
PAGE = Kind("an HTML page", b"<!doctype html>")
PICTURE = Kind("a PNG picture", b"\x89PNG")


def check_output(path: Path, kind: Kind, *, overwrite: bool = True) -> None:
    """Refuse a path that no file can be written to, or that holds one of another kind; raises CommandError."""
    if path.suffix.lower() in _CLOUD_SUFFIXES:
        raise CommandError(f"{path}: expected the name of the file to write, found that of a cloud")
    _check_file(path)
    if not path.exists():
        return
    if not path.is_file():
        raise CommandError(f"{path}: expected a regular file or a free name, found something else")
    with named_os_errors(path, "read"), path.open("rb") as file:
        begins = file.read(len(kind.begins))
    if begins and begins != kind.begins:  # an empty file is nothing to lose
        raise CommandError(f"{path}: is not replaced: expected {kind.name} or a free name, found something else")
    if begins and not overwrite:
        raise CommandError(f"{path}: is there already; --overwrite replaces it")


@contextmanager
def output_of(path: Path, kind: Kind, *, overwrite: bool) -> Iterator[None]:
    """Hold the name of the file that a long job will write; raises as `check_output` does, before the job and now.

    Raises FormatError where another process writes the file.
    """
    check_output(path, kind, overwrite=overwrite)
    with held(path):
        # Who held it until now may have written it.
        check_output(path, kind, overwrite=overwrite)
        yield


def check_target(path: Path, names: Sequence[str], *, overwrite: bool, files: str = ".ply") -> None:
    """Refuse a path that clouds of these names cannot be written to, or would replace; raises CommandError.

    A folder is to hold `files` of this suffix.
    """
    suffix = path.suffix.lower()
    if suffix in (".ply", files):
        raise CommandError(f"{path}: expected a folder to write {files} files to, found the name of one")
    if suffix in _CLOUD_SUFFIXES:
        _check_file(path)
        there = [path] if path.exists() else []
    else:
        if path.exists() and not path.is_dir():
            raise CommandError(f"{path}: expected a folder, found a file")
        if suffix in _FILE_SUFFIXES and not path.exists():
            raise CommandError(f"{path}: expected a folder, or a name that ends in .npy, .h5 or .hdf5, found {suffix}")
        above = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
        if not above.is_dir():
            raise CommandError(f"{path}: cannot make this folder: {above} is none")
        if not os.access(above, os.W_OK):
            raise CommandError(f"{path}: folder {above} cannot be written to")
        _check_names(path, names, files)
        there = [file for name in names if (file := path / f"{name}{files}").exists()]
    if there and not overwrite:
        others = f", and {plural(len(there) - 1, 'other file')}" if len(there) > 1 else ""
        raise CommandError(f"{there[0]}: is there already{others}; --overwrite replaces {'them' if others else 'it'}")


def check_space(path: Path, needed: int) -> None:
    """Refuse to write `needed` bytes where the disk has fewer free; raises CommandError."""
    above = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    with named_os_errors(above, "look at its disk"):
        free = shutil.disk_usage(above).free
    if needed > free:
        raise CommandError(f"{path}: expected {needed:,} bytes or more of free disk space, found {free:,}")


def _check_names(folder: Path, names: Sequence[str], suffix: str) -> None:
    """Refuse names of clouds that no folder can hold: those from arrays may be such."""
    instead = "expected an output that ends in .npy or .h5, which hold clouds of any name"
    files = {f"{name}{suffix}" for name in names}
    for file in files:
        if max(len(part.encode()) for part in file.split("/")) > _MAX_FILE_NAME:
            raise CommandError(f"{folder}: cannot hold a file named {file[:80]}...: {instead}")
        if taken := files.intersection(map(str, PurePosixPath(file).parents)):
            raise CommandError(f"{folder}: {min(taken)} is a cloud and a folder of others: {instead}")


def _check_file(path: Path) -> None:
    """Refuse a path that is a folder, or lies in one that cannot be written to."""
    if path.is_dir():
        raise CommandError(f"{path}: is a folder, expected the name of the file to write")
    folder = Path(os.path.realpath(path)).parent  # the file will lie where a link leads to
    if not folder.is_dir():
        raise CommandError(f"{path}: folder {folder if path.is_symlink() else path.parent} does not exist")
    if not os.access(folder, os.W_OK):
        raise CommandError(f"{path}: folder {path.parent} cannot be written to")
