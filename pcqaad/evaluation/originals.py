"""The originals of a file's clouds: found by name or in order, and brought to the points that the fit took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pcqaad.bitstream.collection import Collection
from pcqaad.bitstream.info import registered, sampling
from pcqaad.errors import CloudError
from pcqaad.evaluation.reference import Reference
from pcqaad.formats.clouds.find import find_clouds
from pcqaad.formats.errors import FormatError
from pcqaad.points.collect import Points, check_cloud, diagonal, subsample
from pcqaad.points.surface import Mesh, check_mesh, draw


class Source(Protocol):
    """A cloud that can be read, as `pcqaad.formats.clouds.find.find_clouds` finds them."""

    @property
    def name(self) -> str:
        """The name the cloud has in the file."""

    def read(self) -> Any:
        """Read it: something with `points` (n, 3)."""

    def read_mesh(self) -> Any:
        """Read its faces too: something with `vertices` (v, 3) and `triangles` (t, 3)."""


# The originals of a file's clouds. Files, folders and sources are found by name, arrays and meshes come in order.
References: TypeAlias = Path | str | Sequence[Path | str] | Sequence[Source] | Sequence[Points] | Sequence[Mesh]


class Originals(Sequence[Reference]):
    """The originals of all clouds of a file, each read when it is asked for, and not kept."""

    def __init__(
        self, collection: Collection, references: References, *, faces: bool = False, needed: bool = False
    ) -> None:
        """Find them; their `faces` are read too, where there are some, and may be `needed`.

        Raises CloudError where one is missing, FormatError where the file records a sampling that no fit makes.
        """
        self._found = _in_order(collection, references)
        self._names, self._sizes = collection.names, collection.sizes
        self._seed, self._surface = sampling(collection.info)
        self._registered = registered(collection.info)
        self._faces, self._needed = faces or needed, needed

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: Any) -> Any:
        """Read one; raises CloudError or FormatError where it is malformed, holds too few points or lacks faces."""
        number = range(len(self))[index]
        if isinstance(number, range):
            return [self[i] for i in number]
        given, name = self._found[number], self._names[number]
        if self._surface:
            mesh = _mesh(given)
            points = draw(mesh, name, self._surface, self._seed, number)
            mesh = check_mesh(mesh, name) if self._faces else None
        else:
            points, mesh = self._vertices(given, name)
        count = int(self._sizes[number])
        if len(points) < count:
            raise CloudError(f"{name}: the original holds {len(points)} points, the file {count}")
        rows: NDArray[np.int64] = np.arange(len(points))
        rows = subsample(rows, count, self._seed, number, self._registered)
        return Reference(points[rows], diagonal([points]), mesh, None if self._surface or mesh is None else rows)

    def whole(self, index: int) -> tuple[Points, Mapping[str, NDArray[Any]]] | None:
        """Read all points (n, 3) of one and their attributes, whatever the fit took; None where it is an array."""
        given, name = self._found[index], self._names[index]
        if not hasattr(given, "read_shape"):
            return None
        shape = given.read_shape()
        return check_cloud(shape.points, name), shape.attributes

    def _vertices(self, given: Any, name: str) -> tuple[Points, Mesh | None]:
        """Return the points of an original that is no surface to draw from, and its mesh where faces are wanted."""
        if isinstance(given, tuple):
            if not self._faces:
                text = "expected points (n, 3), as the file's were not drawn from meshes, found a mesh"
                raise CloudError(f"{name}: {text}")
            mesh = check_mesh(given, name)
            return mesh[0], mesh
        if self._faces and hasattr(given, "read_mesh"):
            try:
                mesh = _mesh(given)
            except FormatError as error:
                if self._needed:
                    raise CloudError(f"{name}: no distance to a surface without faces: {error}") from error
            else:
                return check_cloud(mesh[0], name), mesh
        elif self._needed:
            raise CloudError(f"{name}: no distance to a surface without faces: expected a mesh, found points")
        return check_cloud(given.read().points if hasattr(given, "read") else given, name), None


def _mesh(given: Any) -> Any:
    if not hasattr(given, "read_mesh"):
        return given
    read = given.read_mesh()
    return read.vertices, read.triangles


def read_originals(collection: Collection, references: References) -> Iterator[Reference]:
    """Find the original of every cloud, and read them one by one; raises as `Originals` does."""
    return iter(Originals(collection, references))


def _in_order(collection: Collection, references: References) -> Sequence[Any]:
    """Return a source, an array or a mesh for each cloud; raises CloudError where one is missing."""
    given: Any = [references] if isinstance(references, (str, Path)) else references
    first = given[0] if len(given) else None
    file, names = collection.info["file"] or "the file", collection.names
    if isinstance(first, (str, Path)):
        given = find_clouds(given)
    elif not hasattr(first, "read"):
        if len(given) != len(names):
            raise CloudError(f"{file}: expected the originals of all {len(names)} clouds in order, found {len(given)}")
        # Not as a list: they may be read from a disk when they are asked for.
        found: Sequence[Any] = given
        return found
    by_name = {source.name: source for source in given}
    if missing := [name for name in names if name not in by_name]:
        like = [name for name in by_name if name.endswith(f"/{missing[0]}")]
        if len(like) > 1:
            raise CloudError(f"{file}: two originals of {missing[0]!r} are among the inputs, {like[0]} and {like[1]}")
        others = f", nor those of {len(missing) - 1} others" if len(missing) > 1 else ""
        raise CloudError(f"{file}: the original of {missing[0]!r} is not among the inputs{others}")
    return [by_name[name] for name in names]
