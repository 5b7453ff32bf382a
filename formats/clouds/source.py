"""One cloud that can be read, whatever its file, and sequences of such that are read when asked for."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar, overload

import numpy as np

from pcqaad.formats.clouds.npy import Points
from pcqaad.formats.clouds.shape import Shape
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
    load_shape: Callable[[], Shape] | None = None  # points alone where there is none

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

    def read_shape(self) -> Shape:
        """Read the points as `read` does, with all else that the file has of them; raises `FormatError` likewise."""
        try:
            shape = self._points_alone() if self.load_shape is None else self.load_shape()
            _check_points(shape.points)
        except FormatError as error:
            raise error.in_file(self.file) from error
        return shape

    def _points_alone(self) -> Shape:
        points, notes = self.load()
        return Shape(points, notes=tuple(notes))


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

    def shape(self, index: int) -> Shape:
        """Read all that the file of one holds: faces of any size, attributes; raises FormatError as the source does."""
        return self._sources[index].read_shape()


class LazyMeshes(_Lazy[Mesh]):
    """The vertices (v, 3) and triangles (t, 3) of sources."""

    def _read(self, source: CloudSource) -> tuple[Mesh, tuple[str, ...]]:
        vertices, triangles, notes = source.read_mesh()
        return (vertices, triangles), notes


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
