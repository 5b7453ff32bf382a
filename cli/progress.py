"""Progress on stderr: one line that is rewritten on a terminal, a plain line now and then in a pipe."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from pcqaad.cli.errors import printable
from pcqaad.cli.show.text import METRICS, figure, plural, seconds
from pcqaad.progress import Progress, Report

if TYPE_CHECKING:
    from pcqaad.formats.clouds.find import LazyClouds, LazyMeshes

_LABELS = {
    "count": "counting points",
    "read": "reading",
    "normalise": "normalising",
    "pretrain": "training with an encoder",
    "match": "matching",
    "fit": "fitting",
    "tune": "tuning",
    "quantise": "quantising",
    "measure": "measuring",
    "decode": "decoding",
    "search": "searching",
    "learn": "learning",
}
_REDRAW = 0.1  # seconds, on a terminal
_REPEAT = 10.0  # seconds, in a pipe
_BAR = 20  # characters


class Display:
    """Shows `Progress`; a context manager that ends the line it is on. Quiet, it shows nothing at all."""

    def __init__(
        self,
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        found = stream or sys.stderr
        # Python has none where it was closed.
        self._quiet = quiet or found is None
        self._stream = found
        self._terminal = not self._quiet and found.isatty()
        self._clock = clock
        self._last: Progress | None = None
        self._figures: dict[str, float] = {}
        self._began = self._began_at = self._seen = self._drawn = 0.0
        self._width = 0  # characters of the line that stands on the terminal

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def __call__(self, progress: Progress) -> None:
        """Show one sign of life."""
        if self._quiet:
            return
        if progress.stage == "note":
            self.note(progress.text)
            return
        now = self._clock()
        fresh = self._last is None or self._last.stage != progress.stage
        if fresh:
            self._end()
            self._figures, self._began, self._began_at = {}, now, progress.done
        # A figure that is not worked out at every step stays until there is a newer one.
        self._figures |= progress.figures
        self._last, self._seen = progress, now
        if fresh or now - self._drawn >= (_REDRAW if self._terminal else _REPEAT):
            self._draw(self._line(progress, now), now)

    def note(self, text: str) -> None:
        """Print a line for the user above the progress."""
        if self._quiet:
            return
        self._erase()
        self._write(f"note: {printable(text)}\n")
        self._drawn = float("-inf")  # the next sign of life is shown again at once

    def _end(self) -> None:
        """Leave the stage's last line behind, with the time it took if it ran to its end."""
        progress, self._last = self._last, None
        if progress is None or self._quiet:
            return
        if progress.done >= progress.total:
            # To its last sign of life: what comes before the next stage's first is not this one's.
            took = seconds(self._seen - self._began)
            text = ", ".join([f"{_label(progress)}: done in {took}", *self._texts()])
        else:
            text = self._line(progress, self._seen)
        self._draw(text, self._seen)
        if self._terminal:
            self._write("\n")
            self._width = 0

    def _line(self, progress: Progress, now: float) -> str:
        done, total = progress.done, progress.total
        share = min(done / total, 1.0) if total > 0 else 0.0
        parts = [f"{100 * share:.0f} %" if total > 0 else "..."]
        gained, spent = done - self._began_at, now - self._began
        # Steps and clouds come whole; seconds do not, and need no rate.
        if total > 0 and done == int(done) and total == int(total):
            parts.append(f"{done:,.0f} of {total:,.0f} {printable(progress.text)}".rstrip())
            if gained > 0 and spent > 0:
                parts.append(f"{figure(float(f'{gained / spent:.2g}'))}/s")
        if gained > 0 and spent > 0 and total > done:
            parts.append(f"{seconds(max(1.0, round((total - done) * spent / gained)))} left")
        filled = round(_BAR * share)
        bar = f"[{'#' * filled}{'.' * (_BAR - filled)}] " if self._terminal and total > 0 else ""
        return f"{_label(progress)}: {bar}{', '.join([*parts, *self._texts()])}"

    def _texts(self) -> list[str]:
        return [_figure_text(name, value) for name, value in self._figures.items()]

    def _draw(self, text: str, now: float) -> None:
        self._drawn = now
        if not self._terminal:
            self._write(f"{text}\n")
        else:
            # The last column stays free: some terminals begin a new line as soon as it is written to.
            text = text[: max(self._columns() - 1, 1)]
            self._write(f"\r{text}{' ' * (self._width - len(text))}")
            self._width = len(text)

    def _columns(self) -> int:
        """Return the terminal's width; shutil asks stdout alone, which may well be a file."""
        try:
            own = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            own = os.terminal_size((80, 24))
        return shutil.get_terminal_size(own).columns

    def _erase(self) -> None:
        if self._width:
            self._write(f"\r{' ' * self._width}\r")
            self._width = 0

    def _write(self, text: str) -> None:
        """Write to the stream; once that fails (a reader that left, a full disk) no more: a job goes on without."""
        if self._quiet:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._quiet = True


def _label(progress: Progress) -> str:
    return _LABELS.get(progress.stage, progress.stage)


def _figure_text(name: str, value: float) -> str:
    metric = name.removesuffix("_percent")
    label = METRICS.get(metric, metric.replace("_", " "))
    return f"{label} {value:.2f} %" if metric != name else f"{label} {figure(value)}"


def noting(show: Display, clouds: LazyClouds | LazyMeshes) -> Report:
    """Return what shows progress, and, once all clouds were read, what there is to say of their files."""

    def report(progress: Progress) -> None:
        show(progress)
        if progress.stage == "read" and progress.done == progress.total:
            for note, files in clouds.notes.items():
                show.note(f"{plural(files, 'file')}: {note}")

    return report
