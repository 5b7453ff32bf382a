"""HDF5 files of strangers: which of their datasets may be read, and how far they are searched.

An HDF5 file can name any other of this machine as the place of its data: by external storage, by virtual datasets,
by links. Whoever reads it would pass the bytes found there on as points or names, so none of these is followed.

h5py is imported where it is used: it costs as much time to import as a small file costs to decode.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from pcqaad.formats.atomic import named_os_errors
from pcqaad.formats.errors import FormatError

_MAX_GAIN = 1100  # claimed to stored bytes. No HDF5 filter in common use gains more: deflate ends at 1032 to 1.
_MAX_LINKS = 2048  # that a search looks at
_MAX_DEPTH = 32  # levels of groups that it enters
_MAX_SOFT_LINKS = 16  # on the way to one dataset


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """Open a file to read; raises `FormatError` for whatever goes wrong in the block."""
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


def dataset_at(file: Any, path: str) -> Any | None:
    """Return the dataset at a path of the file, None where there is none: all that is read comes from here.

    Raises `FormatError` where it lies in another file, or its data do, and where it claims more than is stored.
    """
    import h5py

    found, where = _at(file, path), f"dataset {path}"
    if not isinstance(found, h5py.Dataset):
        return None
    if found.is_virtual or found.external:
        raise FormatError("expected its data in the file itself, found them in others", where=where)
    claimed, stored = (found.size or 0) * found.dtype.itemsize, found.id.get_storage_size()
    if claimed > stored * _MAX_GAIN:
        raise FormatError(f"shape {found.shape} claims {claimed} bytes, but {stored} are stored", where=where)
    return found


def dataset_beside(found: Any, name: str) -> Any | None:
    """Return the dataset of a name in the group of another one, as `dataset_at` does."""
    return dataset_at(found.file, f"{found.name.rpartition('/')[0]}/{name}".lstrip("/"))


def names_beside(found: Any) -> list[str]:
    """Return the names in the group of a dataset, of no more than a search looks at."""
    group = found.file[found.name.rpartition("/")[0] or "/"]
    return list(islice(group, _MAX_LINKS))


def _at(file: Any, path: str) -> Any | None:
    """Return what lies at a path of the file, None where nothing does."""
    import h5py

    item, parts, links = file, path.split("/"), 0
    while parts:
        part = parts.pop(0)
        if part in ("", "."):
            continue
        match item.get(part, getlink=True) if isinstance(item, h5py.Group) else None:
            case None:
                return None
            case h5py.HardLink():
                item = item[part]
            case h5py.SoftLink(path=target) if links < _MAX_SOFT_LINKS:
                links += 1
                item = file if target.startswith("/") else item
                parts = [*target.split("/"), *parts]
            case _:
                raise FormatError("expected a dataset of this file, found a link elsewhere", where=f"dataset {path}")
    return item


def all_datasets(file: Any) -> Iterator[tuple[str, Any]]:
    """Yield every dataset and its path, once, whatever links lead to it: to be described, not read.

    The shape of a virtual one must not be asked for: HDF5 may open other files to find it.

    Raises `FormatError` when the file holds too much to be searched.
    """
    import h5py

    seen, links = set[int](), 0
    waiting = [("", file)]
    while waiting:
        path, group = waiting.pop()
        links += len(group)
        if links > _MAX_LINKS or path.count("/") > _MAX_DEPTH:
            limits = f"at most {_MAX_LINKS:,} groups and datasets, of {_MAX_DEPTH} levels"
            raise FormatError(f"expected {limits}, to search for clouds, found more; name a dataset as FILE:DATASET")
        for name in group:
            if isinstance(group.get(name, getlink=True), h5py.HardLink):
                item = group[name]
                address = h5py.h5o.get_info(item.id).addr
                if address not in seen and isinstance(item, h5py.Group):
                    waiting.append((f"{path}{name}/", item))
                elif address not in seen and isinstance(item, h5py.Dataset):
                    yield f"{path}{name}", item
                seen.add(address)
