"""The reader for papers: pcqaad's bytes with numpy alone, out of what one cloud needs, and nothing that is damaged."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

import pcqaad
from examples import read_qaad as reader
from pcqaad.formats.container.container import Container
from tests.surface_files import surface_file, surface_model
from tests.test_golden import GOLDEN, points

SEQUENCE = GOLDEN[1]


def spans(file: Path) -> dict[str, tuple[int, int]]:
    """Return where each section lies in a file."""
    container = Container.open(file.read_bytes())
    lengths = [entry.length for entry in container.entries]
    ends = container.size - sum(lengths) + np.cumsum(lengths)
    return {e.tag: (int(end) - e.length, int(end)) for e, end in zip(container.entries, ends, strict=True)}


def with_changed(file: Path, offsets: list[int], path: Path) -> Path:
    """Write a copy of a file with some bytes changed."""
    data = bytearray(file.read_bytes())
    for offset in offsets:
        data[offset] ^= 0x55
    path.write_bytes(data)
    return path


def test_numpy_is_all_that_it_imports() -> None:
    tree = ast.parse(Path(reader.__file__).read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module is not None]
    roots = {name.split(".")[0] for name in names}
    assert roots - sys.stdlib_module_names == {"numpy"}


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_golden_files_give_their_golden_points(file: Path) -> None:
    golden = points(file)
    for i, expected in enumerate(golden):
        found = reader.read_cloud(file, i)
        assert found.dtype == np.float32 and found.shape == expected.shape
        assert found.tobytes() == expected.tobytes()


def test_a_fitted_file_gives_the_points_of_pcqaad(fitted_file: Path) -> None:
    with pcqaad.open(fitted_file) as clouds:
        assert reader.read_names(fitted_file) == clouds.names
        for i, expected in enumerate(clouds):
            assert reader.read_cloud(fitted_file, i).tobytes() == expected.tobytes()


def test_a_surface_gives_the_points_of_pcqaad(tmp_path: Path) -> None:
    file = tmp_path / "surface.qaad"
    file.write_bytes(surface_file(surface_model(5, around=14, across=9, points=700, bits=14), np.arange(698, 703)))
    with pcqaad.open(file) as clouds:
        for i, expected in enumerate(clouds):
            assert len(expected) == 698 + i
            assert reader.read_cloud(file, i).tobytes() == expected.tobytes()


def test_only_what_a_cloud_needs_is_read(tmp_path: Path) -> None:
    where = spans(SEQUENCE)
    # The last bytes of the latents belong to the second group, of clouds 64 to 69.
    others = [where["NAME"][0], where["info"][0], where["LATS"][1] - 1]
    file = with_changed(SEQUENCE, others, tmp_path / "changed.qaad")
    assert reader.read_cloud(file, 63).tobytes() == points(SEQUENCE)[63].tobytes()
    with pytest.raises(ValueError, match="the file is damaged"):
        reader.read_cloud(file, 64)
    with pytest.raises(ValueError, match="the file is damaged"):
        reader.read_names(file)


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_a_changed_byte_is_refused_wherever_it_is_read(file: Path, tmp_path: Path) -> None:
    where, size = spans(file), file.stat().st_size
    unread = {*range(*where["NAME"]), *range(*where["info"])}
    if file == SEQUENCE:
        unread |= {*range(where["LATS"][1] - 20, where["LATS"][1])}
    changed = [offset for offset in range(0, size, 7) if offset not in unread]
    assert len(changed) > 50
    for offset in changed:
        with pytest.raises((ValueError, IndexError)):
            reader.read_cloud(with_changed(file, [offset], tmp_path / "changed.qaad"), 0)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    data = GOLDEN[0].read_bytes()
    for length in (0, 7, 15, 40, len(data) - 1):
        (tmp_path / "short.qaad").write_bytes(data[:length])
        with pytest.raises(ValueError, match="the file is damaged"):
            reader.read_cloud(tmp_path / "short.qaad", 0)


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "cloud.ply"
    reader.main([str(SEQUENCE), "64", "-o", str(output)])
    rows = PlyData.read(output)["vertex"]
    np.testing.assert_array_equal(np.stack([rows["x"], rows["y"], rows["z"]], 1), points(SEQUENCE)[64])
    reader.main([str(SEQUENCE), "--list"])
    assert capsys.readouterr().out.splitlines()[64] == "64\tsequence 64"
    before = output.read_bytes()
    for cloud, problem in (("3", "File exists"), ("70", "expected a cloud of 0 to 69, found 70")):
        with pytest.raises(SystemExit, match=problem):
            reader.main([str(SEQUENCE), cloud, "-o", str(output)])
    assert output.read_bytes() == before
    with pytest.raises(SystemExit, match="2"):
        reader.main([str(SEQUENCE)])
    assert "expected the number of a cloud, or --list" in capsys.readouterr().err
