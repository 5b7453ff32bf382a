"""Clouds in correspondence: point j of each is the same point, and nothing is matched."""

import json

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import pcqaad
from pcqaad.cli.commands.compress import command
from pcqaad.evaluation.metrics import vertex_errors
from pcqaad.formats.clouds.ply import write_ply
from pcqaad.monitor import Monitor, Stage
from pcqaad.points.collect import collect
from pcqaad.training.start import ordered_template
from tests.cli.commands import QUICK, refused, run
from tests.conftest import stop_in
from tests.generators import population
from tests.layouts import globe, halves, write_mesh

QUICKLY = {"epochs": 60, "latent": 3, "device": "cpu"}


def registered(count=6, points=256):
    """Return ellipsoids of common points: each is one cloud, stretched."""
    rng, cloud = np.random.default_rng(3), population(1, points)[0]
    middle = cloud.mean(0)
    return [((cloud - middle) * rng.uniform(0.6, 1.4, 3) + middle).astype(np.float32) for _ in range(count)]


@pytest.fixture(scope="module")
def clouds():
    return registered()


@pytest.fixture(scope="module")
def fit_and_stages(clouds):
    stages = []
    fitted = pcqaad.fit(clouds, pcqaad.Settings(**QUICKLY), registered=True, monitor=Monitor(stages.append))
    return fitted, stages


@pytest.fixture(scope="module")
def file(fit_and_stages, tmp_path_factory):
    path = tmp_path_factory.mktemp("registered") / "x.qaad"
    fit_and_stages[0].save(path)
    return path


def test_nothing_is_matched_and_progress_speaks_of_vertices(fit_and_stages):
    fitted, told = fit_and_stages
    assert fitted.settings.registered
    assert fitted.settings.rematch == 0
    assert Stage.MATCH not in {progress.stage for progress in told}
    figures = [progress.figures for progress in told if progress.stage in (Stage.FIT, Stage.TUNE)]
    assert all(of_step.keys() == {"loss", "vertex_error_percent"} for of_step in figures)


def test_errors_per_vertex_are_those_of_the_pairs_as_given(file, clouds):
    found = pcqaad.verify(file)["per_vertex"]
    with pcqaad.open(file) as collection:
        decoded, diagonal = collection[:], collection.info["fidelity"]["diagonal"]
        assert collection.info["fidelity"]["per_vertex"] == found
    # The order is not kept, but it is the same for all clouds: of all orders one brings the pairs together.
    given = np.stack(clouds)
    rows = (x.transpose(1, 0, 2).reshape(x.shape[1], -1).astype(np.float64) for x in (decoded, given))
    there, back = linear_sum_assignment(cdist(*rows))
    expected = vertex_errors(np.linalg.norm(decoded[:, there].astype(np.float64) - given[:, back], axis=2), diagonal)
    assert found == pytest.approx(expected, rel=0.01)
    assert found["mean"] <= found["rms"] <= found["worst"]
    # One cell holds each of these clouds, so EM-kD is the least mean distance of any pairs.
    assert pcqaad.verify(file)["metrics"]["emkd"]["mean"] <= 1.001 * found["mean"]


def test_vertex_errors_by_hand():
    distances = np.array([[0.0, 3.0], [4.0, 1.0]])
    expected = {"mean": 2.0, "rms": 6.5**0.5, "p95": np.percentile(distances, 95), "worst": 4.0, "mean_percent": 20.0}
    assert vertex_errors(distances, 10) == pytest.approx(expected)


def test_the_record_goes_with_a_measurement_and_is_shown(file, clouds):
    measured, recorded = pcqaad.verify(file, clouds), pcqaad.verify(file)
    assert measured["source"] == "measured"
    assert measured["per_vertex"] == recorded["per_vertex"]
    assert json.loads(run("verify", file, "--json").stdout)["per_vertex"] == recorded["per_vertex"]
    for shown in (run("verify", file), run("info", file)):
        assert shown.stdout.count("per vertex") == 1


def test_the_keyword_and_the_setting_are_one(file, clouds, fit_and_stages, tmp_path):
    settings = pcqaad.Settings(**QUICKLY, registered=True)
    pcqaad.fit(clouds, settings).save(tmp_path / "y.qaad")
    assert (tmp_path / "y.qaad").read_bytes() == file.read_bytes()
    without = pcqaad.fit(clouds, pcqaad.Settings(**QUICKLY | {"epochs": 1}, registered=True), registered=False)
    assert not without.settings.registered
    assert "per_vertex" not in without.info["fidelity"]


def test_an_interrupted_fit_goes_on_to_the_same_bytes(file, clouds, tmp_path):
    settings, checkpoint = pcqaad.Settings(**QUICKLY, registered=True), tmp_path / "x.checkpoint"
    with pytest.raises(pcqaad.Interrupted):
        pcqaad.fit(clouds, settings, checkpoint=checkpoint, **stop_in(Stage.FIT, 5))
    with pytest.raises(pcqaad.CheckpointError, match="registered True"):
        pcqaad.fit(clouds, pcqaad.Settings(**QUICKLY), checkpoint=checkpoint, resume=True)
    pcqaad.fit(clouds, settings, checkpoint=checkpoint, resume=True).save(tmp_path / "y.qaad")
    assert (tmp_path / "y.qaad").read_bytes() == file.read_bytes()


