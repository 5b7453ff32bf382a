"""HDF5 datasets of clouds: (clouds, points, 3), D-FAUST's (points, 3, clouds), or (points, 3) for one cloud.

D-FAUST's registrations are one file of many such datasets. Each is a sequence of frames of one mesh, whose faces
are a dataset `faces` beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.atomic import atomic_path
from pcqaad.formats.clouds.h5_access import all_datasets, dataset_at, dataset_beside, names_beside, opened
from pcqaad.formats.clouds.names import MAX_NAME, natural
from pcqaad.formats.clouds.npy import Points, point_type
from pcqaad.formats.clouds.shape import Polygons, Shape
from pcqaad.formats.clouds.triangulate import MAX_CORNERS, Triangles, triangulate
from pcqaad.formats.errors import FormatError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

_CLOUDS, _NAMES, _FACES = "clouds", "names", "faces"
_NAMES_AT_ONCE = 256


@dataclass(frozen=True)
class H5Clouds:
    """What a dataset of clouds holds."""

    dataset: str  # its path in the file
    count: int | None  # of its clouds; None for one cloud of shape (points, 3)
    points: int  # of each
    names: list[str] | None  # one per cloud, where they are stored
    sequence: bool  # whether it is one of D-FAUST's: (points, 3, frames), with `faces` beside it


def find_h5(path: str | Path, dataset: str | None = None) -> list[H5Clouds]:
    """Describe the named dataset of clouds, or the only one of the file, or all when they are sequences of one mesh.

    Datasets of integers, as faces are, count only where there are none of floating point. Names come from a dataset
    `names`, one text a cloud, in the same group. Raises `FormatError` where the choice is none or not clear.
    """
    with opened(path) as file:
        paths = [dataset] if dataset else _chosen(file)
        return [_describe(_clouds(file, each), each, len(paths) > 1) for each in paths]


def read_h5(path: str | Path, dataset: str, index: int | None) -> tuple[Points, list[str]]:
    """Read one cloud, the only one where `index` is None; no notes. Raises `FormatError` as `find_h5` does."""
    with opened(path) as file:
        return _read(_clouds(file, dataset), index), []


def read_h5_mesh(path: str | Path, dataset: str, index: int | None) -> tuple[Points, Triangles, list[str]]:
    """Read as `read_h5` does, and the triangles (t, 3) of `faces` in its group; raises `FormatError` without them."""
    with opened(path) as file:
        found = _clouds(file, dataset)
        faces = _faces(found)
        if faces is None:
            problem = f"expected a dataset {_FACES} of integers (faces, 3) in its group to draw points from, found none"
            raise FormatError(problem, where=f"dataset {dataset}")
        points = _read(found, index)
        return points, triangulate(faces[()], len(points), f"dataset {faces.name.lstrip('/')}"), []


def read_h5_shape(path: str | Path, dataset: str, index: int | None) -> Shape:
    """Read one cloud, the polygons `faces`, and what its group holds beside them of one row a point.

    These are datasets of numbers of shape (clouds, points) or (clouds, points, c), or without the clouds where
    there is but one. Raises `FormatError` as `read_h5` does, and where a face has a corner that is no point.
    """
    with opened(path) as file:
        found = _clouds(file, dataset)
        points, faces = _read(found, index), _faces(found)
        polygons = None
        if faces is not None:
            polygons = Polygons.of_rows(faces[()], len(points), f"dataset {faces.name.lstrip('/')}")
        attributes = {}
        for name in () if index is not None and _transposed(found) else names_beside(found):
            beside = None if name in (_FACES, _NAMES) else dataset_beside(found, name)
            if beside is not None and beside.name != found.name and _is_attribute(beside, found.shape[:-1]):
                values = beside[() if index is None else index]
                attributes[name] = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
        return Shape(points, polygons, attributes)


def write_h5(path: str | Path, names: Sequence[str], points: int, clouds: Iterable[NDArray[np.float32]]) -> None:
    """Write clouds (points, 3), taken one at a time, and their names; raises `FormatError` as `atomic_path` does."""
    import h5py

    shape = (len(names), points, 3)
    with atomic_path(Path(path)) as temporary, _FailureKeeping(temporary, "w+b") as stream:
        with h5py.File(stream, "w") as file:
            stored = file.create_dataset(_CLOUDS, shape, "<f4", chunks=(1, points, 3) if names else None)
            file.create_dataset(_NAMES, (len(names),), h5py.string_dtype(), data=list(names))
            for index, cloud in zip(range(len(names)), clouds, strict=True):
                if cloud.shape != shape[1:]:
                    raise ValueError(f"expected clouds of shape {shape[1:]}, found {cloud.shape}")
                stored[index] = cloud
                if stream.failure is not None:
                    break
        if stream.failure is not None:
            raise stream.failure


class _FailureKeeping(FileIO):
    """A file that keeps its first failure to write for later, and swallows all writes from then on.

    HDF5 cannot close a file that it cannot write to: it fails again, and crashes as the process ends.
    """

    failure: OSError | None = None

    def write(self, data: Buffer) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest and self.failure is None:
                rest = rest[super().write(rest) or 0 :]
        except OSError as error:
            self.failure = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0


def _clouds(file: Any, path: str) -> Any:
    """Return the dataset at a path, of a shape and type of clouds, with at least one point."""
    where = f"dataset {path}"
    found = dataset_at(file, path)
    if found is None:
        raise FormatError(f"expected a dataset, found none; {_hint(file)}", where=where)
    if point_type(found.dtype) is None:
        raise FormatError(f"expected real numbers, found dtype {found.dtype}", where=where)
    if not _is_shape_of_clouds(found.shape):
        problem = "expected shape (clouds, points, 3), (points, 3, clouds) or (points, 3), found"
        raise FormatError(f"{problem} {found.shape}", where=where)
    if found.size == 0:
        raise FormatError(f"holds no points: its shape is {found.shape}", where=where)
    return found


def _chosen(file: Any) -> list[str]:
    """Return the only dataset that may hold clouds, or all of the sequences of one mesh, by path."""
    candidates = _candidates(file)
    paths = [path for path, kind in candidates if kind == "f"] or [path for path, _ in candidates]
    if len(paths) != 1 and not (paths and _are_sequences(file, paths)):
        raise FormatError(f"expected one dataset of clouds, found {len(paths)}; {_hint(file)}")
    return paths


def _are_sequences(file: Any, paths: list[str]) -> bool:
    """Say whether these are all of one mesh: in one group, of equally many points, with faces beside them."""
    if len({path.rpartition("/")[0] for path in paths}) > 1:
        return False
    found = [_clouds(file, path) for path in paths]
    if len({(item.shape[0], item.dtype) for item in found}) > 1 or _faces(found[0]) is None:
        return False
    of_three = [item for item in found if item.shape[-1] == 3]  # faces tell the same of all that have three frames
    return all(len(item.shape) == 3 and item.shape[1] == 3 for item in found) and all(map(_transposed, of_three[:1]))


def _describe(found: Any, dataset: str, sequence: bool) -> H5Clouds:
    if len(found.shape) == 2:
        return H5Clouds(dataset, None, found.shape[0], _names(found, None), False)
    transposed = sequence or _transposed(found)
    count, points = found.shape[::-2] if transposed else found.shape[:2]
    return H5Clouds(dataset, count, points, _names(found, count), transposed and _faces(found) is not None)


def _transposed(found: Any) -> bool:
    """Say whether a dataset of three dimensions is (points, 3, clouds), not (clouds, points, 3)."""
    if found.shape[2] != 3 or found.shape[1] != 3:
        return bool(found.shape[2] != 3)
    faces = _faces(found)  # three frames, or clouds of three points: faces tell which
    return faces is not None and bool(faces[()].max() >= 3)


def _faces(found: Any) -> Any | None:
    faces = dataset_beside(found, _FACES)
    if faces is None or faces.dtype.kind not in "iu" or not faces.size:
        return None
    return faces if len(faces.shape) == 2 and 3 <= faces.shape[1] <= MAX_CORNERS else None


def _is_attribute(beside: Any, rows: tuple[int, ...]) -> bool:
    """Say whether a dataset holds numbers of one row a point: as many rows as the clouds, (clouds, points)."""
    if beside.dtype.kind not in "iuf" or beside.dtype.itemsize > 8:
        return False
    return len(beside.shape) in (len(rows), len(rows) + 1) and beside.shape[: len(rows)] == rows and beside.size > 0


def _read(found: Any, index: int | None) -> Points:
    where = () if index is None else np.s_[:, :, index] if _transposed(found) else index
    return np.array(found[where], dtype=point_type(found.dtype), order="C")


def _candidates(file: Any) -> list[tuple[str, str]]:
    """Return the path and the kind of dtype of each dataset that may hold clouds, in natural order."""
    found = [
        (path, item.dtype.kind)
        for path, item in all_datasets(file)
        if point_type(item.dtype) is not None and (item.is_virtual or _is_shape_of_clouds(item.shape))
    ]
    return sorted(found, key=lambda candidate: natural(candidate[0]))


def _hint(file: Any) -> str:
    try:
        paths = [path for path, _ in _candidates(file)]
    except FormatError as error:
        return error.problem
    if not paths:
        return "no dataset is of shape (clouds, points, 3), (points, 3, clouds) or (points, 3)"
    return f"name one as FILE:DATASET, of {', '.join(paths[:10])}" + (" ..." if len(paths) > 10 else "")


def _is_shape_of_clouds(shape: tuple[int, ...] | None) -> bool:
    return shape is not None and len(shape) in (2, 3) and (shape[-1] == 3 or shape[1] == 3)


def _names(clouds: Any, count: int | None) -> list[str] | None:
    """Return the names beside a dataset of clouds, None where there are none, one for each."""
    import h5py

    stored = dataset_beside(clouds, _NAMES)
    if stored is None or stored.shape != (count or 1,) or h5py.check_string_dtype(stored.dtype) is None:
        return None
    names: list[str] = []
    text = stored.asstr(errors="replace")
    # Many names may be one long text of the file, which the first of them tell.
    for start in range(0, len(stored), _NAMES_AT_ONCE):
        names += map(str, text[start : start + _NAMES_AT_ONCE])
        if len(longest := max(names[start:], key=len)) > MAX_NAME:
            problem = f"expected names of at most {MAX_NAME} bytes, found one of {len(longest)} characters"
            raise FormatError(problem, where=f"dataset {stored.name.lstrip('/')}")
    return names
