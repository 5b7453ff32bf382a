"""Clouds as the user names them: files and folders of any known format, read lazily and one at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pcqaad.formats.atomic import named_os_errors
from pcqaad.formats.clouds.h5 import H5Clouds, find_h5, read_h5, read_h5_mesh, read_h5_shape
from pcqaad.formats.clouds.names import Origin, choose_names, natural, safe_name
from pcqaad.formats.clouds.npy import count_npy, read_npy
from pcqaad.formats.clouds.ply import count_ply, read_ply, read_ply_mesh, read_ply_shape
from pcqaad.formats.clouds.source import CloudSource as CloudSource
from pcqaad.formats.clouds.source import LazyClouds as LazyClouds
from pcqaad.formats.clouds.source import LazyMeshes as LazyMeshes
from pcqaad.formats.errors import FormatError


def find_clouds(inputs: Sequence[str | Path]) -> list[CloudSource]:
    """Return the clouds of all inputs, in their order, without reading any.

    An input is a `.ply` file, a folder of such files and of folders, a `.npy` file, or an `.h5` or `.hdf5` file.
    A folder is taken in natural order, `x2` before `x10`, its files before the folders in it. `FILE:DATASET` names one
    of several datasets of an HDF5 file; D-FAUST's registrations are all meant where none is named.

    Clouds are named by their file, behind the folders below the one that was given, with `/` between. Those of arrays
    are numbered, unless names are stored with them. Equal names get more folders, and clouds given twice get numbers.

    Raises `FormatError` when an input is missing, of another kind, or holds no clouds.
    """
    found = [(number, *each) for number, given in enumerate(inputs) for each in _sources(str(given))]
    names = choose_names([Origin(parts, least, number) for number, _, parts, least in found])
    return [replace(source, name=name) for (_, source, *_), name in zip(found, names, strict=True)]


# A cloud, the parts of its path, and how many of the last ones its name has to have.
_Found = tuple[CloudSource, tuple[str, ...], int]


def _sources(given: str) -> Iterator[_Found]:
    # Only behind the suffix of an HDF5 file: Windows puts a colon behind the letter of a drive.
    in_h5 = re.fullmatch(r"(.+?\.(?:h5|hdf5)):(.+)", given, re.IGNORECASE)
    path, dataset = (Path(in_h5[1]), in_h5[2]) if in_h5 else (Path(given), None)
    with named_os_errors(given, "read"):
        if path.is_dir():
            files = list(_ply_files(path))
            if not files:
                raise FormatError(f"no .ply files in folder {path}")
            yield from (_ply_source(file, len(file.relative_to(path).parts)) for file in files)
            return
        if not path.exists():
            raise FormatError("no such file or folder", file=str(path))
        if not path.is_file():
            raise FormatError("expected a file or a folder, found something else", file=str(path))
        match path.suffix.lower():
            case ".ply":
                yield _ply_source(path, 1)
            case ".npy":
                yield from _npy_sources(path)
            case ".h5" | ".hdf5":
                for clouds in find_h5(path, dataset):
                    yield from _h5_sources(path, clouds)
            case suffix:
                problem = f"expected a folder or a file ending in .ply, .npy, .h5 or .hdf5, found {suffix!r}"
                raise FormatError(problem, file=str(path))


def _ply_files(top: Path) -> Iterator[Path]:
    """Find the files of a folder, then those of the folders in it, then those of the folders that links lead to.

    Every folder is visited once, by its device and inode: links to folders may lead around in a circle, and by
    ever more ways to the same place. One that lies below `top` keeps its own name.
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
            if entry.is_symlink() and not entry.exists() and entry.suffix.lower() in (".ply", ""):
                raise FormatError("a link to nothing", file=str(entry))
            if entry.suffix.lower() == ".ply" and entry not in inner:
                if not entry.is_file():
                    raise FormatError("expected a file, found something else", file=str(entry))
                yield entry
        links += [entry for entry in entries if entry in inner and entry.is_symlink()]
        folders += [entry for entry in reversed(entries) if entry in inner and not entry.is_symlink()]


def _ply_source(path: Path, least: int) -> _Found:
    calls = partial(count_ply, path), partial(read_ply, path), partial(read_ply_mesh, path)
    source = CloudSource(path.stem, str(path), *calls, partial(read_ply_shape, path))
    return source, (*_folders(path), path.stem), least


def _npy_sources(path: Path) -> Iterator[_Found]:
    count, points = count_npy(path)
    for index in (None,) if count is None else range(count):
        name, where = (path.stem, "") if index is None else (f"{path.stem}_{index:04d}", f"[{index}]")
        source = CloudSource(name, f"{path}{where}", lambda: points, partial(read_npy, path, index))
        yield source, (*_folders(path), name), 1


def _h5_sources(path: Path, found: H5Clouds) -> Iterator[_Found]:
    dataset = tuple(filter(None, found.dataset.split("/")))
    for index in (None,) if found.count is None else range(found.count):
        where = "" if index is None else f"[{index}]"
        name = found.names[index or 0] if found.names else ""
        if safe_name(name):
            own = tuple(name.split("/"))
        elif found.sequence:
            # D-FAUST's own scripts write its frames to files of these names, in a folder of the sequence's.
            own = (f"{index:05d}",)
        else:
            own = (path.stem if index is None else f"{path.stem}_{index:04d}",)
        place = path, found.dataset, index
        calls = partial(read_h5, *place), partial(read_h5_mesh, *place), partial(read_h5_shape, *place)
        source = CloudSource(own[-1], f"{path}:{found.dataset}{where}", lambda: found.points, *calls)
        yield source, (*_folders(path), path.stem, *dataset, *own), len(own) + found.sequence


def _folders(path: Path) -> tuple[str, ...]:
    return Path(os.path.normpath(path.absolute())).parent.parts[1:]  # not `resolve`: a link is known by its own name
