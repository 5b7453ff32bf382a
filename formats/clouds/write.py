"""Decoded clouds to a folder of files, or to one file for all."""

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
from pcqaad.formats.clouds.ply import write_ply
from pcqaad.formats.errors import FormatError


def write_clouds(target: Path, names: Sequence[str], points: int, clouds: Iterator[NDArray[np.float32]]) -> None:
    """Write clouds of shape (points, 3), one for each name, taken one at a time, as the target's suffix says.

    `.npy`, `.h5` and `.hdf5` are one file each; a `.npy` file keeps no names. Anything else is a folder, made where
    missing, with one binary NAME.ply a cloud, in folders below it where the name has a `/`. No file is ever left
    half-written.

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
            written: dict[str, Path] = {}
            for name, cloud in zip(names, clouds, strict=True):
                file = target / f"{name}.ply"
                # Some systems take `A` for `a`, or two ways to write an `ä` for one.
                alike = written.setdefault(unicodedata.normalize("NFC", name).casefold(), file)
                if alike is not file and file.exists() and file.samefile(alike):
                    raise FormatError(f"is the same file here as that of {alike.stem}", file=str(file))
                with named_os_errors(file.parent, "make this folder"):
                    file.parent.mkdir(parents=True, exist_ok=True)
                write_ply(file, cloud)
