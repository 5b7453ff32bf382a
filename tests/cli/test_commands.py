"""The command line: exit codes, streams, messages, what it prints, what it leaves behind and imports."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray

import pcqaad
from pcqaad.cli.errors import CommandError, one_line_errors
from pcqaad.cli.progress import Display
from pcqaad.cli.show.text import figure, size
from pcqaad.cli.stopping import stop_signals
from pcqaad.formats.clouds.ply import read_ply, write_ply
from pcqaad.monitor import Progress, Stage
from pcqaad.parallel import limit, limited
from tests.cli.commands import CLOUDS, COMMANDS, POINTS, QUICK, python, refused, run

# Usage.


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_shows_examples(command: str | None, flag: str) -> None:
    result = run(*([command] if command else []), flag)
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.search(rf"Examples:\n +pcqaad {command or 'compress'} ", result.stdout)


def test_help_and_commands_agree() -> None:
    listed = re.findall(r"^  ([a-z]+)  ", run("--help").stdout.split("Commands:")[1], re.MULTILINE)
    assert listed == COMMANDS
    assert run("--version").stdout == f"pcqaad {pcqaad.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["squash"],
        ["compress"],
        ["compress", "x.ply"],
        ["compress", "-o", "x.qaad"],
        ["compress", "x.ply", "-o", "x.qaad", "--preset", "best"],
        ["compress", "x.ply", "-o", "x.qaad", "--patches", "0"],
        ["compress", "x.ply", "-o", "x.qaad", "--minutes", "0"],
        ["compress", "x.ply", "-o", "x.qaad", "--seed", "-1"],
        ["compress", "x.ply", "-o", "x.qaad", "--criterion", "chamfer"],
        ["compress", "x.ply", "-o", "x.qaad", "--criterion", "chi2:k=1"],
        ["append", "x.qaad"],
        ["append", "x.qaad", "y.ply", "--steps", "0"],
        ["append", "x.qaad", "y.ply", "--steps", "3", "--minutes", "1"],
        ["complete", "x.qaad", "-o", "y"],
        ["complete", "x.qaad", "y.ply"],
        ["complete", "x.qaad", "y.ply", "-o", "z", "--prior", "-1"],
        ["complete", "x.qaad", "y.ply", "-o", "z", "--criterion", "best"],
        ["complete", "x.qaad", "y.ply", "-o", "z", "--criterion", "gamma:width=2"],
        ["decompress", "x.qaad"],
        ["decompress", "x.qaad", "-o", "y", "--only", "3-1"],
        ["decompress", "x.qaad", "-o", "y", "--only", "1,,2"],
        ["verify"],
        ["verify", "x.qaad", "y", "--metric", "hausdorff"],
        ["verify", "x.qaad", "--metric", "chamfer"],
        ["verify", "x.qaad", "--metric", "emd"],
        ["verify", "x.qaad", "y", "--metric", "emd", "--effort", "utmost"],
        ["verify", "x.qaad", "--fail-above", "-1"],
        ["info"],
        ["info", "x.qaad", "--json", "--names"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr


# Failures: one line, code 1, before anything long.


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for command in (["info"], ["verify"], ["decompress", "-o", tmp_path / "out"]):
        assert "nowhere.qaad: cannot open: No such file or directory" in refused(*command, tmp_path / "nowhere.qaad")
    assert not (tmp_path / "out").exists()


def test_a_file_of_another_kind(originals: Path) -> None:
    assert "egg7.ply: " in refused("info", originals / "egg7.ply")


def test_an_input_that_is_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "missing.ply"
    assert refused("compress", missing, "-o", tmp_path / "x.qaad") == f"{missing}: no such file or folder"


def test_outputs_are_refused_before_the_inputs_are_read(tmp_path: Path) -> None:
    def refusal(target: Path) -> str:
        return refused("compress", "missing.ply", "-o", target)

    assert refusal(tmp_path) == f"{tmp_path}: is a folder, expected the name of the file to write"
    target = tmp_path / "no" / "x.qaad"
    assert refusal(target) == f"{target}: folder {target.parent} does not exist"
    # What `-o skulls/*.ply` makes of it would overwrite the first skull.
    target = tmp_path / "skull.ply"
    assert refusal(target).endswith("expected the name of the file to write, found that of a cloud")


def test_one_cloud_is_no_collection(originals: Path, tmp_path: Path) -> None:
    message = refused("compress", originals / "egg8.ply", "-o", tmp_path / "x.qaad")
    assert message == "expected at least 2 clouds to fit a model to, found 1"
    assert list(tmp_path.iterdir()) == []


def test_without_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    message = refused("compress", "x.ply", "-o", tmp_path / "x.qaad")
    assert message == "compress needs torch: pip install 'pcqaad[fit]'"


def test_a_damaged_file(eggs: Path, tmp_path: Path) -> None:
    data = bytearray(eggs.read_bytes())
    data[len(data) // 2] ^= 1
    damaged = tmp_path / "damaged.qaad"
    damaged.write_bytes(data)
    message = refused("verify", damaged, "--quiet")
    assert re.fullmatch(rf"{re.escape(str(damaged))}: \w{{4}}: checksum expected .*", message)


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        (PermissionError(13, "Permission denied", "a.ply"), "a.ply: Permission denied"),
        (MemoryError("Unable to allocate 9 GiB"), "out of memory: Unable to allocate 9 GiB"),
        (RuntimeError("[enforce fail] can't allocate memory: 8 bytes. Buy more"), "out of memory: [enforce"),
        (pcqaad.SettingsError("two\nlines\x1b[2J"), "two lines?[2J"),
        (pcqaad.CloudError("a: no"), "a: no"),
        (UnicodeEncodeError("ascii", "schädel.ply", 3, 4, "x"), "schädel.ply: expected a name that the system's enc"),
    ],
)
def test_errors_become_one_line(raised: Exception, line: str) -> None:
    with pytest.raises(CommandError) as caught, one_line_errors():
        raise raised
    assert caught.value.format_message().startswith(line)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("fault", [ValueError("x"), RuntimeError("x"), KeyError("x")])
def test_faults_of_the_program_keep_their_traceback(fault: Exception) -> None:
    with pytest.raises(type(fault)), one_line_errors():
        raise fault


def test_the_process_fails_like_the_command(tmp_path: Path) -> None:
    missing = tmp_path / "x.qaad"
    result = python("-m", "pcqaad.cli.main", "info", missing)
    line = f"pcqaad: error: {missing}: cannot open: No such file or directory\n"
    assert (result.returncode, result.stdout, result.stderr) == (1, "", line)


# The whole way.


def test_compress_reports_what_info_does(compressed: Result, eggs: Path) -> None:
    printed = json.loads(compressed.stdout)
    took = printed.pop("seconds")
    assert took > 0
    assert printed == json.loads(run("info", eggs, "--json").stdout)
    assert (printed["clouds"], printed["points"], printed["unit"]) == (CLOUDS, POINTS, "mm")
    assert printed["bytes"]["file"] == eggs.stat().st_size
    assert printed["bytes"]["raw_float32"] == CLOUDS * POINTS * 12
    assert printed["model"]["patches"] == 1
    # Components, where the file has some, are driven by numbers of their own ahead of the two asked for, or instead.
    assert printed["model"]["latent"] - printed["model"]["components"] in (0, 2)
    assert not list(eggs.parent.glob("*.checkpoint"))


def test_compress_speaks_on_stderr(compressed: Result) -> None:
    assert "note: 2 files: vertex properties nx not kept" in compressed.stderr.splitlines()
    stages = re.findall(r"^(\w+): done in ", compressed.stderr, re.MULTILINE)
    assert stages[0] == "reading"
    assert "fitting" in stages
    assert "\r" not in compressed.stderr


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(30):
        write_ply(folder / f"x{i}.ply", np.random.default_rng(i).standard_normal((POINTS + i, 3)).astype(np.float32))
    return folder


def test_compress_holds_few_clouds_at_once(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[NDArray[Any]]] = []
    most = []

    def read(path: Path) -> tuple[NDArray[Any], list[str]]:
        points, notes = read_ply(path)
        alive.append(weakref.ref(points))
        most.append(sum(cloud() is not None for cloud in alive))
        return points, [*notes, "colours not kept"]

    monkeypatch.setattr("pcqaad.formats.clouds.find.read_ply", read)
    result = run("compress", many, "-o", tmp_path / "x.qaad", *QUICK, "--matching", "random")
    assert result.exit_code == 0, result.output
    assert len(most) == 2 * 30
    assert max(most) <= 2
    # Of what is read twice a note is made once.
    lines = result.stderr.splitlines()
    assert lines.count("note: 30 files: colours not kept") == 1
    assert "note: clouds hold 256 to 285 points: 256 of each, drawn at random, are fitted" in lines


def test_a_file_that_goes_while_the_clouds_are_read(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Careless(Display):
        def __call__(self, progress: Progress) -> None:
            super().__call__(progress)
            if progress.stage is Stage.NORMALISE:
                (many / "x7.ply").unlink(missing_ok=True)

    monkeypatch.setattr("pcqaad.cli.progress.Display", Careless)
    message = refused("compress", many, "-o", tmp_path / "x.qaad", *QUICK)
    assert message == f"{many / 'x7.ply'}: cannot read: No such file or directory"
    assert list(tmp_path.iterdir()) == [many]


def test_interrupted_while_reading(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class AtOnce(Display):
        def __call__(self, progress: Progress) -> None:
            super().__call__(progress)
            if progress.stage is Stage.READ and progress.done == 3:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("pcqaad.cli.progress.Display", AtOnce)
    result = run("compress", many, "-o", tmp_path / "x.qaad", *QUICK)
    *_, reading, last = result.stderr.splitlines()
    assert (result.exit_code, last) == (1, "pcqaad: interrupted before there was anything to resume from")
    assert reading.startswith("reading: 10 %, 3 of 30 clouds")
    assert list(tmp_path.iterdir()) == [many]


def test_info_for_people(eggs: Path) -> None:
    shown = run("info", eggs).stdout
    assert f"{CLOUDS} of {POINTS} points" in shown
    assert size(eggs.stat().st_size) in shown
    stored = json.loads(run("info", eggs, "--json").stdout)
    for tag, count in stored["bytes"]["sections"].items():
        assert re.search(rf"^{tag} +{count:,}$", shown, re.MULTILINE)
    parts = re.findall(r"^(\w[\w ]*?) {2,}([0-9,]+) +[0-9.]+ % +([0-9.,e-]+) (\w.*)$", shown, re.MULTILINE)
    model = stored["model"]
    components = model["components"]
    labels = ["weights", "template", *["components"] * bool(components), "latents and their model", "names", "all else"]
    assert [part[0] for part in parts] == labels
    counts = [int(part[1].replace(",", "")) for part in parts]
    assert sum(counts) == eggs.stat().st_size
    assert re.search(rf"^sum +{eggs.stat().st_size:,}$", shown, re.MULTILINE)
    # What one of a part costs, times how many there are, is the part again.
    numbers = [model["weights"], POINTS, CLOUDS * model["latent"], CLOUDS, CLOUDS]
    units = ["bits per weight", "bits per template point", "bits per latent number", *["bytes per cloud"] * 2]
    if components:
        numbers.insert(2, 3 * (model["vertices"] or POINTS) * components)
        units.insert(2, "bits per number")
    assert [part[3] for part in parts] == units
    for count, part, number in zip(counts, parts, numbers, strict=True):
        whole = number / (8 if "bits" in part[3] else 1)
        assert float(part[2].replace(",", "")) * whole == pytest.approx(count, rel=1e-3)
    for text in ("ratio ", "paper's ratio", "settings\n", "encoder\n"):
        assert text in shown
    rise = 100 * stored["fidelity"]["rise"]
    side = "above" if rise >= 0 else "below"
    assert f"{figure(abs(rise))} % {side} the error of the float model" in shown
    assert run("info", eggs, "--names").stdout.split() == [f"egg{i + 7}" for i in range(CLOUDS)]


def test_decompress_writes_what_the_library_decodes(eggs: Path, tmp_path: Path) -> None:
    assert run("decompress", eggs, "-o", tmp_path / "folder").exit_code == 0
    assert run("decompress", eggs, "-o", tmp_path / "all.npy", "--quiet").stderr == ""
    stacked = np.load(tmp_path / "all.npy")
    assert stacked.shape == (CLOUDS, POINTS, 3)
    with pcqaad.open(eggs) as collection:
        assert sorted(p.stem for p in (tmp_path / "folder").iterdir()) == sorted(collection.names)
        for name, cloud, row in zip(collection.names, collection, stacked, strict=True):
            points, _ = read_ply(tmp_path / "folder" / f"{name}.ply")
            np.testing.assert_array_equal(points, cloud)
            np.testing.assert_array_equal(row, cloud)


def test_decompress_only_some(eggs: Path, tmp_path: Path) -> None:
    result = run("decompress", eggs, "-o", tmp_path / "some", "--only", "0,4-5,egg9", "--only", "=egg7")
    assert result.exit_code == 0
    assert sorted(p.stem for p in (tmp_path / "some").iterdir()) == ["egg11", "egg12", "egg7", "egg9"]
    assert result.stdout.startswith(f"{tmp_path / 'some'}: 4 clouds of 256 points in ")


def test_decompress_refuses_what_is_not_there(eggs: Path, tmp_path: Path) -> None:
    message = refused("decompress", eggs, "-o", tmp_path / "x", "--only", "0-99999999999")
    assert message == f"{eggs}: expected positions from 0 to {CLOUDS - 1}, found 99999999999"
    assert "no cloud is named 'egg1'" in refused("decompress", eggs, "-o", tmp_path / "x", "--only", "egg1")
    assert list(tmp_path.iterdir()) == []


# Stopping.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_asks_and_a_second_ends(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    with stop_signals() as stop:
        assert not stop()
        signal.raise_signal(number)
        assert stop()
        assert signal.getsignal(number) is signal.SIG_DFL
    assert signal.getsignal(number) is before
    assert "once more ends it at once" in capfd.readouterr().err


class Impatient(Display):
    """Presses Ctrl-C as soon as the network is being fitted."""

    def __call__(self, progress: Progress) -> None:
        super().__call__(progress)
        if progress.stage is Stage.FIT and signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
            signal.raise_signal(signal.SIGINT)


def test_interrupt_and_resume(originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "eggs.qaad"
    again = ["compress", str(originals), "-o", str(target), *QUICK, "--resume"]
    monkeypatch.setattr("pcqaad.cli.progress.Display", Impatient)
    result = run(*again)
    assert (result.exit_code, result.stdout) == (1, "")
    *_, fitting, last = result.stderr.splitlines()
    assert fitting.startswith("fitting: 50 %, 1 of 2 steps")
    assert last == f"pcqaad: interrupted; continue with: {shlex.join(['pcqaad', *again])}"
    monkeypatch.undo()
    checkpoint = tmp_path / "eggs.qaad.checkpoint"
    assert list(tmp_path.iterdir()) == [checkpoint]

    ignoring = run("compress", originals / "egg7.ply", "-o", target).stderr
    line = f"note: {checkpoint} is ignored and will be overwritten; add --resume to continue it"
    assert line in ignoring.splitlines()

    resumed = run(*again, "--quiet")
    assert (resumed.exit_code, resumed.stderr) == (0, "")
    assert re.search(rf"^clouds +{CLOUDS} of {POINTS} points$", resumed.stdout, re.MULTILINE)
    assert list(tmp_path.iterdir()) == [target]


# Imports.


@pytest.mark.parametrize("then", ["pass", "cli(['--help'], standalone_mode=False)"])
def test_the_front_door_is_light(then: str) -> None:
    heavy = "('numpy', 'torch', 'scipy', 'h5py', 'plyfile')"
    code = f"import sys\nfrom pcqaad.cli.main import cli\n{then}\nassert not [m for m in {heavy} if m in sys.modules]"
    result = python("-c", code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("arguments", [["info"], ["decompress", "-o", "TARGET"]])
def test_reading_needs_neither_torch_nor_scipy(arguments: list[str], eggs: Path, tmp_path: Path) -> None:
    call = [arguments[0], str(eggs), *(a.replace("TARGET", str(tmp_path / "out")) for a in arguments[1:])]
    code = (
        f"import sys\nfrom pcqaad.cli.main import cli\ncli({call!r}, standalone_mode=False)\n"
        "assert not [m for m in ('torch', 'scipy', 'h5py') if m in sys.modules]"
    )
    result = python("-c", code)
    assert result.returncode == 0, result.stderr


# Threads.


@pytest.mark.parametrize("command", ["compress", "append", "complete", "decompress", "verify", "distill"])
def test_every_command_that_computes_takes_threads(command: str) -> None:
    assert "--threads N" in run(command, "--help").stdout
    assert run(command, "--threads", "0").exit_code == 2


def test_threads_limit_a_command_and_end_with_it(
    eggs: Path, originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int | None] = []

    def seen(self: Display, progress: Progress) -> None:
        found.append(limited())

    monkeypatch.setattr(Display, "__call__", seen)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4), raising=False)
    assert run("verify", eggs, originals, "--threads", "1").exit_code == 0
    assert set(found) == {1} and limited() is None
    found.clear()
    with limit(3):
        assert run("decompress", eggs, "-o", tmp_path / "one", "--threads", "2").exit_code == 0
        assert set(found) == {2} and limited() == 3
    assert limited() is None
