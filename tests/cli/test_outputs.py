"""What commands write to: nothing is lost that nobody asked to replace, and nothing is found out too late."""

from __future__ import annotations

import io
import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest

from pcqaad.cli import progress
from pcqaad.cli.errors import CommandError
from pcqaad.cli.outputs import QAAD, check_output, check_target
from pcqaad.cli.progress import Display
from pcqaad.formats.clouds.find import find_clouds
from pcqaad.formats.clouds.ply import write_ply
from pcqaad.formats.clouds.write import write_clouds
from pcqaad.formats.errors import FormatError
from pcqaad.monitor import Progress, Stage, log
from tests.cli.commands import CLOUDS, QUICK, python, refused, run


@pytest.fixture
def mine(eggs: Path, tmp_path: Path) -> Path:
    """The file, for a test to change."""
    return Path(shutil.copy(eggs, tmp_path / "mine.qaad"))


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_originals_are_not_replaced_by_what_is_decoded(eggs: Path, originals: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    shutil.copytree(originals, folder)
    before = read_all(folder)
    line = refused("decompress", eggs, "-o", folder)
    others = CLOUDS - 1
    assert line == f"{folder / 'egg7.ply'}: is there already, and {others} other files; --overwrite replaces them"
    assert refused("decompress", eggs, "-o", folder, "--only", "egg9").startswith(f"{folder / 'egg9.ply'}: is there")
    assert read_all(folder) == before
    # What is asked for is done, and a folder with other files in it is no hindrance.
    assert run("decompress", eggs, "-o", folder, "--only", "egg9", "--overwrite").exit_code == 0
    assert {name for name, data in read_all(folder).items() if data != before[name]} == {"egg9.ply"}
    (folder / "egg9.ply").unlink()
    assert run("decompress", eggs, "-o", folder, "--only", "egg9").exit_code == 0


@pytest.mark.parametrize("name", ["all.npy", "all.h5"])
def test_arrays_are_not_replaced_either(eggs: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    assert run("decompress", eggs, "-o", target, "--only", "0-2").exit_code == 0
    before = target.read_bytes()
    for command in (["decompress", eggs], ["complete", eggs, target]):
        assert refused(*command, "-o", target) == f"{target}: is there already; --overwrite replaces it"
    assert target.read_bytes() == before
    assert run("decompress", eggs, "-o", target, "--overwrite").exit_code == 0
    assert len(find_clouds([target])) == CLOUDS


@pytest.mark.parametrize("suffix", [".npz", ".txt", ".obj", ".qaad", ".zip"])
def test_a_folder_is_not_called_as_a_file_is(eggs: Path, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"clouds{suffix}"
    for command in (["decompress", eggs], ["complete", eggs, tmp_path]):
        if command[0] == "complete":
            write_ply(tmp_path / "a.ply", np.eye(3, dtype=np.float32))
        line = refused(*command, "-o", target)
        assert line == f"{target}: expected a folder, or a name that ends in .npy, .h5 or .hdf5, found {suffix}"
    assert not target.exists()


def test_a_file_of_another_kind_is_not_replaced(mine: Path, originals: Path, tmp_path: Path) -> None:
    notes, before = tmp_path / "notes", mine.read_bytes()
    notes.write_text("<p>mine</p>")
    otherwise = "found something else"
    for kind, command in {
        "a .qaad file": ["compress", originals, "-o", notes, *QUICK],
        "an HTML page": ["verify", mine, "--report", notes],
        "a PNG picture": ["distill", "--family", "gamma", "--plot", notes],
    }.items():
        line = refused(*command)
        assert line == f"{notes}: is not replaced: expected {kind} or a free name, {otherwise}"
    assert refused("append", mine, originals, "-o", notes).startswith(f"{notes}: is not replaced")
    assert refused("verify", mine, "--report", mine).startswith(f"{mine}: is not replaced")
    assert refused("distill", "--family", "gamma", "--plot", mine).startswith(f"{mine}: is not replaced")
    assert (notes.read_text(), mine.read_bytes()) == ("<p>mine</p>", before)
    # Its own kind is, and what is empty.
    for _ in range(2):
        assert run("verify", mine, "--report", tmp_path / "page.html").exit_code == 0
    (tmp_path / "new.qaad").touch()
    check_output(tmp_path / "new.qaad", QAAD)


def test_a_fit_replaces_another_only_where_it_is_told_to(mine: Path, originals: Path) -> None:
    mine.chmod(0o600)
    before = mine.read_bytes()
    assert refused("compress", originals, "-o", mine, *QUICK) == f"{mine}: is there already; --overwrite replaces it"
    assert mine.read_bytes() == before
    assert run("compress", originals, "-o", mine, "--overwrite", *QUICK).exit_code == 0
    assert mine.read_bytes() != before
    # What was kept from others stays so.
    assert stat.S_IMODE(mine.stat().st_mode) == 0o600


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="there is no such device")
def test_what_cannot_become_a_file_is_refused_before_the_fit(originals: Path, tmp_path: Path) -> None:
    line = refused("compress", originals, "-o", "/dev/null", *QUICK)
    assert line == "/dev/null: expected a regular file or a free name, found something else"
    link = tmp_path / "link.qaad"
    link.symlink_to(tmp_path / "nowhere" / "x.qaad")
    line = refused("compress", originals, "-o", link, *QUICK)
    assert line == f"{link}: folder {tmp_path / 'nowhere'} does not exist"
    assert sorted(tmp_path.iterdir()) == [link]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_refused_before_the_search(eggs: Path, tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", np.eye(3, dtype=np.float32))
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    for target in (locked, locked / "below", locked / "x.npy"):
        assert "cannot be written to" in refused("complete", eggs, tmp_path / "a.ply", "-o", target)


@pytest.mark.parametrize(
    "arguments",
    [
        ["compress", "", "-o", "x.qaad"],
        ["compress", "x", "-o", ""],
        ["decompress", "x.qaad", "-o", ""],
        ["info", ""],
        ["verify", "x.qaad", ""],
        ["append", "x.qaad", ""],
        ["complete", "", "x", "-o", "y"],
    ],
    ids=" ".join,
)
def test_empty_paths_are_misuse(arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "expected a path, found an empty one" in result.stderr


@pytest.mark.parametrize(
    ("choice", "problem"),
    [
        (["--seed", str(2**63)], "is not in the range"),
        (["--minutes", "nan"], "minutes is nan, expected more than 0 and finite"),
        (["--latent-init", "encoder"], "needs a latent size"),
    ],
    ids=str,
)
def test_choices_that_cannot_be_meant_are_misuse(choice: list[str], problem: str, tmp_path: Path) -> None:
    result = run("compress", tmp_path, "-o", tmp_path / "x.qaad", *choice)
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr


def test_links_to_nothing_are_not_passed_over(originals: Path, tmp_path: Path) -> None:
    folder = tmp_path / "linked"
    shutil.copytree(originals, folder)
    (folder / "notes.txt").symlink_to(tmp_path / "gone")
    assert len(find_clouds([folder])) == CLOUDS
    for name in ("egg1.ply", "subject"):
        (folder / name).symlink_to(tmp_path / "gone")
        with pytest.raises(FormatError, match=f"{name}: a link to nothing"):
            find_clouds([folder])
        (folder / name).unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.ply")
        with pytest.raises(FormatError, match=r"pipe\.ply: expected a file, found something else"):
            find_clouds([folder])


def test_an_original_that_is_there_twice_is_named(eggs: Path, originals: Path, tmp_path: Path) -> None:
    shutil.copytree(originals, tmp_path / "again")
    line = refused("verify", eggs, originals, tmp_path / "again")
    assert line.startswith(f"{eggs}: two originals of 'egg7' are among the inputs, {originals.name}/egg7 and ")
    assert line.endswith("/again/egg7")


def test_clouds_from_elsewhere_are_not_appended_and_others_are_remarked_on(mine: Path, tmp_path: Path) -> None:
    rng, before = np.random.default_rng(3), mine.read_bytes()
    ball = rng.normal(size=(300, 3)).astype(np.float32)
    write_ply(tmp_path / "far.ply", ball + 1e6)
    line = refused("append", mine, tmp_path / "far.ply", "--steps", "2")
    assert line.startswith("far: lies nowhere near the clouds of the file: expected their unit and place, found it ")
    assert mine.read_bytes() == before
    write_ply(tmp_path / "thin.ply", ball * [90, 1, 1])
    result = run("append", mine, tmp_path / "thin.ply", "--steps", "2")
    assert result.exit_code == 0
    assert "times that of the fit's: the file was not fitted to clouds like these" in result.stderr


class Leaving(io.StringIO):
    """A reader that is gone after a number of writes."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.left = writes

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise BrokenPipeError
        return super().write(text)


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_that_nobody_reads_costs_no_job(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Leaving(1)
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    with Display(stream=stream) as show:
        for i, stage in enumerate([Stage.READ, Stage.MATCH, Stage.FIT]):
            show(Progress(stage, i, 5, "steps"))
        log.warning("a word")
    assert stream.getvalue().strip().startswith("reading")
    monkeypatch.setattr(progress.sys, "stderr", None)
    with Display() as show:
        show(Progress(Stage.FIT, 1, 2, "steps"))
        log.warning("a word")


def test_a_job_ends_well_with_stderr_closed(eggs: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys; os.close(2); sys.stderr = None; sys.argv = ['pcqaad', *sys.argv[1:]];"
        "from pcqaad.cli.main import main; main()"
    )
    done = python("-c", code, "decompress", eggs, "-o", tmp_path / "out")
    assert done.returncode == 0
    assert len(list((tmp_path / "out").iterdir())) == CLOUDS


def test_a_fit_does_not_go_on_to_fewer_epochs_than_it_has(originals: Path, tmp_path: Path) -> None:
    import pcqaad
    from tests.conftest import stop_in

    clouds = [source.read().points for source in find_clouds([originals])]
    checkpoint = tmp_path / "x.checkpoint"
    settings = {"latent": 2, "patches": 1, "device": "cpu"}
    with pytest.raises(pcqaad.Interrupted):
        pcqaad.fit(clouds, pcqaad.Settings(epochs=50, **settings), checkpoint=checkpoint, **stop_in(Stage.FIT, 9))
    fewer = pcqaad.Settings(epochs=3, **settings)
    with pytest.raises(
        pcqaad.CheckpointError, match="steps were made already, more than 3 epochs have; expected at least"
    ):
        pcqaad.fit(clouds, fewer, checkpoint=checkpoint, resume=True)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["a", "x" * 252], "cannot hold a file named xxx"),
        (["a", f"{'ä' * 128}/b"], "cannot hold a file named ää"),
        (["a", "a.ply/x"], "a.ply is a cloud and a folder of others"),
    ],
)
def test_names_that_no_folder_holds_are_refused_before_the_first_is_written(
    names: list[str], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(CommandError, match=problem):
        check_target(tmp_path, names, overwrite=True)
    check_target(tmp_path / "x.h5", names, overwrite=True)


def test_names_that_a_system_takes_for_one_are_told_apart(tmp_path: Path) -> None:
    clouds = np.zeros((2, 3, 3), np.float32)
    # What a system that does not tell them apart makes of the second.
    (tmp_path / "A.ply").symlink_to("a.ply")
    with pytest.raises(FormatError, match=r"A\.ply: is the same file here as that of a"):
        write_clouds(tmp_path, ["a", "A"], 3, iter(clouds))
