"""The NAME section: the clouds' names, whole or without what each shares with the one before (formats/SPEC.md, 7.5)."""

from __future__ import annotations

from collections.abc import Sequence

from pcqaad.formats.clouds.names import MAX_NAME, safe_name
from pcqaad.formats.container.container import DEFLATE, Container, Section, deflated
from pcqaad.formats.errors import FormatError

# Bytes that front coding has to save before names alone make a file one of version 2, which older readers refuse.
_WORTH_A_VERSION = 1024
# What front-coded names may grow to: so many bytes, and so many for each byte that is there.
_MOST_NAMES, _MOST_GROWTH = 2**20, 2**12


def names_section(names: Sequence[str], version: int = 1) -> Section:
    """Return the section of all clouds' names, for a file whose other sections are of `version`."""
    whole, front = "\0".join(names).encode(), _front_coded([name.encode() for name in names])
    if version >= 2 or len(deflated(whole)) - len(deflated(front)) >= _WORTH_A_VERSION:
        return Section("NAME", front, DEFLATE, version=2)
    return Section("NAME", whole, DEFLATE)


def read_names(container: Container, clouds: int) -> list[str]:
    """Return the names of all clouds; raises FormatError."""
    entry, front = container.entry("NAME"), container.version >= 2
    most = (MAX_NAME + 1) * clouds - 1 + clouds * front
    if entry.size > most:
        raise FormatError(f"expected at most {most} bytes for {clouds} names, found {entry.size}", where="NAME")
    data = container.section("NAME")
    shared, rest = (data[:clouds], data[clouds:]) if front else (bytes(clouds), data)
    # Counted first: where all bytes are zero, the names are many more than the file promised.
    found = rest.count(b"\0") + 1
    if found != clouds or len(shared) != clouds:
        raise FormatError(f"expected {clouds} different names, found {found}", where="NAME")
    if front:
        rest = _joined(shared, rest.split(b"\0"), _MOST_NAMES + _MOST_GROWTH * entry.length)
    try:
        names = rest.decode().split("\0")
    except UnicodeDecodeError as error:
        raise FormatError("expected UTF-8 text", where="NAME") from error
    if len(set(names)) != clouds:
        raise FormatError(f"expected {clouds} different names, found {len(set(names))} of {clouds}", where="NAME")
    for name in names:
        if not safe_name(name):
            raise FormatError(f"name {name[:80]!r} is not safe as the name of a file", where="NAME")
    return names


def _front_coded(names: Sequence[bytes]) -> bytes:
    """Return how many bytes each name shares with the one before, up to 255, and then all that it does not."""
    before = [b"", *names[:-1]]
    shared = [_common(*pair) for pair in zip(before, names, strict=True)]
    return bytes(shared) + b"\0".join(name[length:] for name, length in zip(names, shared, strict=True))


def _common(before: bytes, name: bytes) -> int:
    """Return how many bytes two names begin with alike, at most 255."""
    pairs = zip(before[:255], name, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(before), len(name), 255))


def _joined(shared: bytes, rest: Sequence[bytes], most: int) -> bytes:
    """Return whole names, a zero byte between two; raises FormatError for more than `most` bytes."""
    names, name, size = [], b"", -1
    for length, own in zip(shared, rest, strict=True):
        if length > len(name):
            raise FormatError(f"a name shares {length} bytes with one of {len(name)}", where="NAME")
        name = name[:length] + own
        size += len(name) + 1
        if size > most:
            raise FormatError(f"expected names of at most {most} bytes together, found more", where="NAME")
        names.append(name)
    return b"\0".join(names)
