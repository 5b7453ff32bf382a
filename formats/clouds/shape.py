"""What a file holds of one shape: points, polygons between them, attributes of the points, in the file's own order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.clouds.npy import Points
from pcqaad.formats.clouds.triangulate import Triangles
from pcqaad.formats.errors import FormatError

NOT_FINITE = "points that are not finite left out"
# Scalar columns of files that together are one attribute, by the name it has here.
JOINED = {"colour": ("red", "green", "blue"), "normal": ("nx", "ny", "nz")}


class Polygons(NamedTuple):
    """Faces of any numbers of corners, one behind the other, as their file lists them.

    Attributes:
        sizes: corners of each face (f,), which may be fewer than three.
        corners: of all faces (sum of sizes,), each the number of a point from 0.
    """

    sizes: NDArray[np.int64]
    corners: NDArray[np.int64]

    @classmethod
    def checked(cls, sizes: NDArray[Any], corners: NDArray[Any], points: int, where: str) -> Polygons:
        """Return faces all of whose corners are among this many points; raises `FormatError` with the place."""
        # Before the cast: a corner of floating point may be NaN, or lie between two numbers.
        outside = corners[~((corners >= 0) & (corners < points) & (corners == np.trunc(corners)))]
        if len(outside):
            problem = f"expected corners among the vertices 0 to {points - 1}, found {outside[0]}"
            raise FormatError(f"{problem} ({len(outside)} such corners)", where=where)
        return cls(sizes.astype(np.int64), corners.astype(np.int64))

    @classmethod
    def of_rows(cls, rows: NDArray[Any] | Sequence[NDArray[Any]], points: int, where: str) -> Polygons:
        """Return the faces that are rows (f, n), or one array each; raises `FormatError` as `checked` does."""
        if isinstance(rows, np.ndarray) and rows.ndim == 2:
            return cls.checked(np.full(len(rows), rows.shape[1]), rows.reshape(-1), points, where)
        corners = np.concatenate(list(rows)) if len(rows) else np.zeros(0, np.int64)
        return cls.checked(np.array([len(row) for row in rows], np.int64), corners, points, where)

    @classmethod
    def of_triangles(cls, triangles: NDArray[Any]) -> Polygons:
        """Return triangles (t, 3) as faces."""
        corners = np.asarray(triangles, np.int64)
        return cls(np.full(len(corners), 3), corners.reshape(-1))

    def triangles(self) -> Triangles:
        """Return the triangles (t, 3) that fans make: (a, b, c, d) gives (a, b, c) and (a, c, d).

        Faces of fewer corners come first, and of faces of as many the first triangles of all come first, as
        `triangulate` has it. Faces of fewer than three corners give none.
        """
        starts = np.cumsum(self.sizes) - self.sizes
        found = [np.zeros((0, 3), np.int64)]
        for size in np.unique(self.sizes[self.sizes >= 3]).tolist():
            rows = self.corners[starts[self.sizes == size][:, None] + np.arange(size)]  # (faces of this size, size)
            fans = np.broadcast_arrays(rows[:, :1].T, rows[:, 1:-1].T, rows[:, 2:].T)
            found.append(np.stack(fans, axis=-1).reshape(-1, 3))
        return np.concatenate(found)

    def rows(self) -> list[NDArray[np.int64]]:
        """Return the corners of each face."""
        return np.split(self.corners, np.cumsum(self.sizes)[:-1]) if len(self.sizes) else []

    def runs(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield the faces (f, size) that follow each other and have as many corners, and this size."""
        ends = np.append(np.flatnonzero(np.diff(self.sizes)) + 1, len(self.sizes))
        low = start = 0
        for high in ends[ends > 0].tolist():
            size = int(self.sizes[low])
            end = start + size * (high - low)
            yield size, self.corners[start:end].reshape(high - low, size)
            low, start = high, end

    def among(self, kept: NDArray[np.bool_]) -> Polygons:
        """Return the faces all of whose corners are kept, in the numbers that the kept points then have."""
        face = np.repeat(np.arange(len(self.sizes)), self.sizes)
        whole = np.ones(len(self.sizes), bool)
        whole[face[~kept[self.corners]]] = False
        numbers = np.cumsum(kept) - 1
        return Polygons(self.sizes[whole], numbers[self.corners[whole[face]]])


class Shape(NamedTuple):
    """One shape as its file has it: in the file's order, nothing merged but the repeated corners of STL.

    Attributes:
        points: (n, 3), float64 where float32 could not hold the file's type. They may be infinite or NaN.
        polygons: its faces, all of whose corners are among the points; None where the file has no place for faces,
            or leaves it empty.
        attributes: of every point, (n,) or (n, c), in the file's own type, under the file's own names. Columns
            `red`, `green`, `blue` of one type are joined as `colour` (n, 3), and `nx`, `ny`, `nz` as `normal` (n, 3),
            unless the file uses these names for something else. An `alpha` stays by itself.
        notes: what of the file is not here, or is not as it was there.
    """

    points: Points
    polygons: Polygons | None = None
    attributes: Mapping[str, NDArray[Any]] = {}
    notes: tuple[str, ...] = ()

    def part(self, kept: NDArray[np.bool_]) -> Shape:
        """Return the kept points, the faces all of whose corners are kept, and a note of what is not."""
        polygons = None if self.polygons is None else self.polygons.among(kept)
        attributes = {name: values[kept] for name, values in self.attributes.items()}
        note = f"{NOT_FINITE} ({len(kept) - np.count_nonzero(kept)} rows)"
        return Shape(self.points[kept], polygons, attributes, (*self.notes, note))


def joined(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return columns (n,) as attributes: those of `JOINED` together, at the place of the first of them."""
    whole: dict[str, NDArray[Any]] = {}
    parts = {part: name for name, names in JOINED.items() if _joinable(name, names, columns) for part in names}
    for name, column in columns.items():
        own = np.ascontiguousarray(column, dtype=column.dtype.newbyteorder("="))
        together = parts.get(name)
        if together is None:
            whole[name] = own
        elif together not in whole:
            whole[together] = np.stack([columns[part] for part in JOINED[together]], axis=1).astype(own.dtype)
    return whole


def put(attributes: dict[str, NDArray[Any]], name: str, values: NDArray[Any]) -> None:
    """Add an attribute, numbered where the file has two of a name: `x`, `x_2`."""
    chosen, times = name, 1
    while chosen in attributes:
        times += 1
        chosen = f"{name}_{times}"
    attributes[chosen] = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))


def separated(attributes: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return attributes as columns (n,), for files that hold such: what `joined` joined, and `NAME_0`, `NAME_1`..."""
    columns: dict[str, NDArray[Any]] = {}
    for name, values in attributes.items():
        if values.ndim == 1:
            columns[name] = values
            continue
        width = values.shape[1]
        parts: Iterable[str] = JOINED.get(name, ())
        if width != 3 or not parts:
            parts = (f"{name}_{i}" for i in range(width))
        columns.update(zip(parts, values.T, strict=True))
    return columns


def _joinable(name: str, parts: Sequence[str], columns: Mapping[str, NDArray[Any]]) -> bool:
    if name in columns or any(part not in columns for part in parts):
        return False
    return len({columns[part].dtype for part in parts}) == 1
