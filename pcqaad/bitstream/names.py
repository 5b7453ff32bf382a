"""The NAME section: the clouds' names, one zero byte between two (formats/SPEC.md, 7.5)."""

from __future__ import annotations

from collections.abc import Sequence

from pcqaad.formats.clouds.names import MAX_NAME, safe_name
from pcqaad.formats.container.container import DEFLATE, Container, Section
from pcqaad.formats.errors import FormatError


def names_section(names: Sequence[str]) -> Section:
    """Return the section of all clouds' names."""
    return Section("NAME", "\0".join(names).encode(), DEFLATE)


def read_names(container: Container, clouds: int) -> list[str]:
    """Return the names of all clouds; raises FormatError."""
    size, most = container.entry("NAME").size, (MAX_NAME + 1) * clouds - 1
    if size > most:
        raise FormatError(f"expected at most {most} bytes for {clouds} names, found {size}", where="NAME")
    data = container.section("NAME")
    # Counted first: where all bytes are zero, the names are many more than the file promised.
    found = data.count(b"\0") + 1
    if found != clouds:
        raise FormatError(f"expected {clouds} different names, found {found}", where="NAME")
    try:
        names = data.decode().split("\0")
    except UnicodeDecodeError as error:
        raise FormatError("expected UTF-8 text", where="NAME") from error
    if len(set(names)) != clouds:
        raise FormatError(f"expected {clouds} different names, found {len(set(names))} of {clouds}", where="NAME")
    for name in names:
        if not safe_name(name):
            raise FormatError(f"name {name[:80]!r} is not safe as the name of a file", where="NAME")
    return names
