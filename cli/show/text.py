"""Numbers and tables for people: decimal units, thousands separators, aligned columns."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pcqaad.cli.errors import printable

METRICS = {"emkd": "EM-kD", "emd": "EMD", "chamfer": "Chamfer", "d1": "D1", "d2": "D2", "surface": "surface"}


def size(count: int) -> str:
    """Return a number of bytes as people say it, in decimal units: `812 bytes`, `41.2 KB`."""
    if count < 1000:
        return f"{count:,} bytes" if count != 1 else "1 byte"
    value, unit = float(count), "bytes"
    for larger in ("KB", "MB", "GB", "TB"):
        if value < 999.95:  # not 1000.0 KB: a number that rounds up to that is shown in the next unit
            break
        value, unit = value / 1000, larger
    return f"{value:,.1f} {unit}"


def figure(value: float) -> str:
    """Return a number with four significant digits: `1,235`, `0.01235`, `1.235e-06`."""
    if value and not 1e-4 <= abs(value) < 1e9:
        return f"{value:.3e}"
    digits = f"{value:.4g}"
    return f"{value:,.0f}" if "e" in digits else f"{float(digits):,}".removesuffix(".0")


def seconds(value: float) -> str:
    """Return a duration: `0.42 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`."""
    if value < 59.95:
        return f"{value:.2g} s" if value < 10 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def plural(count: int, noun: str, ending: str = "s") -> str:
    """Return `1 cloud`, `1,200 clouds`."""
    return f"{count:,} {noun}{'' if count == 1 else ending}"


def between(counts: Collection[int]) -> str:
    """Return the least and the most of some counts: `1,200 to 3,400`, or the one that all are."""
    least, most = min(counts), max(counts)
    return f"{least:,} to {most:,}" if least < most else f"{most:,}"


def points_of(info: Mapping[str, Any]) -> str:
    """Return the number of points of a file's clouds, or the least and the most."""
    least, most = info["least_points"], info["most_points"]
    return plural(most, "point") if least == most else f"{between((least, most))} points"


def length(value: float, unit: str) -> str:
    """Return a length in the data's unit, which the user may not have named."""
    return f"{figure(value)} {printable(unit)}".rstrip()


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """Return a line for each name and its value, the names padded to one width."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {printable(value)}".rstrip() for name, value in rows)


def columns(labels: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table under a line of labels: the first column to the left, all others, numbers, to the right."""
    lines = [list(labels), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(labels))]
    form = "  ".join([f"{{:<{widths[0]}}}", *(f"{{:>{width}}}" for width in widths[1:])])
    return "\n".join(form.format(*line).rstrip() for line in lines)


def as_json(values: Mapping[str, Any]) -> str:
    """Return JSON in ASCII, indented; null stands for NaN and infinity, which JSON lacks."""
    finite = json.loads(json.dumps(values), parse_constant=lambda name: None)
    return json.dumps(finite, indent=2, allow_nan=False)
