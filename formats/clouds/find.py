"""Clouds as the user names them: files and folders of any known format, read lazily and one at a time."""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar, overload

import numpy as np

from pcqaad.formats.atomic import named_os_errors
from pcqaad.formats.clouds.h5 import H5Clouds, find_h5, read_h5, read_h5_mesh
from pcqaad.formats.clouds.names import Origin, choose_names, natural, safe_name
from pcqaad.formats.clouds.npy import Points, count_npy, read_npy
from pcqaad.formats.clouds.ply import count_ply, read_ply, read_ply_mesh
from pcqaad.formats.clouds.triangulate import Triangles
from pcqaad.formats.errors import FormatError

Mesh = tuple[Points, Triangles]
Item = TypeVar("Item")

_LARGEST = float(np.finfo(np.float32).max)


class CloudData(NamedTuple):
    """The points of one cloud (points, 3), and notes on what of its file was not kept."""

    points: Points
    notes: tuple[str, ...]


class MeshData(NamedTuple):
    """The vertices (v, 3) of one mesh, its faces as triangles (t, 3), and notes on what of its file was not kept."""

    vertices: Points
    triangles: Triangles
    notes: tuple[str, ...]


@dataclass(frozen=True, repr=False, eq=False)
class CloudSource:
    """One cloud that can be read: its `name`, unique and safe as one of a file, and its `file` for messages."""

    name: str
    file: str
    count: Callable[[], int]  # of its points, from a header
    load: Callable[[], tuple[Points, Sequence[str]]]
    load_mesh: Callable[[], tuple[Points, Triangles, Sequence[str]]] | None = None

    def read(self) -> CloudData:
        """Read the cloud; raises `FormatError` unless it has points, and all coordinates are finite in float32 too."""
        try:
            points, notes = self.load()
            _check_points(points)
        except FormatError as error:
            raise error.in_file(self.file) from error
        return CloudData(points, tuple(notes))

    def read_mesh(self) -> MeshData:
        """Read the cloud as `read` does, and its faces; raises `FormatError` as `triangulate` does, too."""
        try:
            if self.load_mesh is None:
                raise FormatError("expected faces to draw points from, found points alone")
            vertices, triangles, notes = self.load_mesh()
            _check_points(vertices)
        except FormatError as error:
            raise error.in_file(self.file) from error
        return MeshData(vertices, triangles, tuple(notes))


class _Lazy(Sequence[Item], Generic[Item]):
    """The contents of sources, read when asked for. `notes` counts the clouds read so far that each is true of."""

    def __init__(self, sources: Sequence[CloudSource]) -> None:
        self._sources = sources
        self._noted: set[int] = set()
        self.notes: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._sources)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> _Lazy[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | _Lazy[Item]:
        """Read one; raises FormatError as the source does."""
        if isinstance(index, slice):
            return type(self)(self._sources[index])
        item, notes = self._read(self._sources[index])
        number = index % len(self)
        if number not in self._noted:
            self._noted.add(number)
            # Files that lose different numbers of rows are counted by one note.
            self.notes.update(re.sub(r" \([0-9]+ rows\)$", "", note) for note in notes)
        return item

    @abstractmethod
    def _read(self, source: CloudSource) -> tuple[Item, tuple[str, ...]]: ...


class LazyClouds(_Lazy[Points]):
    """The points of sources, each (points, 3)."""

    def _read(self, source: CloudSource) -> tuple[Points, tuple[str, ...]]:
        return source.read()

    def mesh(self, index: int) -> Mesh | None:
        """Return the vertices (v, 3) and triangles (t, 3) of one, or None where it has no faces."""
        source = self._sources[index]
        if source.load_mesh is None:
            return None
        try:
            vertices, triangles, _ = source.read_mesh()
        except FormatError:
            # A file of points alone, or of faces that are none: as a cloud it is whole.
            return None
        return vertices, triangles


class LazyMeshes(_Lazy[Mesh]):
    """The vertices (v, 3) and triangles (t, 3) of sources."""

    def _read(self, source: CloudSource) -> tuple[Mesh, tuple[str, ...]]:
        vertices, triangles, notes = source.read_mesh()
        return (vertices, triangles), notes


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
    return CloudSource(path.stem, str(path), *calls), (*_folders(path), path.stem), least


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
        calls = partial(read_h5, path, found.dataset, index), partial(read_h5_mesh, path, found.dataset, index)
        source = CloudSource(own[-1], f"{path}:{found.dataset}{where}", lambda: found.points, *calls)
        yield source, (*_folders(path), path.stem, *dataset, *own), len(own) + found.sequence


def _folders(path: Path) -> tuple[str, ...]:
    return Path(os.path.normpath(path.absolute())).parent.parts[1:]  # not `resolve`: a link is known by its own name


def _check_points(points: Points) -> None:
    if len(points) == 0:
        raise FormatError("holds no points")
    accepted, expected = np.isfinite(points), "finite coordinates"
    if accepted.all():
        accepted, expected = np.abs(points) <= _LARGEST, f"coordinates of at most {_LARGEST:.4g}"
    if accepted.all():
        return
    refused = np.flatnonzero(~accepted.all(axis=1))
    found = ", ".join(f"{value:.6g}" for value in points[refused[0]].tolist())
    problem = f"expected {expected}, found ({found}) ({len(refused)} such points)"
    raise FormatError(problem, where=f"point {refused[0]}")
