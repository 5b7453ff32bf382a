"""Decoded clouds and meshes to a folder of files, one each, or clouds to one file for all."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.atomic import named_os_errors
from pcqaad.formats.clouds.h5 import write_h5
from pcqaad.formats.clouds.names import safe_name
from pcqaad.formats.clouds.npy import write_npy
from pcqaad.formats.clouds.shape import Shape
from pcqaad.formats.clouds.writers import write_shape
from pcqaad.formats.errors import FormatError


def write_clouds(target: Path, names: Sequence[str], points: int | None, clouds: Iterator[NDArray[np.float32]]) -> None:
    """Write clouds of shape (points, 3), one for each name, taken one at a time, as the target's suffix says.

    `.npy`, `.h5` and `.hdf5` are one file each; a `.npy` file keeps no names. Anything else is a folder, made where
    missing, with one binary NAME.ply a cloud, in folders below it where the name has a `/`. There clouds may have
    their own numbers of points, and `points` be None. No file is ever left half-written.

    Raises `FormatError` when names are unsafe or equal, or the target cannot be written.
    """
    _check(names)
    suffix = target.suffix.lower()
    if suffix not in (".npy", ".h5", ".hdf5"):
        write_shapes(target, ".ply", names, map(Shape, clouds))
        return
    if points is None:
        raise FormatError(f"expected clouds of one number of points, which {suffix} needs", file=str(target))
    if suffix == ".npy":
        write_npy(target, len(names), points, clouds)
    else:
        write_h5(target, names, points, clouds)


def write_shapes(folder: Path, suffix: str, names: Sequence[str], shapes: Iterator[Shape]) -> None:
    """Write shapes, one for each name, taken one at a time, to a folder as `write_clouds` does, as NAME and the suffix.

    Raises `FormatError` as `write_clouds` and `write_shape` do.
    """
    _check(names)
    if folder.suffix.lower() == suffix:
        raise FormatError(f"expected a folder to write {suffix} files to, found the name of one", file=str(folder))
    with named_os_errors(folder, "make this folder"):
        folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, Path] = {}
    for name, shape in zip(names, shapes, strict=True):
        file = folder / f"{name}{suffix}"
        # Some systems take `A` for `a`, or two ways to write an `ä` for one.
        alike = written.setdefault(unicodedata.normalize("NFC", name).casefold(), file)
        if alike is not file and file.exists() and file.samefile(alike):
            raise FormatError(f"is the same file here as that of {alike.stem}", file=str(file))
        with named_os_errors(file.parent, "make this folder"):
            file.parent.mkdir(parents=True, exist_ok=True)
        write_shape(file, shape)


def _check(names: Sequence[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1 or not safe_name(name):
            problem = "given twice" if times > 1 else "not safe as the name of a file"
            raise FormatError(f"name {name[:100]!r} of a cloud is {problem}")