def test_the_template_starts_as_the_mean_unless_that_collapses():
    cloud = population(1, 256)[0]
    cloud -= cloud.mean(0)
    stretched = [cloud * np.float32(part) for part in (0.8, 1, 1.3)]
    turns = [
        cloud @ np.array([[np.cos(t), -np.sin(t), 0], [np.sin(t), np.cos(t), 0], [0, 0, 1]]) for t in (0, 2.1, 4.2)
    ]
    for given, is_mean in ((stretched, True), (turns, False)):
        targets = collect(given, None, None, 0, registered=True).targets
        template, order = ordered_template(targets, pcqaad.Settings(registered=True))
        mean = np.mean(list(targets), 0)[order]
        assert sorted(order) == list(range(256))
        assert np.allclose(template, mean, atol=1e-5) == is_mean
        assert any(np.array_equal(template, target[order]) for target in targets) == (not is_mean)
        chosen, _ = ordered_template(targets, pcqaad.Settings(registered=True, template="random"))
        assert not np.allclose(chosen, mean, atol=1e-3)


def test_points_that_are_no_pairs_are_doubted(clouds, caplog):
    rng = np.random.default_rng(0)
    for given, doubted in ((clouds, False), ([rng.permutation(cloud) for cloud in clouds], True)):
        caplog.clear()
        pcqaad.fit(given, pcqaad.Settings(**QUICKLY | {"epochs": 1, "tune": 0}), registered=True)
        assert ("are they registered and aligned?" in caplog.text) == doubted


def test_the_same_points_of_every_cloud_stay(clouds, tmp_path):
    moved = [clouds[0] + np.float32(i) for i in range(4)]
    for alike in (True, False):
        collected = collect(moved, None, 100, 5, registered=alike)
        apart = [collected.targets[i] - collected.targets[0] for i in range(4)]
        assert all(np.ptp(shift, axis=0).max() < 1e-3 for shift in apart) == alike
    settings = pcqaad.Settings(**QUICKLY | {"epochs": 1}, seed=5)
    pcqaad.fit(clouds, settings, points=100, registered=True).save(tmp_path / "x.qaad")
    # `verify` and `append` draw the same points again.
    measured, recorded = (pcqaad.verify(tmp_path / "x.qaad", x)["metrics"]["emkd"]["mean"] for x in (clouds, None))
    assert measured == pytest.approx(recorded, rel=1e-3)
    with pcqaad.open(tmp_path / "x.qaad") as collection:
        pcqaad.append(collection, clouds[:1], names=["new"], steps=2).save(tmp_path / "y.qaad")
    with pcqaad.open(tmp_path / "y.qaad") as collection:
        appended = collection.info["appended"][0]["mean"]
    measured = pcqaad.verify(tmp_path / "y.qaad", [*clouds, clouds[0]])["metrics"]["emkd"]["per_cloud"][-1]["mean"]
    assert measured == pytest.approx(appended, rel=1e-3)


def test_a_goal_of_emkd_is_kept_in_emkd(clouds, tmp_path):
    percent = pcqaad.fit(clouds, pcqaad.Settings(**QUICKLY), registered=True).info["fidelity"]["mean_percent"]
    settings = pcqaad.Settings(**QUICKLY, max_emkd=1.5 * percent)
    fidelity = pcqaad.fit(clouds, settings, registered=True).info["fidelity"]
    assert 1.2 * percent < fidelity["mean_percent"] <= 1.5 * percent


@pytest.mark.parametrize("odd", [0, 2])
def test_clouds_of_other_counts_are_refused_by_name(clouds, odd, tmp_path):
    names = ["a", "b", "c", "d"]
    given = [cloud[: 256 - 6 * (i == odd)] for i, cloud in enumerate(clouds[:4])]
    for name, cloud in zip(names, given, strict=True):
        write_ply(tmp_path / f"{name}.ply", cloud)
    other = "b" if odd == 0 else "a"
    line = refused("compress", tmp_path, "-o", tmp_path / "x.qaad", "--registered", "--quiet")
    counts = f"{names[odd]}: holds 250 points, but {other} 256"
    assert line == f"{counts}: registered clouds have the same points; leave it out, or fit without registered"
    with pytest.raises(pcqaad.CloudError, match=counts):
        pcqaad.fit(given, names=names, registered=True)


@pytest.mark.parametrize(
    "choice",
    [
        {"criterion": "landau"},
        {"matching": "greedy"},
        {"reassign": True},
        {"surface": 100},
        {"latent_init": "encoder", "latent": 3},
    ],
)
def test_what_makes_other_pairs_is_refused(choice):
    name = next(iter(choice))
    with pytest.raises(pcqaad.SettingsError, match=f"^registered and {name} .* cannot both be asked for"):
        pcqaad.Settings(registered=True, **choice)


def test_meshes_of_the_same_faces_get_a_hint(tmp_path):
    vertices, quads = globe()
    hint = "faces are the same in all files looked at: if their points are too, give --registered"

    def compress(*options):
        call = ["compress", tmp_path / "in", "-o", tmp_path / "x.qaad", "--overwrite", *QUICK[:2], "--points", "50"]
        result = run(*call, "--latent", "2", *options)
        assert result.exit_code == 0, result.output
        return result.stderr

    for i in range(4):
        write_mesh(tmp_path / "in" / f"{i}.ply", vertices * np.float32(1 + 0.1 * i), halves(quads))
    assert compress().count(hint) == 1
    assert hint not in compress("--registered")
    assert hint not in compress("--sample-surface", "64")
    write_mesh(tmp_path / "in" / "1.ply", vertices, halves(quads)[::-1])
    assert hint not in compress()
    write_ply(tmp_path / "in" / "1.ply", vertices)
    assert hint not in compress()
    assert "--registered" in {option for parameter in command.params for option in parameter.opts}
