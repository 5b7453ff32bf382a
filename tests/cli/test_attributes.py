"""Attributes of points through the commands: in, out under their own names and types, judged, appended, refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

import pcqaad
from pcqaad.formats.clouds.find import find_clouds
from tests.cli.commands import python, refused, run

ROOT = Path(__file__).resolve().parent.parent.parent
QUICK = ["--epochs", "2", "--points", "256", "--patches", "1", "--latent", "2", "--device", "cpu", "--quiet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven painted skulls of few points."""
    folder = tmp_path_factory.mktemp("painted")
    made = python(ROOT / "examples" / "painted.py", "--count", "7", "--points", "300", folder)
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def file(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the first six, with all attributes."""
    file = tmp_path_factory.mktemp("fitted") / "painted.qaad"
    six = sorted(folder.glob("*.ply"))[:6]
    result = run("compress", *six, "-o", file, "--attributes", "all", "--colour-quality", "40", *QUICK)
    assert result.exit_code == 0, result.output
    return file


def test_attributes_come_back_under_their_names_and_types(file: Path, folder: Path, tmp_path: Path) -> None:
    with pcqaad.open(file) as clouds:
        kinds = {a.name: a.kind for a in clouds.attributes}
        assert kinds == {"colour": "colour", "density": "scalar", "label": "label"}
        assert run("decompress", file, "-o", tmp_path / "out", "--quiet").exit_code == 0
        for i, source in enumerate(find_clouds([tmp_path / "out"])):
            original = find_clouds([folder / f"{clouds.names[i]}.ply"])[0].read_shape().attributes
            shape = source.read_shape()
            assert shape.points.tobytes() == clouds[i].tobytes()
            for name, values in shape.attributes.items():
                kept = clouds.attribute(i, name)
                assert values.dtype == kept.dtype == original[name].dtype
                np.testing.assert_array_equal(values.reshape(kept.shape), kept)
            # A label of a decoded point is one that the original has.
            assert set(np.unique(clouds.attribute(i, "label"))) <= set(np.unique(original["label"]))
    header = PlyData.read(next((tmp_path / "out").glob("*.ply")))["vertex"].data.dtype.names
    assert {"red", "green", "blue", "density", "label"} <= set(header)


def test_info_and_verify_tell_of_them(file: Path, folder: Path) -> None:
    info = json.loads(run("info", file, "--json").stdout)
    assert [a["name"] for a in info["attributes"]] == ["colour", "density", "label"]
    assert sum(a["bytes"] for a in info["attributes"]) <= info["bytes"]["parts"]["attributes"]
    result = run("verify", file, folder)
    assert result.exit_code == 0
    assert "attribute colour" in result.stdout and "PSNR of luma" in result.stdout


def test_appended_clouds_bring_theirs(file: Path, folder: Path, tmp_path: Path) -> None:
    more, new = tmp_path / "more.qaad", sorted(folder.glob("*.ply"))[6]
    call = ["append", file, new, "-o", more, "--steps", "2", "--device", "cpu", "--quiet"]
    result = run(*call)
    assert result.exit_code == 0, result.output
    with pcqaad.open(more) as clouds, pcqaad.open(file) as before:
        assert len(clouds) == 7
        for name in ("colour", "density", "label"):
            assert clouds.attribute(6, name).shape[0] == clouds.points
            for i in range(6):
                np.testing.assert_array_equal(clouds.attribute(i, name), before.attribute(i, name))


def test_a_name_that_no_cloud_has_is_refused(folder: Path, tmp_path: Path) -> None:
    message = refused("compress", folder, "-o", tmp_path / "x.qaad", "--attributes", "age", *QUICK)
    assert "age" in message and "density" in message
    assert not (tmp_path / "x.qaad").exists()


def test_options_of_attributes_need_attributes(folder: Path, tmp_path: Path) -> None:
    result = run("compress", folder, "-o", tmp_path / "x.qaad", "--colour-quality", "40", *QUICK)
    assert (result.exit_code, "--colour-quality needs --attributes" in result.output) == (2, True)


def test_a_file_without_attributes_is_of_version_1(folder: Path, tmp_path: Path) -> None:
    assert run("compress", folder, "-o", tmp_path / "x.qaad", *QUICK).exit_code == 0
    with pcqaad.open(tmp_path / "x.qaad") as clouds:
        assert clouds.info["version"] == 1 and clouds.attributes == []
