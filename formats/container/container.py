"""The `.qaad` container: a header, a table of sections, and the sections' bytes. SPEC.md is the norm.

An offset is the sum of the lengths before it, so no file can have holes or overlaps. The lengths have to add up to the
file's size, which is checked before any section is read.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pcqaad.formats.atomic import atomic_path
from pcqaad.formats.container.groups import Groups
from pcqaad.formats.container.source import FileSource, MemorySource, Source, get_exactly
from pcqaad.formats.errors import FormatError

MAGIC = b"\x93QAAD\r\n\x1a"
VERSIONS = (1, 2)
RAW = 0
DEFLATE = 1
MAX_SECTIONS = 255
MAX_LENGTH = 2**32 - 1  # bytes of a section

_HEADER = struct.Struct("<8sHHI")
_ENTRY = struct.Struct("<4sBIII")
_TAG = re.compile(rb"[A-Za-z][A-Za-z0-9]{3}")
_MAX_GROWTH = 1032  # bytes out of one deflated byte: 258 out of two codes of one bit


@dataclass(frozen=True)
class Section:
    """Named bytes to write. With `coding=DEFLATE` they are deflated where that makes them shorter.

    `version` is the first of the format that knows what they hold.
    """

    tag: str
    data: bytes
    coding: int = RAW
    version: int = 1


@dataclass(frozen=True)
class Entry:
    """One row of the section table, with the offset that follows from the rows before it (bytes)."""

    tag: str
    coding: int
    offset: int
    length: int
    size: int
    checksum: int


def deflated(data: bytes) -> bytes:
    """Return data as raw deflate."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def _stored(section: Section) -> tuple[int, bytes]:
    if section.coding not in (RAW, DEFLATE):
        raise ValueError(f"section {section.tag!r}: coding {section.coding} is neither RAW nor DEFLATE")
    if section.coding == DEFLATE and len(shorter := deflated(section.data)) < len(section.data):
        return DEFLATE, shorter
    return RAW, section.data


def pack(sections: Sequence[Section]) -> bytes:
    """Return the bytes of a container of these sections, of the first version that knows them all.

    Raises ValueError for tags and sizes that it cannot hold.
    """
    if len(sections) > MAX_SECTIONS:
        raise ValueError(f"{len(sections)} sections, at most {MAX_SECTIONS} fit")
    tags = [section.tag for section in sections]
    if len(set(tags)) != len(tags):
        raise ValueError(f"a tag is used twice among {tags}")
    rows, bodies = [], []
    for section in sections:
        tag = section.tag.encode("ascii", "replace")
        if not _TAG.fullmatch(tag):
            raise ValueError(f"tag {section.tag!r} is not a letter and three letters or digits")
        coding, body = _stored(section)
        if max(len(body), len(section.data)) > MAX_LENGTH:
            raise ValueError(f"section {section.tag!r} has {len(section.data)} bytes, at most {MAX_LENGTH} fit")
        rows.append(_ENTRY.pack(tag, coding, len(body), len(section.data), zlib.crc32(body)))
        bodies.append(body)
    table = b"".join(rows)
    version = max((section.version for section in sections), default=VERSIONS[0])
    checksum = zlib.crc32(_HEADER.pack(MAGIC, version, len(sections), 0)[:-4] + table)
    return b"".join([_HEADER.pack(MAGIC, version, len(sections), checksum), table, *bodies])


def write_container(path: Path | str, sections: Sequence[Section]) -> int:
    """Write `sections` to `path`, whole or not at all, and return the file's size in bytes."""
    data = pack(sections)
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(data)
    return len(data)


class Container:
    """An open container: the table is read and checked, the sections are read and checked when asked for."""

    def __init__(self, source: Source, version: int, entries: dict[str, Entry], file: str) -> None:
        self._source = source
        self.version = version
        self._entries = entries
        self.file = file
        self.size = source.size

    @classmethod
    def open(
        cls, source: Path | str | bytes | Source, known: Mapping[str, int] | None = None, *, file: str = ""
    ) -> Container:
        """Open a path, bytes, or any object with `size` and `get_bytes(offset, length)`.

        `known` maps the tags that the caller understands to the first version that has them. A required section of
        another tag, or in a file of a version before, is refused by name, an optional one is left alone. Without
        `known`, every tag is accepted. Raises FormatError.
        """
        if isinstance(source, (str, Path)):
            file = file or str(source)
            opened: Source = FileSource(Path(source))
        else:
            opened = MemorySource(source) if isinstance(source, bytes) else source
        try:
            return cls(opened, *_read_table(opened, known), file)
        except BaseException as error:
            _close(opened)
            if isinstance(error, FormatError):
                raise error.in_file(file) from None
            raise

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the source, if it can be closed. Nothing can be read afterwards."""
        _close(self._source)

    @property
    def entries(self) -> list[Entry]:
        """The table, in the file's order."""
        return list(self._entries.values())

    def __contains__(self, tag: str) -> bool:
        return tag in self._entries

    def entry(self, tag: str) -> Entry:
        """Return the table's row for `tag`; raises FormatError where the file has none."""
        if tag not in self._entries:
            found = ", ".join(self._entries) or "none"
            raise FormatError(f"section is missing, found: {found}", file=self.file, where=tag)
        return self._entries[tag]

    def section(self, tag: str) -> bytes:
        """Return the decoded bytes of one section, checked. No other section is read. Raises FormatError."""
        entry = self.entry(tag)
        try:
            stored = get_exactly(self._source, entry.offset, entry.length)
            if zlib.crc32(stored) != entry.checksum:
                raise FormatError(f"checksum expected {entry.checksum:08x}, found {zlib.crc32(stored):08x}", where=tag)
            return stored if entry.coding == RAW else _inflate(stored, entry)
        except FormatError as error:
            raise FormatError(error.problem, file=self.file, where=tag) from None

    def groups(self, tag: str) -> Groups:
        """Return random access to a section written by `pack_groups`: only its table is read now."""
        entry = self.entry(tag)
        if entry.coding != RAW:
            raise FormatError("section of groups expected raw, found deflated", file=self.file, where=tag)
        return Groups(self._source, entry.offset, entry.length, file=self.file, where=tag)


