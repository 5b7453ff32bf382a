"""Forged containers, each with the one rule that refuses it: where it is refused, and for what."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from pcqaad.formats.container.container import DEFLATE, MAGIC, RAW

KNOWN = {"MODL": 1, "LATS": 1, "note": 1}


@dataclass(frozen=True)
class Row:
    """A row of the section table, free to lie."""

    tag: bytes = b"MODL"
    body: bytes = b"body"
    coding: int = RAW
    length: int | None = None
    size: int | None = None
    checksum: int | None = None


def forge(rows: list[Row], *, version: int = 1, count: int | None = None, tail: bytes = b"") -> bytes:
    """Pack rows as they are, with a table checksum that holds."""
    table = b"".join(
        struct.pack(
            "<4sBIII",
            row.tag,
            row.coding,
            len(row.body) if row.length is None else row.length,
            len(row.body) if row.size is None else row.size,
            zlib.crc32(row.body) if row.checksum is None else row.checksum,
        )
        for row in rows
    )
    head = MAGIC + struct.pack("<HH", version, len(rows) if count is None else count)
    checksum = struct.pack("<I", zlib.crc32(head + table))
    return head + checksum + table + b"".join(row.body for row in rows) + tail


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflater.compress(data) + deflater.flush()


_WELL = forge([Row()])
_PACKED = deflated(b"a" * 1000)

# name: (bytes, where, part of the problem); refused when the file is opened
AT_OPEN: dict[str, tuple[bytes, str, str]] = {
    "empty file": (b"", "header", "16 bytes expected, found 0"),
    "another format": (b"\x89PNG\r\n\x1a\n" + bytes(8), "header", "not a .qaad file"),
    "text mode": (_WELL.replace(b"\r\n", b"\n"), "header", "transfer in text mode"),
    "text mode, to CR LF": (_WELL.replace(b"\n", b"\r\n"), "header", "transfer in text mode"),
    "from the future": (forge([Row()], version=3), "header", "written by a newer version"),
    "too many sections": (forge([], count=256), "header", "at most 255 sections"),
    "table past the end": (forge([], count=255), "section table", "4351 bytes expected, found 16"),
    "table checksum": (_WELL[:12] + bytes(4) + _WELL[16:], "section table", "checksum"),
    "tag of no letters": (forge([Row(tag=b"1234")]), "section table", "tag of a letter"),
    "tag with a zero": (forge([Row(tag=b"MOD\0")]), "section table", "tag of a letter"),
    "tag twice": (forge([Row(), Row()]), "MODL", "twice"),
    "unknown required": (forge([Row(tag=b"XTRA")]), "XTRA", "required section is not known"),
    "unknown coding": (forge([Row(coding=2)]), "MODL", "coding 0 or 1 expected, found 2"),
    "raw of two sizes": (forge([Row(size=5)]), "MODL", "4 raw bytes expected, found 5"),
    "deflate bomb": (
        forge([Row(body=_PACKED, coding=DEFLATE, size=2**32 - 1)]),
        "MODL",
        "found 4294967295",
    ),
    "tail": (forge([Row()], tail=b"\0"), "section table", "37 bytes expected, found 38"),
    "overlap": (
        forge([Row(length=5, size=5), Row(tag=b"LATS")]),
        "section table",
        "59 bytes expected, found 58",
    ),
    "hole": (forge([Row(length=3, size=3)]), "section table", "36 bytes expected, found 37"),
    "length past the file": (
        forge([Row(length=2**32 - 1, size=2**32 - 1)]),
        "section table",
        "4294967328 bytes expected, found 37",
    ),
}

# the same, refused when section MODL is read
AT_READ: dict[str, tuple[bytes, str, str]] = {
    "section checksum": (forge([Row(checksum=0)]), "MODL", "checksum expected 00000000"),
    "no deflate stream": (forge([Row(body=b"\xff" * 4, coding=DEFLATE)]), "MODL", "damaged"),
    "deflate of more": (
        forge([Row(body=_PACKED, coding=DEFLATE, size=999)]),
        "MODL",
        "stream of 999 bytes expected",
    ),
    "deflate of fewer": (
        forge([Row(body=_PACKED, coding=DEFLATE, size=1001)]),
        "MODL",
        "stream of 1001 bytes expected, found 1000",
    ),
    "deflate cut": (forge([Row(body=_PACKED[:-2], coding=DEFLATE, size=1000)]), "MODL", "no end"),
    "deflate and a tail": (
        forge([Row(body=_PACKED + b"x", coding=DEFLATE, size=1000)]),
        "MODL",
        "1 bytes after it",
    ),
}
