"""Which of the clouds that the inputs hold are compressed."""

from __future__ import annotations

from collections.abc import Sequence

from pcqaad.cli.errors import CommandError, StoppedError
from pcqaad.cli.progress import Display
from pcqaad.cli.show.text import plural
from pcqaad.cli.stopping import StopSignals
from pcqaad.formats.clouds.find import CloudSource, find_clouds
from pcqaad.progress import Progress


def choose_clouds(
    inputs: Sequence[str], every: int, min_points: int, show: Display, stop: StopSignals
) -> list[CloudSource]:
    """Find the clouds of the inputs; keep the first of every so many, and of these the ones of enough points.

    Raises FormatError as `find_clouds` does, and CommandError where none is kept.
    """
    sources = find_clouds(inputs)[::every]
    if min_points <= 1:
        return sources
    kept = []
    for i, source in enumerate(sources):
        show(Progress("count", i, len(sources), "clouds"))
        if stop():
            raise StoppedError("interrupted")
        if source.count() >= min_points:
            kept.append(source)
    show(Progress("count", len(sources), len(sources), "clouds"))
    if not kept:
        raise CommandError(f"expected clouds of at least {min_points:,} points, found none among {len(sources):,}")
    if left_out := len(sources) - len(kept):
        show.note(f"{plural(left_out, 'cloud')} of fewer than {min_points:,} points left out, {len(kept):,} kept")
    return kept
