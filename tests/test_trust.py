"""What a stranger's file may not do: ask for far more than its size, choose where its clouds go, fill a disk."""

import sys

import numpy as np
import pytest

import pcqaad
from pcqaad.bitstream import limits
from pcqaad.cli import outputs
from pcqaad.formats.clouds.places import check_no_links, harm
from pcqaad.formats.errors import FormatError
from tests.cli.commands import refused, run
from tests.hostile import small
from tests.surface_files import surface_file, surface_model


@pytest.mark.parametrize(
    "name",
    [
        "CON",
        "aux.ply",
        "a/nul",
        "LPT9.x",
        "com\u00b9",
        "conin$",
        ".git/hooks/x",
        "a/.b",
        "a.",
        "a ",
        "b /c",
        "a\x85",
        "a\u202eb",
    ],
)
def test_a_name_that_does_more_than_name_a_file_is_refused(name, tmp_path):
    assert harm(name)
    file = tmp_path / "a.qaad"
    file.write_bytes(small.file(NAME=b"fine\0" + name.encode()))
    message = refused("decompress", file, "-o", tmp_path / "out")
    assert "--trust writes it nevertheless" in message and message.isprintable()
    assert not (tmp_path / "out").exists()
    assert run("decompress", file, "-o", tmp_path / "all.npy").exit_code == 0
    assert run("decompress", file, "-o", tmp_path / "out", "--only", "0").exit_code == 0


@pytest.mark.parametrize("name", ["a", "CONE", "console", "a.b", "x/y z", "skull_0001", "ä", "com10", "lpt"])
def test_any_other_name_is_fine(name):
    assert not harm(name)


def test_a_trusted_name_is_written(tmp_path):
    file = tmp_path / "a.qaad"
    file.write_bytes(small.file(NAME=b"fine\0.hidden"))
    assert run("decompress", file, "-o", tmp_path / "out", "--trust").exit_code == 0
    assert (tmp_path / "out" / ".hidden.ply").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links of POSIX")
@pytest.mark.parametrize("link", ["sub", "sub/b.ply"])
def test_no_link_in_the_target_folder_is_followed(link, tmp_path):
    file, out, elsewhere = tmp_path / "a.qaad", tmp_path / "out", tmp_path / "elsewhere"
    file.write_bytes(small.file(NAME=b"a\0sub/b"))
    (out / link).parent.mkdir(parents=True)
    elsewhere.mkdir()
    (out / link).symlink_to(elsewhere if link == "sub" else elsewhere / "made")
    message = refused("decompress", file, "-o", out)
    assert message.startswith(f"{out / link}: is a symbolic link")
    assert list(elsewhere.iterdir()) == []
    assert run("decompress", file, "-o", out, "--trust").exit_code == 0
    assert len(list(elsewhere.iterdir())) == 1


def test_links_above_the_target_folder_are_the_users_own(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    check_no_links(tmp_path / "link", ["a/b.ply"])


def test_points_of_a_cloud_are_limited_by_the_size_of_the_file(monkeypatch):
    model = surface_model(0)
    data, own = surface_file(model), surface_file(model, np.array([100, 99, 100, 101, 100]))
    for file, asked, most in ((data, 100, 99), (own, 101, 100)):
        monkeypatch.setattr(limits, "POINTS", (most, 0))
        with pcqaad.Collection(file) as clouds:
            assert clouds.info["points"] == 100  # what it asks for can be looked at
            with pytest.raises(FormatError, match=f"asks for {asked} points of a cloud, more than {most}.*trust=True"):
                clouds[0]
        assert pcqaad.Collection(file, trust=True).read(0, 10).shape == (10, 3)


def test_multiplications_are_limited_by_the_size_of_the_file(monkeypatch):
    data = small.file()
    assert pcqaad.Collection(data)[0].shape == (4, 3)
    # 4 points: 3 and 1 products of the shared layer and the patch's, and 3 each of the points' parts.
    monkeypatch.setattr(limits, "MULTIPLICATIONS", (39, 0))
    with pytest.raises(FormatError, match="asks for 40 multiplications for a cloud, more than 39"):
        pcqaad.Collection(data)[0]


def test_bytes_of_all_clouds_are_limited_where_they_are_decoded_together(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "BYTES", (95, 0))
    clouds = pcqaad.Collection(small.file())
    assert clouds[0].shape == (4, 3)
    with pytest.raises(FormatError, match="asks for 96 bytes of points, more than 95"):
        clouds[:]
    assert clouds[:1].shape == (1, 4, 3)
    file = tmp_path / "a.qaad"
    file.write_bytes(small.file())
    assert "asks for 96 bytes of points" in refused("decompress", file, "-o", tmp_path / "out")
    assert run("decompress", file, "-o", tmp_path / "out", "--trust").exit_code == 0


def test_a_full_disk_is_told_before_anything_is_written(monkeypatch, tmp_path):
    class Usage:
        free = 95

    monkeypatch.setattr(outputs.shutil, "disk_usage", lambda folder: Usage)
    file = tmp_path / "a.qaad"
    file.write_bytes(small.file())
    for target in ("out", "all.npy"):
        message = refused("decompress", file, "-o", tmp_path / target)
        assert message == f"{tmp_path / target}: expected 96 bytes or more of free disk space, found 95"
        assert not (tmp_path / target).exists()


def test_files_that_fits_make_are_far_from_the_limits(fitted_file):
    with pcqaad.open(fitted_file) as clouds:
        architecture, size = clouds.model.architecture, fitted_file.stat().st_size
        assert limits.multiplications(architecture) < 1e-3 * limits.MULTIPLICATIONS[0]
        assert np.prod(clouds[:].shape) * 4 < 1e-3 * (limits.BYTES[0] + limits.BYTES[1] * size)
