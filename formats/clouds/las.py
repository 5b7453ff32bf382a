"""LAS and LAZ files of scanners, and COPC, which is LAZ: read by laspy, where it is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.atomic import named_os_errors
from pcqaad.formats.clouds.shape import Shape, joined, put
from pcqaad.formats.errors import FormatError

_AT_ONCE = 1 << 20  # points


def read_las(path: Path) -> Shape:
    """Read the points of a file, as float64 in its own unit, and all dimensions of its point format.

    Raises `FormatError` where laspy, or lazrs for a LAZ file, is not installed, and where the file is malformed.
    """
    for module in ("laspy", *(["lazrs"] if path.suffix.lower() == ".laz" else [])):
        if importlib.util.find_spec(module) is None:
            problem = f"reading {path.suffix.lower()} needs {module}: pip install 'pcqaad[las]'"
            raise FormatError(problem, file=str(path))
    import laspy

    try:
        with named_os_errors(path, "read"):
            size = path.stat().st_size
        with laspy.open(path) as reader:
            claimed = reader.header.point_count * reader.header.point_format.size
            if not reader.header.are_points_compressed and claimed > size:
                raise FormatError(f"expected {claimed} bytes for {reader.header.point_count} points, found {size}")
            # Not all at once: a compressed file may claim more than it holds.
            parts = list(reader.chunk_iterator(_AT_ONCE))
            if sum(map(len, parts)) != reader.header.point_count:
                raise FormatError(f"expected {reader.header.point_count} points, found {sum(map(len, parts))}")
            names = [name for name in reader.header.point_format.dimension_names if name not in ("X", "Y", "Z")]
            if not parts:
                return Shape(np.zeros((0, 3)))
            points = np.concatenate([np.column_stack([part.x, part.y, part.z]) for part in parts])
            columns = {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in names}
    except FormatError as error:
        raise error.in_file(str(path)) from error
    except Exception as error:  # whatever laspy and lazrs make of a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise FormatError(f"malformed LAS: {reason}", file=str(path)) from error
    attributes = joined({name: values for name, values in columns.items() if values.ndim == 1})
    wide: dict[str, NDArray[Any]] = {name: values for name, values in columns.items() if values.ndim == 2}
    for name, values in wide.items():
        put(attributes, name, values)
    return Shape(points, None, attributes)
