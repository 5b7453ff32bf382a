"""The clouds of a command's inputs: which of them are taken, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pcqaad.cli.errors import CommandError
from pcqaad.cli.show.text import plural
from pcqaad.formats.clouds.find import CloudSource, LazyClouds, LazyMeshes, find_clouds
from pcqaad.formats.clouds.invalid import without_invalid
from pcqaad.formats.errors import FormatError
from pcqaad.monitor import Monitor, Progress, Stage, log

# Meshes whose faces are compared: reading them takes as long as reading that many clouds.
_COMPARED = 3


def choose_clouds(inputs: Sequence[str], every: int, min_points: int, monitor: Monitor) -> list[CloudSource]:
    """Find the clouds of the inputs; keep the first of every `every`, and of these the ones of enough points.

    Raises FormatError as `find_clouds` does, and CommandError where none is kept.
    """
    sources = find_clouds(inputs)[::every]
    if min_points <= 1:
        return sources
    kept = []
    for i, source in enumerate(sources):
        monitor.update(Stage.COUNT, i, len(sources), "clouds")
        if source.count() >= min_points:
            kept.append(source)
    monitor.update(Stage.COUNT, len(sources), len(sources), "clouds")
    if not kept:
        raise CommandError(f"expected clouds of at least {min_points:,} points, found none among {len(sources):,}")
    if left_out := len(sources) - len(kept):
        text = "%s of fewer than %s points left out, %s kept"
        log.warning(text, plural(left_out, "cloud"), f"{min_points:,}", f"{len(kept):,}")
    return kept


def usable(
    sources: Sequence[CloudSource], drop_invalid: bool, monitor: Monitor, *, meshes: bool = False, whole: bool = False
) -> Sequence[CloudSource]:
    """Return the clouds without what cannot be used, where this is asked for, and log a line for all that is left out.

    `meshes` tells that faces are needed, `whole` that points are numbered, so that none of a cloud can go. Raises
    CommandError where nothing is left.
    """
    if not drop_invalid:
        return sources
    kept, lines = without_invalid(
        sources, meshes=meshes, whole=whole, tell=lambda done, total: monitor.update(Stage.CHECK, done, total, "clouds")
    )
    for line in lines:
        log.warning("%s", line)
    if not kept:
        raise CommandError(f"expected clouds that can be used, found none among {len(sources):,}")
    return kept


def same_faces(sources: Sequence[CloudSource]) -> bool:
    """Say whether clouds seem to be registered meshes: of the first few, as many vertices and the same faces.

    A file that has no faces, or cannot be read, says nothing here.
    """
    few = sources[:_COMPARED]
    if len(few) < 2 or any(source.load_mesh is None for source in few):
        return False
    try:
        if len({source.count() for source in few}) > 1:
            return False
        first, *others = (source.read_mesh().triangles for source in few)
    except FormatError:
        return False
    return all(np.array_equal(first, other) for other in others)


def read_lazily(
    sources: Sequence[CloudSource], monitor: Monitor, *, meshes: bool = False, whole: bool = False
) -> tuple[Sequence[Any], list[str], Monitor]:
    """Return clouds or meshes that are read when they are asked for, their names, and a monitor for the job.

    Once all were read, this monitor passes on the notes about their files too, but for those on attributes where they
    are read `whole`.
    """
    clouds: LazyMeshes | LazyClouds = LazyMeshes(sources) if meshes else LazyClouds(sources)

    def show(progress: Progress) -> None:
        if monitor.show is not None:
            monitor.show(progress)
        if progress.stage is Stage.READ and progress.done == progress.total:
            for note, files in clouds.notes.items():
                if whole and note.startswith("vertex properties "):
                    continue
                log.warning("%s: %s", plural(files, "file"), note)

    return clouds, [source.name for source in sources], Monitor(show, monitor.should_stop)
