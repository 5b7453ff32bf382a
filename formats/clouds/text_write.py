"""Text files of points: `.xyz` of bare columns, `.txt` and `.csv` with a first line that names them."""

from __future__ import annotations

import re
from typing import BinaryIO

from pcqaad.formats.clouds.rows import write_columns
from pcqaad.formats.clouds.shape import Shape, separated


def write_xyz(stream: BinaryIO, shape: Shape) -> None:
    """Write x y z, and red green blue behind them where there is a `colour`. No other attribute has a place."""
    kept = {name: values for name, values in shape.attributes.items() if name == "colour"}
    write_columns(stream, [*shape.points.T, *separated(kept).values()], " ")


def write_txt(stream: BinaryIO, shape: Shape) -> None:
    """Write the points and all attributes as columns with blanks between, behind their names."""
    _write_named(stream, shape, " ")


def write_csv(stream: BinaryIO, shape: Shape) -> None:
    """Write the points and all attributes as columns with commas between, behind their names."""
    _write_named(stream, shape, ",")


def _write_named(stream: BinaryIO, shape: Shape, separator: str) -> None:
    columns = separated(shape.attributes)
    names = [re.sub(r"[^\x21-\x7e]|[,;]", "_", name) for name in columns]
    stream.write((separator.join(["x", "y", "z", *names]) + "\n").encode("ascii"))
    write_columns(stream, [*shape.points.T, *columns.values()], separator)
