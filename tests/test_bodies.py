"""The bodies are people, every one another; those that need the model run where it is installed."""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from examples import bodies


def model_is_built():
    """Say whether Anny is there and has been used: its first run takes minutes."""
    built = Path(os.environ.get("ANNY_CACHE_DIR", Path.home() / ".cache" / "anny"))
    return importlib.util.find_spec("anny") is not None and any(built.rglob("build_compact_model_data_*.safetensors"))


needs_anny = pytest.mark.skipif(not model_is_built(), reason="pip install 'pcqaad[bodies]' and run examples/bodies.py")


def test_angles_keep_to_their_limits_and_turn_bones_rigidly():
    drawn = [bodies.angles(np.random.default_rng(i)) for i in range(200)]
    for name, values in {name: [a[name] for a in drawn] for name in drawn[0]}.items():
        _, _, least, most = (bodies.JOINTS | bodies.LIMBS)[name.split(".")[0]]
        assert least <= min(values) < max(values) <= most
    for matrix in bodies.rotations(drawn[0]).values():
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(matrix) > 0


def test_left_and_right_mirror_each_other():
    drawn = bodies.angles(np.random.default_rng(0))
    other = {name: drawn[name.translate({76: "R", 82: "L"}) if name[-2] == "." else name] for name in drawn}
    mirror = np.diag([-1, 1, 1])
    left, right = bodies.rotations(drawn), bodies.rotations(other)
    for bone, matrix in left.items():
        if bone[-2] == ".":
            np.testing.assert_allclose(mirror @ matrix @ mirror, right[bone.translate({76: "R", 82: "L"})], atol=1e-12)


def test_without_the_model_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "anny", None)
    bodies.load_model.cache_clear()
    with pytest.raises(SystemExit, match=r"needs the package anny: pip install 'pcqaad\[bodies\]'"):
        bodies.main([str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@needs_anny
def test_bodies_are_adults_on_the_floor_in_metres():
    clouds = list(bodies.population(4, 2000, 3))
    assert clouds[1].tobytes() == list(bodies.population(2, 2000, 3))[1].tobytes()
    for cloud in clouds:
        assert cloud.shape == (2000, 3) and cloud.dtype == np.float32
        assert 0 <= cloud[:, 2].min() < 0.02
        assert 1.0 < np.ptp(cloud[:, 2]) < 2.3
    assert len({cloud.tobytes() for cloud in clouds}) == 4


@needs_anny
def test_vertices_are_the_same_ones_in_another_order():
    used = np.unique(bodies.skin())
    mesh, _ = bodies.body(np.random.default_rng([3, 0]))
    cloud = next(bodies.population(1, len(used), 3, vertices=True))
    assert {tuple(p) for p in cloud} == {tuple(p) for p in mesh[used].astype(np.float32)}
    assert not np.array_equal(cloud, mesh[used].astype(np.float32))
    with pytest.raises(ValueError, match=f"expected at most {len(used)} points"):
        next(bodies.population(1, len(used) + 1, 3, vertices=True))
