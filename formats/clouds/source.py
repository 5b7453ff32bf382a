"""One cloud that can be read, whatever its file, and sequences of such that are read when asked for."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.clouds.npy import Points
from pcqaad.formats.clouds.shape import NOT_FINITE, Polygons, Shape
from pcqaad.formats.clouds.triangulate import Triangles
from pcqaad.formats.errors import FormatError, UnusableError

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
    drops_invalid: bool = False  # points that are not finite are left out, with a note, in place of an error

    @classmethod
    def of_shape(cls, name: str, file: str, load: Callable[[], Shape], count: Callable[[], int]) -> CloudSource:
        """Return a cloud of a format that is read as a whole: its points and its mesh are taken from its shape."""
        return cls(name, file, count, lambda: _points_of(load()), lambda: _mesh_of(load()), load)

    def read(self) -> CloudData:
        """Read the cloud; raises `FormatError` unless it has points, and all coordinates are finite in float32 too."""
        with self._errors():
            points, notes = self.load()
            kept = self._kept(points)
            return CloudData(points if kept.all() else points[kept], (*notes, *_left_out(kept)))

    def read_mesh(self) -> MeshData:
        """Read the cloud as `read` does, and its faces; raises `FormatError` as `triangulate` does, too."""
        with self._errors():
            if self.load_mesh is None:
                raise FormatError("expected faces to draw points from, found points alone")
            vertices, triangles, notes = self.load_mesh()
            kept = self._kept(vertices)
            if not kept.all():
                triangles = Polygons.of_triangles(triangles).among(kept).triangles()
                if not len(triangles):
                    raise FormatError("expected faces between finite points, found none")
                vertices = vertices[kept]
            return MeshData(vertices, triangles, (*notes, *_left_out(kept)))

    def read_shape(self) -> Shape:
        """Read the points as `read` does, with all else that the file has of them; raises `FormatError` likewise."""
        with self._errors():
            if self.load_shape is None:
                points, notes = self.load()
                shape = Shape(points, notes=tuple(notes))
            else:
                shape = self.load_shape()
            return shape.part(kept) if not (kept := self._kept(shape.points)).all() else shape

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except FormatError as error:
            raise error.in_file(self.file) from error

    def _kept(self, points: Points) -> NDArray[np.bool_]:
        """Return which points (n,) are finite in float32; raises `FormatError` where none is, or others may not be."""
        kept: NDArray[np.bool_] = np.logical_and.reduce(np.abs(points) <= _LARGEST, axis=1)  # false for NaN
        if not self.drops_invalid:
            _check_points(points, kept)
        elif len(points) and not kept.any():
            raise FormatError("holds no finite points")
        if len(points) == 0:
            raise FormatError("holds no points")
        return kept


class _Lazy(Sequence[Item], Generic[Item]):
    """The contents of sources, read when asked for. `notes` counts the clouds read so far that each is true of."""

    def __init__(self, sources: Sequence[CloudSource]) -> None:
        self._sources = sources
        self._noted: set[int] = set()
        self.notes: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._sources)

    @property
    def drops_invalid(self) -> bool:
        """Whether points that are not finite are left out of the clouds."""
        return any(source.drops_invalid for source in self._sources)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> _Lazy[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | _Lazy[Item]:
        """Read one; raises UnusableError where the source cannot be read, for it and all behind it that cannot."""
        if isinstance(index, slice):
            return type(self)(self._sources[index])
        try:
            item, notes = self._read(self._sources[index])
        except FormatError as error:
            raise self._with_others(error, range(len(self))[index]) from error
        number = index % len(self)
        if number not in self._noted:
            self._noted.add(number)
            # Files that lose different numbers of rows are counted by one note.
            self.notes.update(re.sub(r" \([0-9]+ rows\)$", "", note) for note in notes)
        return item

    def _with_others(self, error: FormatError, index: int) -> FormatError:
        """Return the error of one, and with it those of all that follow: they are read to be named at once."""
        errors = [error]
        for source in self._sources[index + 1 :]:
            try:
                self._read(source)
            except FormatError as other:
                errors.append(other)
        return UnusableError(errors)

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


def _points_of(shape: Shape) -> tuple[Points, Sequence[str]]:
    notes = _attributes_not_kept(shape)
    notes += [] if shape.polygons is None else [f"faces not kept ({len(shape.polygons.sizes)} rows)"]
    return shape.points, [*notes, *shape.notes]


def _mesh_of(shape: Shape) -> tuple[Points, Triangles, Sequence[str]]:
    triangles = None if shape.polygons is None else shape.polygons.triangles()
    if triangles is None or not len(triangles):
        raise FormatError("expected faces to draw points from, found none")
    return shape.points, triangles, [*_attributes_not_kept(shape), *shape.notes]


def _attributes_not_kept(shape: Shape) -> list[str]:
    names = ", ".join(shape.attributes)
    return [f"attributes {names[:160]} not kept"] if names else []


def _left_out(kept: NDArray[np.bool_]) -> list[str]:
    return [] if kept.all() else [f"{NOT_FINITE} ({len(kept) - np.count_nonzero(kept)} rows)"]


def _check_points(points: Points, kept: NDArray[np.bool_]) -> None:
    if kept.all():
        return
    accepted: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(points), axis=1)
    expected = "finite coordinates"
    if accepted.all():
        accepted, expected = kept, f"coordinates of at most {_LARGEST:.4g}"
    refused = np.flatnonzero(~accepted)
    found = ", ".join(f"{value:.6g}" for value in points[refused[0]].tolist())
    problem = f"expected {expected}, found ({found}) ({len(refused)} such points)"
    raise FormatError(problem, where=f"point {refused[0]}")
