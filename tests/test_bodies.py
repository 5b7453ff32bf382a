"""The bodies are people, every one another; those that need the model run where it is installed."""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from examples import bodies
from pcqaad.formats.clouds.ply import read_ply_mesh


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


def test_motions_are_smooth_and_keep_to_the_limits_of_poses():
    for seed in range(5):
        motion, again = (bodies.Motion(np.random.default_rng(seed)) for _ in range(2))
        frames = [motion.at(i / bodies.RATE) for i in range(300)]
        assert frames[7] == again.at(7 / bodies.RATE)
        for name, values in {name: np.array([a[name] for a in frames]) for name in frames[0]}.items():
            least, most = bodies.FINE[name[:-2]] if name not in bodies.limits() else bodies.limits()[name][2:]
            assert least <= values.min() < values.max() <= most
            # No jump: the way of a frame is about that of the frame before.
            assert np.abs(np.diff(values, 2)).max() < 12
        stride = [np.sign(a["hip.L"] - a["hip.R"]) for a in frames]
        assert np.count_nonzero(np.diff(stride)) > 10  # legs take turns


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


@needs_anny
def test_people_in_motion_keep_their_shape_and_their_vertices(tmp_path):
    bodies.main([str(tmp_path), "--motion", "--registered", "--count", "6", "--people", "2", "--seed", "3"])
    meshes = [read_ply_mesh(file)[:2] for file in sorted(tmp_path.glob("*.ply"))]
    assert all(np.array_equal(triangles, meshes[0][1]) for _, triangles in meshes)
    used = np.unique(bodies.skin())
    assert np.array_equal(meshes[0][1], np.searchsorted(used, bodies.skin()))
    clouds = [vertices for vertices, _ in meshes]
    (shuffled,) = list(bodies.population(6, len(used), 3, vertices=True, people=2))[4:5]
    assert {tuple(p) for p in shuffled} == {tuple(p) for p in clouds[4]}
    # A skull keeps its size whatever the pose; another person's is another.
    head = np.argsort(clouds[0][:, 2])[-200:]
    sizes = [np.linalg.norm(cloud[head[:, None]] - cloud[head[:5]], axis=2).mean() for cloud in clouds]
    assert np.ptp(sizes[:3]) < 1e-3 * sizes[0] and np.ptp(sizes[3:]) < 1e-3 * sizes[3]
    assert abs(sizes[0] - sizes[3]) > 5e-3 * sizes[0]
    # Frames that follow each other are near; and they move.
    moved = [np.linalg.norm(a - b, axis=1).mean() for a, b in zip(clouds, clouds[1:], strict=False)]
    assert 0 < max(moved[0], moved[1]) < 0.1 < np.linalg.norm(clouds[0] - clouds[3], axis=1).mean()
    fewer = next(bodies.registered(6, 500, 3, 2))
    assert fewer[0].shape == (500, 3) and not len(fewer[1])
    assert {tuple(p) for p in fewer[0]} <= {tuple(p) for p in clouds[0]}


@needs_anny
def test_more_people_than_frames_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        bodies.main([str(tmp_path / "out"), "--motion", "--count", "2"])
    assert "expected 1 to 2 people" in capsys.readouterr().err
