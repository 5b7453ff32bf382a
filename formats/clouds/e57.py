"""E57 files of scanners: read by pye57, where it is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.atomic import named_os_errors
from pcqaad.formats.clouds.shape import Shape, joined
from pcqaad.formats.errors import FormatError

_COORDINATES = ("cartesianX", "cartesianY", "cartesianZ")
_ALIKE = {"colorRed": "red", "colorGreen": "green", "colorBlue": "blue"}
# What pye57 returns beside them says where a point lies in the scanner's grid.
_KEPT = ("intensity", *_ALIKE)


def read_e57(path: Path) -> Shape:
    """Read the points of all scans of a file, one behind the other, each moved to where its pose says, as float64.

    Intensities and colours are attributes where all scans have them. Points that are marked as invalid are left out.

    Raises `FormatError` where pye57 is not installed, and where the file is malformed.
    """
    if importlib.util.find_spec("pye57") is None:
        raise FormatError("reading .e57 needs pye57: pip install 'pcqaad[e57]'", file=str(path))
    import pye57

    try:
        with named_os_errors(path, "read"):
            size = path.stat().st_size
        file = pye57.E57(str(path))
        try:
            scans = []
            for number in range(file.scan_count):
                # Packed numbers take one bit or more.
                if file.get_header(number).point_count > 8 * size:
                    raise FormatError(f"claims more points than {size} bytes hold", where=f"scan {number}")
                scans.append(file.read_scan(number, ignore_missing_fields=True, intensity=True, colors=True))
        finally:
            file.close()
        if not scans:
            return Shape(np.zeros((0, 3)))
        points = np.concatenate([np.column_stack([scan[name] for name in _COORDINATES]) for scan in scans])
        shared: dict[str, NDArray[Any]] = {
            _ALIKE.get(name, name): np.concatenate([scan[name] for scan in scans])
            for name in _KEPT
            if all(name in scan and len(scan[name]) == len(scan[_COORDINATES[0]]) for scan in scans)
        }
    except FormatError as error:
        raise error.in_file(str(path)) from error
    except Exception as error:  # whatever pye57 makes of a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise FormatError(f"malformed E57: {reason}", file=str(path)) from error
    notes = ("scans of one file put together",) if len(scans) > 1 else ()
    return Shape(points.astype(np.float64), None, joined(shared), notes)
