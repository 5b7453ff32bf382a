"""Finished figures in a folder: a run that was stopped goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pcqaad
from benchmarks.common import Figures, tell
from pcqaad.formats.atomic import atomic_path


class Kept:
    """The figures of one run, a file each.

    Args:
        folder: made where it is not there.
        run: JSON-able, tells this run from any other.

    Raises:
        SettingsError: the folder holds another run.
    """

    def __init__(self, folder: Path, run: Figures) -> None:
        self.folder, path, text = folder, folder / "run.json", json.dumps(run)
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_text() != text:
            raise pcqaad.SettingsError(f"{folder}: holds figures of another run; remove it, or name another folder")
        path.write_text(text)

    def figures(self, name: str, make: Callable[[], Figures]) -> Figures:
        """Return what `make` returns, from the folder if it is there."""
        path = self.folder / f"{name.replace(':', ' ')}.json"
        if not path.exists():
            tell(name)
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(make(), indent=1))
        found: Figures = json.loads(path.read_text())
        return found
