"""PCD files of points, written binary: a field for each coordinate and for each number of an attribute."""

from __future__ import annotations

import re
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.clouds.shape import Shape, separated

_NORMAL = {"nx": "normal_x", "ny": "normal_y", "nz": "normal_z"}


def write_pcd(stream: BinaryIO, shape: Shape) -> None:
    """Write a shape's points and attributes; faces have no place. A `colour` of bytes becomes the field `rgb`."""
    attributes = dict(shape.attributes)
    fields: dict[str, NDArray[Any]] = dict(zip("xyz", shape.points.T, strict=True))
    colour = attributes.get("colour")
    if colour is not None and colour.dtype == np.uint8:
        del attributes["colour"]
        red, green, blue = colour.astype(np.uint32).T
        fields["rgb"] = (red << 16 | green << 8 | blue).view(np.float32)  # as PCL packs them
    for name, values in separated(attributes).items():
        values = values.astype(np.float32) if values.dtype == np.float16 else values
        fields[_NORMAL.get(name) or re.sub(r"[^\x21-\x7e]", "_", name)] = values
    rows = np.empty(len(shape.points), [(name, values.dtype.newbyteorder("<")) for name, values in fields.items()])
    for name, values in fields.items():
        rows[name] = values
    lines = [
        "# .PCD v0.7 - decoded by pcqaad",
        "VERSION 0.7",
        f"FIELDS {' '.join(fields)}",
        f"SIZE {' '.join(str(values.dtype.itemsize) for values in fields.values())}",
        f"TYPE {' '.join(values.dtype.kind.upper() for values in fields.values())}",
        f"COUNT {' '.join('1' for _ in fields)}",
        f"WIDTH {len(rows)}",
        "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(rows)}",
        "DATA binary",
    ]
    stream.write("".join(f"{line}\n" for line in lines).encode("ascii"))
    stream.write(rows.tobytes())
