"""What the command line shows a person: selections, progress, numbers, messages and pages."""

from __future__ import annotations

import io
import itertools
import os
import re
import struct
import sys
from html.parser import HTMLParser
from typing import Any

import click
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcqaad.cli.errors import printable
from pcqaad.cli.progress import Display
from pcqaad.cli.selection import parse_selection, select
from pcqaad.cli.show.chart import chart
from pcqaad.cli.show.report import page
from pcqaad.cli.show.text import as_json, figure, seconds, size
from pcqaad.monitor import Progress, Stage, log

# Selections.


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), min_size=1))
def test_selections_round_trip(runs: list[tuple[int, int]]) -> None:
    text = ",".join(f"{first}-{first + more}" if more else f"{first}" for first, more in runs)
    meant = [i for first, more in runs for i in range(first, first + more + 1)]
    assert select(parse_selection(text), [f"n{i}" for i in range(46)], "") == list(dict.fromkeys(meant))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(min_size=1), min_size=1, unique=True), st.data())
def test_any_name_can_be_selected(names: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(names))
    assert select(parse_selection(f"={name}"), names, "") == [names.index(name)]


def test_numbers_with_leading_zeros_are_names() -> None:
    assert parse_selection("007, 7,0,a-b") == ["007", range(7, 8), range(1), "a-b"]
    with pytest.raises(click.BadParameter, match="expected 1-3"):
        parse_selection("3-1")


# Progress.


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def show(stream: io.StringIO, *, quiet: bool = False, steps: int = 100) -> list[str]:
    clock = Clock()
    with Display(stream=stream, clock=clock, quiet=quiet) as display:
        log.warning("a\x1b[31mnote")
        for i in range(steps + 1):
            display(Progress(Stage.FIT, i, steps, "steps", {"loss": 1 / (i + 1), "emkd_percent": 0.5}))
            clock.now += 0.5
        display(Progress(Stage.MEASURE, 0, 4))
    return stream.getvalue().splitlines()


def test_progress_in_a_pipe_is_plain_and_seldom() -> None:
    lines = show(io.StringIO())
    assert lines[0] == "note: a?[31mnote"
    assert lines[1] == "fitting: 0 %, 0 of 100 steps, loss 1, EM-kD 0.50 %"
    assert lines[2] == "fitting: 20 %, 20 of 100 steps, 2/s, 40.0 s left, loss 0.04762, EM-kD 0.50 %"
    assert lines[-2:] == ["measuring: 0 %, 0 of 4"] * 2
    assert lines[-3].startswith("fitting: done in 50.0 s, loss 0.009901")
    assert len(lines) == 10


def test_progress_on_a_terminal_rewrites_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tqdm.std.time", itertools.count(0, 0.5).__next__)
    monkeypatch.setenv("COLUMNS", "70")
    terminal = Terminal()
    show(terminal)
    note, fitting, measuring = terminal.getvalue().removesuffix("\n").split("\n")
    assert note == "note: a?[31mnote"
    assert fitting.count("\r") > 50
    assert re.search(
        r"fitting:  50 %\|█+ *\| 50 of 100 steps, +[0-9.]+ steps/s, [0-9:]+ left, loss 0.01961, EM", fitting
    )
    assert "100 of 100 steps" in fitting.split("\r")[-1]
    assert "measuring:   0 %" in measuring


def test_notes_stand_above_the_bar() -> None:
    terminal = Terminal()
    with Display(stream=terminal) as display:
        display(Progress(Stage.FIT, 1, 4, "steps"))
        log.warning("a word")
        display(Progress(Stage.FIT, 4, 4, "steps"))
    lines = [line.split("\r")[-1].rstrip() for line in terminal.getvalue().split("\n")]
    assert lines[0] == "note: a word"
    assert lines[1].startswith("fitting: 100 %")


