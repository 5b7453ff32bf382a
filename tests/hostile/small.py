"""The smallest file with a word in every section, put together by hand: what the forgeries differ from.

Two clouds of four points in two patches, one latent, one neuron a layer. All tables hold one symbol, so that every
stream is the five bytes of a lane that says nothing, and a tensor is as large as the `low` of its table.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from typing import Any

from pcqaad.formats.coding.bits import BitWriter
from pcqaad.formats.container.container import RAW
from tests.hostile.containers import Row, forge

ONE = 488  # the code of the step 8 * 2**-3
Field = tuple[str | int, int]
# A lane that says nothing.
STREAM = b"\0" + (2**16).to_bytes(4, "little")


def head(**changed: Any) -> bytes:
    """Section HEAD. The lists of sizes and steps are as long as the header says where they are not changed."""
    field: dict[str, Any] = {
        "clouds": 2,
        "points": 4,
        "patches": 2,
        "latent": 1,
        "width": 1,
        "layers": 1,
        "flags": 0,
        "bits": 2,
        "zero": 0,
        "contexts": 1,
        "centre": (0, 0, 0),
        "unit": 2.0**-20,
        "origin": (0, 0, 0),
        "step": ONE,
    } | changed
    layers = field["layers"]
    scales = field.pop("scales", [0] * (layers + 1))
    widths = field.pop("widths", [1] * layers)
    steps = field.pop("steps", [ONE] * (2 * layers + 6))
    latent_steps = field.pop("latent_steps", [ONE] * field["latent"])
    centre, origin = field.pop("centre"), field.pop("origin")
    *sizes, unit, step = field.values()
    fixed = struct.pack("<IIHHHBBBBH3qd3iH", *sizes, *centre, unit, *origin, step)
    return (
        fixed + bytes(scales) + struct.pack(f"<{len(widths + steps + latent_steps)}H", *widths, *steps, *latent_steps)
    )


def bits(*fields: Field) -> bytes:
    """Bits of section 2: ("gamma", value), ("signed", value), or (width, value)."""
    out = BitWriter()
    for kind, value in fields:
        if isinstance(kind, int):
            out.fixed(value, kind)
        else:
            getattr(out, kind)(value)
    return out.to_bytes()


def weights(symbol: int, count: int) -> list[Field]:
    """A table of section 3 in which only `symbol` of `count` has a weight."""
    before: list[Field] = [("signed", 0), ("gamma", symbol)] if symbol else []
    behind: list[Field] = [("signed", -1), ("gamma", count - symbol - 1)] if symbol < count - 1 else []
    return [(3, 0), *before, ("signed", 1), *behind]


def table(low: int = 0, shift: int = 0) -> list[Field]:
    """A context of section 5 with one symbol."""
    return [("gamma", 2), ("signed", low), (4, shift), (1, 0), *weights(0, 1)]


def model(*lows: int | None) -> bytes:
    """A model of section 5 without escapes: context i holds lows[i] alone, or has no table."""
    tables = (table(low) if low is not None else [("gamma", 1)] for low in lows)
    return bits(("gamma", len(lows) + 1), (6, 0), *(field for fields in tables for field in fields))


def weight_tensors(layers: int = 1, **lows: int) -> bytes:
    """Section WGTS: every tensor all zero, or all of the number given by its place, t0, ..., at the lowest gains."""
    of_gains = [7 if i > 2 and i % 2 else 0 for i in range(2 * layers + 6)]
    of_gains[2 * layers + 1 :] = [14, 0, 0, 0, 0]
    return model(*(c for i, more in enumerate(of_gains) for c in (lows.get(f"t{i}", 0), *[None] * more))) + STREAM


def point_tables(kind: int, *fields: Field) -> bytes:
    """The tables of section 6, of one class only, all whose contexts share the table of these fields."""
    return bits((kind, 0), (1, 1), (7, 0), *fields, (12 - kind, 0))


def groups(*streams: bytes, count: int | None = None, checksum: int | None = None, spoilt: int = 0) -> bytes:
    """A section of groups; `spoilt` is added to the checksum of every group."""
    counted = struct.pack("<I", len(streams) if count is None else count)
    rows = b"".join(struct.pack("<II", len(s), (zlib.crc32(s) + spoilt) % 2**32) for s in streams)
    right = zlib.crc32(counted + rows) if checksum is None else checksum
    return counted + struct.pack("<I", right) + rows + b"".join(streams)


def components(low: int, *codes: int, count: int | None = None) -> bytes:
    """Section COMP: fields whose mean over all points is `low` steps; the points are one, four times."""
    counted = struct.pack(f"<{1 + len(codes)}H", len(codes) if count is None else count, *codes)
    return counted + model(low) + STREAM


SECTIONS = {
    "HEAD": head(),
    "GAIN": model(0, 0) + STREAM,
    "WGTS": weight_tensors(),
    # Two points to a patch, all in the lowest cell.
    "TMPL": point_tables(1, *weights(0, 3)) + STREAM,
    "LMOD": model(0),
    "LATS": groups(STREAM),
    "NAME": b"a\0b",
    "info": b"{}",
}


def file(**sections: bytes) -> bytes:
    """The file with other bytes in some sections."""
    return forge([Row(tag.encode(), body) for tag, body in (SECTIONS | sections).items()])


def second(*rows: Row, **sections: bytes) -> bytes:
    """The file in version 2, with other bytes in some sections, and with rows in the place of those of their tags."""
    placed = {row.tag: row for row in rows}
    all_rows = [Row(tag.encode(), body) for tag, body in (SECTIONS | {"NAME": b"\0\0a\0b"} | sections).items()]
    return forge([placed.get(row.tag, row) for row in all_rows], version=2)


def lying(lies: str, **row: Any) -> bytes:
    """The file with a row of the section table that lies about section `lies`."""
    rows = [Row(tag.encode(), body, RAW) for tag, body in SECTIONS.items()]
    return forge([dataclasses.replace(r, **row) if r.tag == lies.encode() else r for r in rows])


def added(*rows: Row) -> bytes:
    """The file with more sections behind its own."""
    return forge([*(Row(tag.encode(), body) for tag, body in SECTIONS.items()), *rows])


def without(tag: str) -> bytes:
    """The file without a section."""
    return forge([Row(other.encode(), body) for other, body in SECTIONS.items() if other != tag])
