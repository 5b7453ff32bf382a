"""Names of clouds: safe as the names of files, unique, and as short as the files they come from allow."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

# Control characters, the separators of other systems (on Windows a colon follows a drive or a file with streams), and
# the lone surrogates that stand for undecodable bytes of file names and fit into no text file.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\:\ud800-\udfff]")
MAX_NAME = 1024  # bytes in UTF-8: more than any file system takes


@dataclass(frozen=True)
class Origin:
    """Where a cloud was found: the `parts` of its absolute path, the last the file's name or what numbers the cloud."""

    parts: tuple[str, ...]
    least: int  # how many of the last parts its name has to have: those below the folder that was given, or one
    given: int  # the number of the input that it was found in


def safe_name(name: str) -> bool:
    """Say whether a cloud may have this name: a file named so lies in the folder it is written to, or below."""
    unsafe = any(part in ("", ".", "..") for part in name.split("/")) or _UNSAFE.search(name)
    return not unsafe and len(name.encode()) <= MAX_NAME


def choose_names(origins: Sequence[Origin]) -> list[str]:
    """Name clouds by the last parts of their origins, with `/` between: the fewest that tell them apart.

    Where two names are equal, all clouds of their inputs get more parts: those below the folder that the two have in
    common. Clouds from the very same place are numbered: `x`, `x_2`.
    """
    more: defaultdict[int, int] = defaultdict(int)
    while True:
        names = ["/".join(o.parts[-(o.least + more[o.given]) :]) for o in origins]
        clashing: defaultdict[str, dict[tuple[str, ...], Origin]] = defaultdict(dict)
        for name, origin in zip(names, origins, strict=True):
            clashing[name][origin.parts] = origin
        wanted = dict(more)
        for found in clashing.values():
            if len(found) > 1:
                common = len(os.path.commonprefix(list(found)))  # noqa: RUF071 (of parts, not of characters)
                for origin in found.values():
                    wanted[origin.given] = max(wanted.get(origin.given, 0), len(origin.parts) - common - origin.least)
        if wanted == dict(more):
            return _unique([_UNSAFE.sub("_", name) for name in names])
        more.update(wanted)


def natural(text: str) -> tuple[list[tuple[bool, int, str]], str]:
    """Return a key that sorts numbers within names by their value: `x2` before `x10`."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", text)
    return [(not digits, int(digits or 0), other.lower()) for digits, other in parts], text


def _unique(names: list[str]) -> list[str]:
    """Number the names that occur more than once, `x`, `x_2`, `x_3`, past any name that is taken."""
    times: Counter[str] = Counter()
    taken = set(names)
    unique = []
    for name in names:
        times[name] += 1
        chosen = name
        while times[name] > 1 and chosen in taken:
            chosen = f"{name}_{times[name]}"
            times[name] += chosen in taken
        taken.add(chosen)
        unique.append(chosen)
    return unique
