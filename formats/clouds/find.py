"""Clouds as the user names them: files and folders of any known format, read lazily and one at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pcqaad.formats.atomic import named_os_errors
from pcqaad.formats.clouds.folders import files_in
from pcqaad.formats.clouds.h5 import H5Clouds, find_h5, read_h5, read_h5_mesh, read_h5_shape
from pcqaad.formats.clouds.names import Origin, choose_names, safe_name
from pcqaad.formats.clouds.npy import count_npy, read_npy
from pcqaad.formats.clouds.npz import Npz
from pcqaad.formats.clouds.ply import count_ply, read_ply, read_ply_mesh, read_ply_shape
from pcqaad.formats.clouds.readers import SUFFIXES, count_file, is_cloud, read_file
from pcqaad.formats.clouds.source import CloudSource as CloudSource
from pcqaad.formats.clouds.source import LazyClouds as LazyClouds
from pcqaad.formats.clouds.source import LazyMeshes as LazyMeshes
from pcqaad.formats.errors import FormatError, UnusableError

KNOWN = (".ply", ".npy", ".npz", ".h5", ".hdf5", *SUFFIXES)


def find_clouds(inputs: Sequence[str | Path], unusable: list[FormatError] | None = None) -> list[CloudSource]:
    """Return the clouds of all inputs, in their order, without reading any.

    An input is a file of one of the suffixes `KNOWN`, or a folder of such files and of folders. A folder is taken in
    natural order, `x2` before `x10`, its files before the folders in it. Of its files of text only those are taken
    that begin as tables of points do. `FILE:DATASET` names one of several datasets of an HDF5 file; D-FAUST's
    registrations are all meant where none is named.

    Clouds are named by their file, behind the folders below the one that was given, with `/` between. Those of arrays
    are numbered, unless names are stored with them. Equal names get more folders, and clouds given twice get numbers.

    Args:
        inputs: files and folders.
        unusable: takes the errors of arrays in which no clouds can be found, which are left out then.

    Raises `FormatError` when an input is missing, of another kind, or holds no clouds, and `UnusableError` for all
    arrays in which no clouds can be found.
    """
    found: list[tuple[int, CloudSource, tuple[str, ...], int]] = []
    errors: list[FormatError] = []
    for number, given in enumerate(inputs):
        for path, dataset, above in _files(str(given)):
            try:
                with named_os_errors(path, "read"):
                    found += [(number, *each) for each in _sources(path, dataset, above)]
            except FormatError as error:
                errors.append(error)
    if errors and unusable is None:
        raise UnusableError(errors)
    if unusable is not None:
        unusable += errors
    names = choose_names([Origin(parts, least, number) for number, _, parts, least in found])
    return [replace(source, name=name) for (_, source, *_), name in zip(found, names, strict=True)]


# A cloud, the parts of its path, and how many of the last ones its name has to have.
_Found = tuple[CloudSource, tuple[str, ...], int]


def _files(given: str) -> Iterator[tuple[Path, str | None, int]]:
    """Yield the files that an input names, the dataset, and how many folders below the one that was given each lies."""
    # Only behind the suffix of an HDF5 file: Windows puts a colon behind the letter of a drive.
    in_h5 = re.fullmatch(r"(.+?\.(?:h5|hdf5)):(.+)", given, re.IGNORECASE)
    path, dataset = (Path(in_h5[1]), in_h5[2]) if in_h5 else (Path(given), None)
    with named_os_errors(given, "read"):
        if path.is_dir():
            files = list(files_in(path, KNOWN, is_cloud))
            if not files:
                raise FormatError(f"no files of clouds in folder {path}: expected such as end in {_listed()}")
            yield from ((file, None, len(file.relative_to(path).parts) - 1) for file in files)
            return
        if not path.exists():
            raise FormatError("no such file or folder", file=str(path))
        if not path.is_file():
            raise FormatError("expected a file or a folder, found something else", file=str(path))
        if path.suffix.lower() not in KNOWN:
            problem = f"expected a folder or a file ending in {_listed()}, found {path.suffix!r}"
            raise FormatError(problem, file=str(path))
        yield path, dataset, 0


def _listed() -> str:
    return f"{', '.join(KNOWN[:-1])} or {KNOWN[-1]}"


def _sources(path: Path, dataset: str | None, above: int) -> Iterator[_Found]:
    """Yield the clouds of a file; `above` is how many folders their names have to have."""
    match path.suffix.lower():
        case ".ply":
            calls = partial(count_ply, path), partial(read_ply, path), partial(read_ply_mesh, path)
            yield _whole(path, CloudSource(path.stem, str(path), *calls, partial(read_ply_shape, path)), above)
        case ".npy":
            yield from _npy_sources(path, above)
        case ".npz":
            yield from _npz_sources(path, above)
        case ".h5" | ".hdf5":
            for clouds in find_h5(path, dataset):
                yield from _h5_sources(path, clouds, above)
        case _:
            source = CloudSource.of_shape(path.stem, str(path), partial(read_file, path), partial(count_file, path))
            yield _whole(path, source, above)


def _whole(path: Path, source: CloudSource, above: int) -> _Found:
    return source, (*_folders(path), path.stem), above + 1


def _npy_sources(path: Path, above: int) -> Iterator[_Found]:
    count, points = count_npy(path)
    for index in (None,) if count is None else range(count):
        name, where = (path.stem, "") if index is None else (f"{path.stem}_{index:04d}", f"[{index}]")
        source = CloudSource(name, f"{path}{where}", lambda: points, partial(read_npy, path, index))
        yield source, (*_folders(path), name), above + 1


def _npz_sources(path: Path, above: int) -> Iterator[_Found]:
    arrays = Npz(path)
    for index in (None,) if arrays.count is None else range(arrays.count):
        where = "" if index is None else f":{arrays.points}[{index}]"
        if arrays.names:
            own = tuple(arrays.names[index or 0].split("/"))
        else:
            own = (path.stem if index is None else f"{path.stem}_{index:04d}",)
        source = CloudSource.of_shape(own[-1], f"{path}{where}", partial(arrays.shape, index), lambda: arrays.size)
        parts = (path.stem, *own) if arrays.names else own
        yield source, (*_folders(path), *parts), above + len(parts) if above else len(own)


def _h5_sources(path: Path, found: H5Clouds, above: int) -> Iterator[_Found]:
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
        parts = (path.stem, *dataset, *own)
        yield source, (*_folders(path), *parts), above + len(parts) if above else len(own) + found.sequence


def _folders(path: Path) -> tuple[str, ...]:
    return Path(os.path.normpath(path.absolute())).parent.parts[1:]  # not `resolve`: a link is known by its own name
