"""Public data sets from the owners' folders to a file and back, their points drawn from faces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcqaad.formats.clouds.find import find_clouds
from pcqaad.formats.clouds.ply import write_ply
from tests.cli.commands import refused, run
from tests.layouts import SUBJECTS, coma, registrations, scans, skulls

QUICK = ["--epochs", "2", "--patches", "1", "--latent", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a folder laid out as CoMA's, and a file of points drawn from its meshes."""
    folder = tmp_path_factory.mktemp("datasets")
    coma(folder / "COMA")
    result = run("compress", folder / "COMA", "-o", folder / "a.qaad", "--sample-surface", "300", "--seed", "5", *QUICK)
    assert result.exit_code == 0, result.output
    assert "not kept" not in result.stderr
    return folder / "COMA", folder / "a.qaad"


def measured(file: Path, *inputs: str | Path) -> dict[str, Any]:
    """Return EM-kD: of a fit's own record too, which differs by the 16 bits a coordinate that a fit keeps."""
    result = run("verify", file, *inputs, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)["metrics"]["emkd"]
    return found


def listed(file: Path) -> list[str]:
    return run("info", file, "--names").stdout.splitlines()


def test_verify_draws_the_very_points_that_were_fitted(faces: tuple[Path, Path]) -> None:
    folder, file = faces
    info = json.loads(run("info", file, "--json").stdout)
    assert (info["points"], info["settings"]["surface"]) == (300, 300)
    recorded = measured(file)
    again = measured(file, folder)
    assert again["mean"] == pytest.approx(recorded["mean"], rel=1e-5)
    # In any order, beside others, and from part of the folder where the names tell which.
    assert measured(file, *sorted(folder.iterdir(), reverse=True))["mean"] == again["mean"]


def test_what_is_decoded_lies_as_the_data_set_does(faces: tuple[Path, Path], tmp_path: Path) -> None:
    folder, file = faces
    assert run("decompress", file, "-o", tmp_path / "out").exit_code == 0
    for found in (folder, tmp_path / "out"):
        names = [path.relative_to(found).as_posix() for path in found.rglob("*.ply")]
        assert sorted(names) == sorted(f"{name}.ply" for name in listed(file))
    one = f"{SUBJECTS[1]}/mouth_open/mouth_open.000002"
    assert run("decompress", file, "-o", tmp_path / "one", "--only", one).exit_code == 0
    assert [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.ply")] == [Path(f"{one}.ply")]
    # Points alone, and the file's were drawn from faces: these cannot have been its originals.
    line = refused("verify", file, tmp_path / "out")
    assert line.endswith("000001.ply: header: expected an element face to draw points from, found none")


def test_scans_are_taken_where_they_caught_enough(tmp_path: Path) -> None:
    written = scans(tmp_path / "scans")
    enough = [name for name, points in written.items() if len(points) >= 230]
    assert 2 <= len(enough) < len(written)
    file = tmp_path / "scans.qaad"
    result = run("compress", tmp_path / "scans", "-o", file, "--min-points", "230", "--points", "220", *QUICK)
    assert result.exit_code == 0, result.output
    assert "4 clouds of fewer than 230 points left out, 3 kept" in result.stderr
    assert listed(file) == enough
    # The folder as it is, small scans and all.
    assert measured(file, tmp_path / "scans")["mean"] == pytest.approx(measured(file)["mean"], rel=1e-5)


def test_a_folder_of_skulls_is_taken_by_number(tmp_path: Path) -> None:
    written = skulls(tmp_path / "skulls")
    file = tmp_path / "skulls.qaad"
    result = run("compress", tmp_path / "skulls", "-o", file, *QUICK)
    assert result.exit_code == 0, result.output
    assert listed(file) == list(written) == ["skull8", "skull9", "skull10", "skull11", "skull12"]
    assert measured(file, tmp_path / "skulls")["mean"] == pytest.approx(measured(file)["mean"], rel=1e-5)
    assert run("decompress", file, "-o", tmp_path / "out").exit_code == 0
    decoded = {source.name: source.count() for source in find_clouds([tmp_path / "out"])}
    assert decoded == {name: len(points) for name, points in written.items()}


def test_what_is_appended_is_drawn_as_well(faces: tuple[Path, Path], tmp_path: Path) -> None:
    folder, file = faces
    (tmp_path / "new").mkdir()
    coma(tmp_path / "new", frames=1, subjects=["FaceTalk_170731_00024_TA"])
    grown = tmp_path / "grown.qaad"
    result = run("append", file, tmp_path / "new", "-o", grown, "--steps", "2", "--seed", "9", "--json")
    assert result.exit_code == 0, result.output
    recorded = json.loads(result.stdout)["appended"][0]
    per_cloud = measured(grown, folder, tmp_path / "new")["per_cloud"]
    assert np.mean([cloud["mean"] for cloud in per_cloud[-2:]]) == pytest.approx(recorded["mean"], rel=1e-5)
    assert [cloud["name"] for cloud in per_cloud[-2:]] == [
        "FaceTalk_170731_00024_TA/bareteeth/bareteeth.000001",
        "FaceTalk_170731_00024_TA/mouth_open/mouth_open.000001",
    ]
    write_ply(tmp_path / "points.ply", np.ones((300, 3), np.float32))
    assert "expected an element face" in refused("append", file, tmp_path / "points.ply", "-o", tmp_path / "no.qaad")
    assert not (tmp_path / "no.qaad").exists()


def test_frames_apart_and_clouds_large_enough(tmp_path: Path) -> None:
    registrations(tmp_path / "registrations_m.hdf5")
    coma(tmp_path / "COMA", frames=1)
    write_ply(tmp_path / "COMA" / "small.ply", np.ones((63, 3), np.float32))
    inputs = [tmp_path / "registrations_m.hdf5", tmp_path / "COMA"]
    file = tmp_path / "a.qaad"
    result = run("compress", *inputs, "-o", file, "--every", "2", "--min-points", "64", *QUICK)
    assert result.exit_code == 0, result.output
    every = [source.name for source in find_clouds(inputs)][::2]
    assert listed(file) == [name for name in every if name != "small"]
    assert measured(file, *inputs)["mean"] == pytest.approx(measured(file)["mean"], rel=1e-5)


def test_clouds_too_small_are_counted(tmp_path: Path) -> None:
    coma(tmp_path / "COMA", frames=1)
    for i in range(2):
        write_ply(tmp_path / "COMA" / f"small_{i}.ply", np.ones((63, 3), np.float32))
    command = ["compress", tmp_path / "COMA", "-o", tmp_path / "a.qaad", *QUICK]
    assert refused(*command, "--min-points", "65") == "expected clouds of at least 65 points, found none among 6"
    result = run(*command, "--min-points", "64")
    assert result.exit_code == 0, result.output
    assert "2 clouds of fewer than 64 points left out, 4 kept" in result.stderr


def test_no_faces_are_one_line(tmp_path: Path, originals: Path) -> None:
    command = ["-o", tmp_path / "a.qaad", "--sample-surface", "100", *QUICK]
    line = refused("compress", originals, *command)
    first = f"{originals}/egg7.ply: header: expected an element face to draw points from, found none; "
    assert line.startswith(f"6 files or clouds cannot be used: {first}")
    np.save(tmp_path / "a.npy", np.ones((2, 9, 3)))
    line = refused("compress", tmp_path / "a.npy", *command)
    assert line.startswith("2 files or clouds cannot be used: ")
    assert f"{tmp_path}/a.npy[0]: expected faces to draw points from, found points alone; " in line
    assert not (tmp_path / "a.qaad").exists()
