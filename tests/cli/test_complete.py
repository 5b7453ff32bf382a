"""`pcqaad complete`: what it writes, says and refuses."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

import pcqaad
from pcqaad.cli.progress import Display
from pcqaad.cli.show.text import figure
from pcqaad.formats.clouds.npy import read_npy
from pcqaad.formats.clouds.ply import read_ply, write_ply
from pcqaad.monitor import Progress, Stage
from tests.cli.commands import POINTS, refused, run


@pytest.fixture
def broken(originals: Path, tmp_path: Path) -> Path:
    """A folder of two eggs without one side each."""
    folder = tmp_path / "broken"
    folder.mkdir()
    for name, share in (("egg8", 0), ("egg11", 20)):
        points, _ = read_ply(originals / f"{name}.ply")
        write_ply(folder / f"{name}.ply", points[points[:, 0] > share].astype(np.float32))
    return folder


QUICK = ("--steps", "4", "--device", "cpu")


def test_complete_writes_whole_clouds_and_says_how_near_they_are(eggs: Path, broken: Path, tmp_path: Path) -> None:
    result = run("complete", eggs, broken, "-o", tmp_path / "whole", *QUICK)
    assert result.exit_code == 0, result.output
    assert "fitting: done" in result.stderr
    assert sorted(p.name for p in (tmp_path / "whole").iterdir()) == ["egg11.ply", "egg8.ply"]
    with pcqaad.open(eggs) as c:
        diagonal = c.info["fidelity"]["diagonal"]
    for name in ("egg8", "egg11"):
        part, _ = read_ply(broken / f"{name}.ply")
        whole, _ = read_ply(tmp_path / "whole" / f"{name}.ply")
        assert len(whole) == POINTS
        mean = float(np.linalg.norm(part[:, None] - whole, axis=2).min(1).mean())
        row = f"{name} +{len(part)} +{re.escape(figure(mean))} mm +{re.escape(figure(100 * mean / diagonal))} % "
        assert re.search(f"^{row}", result.stdout, re.MULTILINE), (row, result.stdout)


def test_complete_as_json_and_in_one_file(eggs: Path, broken: Path, tmp_path: Path) -> None:
    call = ["complete", eggs, broken, "-o", tmp_path / "whole.npy", *QUICK, "--json", "--quiet"]
    result = run(*call, "--criterion", "gamma:shape=2.5", "--prior", "0.1", "--starts", "2", "--seed", "3")
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    chosen = {"criterion": "gamma:shape=2.5", "prior": 0.1, "starts": 2, "steps": 4, "seed": 3, "unit": "mm"}
    assert {key: found[key] for key in chosen} == chosen
    assert [cloud["name"] for cloud in found["clouds"]] == ["egg8", "egg11"]
    assert found["mean"] == pytest.approx(np.mean([cloud["mean"] for cloud in found["clouds"]]))
    with pcqaad.open(eggs) as c:
        for i, cloud in enumerate(found["clouds"]):
            assert read_npy(tmp_path / "whole.npy", i)[0].tobytes() == c.decode(np.array(cloud["latent"])).tobytes()
            assert cloud["start"] in (None, *c.names)


def test_complete_refuses_in_one_line(eggs: Path, broken: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    message = refused("complete", eggs, broken, "-o", broken)
    assert message == f"{broken / 'egg8.ply'}: is there already, and 1 other file; --overwrite replaces them"
    assert "found the name of one" in refused("complete", eggs, broken, "-o", tmp_path / "whole.ply")
    assert refused("complete", eggs, broken, "-o", eggs) == f"{eggs}: expected a folder, found a file"
    assert "does not exist" in refused("complete", eggs, broken, "-o", tmp_path / "no" / "x.npy")
    assert "nowhere.qaad: cannot open" in refused("complete", tmp_path / "nowhere.qaad", broken, "-o", whole)
    far = tmp_path / "far.ply"
    write_ply(far, np.full((3, 3), 5e3, np.float32) + np.eye(3, dtype=np.float32))
    assert refused("complete", eggs, far, "-o", whole).startswith("far: lies nowhere near the clouds of the file")
    write_ply(far, np.full((3, 3), np.nan, np.float32))
    assert "far.ply: point 0: expected finite coordinates" in refused("complete", eggs, far, "-o", whole)
    write_ply(far, np.zeros((0, 3), np.float32))
    assert "far.ply: holds no points" in refused("complete", eggs, far, "-o", whole)
    assert not whole.exists()


def test_complete_needs_torch(eggs: Path, broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    message = refused("complete", eggs, broken, "-o", tmp_path / "whole")
    assert message == "complete needs torch: pip install 'pcqaad[fit]'"


def test_an_interrupted_completion_writes_nothing(
    eggs: Path, broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Impatient(Display):
        def __call__(self, progress: Progress) -> None:
            super().__call__(progress)
            if (
                progress.stage is Stage.FIT
                and progress.done == 6
                and signal.getsignal(signal.SIGINT) is not signal.SIG_DFL
            ):
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("pcqaad.cli.progress.Display", Impatient)
    result = run("complete", eggs, broken, "-o", tmp_path / "whole", *QUICK)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == "pcqaad: interrupted; nothing was written"
    assert not (tmp_path / "whole").exists()
