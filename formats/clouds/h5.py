"""HDF5 datasets of clouds: (clouds, points, 3), D-FAUST's (points, 3, clouds), or (points, 3) for one cloud.

D-FAUST's registrations are one file of many such datasets, each a sequence of frames of one mesh, whose faces
are a dataset `faces` beside them.

h5py is imported where it is used: it costs as much time to import as a small file costs to decode.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.atomic import atomic_path, named_os_errors
from pcqaad.formats.clouds.names import natural
from pcqaad.formats.clouds.npy import point_type
from pcqaad.formats.clouds.triangulate import Triangles, triangulate
from pcqaad.formats.errors import FormatError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

_CLOUDS, _NAMES, _FACES = "clouds", "names", "faces"
# No HDF5 filter in common use gains more: deflate ends at 1032 to 1. A file may claim any shape.
_GREATEST_GAIN = 1100


@dataclass(frozen=True)
class H5Clouds:
    """What a dataset of clouds holds.

    Attributes:
        dataset: its path in the file.
        count: of its clouds; None for one cloud of shape (points, 3).
        points: of each.
        names: one per cloud, where they are stored.
        sequence: whether it is one of D-FAUST's: (points, 3, frames), with `faces` beside it.
    """

    dataset: str
    count: int | None
    points: int
    names: list[str] | None
    sequence: bool


def find_h5(path: str | Path, dataset: str | None = None) -> list[H5Clouds]:
    """Describe the named dataset of clouds, or the only one of the file, or all when they are sequences of one mesh.

    Where integer arrays could be clouds too (the faces of a mesh have the shape of one), only those of
    floating point are considered. Names come from a dataset `names`, one text a cloud, in the same group.

    Raises `FormatError` when there is no such dataset, or there are several of other kinds; it then lists them.
    """
    with _opened(path) as file:
        return [_describe(_clouds(file, name), name) for name in ([dataset] if dataset else _chosen(file))]


def read_h5(path: str | Path, dataset: str, index: int | None) -> NDArray[np.float32 | np.float64]:
    """Read one cloud, shape (points, 3), of a dataset; `index` is None if that has shape (points, 3).

    Raises `FormatError` as `find_h5` does.
    """
    with _opened(path) as file:
        found = _clouds(file, dataset)
        return _read(found, index)


def read_h5_mesh(
    path: str | Path, dataset: str, index: int | None
) -> tuple[NDArray[np.float32 | np.float64], Triangles]:
    """Read one cloud as `read_h5` does, and the faces (t, 3) of the dataset `faces` in the same group.

    Raises `FormatError` as `read_h5` does, and when there are no such faces.
    """
    with _opened(path) as file:
        found = _clouds(file, dataset)
        faces = _faces(found)
        if faces is None:
            problem = f"expected a dataset {_FACES} of integers (faces, 3) in its group to draw points from, found none"
            raise FormatError(problem, where=f"dataset {dataset}")
        points = _read(found, index)
        return points, triangulate(faces[()], len(points), f"dataset {faces.name.lstrip('/')}")


def write_h5(path: str | Path, names: Sequence[str], points: int, clouds: Iterable[NDArray[np.float32]]) -> None:
    """Write clouds of shape (points, 3), taken one at a time: a float32 dataset `clouds`, and their `names`.

    Raises `FormatError` when the file cannot be written; nothing is left of it then.
    """
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


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    import h5py

    try:
        with named_os_errors(path, "read"):
            Path(path).open("rb").close()  # its errors say plainly what h5py's do not
        if not h5py.is_hdf5(path):
            raise FormatError("expected an HDF5 file, found other first bytes")
        with h5py.File(path, "r") as file:
            yield file
    except FormatError as error:
        raise error.in_file(str(path)) from error
    except Exception as error:  # whatever HDF5 makes of a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise FormatError(f"malformed HDF5: {reason}", file=str(path)) from error


def _clouds(file: Any, name: str) -> Any:
    """Return the named dataset, of a shape and type of clouds, with at least one point that is stored."""
    import h5py

    where = f"dataset {name}"
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        problem = f"expected a dataset, found {'none' if found is None else 'a group'}; {_hint(file)}"
        raise FormatError(problem, where=where)
    if point_type(found.dtype) is None:
        raise FormatError(f"expected real numbers, found dtype {found.dtype}", where=where)
    if not _is_shape_of_clouds(found.shape):
        problem = "expected shape (clouds, points, 3), (points, 3, clouds) or (points, 3), found"
        raise FormatError(f"{problem} {found.shape}", where=where)
    if found.size == 0:
        raise FormatError(f"holds no points: its shape is {found.shape}", where=where)
    if found.external:
        # A stranger's file could have any other of this machine's read as points.
        raise FormatError("expected points in the file itself, found them in others", where=where)
    stored = found.id.get_storage_size()
    if found.nbytes > stored * _GREATEST_GAIN:
        problem = f"shape {found.shape} claims {found.nbytes} bytes, but {stored} are stored"
        raise FormatError(problem, where=where)
    return found


def _chosen(file: Any) -> list[str]:
    """Return the only dataset that may hold clouds, or all of the sequences of one mesh, by name."""
    floating = [name for name, kind in _candidates(file) if kind == "f"]
    names = floating or [name for name, _ in _candidates(file)]
    if len(names) != 1 and not (names and _are_sequences([file[name] for name in names])):
        raise FormatError(f"expected one dataset of clouds, found {len(names)}; {_hint(file)}")
    return sorted(names, key=natural)


def _are_sequences(found: list[Any]) -> bool:
    """Say whether these are all of one mesh: in one group, of equally many points, with faces beside them."""
    alike = {(item.parent.name, item.shape[0], item.dtype) for item in found}
    return (
        len(alike) == 1 and all(len(item.shape) == 3 and _transposed(item) for item in found) and bool(_faces(found[0]))
    )


def _describe(found: Any, dataset: str) -> H5Clouds:
    if len(found.shape) == 2:
        return H5Clouds(dataset, None, found.shape[0], _names(found, None), False)
    transposed = _transposed(found)
    count, points = found.shape[::-2] if transposed else found.shape[:2]
    return H5Clouds(dataset, count, points, _names(found, count), transposed and _faces(found) is not None)


def _transposed(found: Any) -> bool:
    """Say whether a dataset of three dimensions is (points, 3, clouds), not (clouds, points, 3)."""
    if found.shape[2] != 3 or found.shape[1] != 3:
        return bool(found.shape[2] != 3)
    # Three frames, or clouds of three points: faces tell which.
    faces = _faces(found)
    return faces is not None and bool(faces[()].max() >= 3)


def _faces(found: Any) -> Any | None:
    """Return the dataset of faces beside one of clouds, None where there is none that is one, and stored."""
    import h5py

    faces = found.parent.get(_FACES)
    if not isinstance(faces, h5py.Dataset) or faces.dtype.kind not in "iu" or faces.size == 0:
        return None
    if len(faces.shape) != 2 or not 3 <= faces.shape[1] <= 64:
        return None
    return faces if faces.nbytes <= faces.id.get_storage_size() * _GREATEST_GAIN else None


def _read(found: Any, index: int | None) -> NDArray[np.float32 | np.float64]:
    where: Any = ()
    if index is not None:
        where = np.s_[:, :, index] if _transposed(found) else index
    return np.array(found[where], dtype=point_type(found.dtype), order="C")


def _candidates(file: Any) -> list[tuple[str, str]]:
    """Return the path and the kind of dtype of each dataset that may hold clouds."""
    import h5py

    found = []

    def visit(name: str, item: Any) -> None:
        is_array = isinstance(item, h5py.Dataset) and point_type(item.dtype) is not None
        if is_array and _is_shape_of_clouds(item.shape):
            found.append((name, item.dtype.kind))

    file.visititems(visit)
    return found


def _hint(file: Any) -> str:
    names = [name for name, _ in _candidates(file)]
    if not names:
        return "no dataset is of shape (clouds, points, 3), (points, 3, clouds) or (points, 3)"
    return f"name one as FILE:DATASET, of {', '.join(names[:10])}" + (" ..." if len(names) > 10 else "")


def _is_shape_of_clouds(shape: tuple[int, ...] | None) -> bool:
    return shape is not None and len(shape) in (2, 3) and (shape[-1] == 3 or shape[1] == 3)


def _names(clouds: Any, count: int | None) -> list[str] | None:
    import h5py

    names = clouds.parent.get(_NAMES)
    if not isinstance(names, h5py.Dataset) or names.shape != (count or 1,):
        return None
    if h5py.check_string_dtype(names.dtype) is None:
        return None
    return [str(name) for name in names.asstr(errors="replace")[()]]
