from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from plyfile import PlyData, PlyElement

from pcqaad.formats.clouds.ply import read_ply, write_ply
from tests.cli.commands import CLOUDS, POINTS, QUICK, run


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six ellipsoids, some with normals; their names sort as numbers, not as text."""
    folder = tmp_path_factory.mktemp("originals")
    rng = np.random.default_rng(1)
    for i in range(CLOUDS):
        ball = rng.normal(size=(POINTS, 3))
        ball *= [40 + 4 * i, 40, 60] / np.linalg.norm(ball, axis=1, keepdims=True)
        write_ply(folder / f"egg{i + 7}.ply", ball.astype(np.float32))
    for name in ("egg7", "egg9"):
        points, _ = read_ply(folder / f"{name}.ply")
        rows = np.zeros(POINTS, [(axis, "<f4") for axis in ("x", "y", "z", "nx")])
        for i, axis in enumerate("xyz"):
            rows[axis] = points[:, i]
        PlyData([PlyElement.describe(rows, "vertex")], byte_order="<").write(str(folder / f"{name}.ply"))
    return folder


@pytest.fixture(scope="session")
def compressed(originals: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The result of compressing them to a file `eggs.qaad`."""
    target = tmp_path_factory.mktemp("compressed") / "eggs.qaad"
    result = run("compress", originals, "-o", target, *QUICK, "--unit", "mm", "--json")
    assert result.exit_code == 0, result.output
    result.path = target  # type: ignore[attr-defined]
    return result


@pytest.fixture
def eggs(compressed: Result) -> Path:
    return compressed.path  # type: ignore[attr-defined,no-any-return]
