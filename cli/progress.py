"""Progress on stderr: a bar on a terminal, a plain line now and then in a pipe; notes between them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from pcqaad.cli.errors import StoppedError, printable
from pcqaad.cli.show.text import METRICS, figure, seconds
from pcqaad.cli.stopping import stop_signals
from pcqaad.errors import Interrupted
from pcqaad.monitor import Monitor, Progress, log

# Between two lines in a pipe.
_INTERVAL = 10.0  # seconds
# The bar of tqdm for a stage that counts, for one that only takes time, and for one whose end nobody knows.
_COUNTED = (
    "{desc}: {percentage:3.0f} %|{bar:20}| {n_fmt} of {total_fmt}{unit}, {rate_noinv_fmt}, {remaining} left{postfix}"
)
_TIMED = "{desc}: {percentage:3.0f} %|{bar:20}| {elapsed}, {remaining} left{postfix}"
_UNCOUNTED = "{desc}: {elapsed}{postfix}"


class Display(logging.Handler):
    """Shows progress, and the notes of the package's logger. Quiet, it shows nothing at all."""

    def __init__(
        self, *, quiet: bool = False, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._stream = _Patient(None if quiet else stream or sys.stderr)
        self._terminal = self._stream.isatty()
        self._clock = clock
        self._bar: Any = None
        self._last: Progress | None = None
        self._figures: dict[str, float] = {}
        self._began = self._began_at = self._seen = self._drawn = 0.0

    def __enter__(self) -> Display:
        log.addHandler(self)
        self._propagated, log.propagate = log.propagate, False
        return self

    def __exit__(self, *error: object) -> None:
        log.removeHandler(self)
        log.propagate = self._propagated
        self._end()

    def __call__(self, progress: Progress) -> None:
        """Show one sign of life."""
        now = self._clock()
        fresh = self._last is None or self._last.stage != progress.stage
        if fresh:
            self._end()
            self._figures, self._began, self._began_at = {}, now, progress.done
        # A figure that is not worked out at every step stays until there is a newer one.
        self._figures |= progress.figures
        self._last, self._seen = progress, now
        if self._terminal:
            self._draw(progress, fresh)
        elif fresh or now - self._drawn >= _INTERVAL:
            self._write(self._line(progress))
            self._drawn = now

    def emit(self, record: logging.LogRecord) -> None:
        """Print a note above the progress."""
        if self._bar is not None:
            self._bar.clear()
        self._write(f"note: {printable(record.getMessage())}")
        if self._bar is not None:
            self._bar.refresh()
        self._drawn = float("-inf")  # the next sign of life is shown again at once

    def _draw(self, progress: Progress, fresh: bool) -> None:
        """Move the bar of a terminal."""
        if fresh:
            # Here, not above: a pipe has no use for it.
            from tqdm import tqdm

            tqdm.monitor_interval = 0  # no thread of its own
            counted = _TIMED if progress.unit == "seconds" else _COUNTED
            self._bar = tqdm(
                desc=progress.stage.value,
                total=progress.total or None,
                initial=progress.done,
                unit=f" {progress.unit}",
                bar_format=counted if progress.total else _UNCOUNTED,
                file=self._stream,
                dynamic_ncols=True,
                smoothing=0.1,
            )
        self._bar.set_postfix_str(", ".join(self._texts()), refresh=False)
        if progress.total:
            self._bar.total = progress.total
            self._bar.update(progress.done - self._bar.n)
        else:
            self._bar.refresh()

    def _end(self) -> None:
        """Leave the stage's last line behind, with the time it took if it ran to its end."""
        progress, self._last = self._last, None
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        elif progress is not None:
            line = self._line(progress)
            if progress.done >= progress.total:
                # To its last sign of life: the next stage's first comes later.
                took = seconds(self._seen - self._began)
                line = ", ".join([f"{progress.stage.value}: done in {took}", *self._texts()])
            self._write(line)

    def _line(self, progress: Progress) -> str:
        done, total = progress.done, progress.total
        share = min(done / total, 1.0) if total > 0 else 0.0
        parts = [f"{100 * share:.0f} %" if total > 0 else "..."]
        made, spent = done - self._began_at, self._seen - self._began
        if total > 0 and progress.unit != "seconds":
            parts.append(f"{done:,.0f} of {total:,.0f} {progress.unit}".rstrip())
            if made > 0 and spent > 0:
                parts.append(f"{figure(float(f'{made / spent:.2g}'))}/s")
        if made > 0 and spent > 0 and total > done:
            parts.append(f"{seconds(max(1.0, round((total - done) * spent / made)))} left")
        return f"{progress.stage.value}: {', '.join([*parts, *self._texts()])}"

    def _texts(self) -> list[str]:
        return [_figure_text(name, value) for name, value in self._figures.items()]

    def _write(self, line: str) -> None:
        self._stream.write(f"{line}\n")


class _Patient:
    """A stream that goes silent once it cannot be written to: a reader that left ends no job."""

    def __init__(self, stream: TextIO | None) -> None:
        # Python has none where it was closed.
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> None:
        """Write text at once."""
        try:
            if self._stream is not None:
                self._stream.write(text)
                self._stream.flush()
        except (OSError, ValueError):
            self._stream = None

    def flush(self) -> None:
        """Do nothing: all is written at once."""

    def isatty(self) -> bool:
        """Whether a person looks at it."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor, by which tqdm finds the width of a terminal."""
        if self._stream is None:
            raise OSError("closed")
        return self._stream.fileno()


def _figure_text(name: str, value: float) -> str:
    metric = name.removesuffix("_percent")
    label = METRICS.get(metric, metric.replace("_", " "))
    return f"{label} {value:.2f} %" if metric != name else f"{label} {figure(value)}"


@contextmanager
def watched(*, quiet: bool, stopped: str = "interrupted") -> Iterator[Monitor]:
    """Show the progress of a job within, and let Ctrl-C and SIGTERM ask it to stop.

    Raises StoppedError where they did; `stopped` says what that leaves.
    """
    try:
        with stop_signals(quiet=quiet) as stop, Display(quiet=quiet) as show:
            yield Monitor(show, stop)
    except Interrupted as error:
        raise StoppedError(stopped) from error