def test_progress_keeps_to_its_own_terminal_where_stdout_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "__stdout__", io.StringIO())
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 30, 0, 0))
    with os.fdopen(inner, "w") as stream, Display(stream=stream) as display:
        display(Progress(Stage.FIT, 1, 4, "steps", {"loss": 0.25, "emkd_percent": 0.5}))
        drawn = os.read(outer, 1000).decode()
    os.close(outer)
    assert drawn.startswith("\rfitting:  25 %|") and len(drawn) <= 31


def test_quiet_progress_is_silent() -> None:
    assert show(io.StringIO(), quiet=True) == []
    assert show(Terminal(), quiet=True) == []


# Numbers and pages.


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (size(1), "1 byte"),
        (size(999), "999 bytes"),
        (size(1000), "1.0 KB"),
        (size(41_234), "41.2 KB"),
        (size(999_949), "999.9 KB"),
        (size(999_950), "1.0 MB"),
        (size(7_654_321_000), "7.7 GB"),
        (figure(0), "0"),
        (figure(0.0123456), "0.01235"),
        (figure(12.0), "12"),
        (figure(1234.56), "1,235"),
        (figure(123456), "123,456"),
        (figure(1.5e-7), "1.500e-07"),
        (seconds(0.4242), "0.42 s"),
        (seconds(59.96), "1 min 00 s"),
        (seconds(7380), "2 h 03 min"),
        (as_json({"a": [float("inf"), 1.0]}), '{\n  "a": [\n    null,\n    1.0\n  ]\n}'),
    ],
)
def test_numbers_for_people(shown: str, expected: str) -> None:
    assert shown == expected


@settings(deadline=None, max_examples=50)
@given(st.text())
def test_printable_text_is_one_line_without_controls(text: str) -> None:
    assert printable(text).isprintable()


def _result(means: list[float], name: str) -> dict[str, Any]:
    clouds = [{"name": f"{name}{i}", "at_least": mean / 2, "mean": mean, "rms": mean} for i, mean in enumerate(means)]
    worst = max(clouds, key=lambda cloud: float(cloud["mean"]))
    mean = float(np.mean(means))
    errors = {"at_least": mean / 2, "mean": mean, "rms": 1.0, "mean_percent": 1.0, "worst": worst}
    return {
        "clouds": len(means),
        "points": 8,
        "least_points": 8,
        "most_points": 8,
        "unit": "<mm>",
        "bytes": {"file": 10, "raw_float32": 1000},
        "ratio": 100.0,
        "bits_per_point": 0.5,
        "source": "measured",
        "metrics": {metric: {**errors, "per_cloud": clouds} for metric in ("emkd", "emd")},
    }


class _Tags(HTMLParser):
    """Collects tags, and checks that they nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        assert not {"src", "href"} & {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=400),
    st.sampled_from(["skull_", "<script>alert(1)</script>", "a&b\"'"]),
)
def test_pages_nest_and_escape(means: list[float], name: str) -> None:
    parser = _Tags()
    text = page(f"{name}.qaad", _result(means, name))
    parser.feed(text)
    parser.close()
    assert parser.open == []
    assert "script" not in parser.seen
    assert not re.search(r"https?://|url\(|@import", text)
    assert parser.seen.count("svg") == 2
    assert parser.seen.count("rect" if len(means) <= 300 else "polyline") >= 2
    # Only the distance that is known by two ends shows them.
    assert text.count("between ") == text.count("<th>at least</th>") == 1


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=30))
def test_bars_are_in_proportion_and_inside(means: list[float]) -> None:
    clouds = [{"name": str(i), "mean": mean} for i, mean in enumerate(means)]
    svg = chart(clouds, float(np.mean(means)), "mm")
    bars = re.findall(r'y="([0-9.-]+)" width="[0-9.]+" height="([0-9.-]+)"', svg)
    tops, heights = np.array(bars, float).T
    assert len(bars) == len(means)
    assert (tops >= 24 - 0.01).all()
    np.testing.assert_allclose(tops + heights, 230, atol=0.02)
    np.testing.assert_allclose(heights / heights.max(), np.array(means) / max(means), atol=0.01)
