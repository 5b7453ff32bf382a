"""Choices of clouds of a file: `0,5-9,NAME`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from pcqaad.cli.errors import CommandError

# A number with leading zeros is a name: files are numbered like that, positions are not.
_POSITIONS = re.compile(r"(0|[1-9][0-9]{0,17})(?:-(0|[1-9][0-9]{0,17}))?")


def parse_selection(text: str) -> list[range | str]:
    """Split a selection into positions and names, in the order given.

    `7` is the cloud at position 7, counted from 0. `5-9` are five clouds. Anything else is a name. A leading `=` makes
    the rest of the text one name, commas and all.

    Raises `click.BadParameter` for an empty item and for a range that runs backwards.
    """
    if text.startswith("="):
        return [text[1:]]
    items: list[range | str] = []
    for item in text.split(","):
        item = item.strip()
        if not item:
            raise click.BadParameter(f"{text!r} has an empty item; expected such as 0,5-9,NAME")
        positions = _POSITIONS.fullmatch(item)
        if positions is None:
            items.append(item)
            continue
        first, last = int(positions[1]), int(positions[2] or positions[1])
        if last < first:
            raise click.BadParameter(f"range {item} runs backwards; expected {last}-{first}")
        items.append(range(first, last + 1))
    return items


def select(items: Sequence[range | str], names: Sequence[str], file: str) -> list[int]:
    """Return the chosen positions, each once, in the order given; raises `CommandError` for unknown ones."""
    position = {name: i for i, name in enumerate(names)}
    chosen: dict[int, None] = {}
    for item in items:
        if isinstance(item, str):
            if item not in position:
                raise CommandError(f"{file}: no cloud is named {item!r}; `pcqaad info --names` lists them")
            chosen[position[item]] = None
        elif item[-1] >= len(names):
            raise CommandError(f"{file}: expected positions from 0 to {len(names) - 1}, found {item[-1]}")
        else:
            chosen.update(dict.fromkeys(item))
    return list(chosen)
