"""Clouds without what no fit can use: points that are not finite, and files that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pcqaad.formats.clouds.shape import NOT_FINITE
from pcqaad.formats.clouds.source import CloudSource
from pcqaad.formats.errors import FormatError


def dropping(sources: Sequence[CloudSource]) -> list[CloudSource]:
    """Return the same clouds, of which points that are not finite are left out when they are read."""
    return [replace(source, drops_invalid=True) for source in sources]


def without_invalid(
    sources: Sequence[CloudSource],
    *,
    meshes: bool = False,
    whole: bool = False,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[CloudSource], list[str]]:
    """Read all clouds once, and return those that can be used, and a line for each of which something is left out.

    Points that are not finite are left out of them whenever they are read again.

    Args:
        sources: the clouds.
        meshes: whether their faces are needed too.
        whole: whether a cloud of which a point is left out is of no use: registered ones are numbered by their points.
        tell: is told how many were read, and of how many.
    """
    kept, lines = [], []
    for done, source in enumerate(dropping(sources)):
        tell(done, len(sources))
        try:
            points, notes = _read(source, meshes)
        except FormatError as error:
            lines.append(f"{error}: left out")
            continue
        dropped = [note.removeprefix(NOT_FINITE).strip(" ()") for note in notes if note.startswith(NOT_FINITE)]
        if dropped and whole:
            lines.append(f"{source.file}: {dropped[0]} not finite: left out, as its points are numbered")
            continue
        if dropped:
            lines.append(f"{source.file}: {dropped[0]} not finite: these points are left out")
        kept.append(replace(source, count=_constant(points)))
    tell(len(sources), len(sources))
    return kept, lines


def _read(source: CloudSource, meshes: bool) -> tuple[int, tuple[str, ...]]:
    """Return how many points a cloud has when it is read, and the notes on it."""
    if meshes:
        vertices, _, notes = source.read_mesh()
        return len(vertices), notes
    points, notes = source.read()
    return len(points), notes


def _constant(number: int) -> Callable[[], int]:
    return lambda: number
