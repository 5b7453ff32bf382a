"""`pcqaad append`: what it writes, says and refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pcqaad
from pcqaad.cli.progress import Display
from pcqaad.cli.show.text import figure
from pcqaad.formats.clouds.ply import write_ply
from pcqaad.monitor import Progress, Stage
from tests.cli.commands import CLOUDS, POINTS, refused, run
from tests.hostile import small


@pytest.fixture
def mine(eggs: Path, tmp_path: Path) -> Path:
    """The file, for a test to change."""
    return Path(shutil.copy(eggs, tmp_path / "mine.qaad"))


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """A folder of two clouds more."""
    folder = tmp_path / "new"
    folder.mkdir()
    rng = np.random.default_rng(5)
    for i in (20, 21):
        ball = rng.normal(size=(POINTS + i, 3))
        ball *= [45, 40, 60] / np.linalg.norm(ball, axis=1, keepdims=True)
        write_ply(folder / f"egg{i}.ply", ball.astype(np.float32))
    return folder


def test_append_in_place(mine: Path, eggs: Path, new: Path, tmp_path: Path) -> None:
    result = run("append", mine, new, "--steps", "4", "--device", "cpu")
    assert result.exit_code == 0, result.output
    lines = ["note: 2 of 2 clouds hold more points: 256 of each, drawn at random, are fitted"]
    assert [line for line in result.stderr.splitlines() if line.startswith("note")] == lines
    with pcqaad.open(mine) as after, pcqaad.open(eggs) as before:
        after.check()
        assert after.names == [*before.names, "egg20", "egg21"]
        assert [x.tobytes() for x in after][:CLOUDS] == [x.tobytes() for x in before]
        (record,) = after.info["appended"]
        recorded = after.info["fidelity"]
    assert re.search(rf"^clouds +{CLOUDS + 2} of {POINTS} points$", result.stdout, re.MULTILINE)
    beside = f"2 clouds, mean {figure(record['mean'])} mm, {figure(record['mean_percent'])} % of the diagonal, "
    beside += f"{figure(record['mean'] / recorded['mean'])} times the fit's; worst {record['worst']['name']}, "
    for shown in (result.stdout, run("info", mine).stdout):
        assert re.search(rf"^appended +{re.escape(beside)}", shown, re.MULTILINE)
    assert sorted(tmp_path.iterdir()) == [mine, new]
    # Without the originals a file is judged by both of its records.
    verified = run("verify", mine)
    rows = re.findall(r"^EM-kD .* (recorded.*)$", verified.stdout, re.MULTILINE)
    assert rows == ["recorded", "recorded, appended"]
    page = tmp_path / "page.html"
    assert run("verify", mine, "--report", page).exit_code == 0
    headings = re.findall("<h2>(.*?)</h2>", page.read_text(encoding="utf-8"))
    assert headings == ["EM-kD", "EM-kD, 2 appended clouds"]
    bound = (record["mean_percent"] + recorded["mean_percent"]) / 2
    assert run("verify", mine, "--fail-above", str(bound)).exit_code == 1
    bound = 1.01 * max(record["mean_percent"], recorded["mean_percent"])
    assert run("verify", mine, "--fail-above", str(bound)).exit_code == 0


def test_append_to_another_file(eggs: Path, new: Path, tmp_path: Path) -> None:
    before, target = eggs.read_bytes(), tmp_path / "more.qaad"
    call = ["append", eggs, new / "egg20.ply", "-o", target, "--minutes", "0.005", "--json", "--quiet"]
    result = run(*call, "--device", "cpu")
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert (found["file"], found["clouds"], found["appended"][0]["clouds"]) == (str(target), CLOUDS + 1, 1)
    assert found["seconds"] > 0
    assert eggs.read_bytes() == before


def test_of_two_appends_at_once_none_is_lost(
    mine: Path, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pcqaad.latents.append import Appended, append

    one, other, patched = new / "egg20.ply", new / "egg21.ply", "pcqaad.latents.append.append"
    quick = ["--steps", "1", "--device", "cpu", "--quiet"]

    def slow(*arguments: Any, **choices: Any) -> Appended:
        monkeypatch.setattr(patched, append)
        message = refused("append", mine, other, *quick)
        assert message == f"{mine}: process {os.getpid()} is writing it: wait for it to end, or stop it"
        return append(*arguments, **choices)

    monkeypatch.setattr(patched, slow)
    assert run("append", mine, one, *quick).exit_code == 0
    assert run("append", mine, other, *quick).exit_code == 0
    with pcqaad.open(mine) as collection:
        assert collection.names[CLOUDS:] == ["egg20", "egg21"]


def test_a_file_that_another_program_replaced_meanwhile_is_left_alone(
    mine: Path, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pcqaad.latents.append import Appended, append

    other = tmp_path / "other.qaad"
    other.write_bytes(small.file())

    def slow(*arguments: Any, **choices: Any) -> Appended:
        other.replace(mine)
        return append(*arguments, **choices)

    monkeypatch.setattr("pcqaad.latents.append.append", slow)
    message = refused("append", mine, new / "egg20.ply", "--steps", "1", "--device", "cpu", "--quiet")
    assert message == f"{mine}: was replaced while the clouds were fitted; nothing is written: append anew"
    assert mine.read_bytes() == small.file()


def test_another_file_is_replaced_only_where_it_is_told_to(mine: Path, new: Path, tmp_path: Path) -> None:
    call = ["append", mine, new / "egg20.ply", "-o", tmp_path / "x.qaad", "--steps", "1", "--device", "cpu"]
    assert run(*call).exit_code == 0
    assert refused(*call) == f"{tmp_path / 'x.qaad'}: is there already; --overwrite replaces it"
    assert run(*call, "--overwrite").exit_code == 0


def test_append_refuses_in_one_line(mine: Path, new: Path, originals: Path, tmp_path: Path) -> None:
    before = mine.read_bytes()
    message = refused("append", mine, originals)
    assert message == f"{mine}: holds a cloud of the name 'egg10' already, and of {CLOUDS - 1} others"
    write_ply(new / "few.ply", np.eye(3, dtype=np.float32))
    message = refused("append", mine, new / "few.ply", "--quiet")
    assert message == f"few: holds 3 points, the clouds of the file {POINTS}"
    assert "nowhere.qaad: cannot open: No such file" in refused("append", tmp_path / "nowhere.qaad", new)
    assert refused("append", mine, tmp_path / "x.ply") == f"{tmp_path / 'x.ply'}: no such file or folder"
    assert "found that of a cloud" in refused("append", mine, new, "-o", tmp_path / "x.ply")
    assert mine.read_bytes() == before


def test_append_needs_torch(mine: Path, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert refused("append", mine, new) == "append needs torch: pip install 'pcqaad[fit]'"


@pytest.mark.parametrize("stage", [Stage.READ, Stage.FIT, Stage.MEASURE])
def test_an_interrupted_append_leaves_the_file(
    stage: Stage, mine: Path, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Impatient(Display):
        def __call__(self, progress: Progress) -> None:
            super().__call__(progress)
            if progress.stage is stage and signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
                signal.raise_signal(signal.SIGINT)

    before = mine.read_bytes()
    monkeypatch.setattr("pcqaad.cli.progress.Display", Impatient)
    result = run("append", mine, new, "--steps", "4", "--device", "cpu")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == f"pcqaad: interrupted; {mine} is as it was"
    assert mine.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [mine, new]
