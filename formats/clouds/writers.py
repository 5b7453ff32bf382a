"""What writes one shape as a file of a suffix, and what of a shape such a file has a place for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from pcqaad.formats.atomic import atomic_path
from pcqaad.formats.clouds.npz_write import write_npz
from pcqaad.formats.clouds.obj_write import write_obj
from pcqaad.formats.clouds.off_write import write_off
from pcqaad.formats.clouds.pcd_write import write_pcd
from pcqaad.formats.clouds.ply_write import write_ply_shape
from pcqaad.formats.clouds.shape import Shape
from pcqaad.formats.clouds.stl_write import write_stl
from pcqaad.formats.clouds.text_write import write_csv, write_txt, write_xyz
from pcqaad.formats.clouds.vtk_write import write_vtk, write_vtp
from pcqaad.formats.errors import FormatError


class Writer(NamedTuple):
    """A format to write: what it has a place for, beside points.

    Attributes:
        write: a shape to a stream.
        faces: whether it holds them.
        attributes: which it holds: all where None.
        points: whether it holds points of no face.
    """

    write: Callable[[BinaryIO, Shape], None]
    faces: bool
    attributes: tuple[str, ...] | None = None
    points: bool = True


def _write_npy(stream: BinaryIO, shape: Shape) -> None:
    np.save(stream, shape.points, allow_pickle=False)


WRITERS = {
    ".ply": Writer(write_ply_shape, True),
    ".obj": Writer(write_obj, True, ("colour",)),
    ".off": Writer(write_off, True, ("colour",)),
    ".stl": Writer(write_stl, True, (), points=False),
    ".vtp": Writer(write_vtp, True),
    ".vtk": Writer(write_vtk, True),
    ".npz": Writer(write_npz, True),
    ".npy": Writer(_write_npy, False, ()),
    ".pcd": Writer(write_pcd, False),
    ".xyz": Writer(write_xyz, False, ("colour",)),
    ".txt": Writer(write_txt, False),
    ".csv": Writer(write_csv, False),
}


def write_shape(path: Path, shape: Shape) -> None:
    """Write a shape as the path's suffix says, as far as that format has a place for it.

    Raises `FormatError` as `atomic_path` does, and where the format cannot hold the shape.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        try:
            WRITERS[path.suffix.lower()].write(stream, shape)
        except FormatError as error:
            raise error.in_file(str(path)) from error


def not_written(suffix: str, shape: Shape) -> list[str]:
    """Return what of a shape a file of a suffix has no place for: faces, and attributes by name."""
    writer = WRITERS[suffix]
    lost = [] if shape.polygons is None or writer.faces else ["faces"]
    return lost + [name for name in shape.attributes if writer.attributes is not None and name not in writer.attributes]