def _close(source: Source) -> None:
    if hasattr(source, "close"):
        source.close()


def _inflate(stored: bytes, entry: Entry) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        # One byte more than promised is enough to learn that the promise is broken.
        data = inflater.decompress(stored, entry.size + 1)
    except zlib.error as error:
        raise FormatError(f"deflate stream is damaged ({error})") from None
    if len(data) != entry.size or not inflater.eof or inflater.unused_data:
        held = f"{len(data)} bytes" if inflater.eof else f"{len(data)} bytes and no end"
        tail = len(inflater.unused_data)
        raise FormatError(f"deflate stream of {entry.size} bytes expected, found {held}, {tail} bytes after it")
    return data


def _read_table(source: Source, known: Mapping[str, int] | None) -> tuple[int, dict[str, Entry]]:
    if source.size < _HEADER.size:
        raise FormatError(f"{_HEADER.size} bytes expected, found {source.size}", where="header")
    head = get_exactly(source, 0, _HEADER.size)
    magic, version, count, checksum = _HEADER.unpack(head)
    if magic != MAGIC:
        if magic[1:5] == MAGIC[1:5]:
            raise FormatError("end-of-line bytes changed, as by a transfer in text mode", where="header")
        raise FormatError(f"not a .qaad file: {MAGIC!r} expected, found {magic!r}", where="header")
    if version not in VERSIONS:
        when = "a newer version" if version > max(VERSIONS) else "a version before the first"
        expected = " or ".join(map(str, VERSIONS))
        raise FormatError(f"written by {when}: version {expected} expected, found {version}", where="header")
    if count > MAX_SECTIONS:
        raise FormatError(f"at most {MAX_SECTIONS} sections expected, found {count}", where="header")
    start = _HEADER.size + count * _ENTRY.size
    if source.size < start:
        raise FormatError(f"{start} bytes expected, found {source.size}", where="section table")
    table = get_exactly(source, _HEADER.size, start - _HEADER.size)
    computed = zlib.crc32(table, zlib.crc32(head[:-4]))
    if computed != checksum:
        raise FormatError(f"checksum expected {checksum:08x}, found {computed:08x}", where="section table")
    entries: dict[str, Entry] = {}
    for raw_tag, coding, length, size, crc in _ENTRY.iter_unpack(table):
        if not _TAG.fullmatch(raw_tag):
            problem = f"tag of a letter and three letters or digits expected, found {raw_tag!r}"
            raise FormatError(problem, where="section table")
        entry = Entry(raw_tag.decode("ascii"), coding, start, length, size, crc)
        if entry.tag in entries:
            raise FormatError("section appears twice", where=entry.tag)
        if known is None or known.get(entry.tag, math.inf) <= version:
            _check_entry(entry)
        elif entry.tag[0].isupper():
            raise FormatError(f"required section is not known to version {version} of the format", where=entry.tag)
        entries[entry.tag] = entry
        start += length
    if start != source.size:
        raise FormatError(f"{start} bytes expected, found {source.size}", where="section table")
    return version, entries


def _check_entry(entry: Entry) -> None:
    if entry.coding not in (RAW, DEFLATE):
        raise FormatError(f"coding 0 or 1 expected, found {entry.coding}", where=entry.tag)
    if entry.coding == RAW and entry.size != entry.length:
        raise FormatError(f"{entry.length} raw bytes expected, found {entry.size}", where=entry.tag)
    if entry.coding == DEFLATE and entry.size > _MAX_GROWTH * entry.length:
        problem = f"at most {_MAX_GROWTH * entry.length} bytes expected from {entry.length} deflated"
        raise FormatError(f"{problem}, found {entry.size}", where=entry.tag)
