"""Where decoded clouds may be written: names that mean a file and nothing else, in folders that are no links.

The format's own rule keeps a name below the folder that was asked for. A name can do harm there still: as a device of
Windows, as a hidden file that some program obeys, or by characters that a terminal obeys. A file of a stranger that
has such names is refused, unless it is trusted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pcqaad.formats.errors import FormatError

# Names that Windows gives to devices, whatever follows a dot. The last digits are superscripts, which it takes too.
_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9\u00b9\u00b2\u00b3]) *(\..*)?", re.IGNORECASE)


def harm(name: str) -> str:
    """Return what a cloud's name would do beside naming its file; nothing where it does no more."""
    for part in name.split("/"):
        if part.startswith("."):
            return "names a hidden file"
        if part.endswith((".", " ")):
            return "ends in a dot or a space, which Windows drops"
        if _DEVICE.fullmatch(part):
            return "names a device of Windows"
        if not part.replace(" ", "_").isprintable():
            return "has characters that cannot be printed"
    return ""


def check_harmless(names: Sequence[str]) -> None:
    """Raise FormatError for the first name that does more than name a file."""
    for name in names:
        if found := harm(name):
            raise FormatError(
                f"name {name[:100]!r} of a cloud {found}: expected the name of a file; "
                "if you trust who made it, --trust writes it nevertheless"
            )


def check_no_links(folder: Path, names: Sequence[str]) -> None:
    """Raise FormatError where a file of one of these names below a folder, or a folder on its way, is a symbolic link.

    Who could place one there would choose where the file goes.
    """
    looked: set[Path] = set()
    for name in names:
        way = Path(name)
        for part in (way, *way.parents[:-1]):
            if part not in looked and (folder / part).is_symlink():
                text = "is a symbolic link: expected a file or a folder, or none; --trust follows it"
                raise FormatError(text, file=str(folder / part))
            looked.add(part)
