"""Clouds as the user names them: files and folders of any known format, read lazily and one at a time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.atomic import named_os_errors
from pcqaad.formats.errors import FormatError
from pcqaad.formats.h5 import find_h5, read_h5, write_h5
from pcqaad.formats.npy import count_npy, read_npy, write_npy
from pcqaad.formats.ply import read_ply, write_ply

Points = NDArray[np.float32 | np.float64]

_LARGEST = float(np.finfo(np.float32).max)
# Separators of any system (a colon parts a drive or a stream on Windows), control characters, and the lone
# surrogates that stand for undecodable bytes of file names and fit into no text file.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\:\ud800-\udfff]")
# Bytes of a name in UTF-8: more than any file system takes.
MAX_NAME = 1024


@dataclass(frozen=True)
class CloudData:
    """The points of one cloud, shape (points, 3), and notes on what of its file was not kept."""

    points: Points
    notes: tuple[str, ...]


@dataclass(frozen=True)
class CloudSource:
    """One cloud that can be read: its `name`, unique and fit for a file name, and its `file` for messages."""

    name: str
    file: str
    load: Callable[[], tuple[Points, Sequence[str]]] = field(repr=False, compare=False)

    def read(self) -> CloudData:
        """Read the cloud, of at least one point, all its coordinates finite in float32 too.

        Raises `FormatError` when it is no such cloud, or cannot be read.
        """
        try:
            points, notes = self.load()
            _check_points(points)
        except FormatError as error:
            raise error.in_file(self.file) from error
        return CloudData(points, tuple(notes))


class LazyClouds(Sequence[Points]):
    """The points of sources, each read when it is asked for, and again when it is asked for again.

    Attributes:
        notes: on what was not kept, each with how many of the clouds read so far it is true of.
    """

    def __init__(self, sources: Sequence[CloudSource]) -> None:
        self._sources = sources
        self._noted: set[int] = set()
        self.notes: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._sources)

    @overload
    def __getitem__(self, index: int) -> Points: ...

    @overload
    def __getitem__(self, index: slice) -> LazyClouds: ...

    def __getitem__(self, index: int | slice) -> Points | LazyClouds:
        """Read a cloud; raises FormatError as `CloudSource.read` does."""
        if isinstance(index, slice):
            return LazyClouds(self._sources[index])
        cloud = self._sources[index].read()
        number = index % len(self)
        if number not in self._noted:
            self._noted.add(number)
            # Files differ in how many rows they lose, and that is one thing to know, not many.
            self.notes.update(re.sub(r" \([0-9]+ rows\)$", "", note) for note in cloud.notes)
        return cloud.points


def find_clouds(inputs: Sequence[str | Path]) -> list[CloudSource]:
    """Return the clouds of all inputs, in their order, without reading any.

    An input is a `.ply` file, a folder of such (in natural order: `x2` before `x10`), a `.npy` file, or an
    `.h5` or `.hdf5` file, where `FILE:DATASET` names one of several datasets. Clouds are named by their file;
    within arrays they are numbered, unless names are stored with them. Equal names are told apart by the name
    of their folder, and if that is equal too, by number.

    Raises `FormatError` when an input is missing, of another kind, or holds no clouds.
    """
    found = [source for given in inputs for source in _sources(str(given))]
    clashing = Counter(source.name for source, _ in found)
    wanted = [f"{folder}_{source.name}" if clashing[source.name] > 1 else source.name for source, folder in found]
    names = _unique([_UNSAFE.sub("_", name) for name in wanted])
    return [CloudSource(name, source.file, source.load) for name, (source, _) in zip(names, found, strict=True)]


def write_clouds(target: Path, names: Sequence[str], points: int, clouds: Iterator[NDArray[np.float32]]) -> None:
    """Write clouds of shape (points, 3), taken one at a time, as many as names, as the target's suffix says.

    `.npy`, `.h5` and `.hdf5` are one file each (a `.npy` file keeps no names); anything else is a folder,
    made where missing, with one binary NAME.ply a cloud. No file is ever left half-written.

    Raises `FormatError` when names are unsafe or equal, or the target cannot be written.
    """
    for name, times in Counter(names).items():
        if times > 1 or not safe_name(name):
            problem = "given twice" if times > 1 else "not safe as the name of a file"
            raise FormatError(f"name {name[:100]!r} of a cloud is {problem}")
    match target.suffix.lower():
        case ".npy":
            write_npy(target, len(names), points, clouds)
        case ".h5" | ".hdf5":
            write_h5(target, names, points, clouds)
        case ".ply":
            raise FormatError("expected a folder to write .ply files to, found the name of one", file=str(target))
        case _:
            with named_os_errors(target, "make this folder"):
                target.mkdir(parents=True, exist_ok=True)
            for name, cloud in zip(names, clouds, strict=True):
                write_ply(target / f"{name}.ply", cloud)


def safe_name(name: str) -> bool:
    """Say whether a cloud may have this name: a file named so lies in the very folder it is written to."""
    return name not in ("", ".", "..") and not _UNSAFE.search(name) and len(name.encode()) <= MAX_NAME


def _sources(given: str) -> list[tuple[CloudSource, str]]:
    """Return the clouds of one input under the names of their files, each with the name of its folder."""
    # A colon parts file and dataset after an HDF5 suffix alone: Windows puts one behind the drive's letter.
    in_h5 = re.fullmatch(r"(.+?\.(?:h5|hdf5)):(.+)", given, re.IGNORECASE)
    path, dataset = (Path(in_h5[1]), in_h5[2]) if in_h5 else (Path(given), None)
    with named_os_errors(given, "read"):
        if path.is_dir():
            return [_ply_source(file) for file in _ply_files(path)]
        if not path.exists():
            raise FormatError("no such file or folder", file=str(path))
        if not path.is_file():
            raise FormatError("expected a file or a folder, found something else", file=str(path))
        match path.suffix.lower():
            case ".ply":
                return [_ply_source(path)]
            case ".npy":
                sources = _npy_sources(path)
            case ".h5" | ".hdf5":
                sources = _h5_sources(path, dataset)
            case suffix:
                problem = f"expected a folder or a file ending in .ply, .npy, .h5 or .hdf5, found {suffix!r}"
                raise FormatError(problem, file=str(path))
        return [(source, _folder(path)) for source in sources]


def _ply_files(folder: Path) -> list[Path]:
    # Hidden files are not meant: some systems leave such beside every real one.
    named = [file for file in folder.iterdir() if file.suffix.lower() == ".ply" and file.name[0] != "."]
    files = [file for file in named if file.is_file()]
    if not files:
        raise FormatError(f"no .ply files in folder {folder}")
    return sorted(files, key=_natural)


def _natural(file: Path) -> tuple[list[tuple[bool, int, str]], str]:
    parts = re.findall(r"([0-9]+)|([^0-9]+)", file.stem)
    return [(not digits, int(digits or 0), text.lower()) for digits, text in parts], file.name


def _ply_source(path: Path) -> tuple[CloudSource, str]:
    return CloudSource(path.stem, str(path), partial(read_ply, path)), _folder(path)


def _npy_sources(path: Path) -> Iterator[CloudSource]:
    def load(index: int | None) -> tuple[Points, Sequence[str]]:
        return read_npy(path, index), ()

    count = count_npy(path)
    if count is None:
        yield CloudSource(path.stem, str(path), partial(load, None))
    for index in range(count or 0):
        yield CloudSource(f"{path.stem}_{index:04d}", f"{path}[{index}]", partial(load, index))


def _h5_sources(path: Path, dataset: str | None) -> Iterator[CloudSource]:
    def load(index: int | None) -> tuple[Points, Sequence[str]]:
        return read_h5(path, found.dataset, index), ()

    found = find_h5(path, dataset)
    file = f"{path}:{found.dataset}"
    if found.count is None:
        name = found.names[0] if found.names else path.stem
        yield CloudSource(name or path.stem, file, partial(load, None))
    for index in range(found.count or 0):
        number = f"{path.stem}_{index:04d}"
        name = found.names[index] if found.names else number
        yield CloudSource(name if safe_name(name) else number, f"{file}[{index}]", partial(load, index))


def _folder(path: Path) -> str:
    return path.absolute().parent.name


def _unique(names: list[str]) -> list[str]:
    """Number what is given more than once, `x`, `x_2`, `x_3`, past any name that is taken."""
    times: Counter[str] = Counter()
    taken = set(names)
    unique = []
    for name in names:
        times[name] += 1
        chosen = name
        while times[name] > 1 and chosen in taken:
            chosen = f"{name}_{times[name]}"
            times[name] += chosen in taken
        taken.add(chosen)
        unique.append(chosen)
    return unique


def _check_points(points: Points) -> None:
    if len(points) == 0:
        raise FormatError("holds no points")
    if (np.abs(points) <= _LARGEST).all():
        return
    finite = np.isfinite(points)
    if not finite.all():
        raise _refusal(points, finite, "expected finite coordinates")
    raise _refusal(points, np.abs(points) <= _LARGEST, f"expected coordinates of at most {_LARGEST:.4g}")


def _refusal(points: Points, accepted: NDArray[np.bool_], expected: str) -> FormatError:
    refused = np.flatnonzero(~accepted.all(axis=1))
    first = int(refused[0])
    found = ", ".join(f"{value:.6g}" for value in points[first].tolist())
    return FormatError(f"{expected}, found ({found}) ({len(refused)} such points)", where=f"point {first}")
