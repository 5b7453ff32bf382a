"""Loss distillation: published figures, teachers that are found again, and what the command prints."""

import json
import subprocess
import sys

import numpy as np
import pytest

import pcqaad
from pcqaad.distillation.distances import half_normal, of_samples
from pcqaad.distillation.search import TEACHERS, distil, matching_loss, search, teacher_curve, weighted_curve
from pcqaad.errors import CloudError, SettingsError
from pcqaad.formats.clouds.ply import write_ply
from pcqaad.losses.densities import FAMILIES, slope
from pcqaad.losses.names import DENSITIES, complete, parse
from pcqaad.points.collect import Normalisation
from tests.cli.commands import refused, run
from tests.generators import population

# Matching losses of HyperCD, alpha 1, on half-normal distances of 0.5 up to 2, worked out by another program.
PUBLISHED = {
    "log-logistic": ({"alpha": 5.0, "beta": 2.0}, 0.00135),
    "gamma": ({"shape": 2.5, "rate": 0.5}, 0.00231),
    "chi2": ({"k": 5.0}, 0.00231),
    "gumbel": ({"beta": 2.5}, 0.00251),
    "weibull": ({"shape": 2.0, "scale": 5.0}, 0.00353),
    "logistic": ({"sigma": 1.9}, 0.00449),
    "normal": ({"sigma": 2.6}, 0.00477),
    "landau": ({}, 0.0733),
}


@pytest.fixture(scope="module")
def distances():
    return half_normal(0.5, 4)


@pytest.fixture(scope="module")
def hyper(distances):
    return teacher_curve("hyper", {"alpha": 1.0}, distances)


@pytest.mark.parametrize("family", PUBLISHED)
def test_losses_are_as_published_and_the_search_finds_no_worse(family, distances, hyper):
    parameters, loss = PUBLISHED[family]
    found = matching_loss(hyper, weighted_curve(family, parameters, distances.d), distances)
    assert found == pytest.approx(loss, rel=0.02)
    assert search(family, hyper, distances)["loss"] <= found


@pytest.mark.parametrize("family", [name for name in DENSITIES if name != "landau"])
def test_a_teacher_of_the_family_is_found_again(family, distances):
    parameters = PUBLISHED[family][0]
    match = search(family, teacher_curve(family, parameters, distances), distances)
    assert match["loss"] < 1e-5
    assert match["parameters"] == pytest.approx(parameters, rel=2e-3)
    assert match["at_edge"] == []
    assert parse(match["criterion"])[1] == pytest.approx({**parameters, "shift": 1}, rel=2e-3)


def test_unshifted_weightings_are_searched_as_they_are(distances):
    teacher = teacher_curve("normal", {"sigma": 1.2}, distances)
    assert search("gamma", teacher, distances, shift=False)["loss"] > 5 * search("gamma", teacher, distances)["loss"]
    teacher = teacher_curve("gamma", {"shape": 2.0, "rate": 0.4, "shift": 0.0}, distances)
    match = search("gamma", teacher, distances, shift=False)
    assert match["loss"] < 1e-5
    assert parse(match["criterion"])[1] == pytest.approx({"shape": 2, "rate": 0.4, "shift": 0}, rel=1e-2)


@pytest.mark.parametrize(
    ("alpha", "family"), [(1, "normal"), (1, "logistic"), (3, "normal"), (0.5, "chi2"), (2, "gumbel")]
)
def test_at_small_distances_curvature_is_what_is_matched(alpha, family):
    """HyperCD's slope is 1 - alpha d^2 / 4 near 0, the weighted one 1 + 3/2 f''(m) / f(m) d^2: both of the largest."""
    small = half_normal(0.02)
    match = search(family, teacher_curve("hyper", {"alpha": float(alpha)}, small), small)
    expected = {
        "normal": lambda sigma: 6 / sigma**2,
        "logistic": lambda sigma: 3 / sigma**2,
        "chi2": lambda k: 3 / (k - 2),
        "gumbel": lambda beta: 6 / beta**2,
    }[family]
    assert expected(**match["parameters"]) == pytest.approx(alpha, rel=0.03)


@pytest.mark.parametrize("name", TEACHERS)
def test_teachers_are_the_slopes_of_their_losses(name, distances):
    """The force on each of many points, by the gradient of the loss of all of them as they are distributed."""
    import torch

    from pcqaad.losses.criteria import criterion

    parameters = {"temperature": 0.4, "weight": 0.5} if name == "info" else {}
    # Each distance as often as it is likely; none at 0 or near the ends of rounding.
    times = np.rint(distances.p * 20000).astype(int)
    d = np.repeat(distances.d, times)[::7]
    points = np.zeros((1, len(d), 3))
    points[0, :, 1] = d
    moved = torch.from_numpy(points).requires_grad_()
    # Where every point has a neighbour of its own none is shared: dcd's exponent would count them.
    loss = criterion(name, **({"exponent": 0.0} if name == "dcd" else parameters))
    loss.one_sided(moved, torch.zeros(1, 1, 3, dtype=torch.float64)).sum().backward()
    force = moved.grad[0, :, 1].numpy()
    curve = np.interp(d, distances.d, teacher_curve(name, parameters, distances))
    kept = d > 0
    away = np.argmax(np.abs(curve[kept]))
    force, curve = force[kept] / force[kept][away], curve[kept] / curve[kept][away]
    assert np.abs(force - curve).max() < 2e-3


def test_curves_are_equation_3_and_one_where_they_are_largest(distances, hyper):
    d = distances.d[1:]
    printed = 2 * d / np.sqrt((1 + d**2) ** 2 - 1)
    assert np.allclose(hyper[1:], printed / np.sqrt(2), rtol=1e-6)
    for family in FAMILIES:
        values = {key: p.default for key, p in DENSITIES[family].items()}
        curve = weighted_curve(family, values, distances.d)
        assert curve.max() == 1
        assert np.allclose(curve * slope(family, distances.d, values).max(), slope(family, distances.d, values))


def test_distances_are_distributions():
    normal = half_normal(0.3, 3)
    assert normal.p.sum() == pytest.approx(1)
    assert (normal.d[0], normal.d[-1]) == (0, pytest.approx(0.9))
    # Of a half-normal variable cut at three sigma.
    expected = 0.3 * np.sqrt(2 / np.pi) * (1 - np.exp(-4.5)) / 0.9973
    assert normal.mean == pytest.approx(expected, rel=2e-3)
    assert normal.density[0] == pytest.approx(np.sqrt(2 / np.pi) / 0.3 / 0.9973, rel=2e-3)
    seen = np.abs(np.random.default_rng(0).normal(size=20000))
    found = of_samples(seen)
    assert found.p.sum() == pytest.approx(1)
    assert found.mean == pytest.approx(seen.mean(), rel=1e-3)
    with pytest.raises(CloudError, match="no distance but 0"):
        of_samples(np.zeros(3))
    for sigma in (0.0, 1e300, float("nan")):
        with pytest.raises(SettingsError, match=r"expected 1e-06 to 4$"):
            half_normal(sigma)
    with pytest.raises(SettingsError, match=r"cut is 1e\+308, expected 0.1 to 100"):
        half_normal(cut=1e308)


def test_ranking_begins_with_the_best(distances):
    calls = []
    found = distil("hyper", {"alpha": 1.0}, distances, monitor=pcqaad.Monitor(calls.append))["families"]
    assert [m["loss"] for m in found] == sorted(m["loss"] for m in found)
    assert {m["family"] for m in found} == set(DENSITIES)
    assert [call.done for call in calls] == list(range(len(found) + 1))
    assert found[-1]["family"] == "landau"
    # What settings start from where no code was released.
    by_name = {m["family"]: m["parameters"] for m in found}
    for family in ("weibull", "logistic", "normal"):
        assert complete(family, {}) == pytest.approx({**by_name[family], "shift": 1}, rel=0.01)


def test_what_there_is_no_slope_of_is_refused(distances, hyper):
    with pytest.raises(SettingsError, match="unknown teacher 'augmented', expected one of hyper"):
        teacher_curve("augmented", {}, distances)
    with pytest.raises(SettingsError, match="unknown family 'cauchy'"):
        search("cauchy", hyper, distances)


# The command.


def test_the_command_prints_what_compress_takes(tmp_path):
    picture = tmp_path / "slopes.png"
    result = run("distill", "--teacher", "hyper", "--alpha", "1", "--family", "gamma", "--plot", picture)
    assert result.exit_code == 0, result.output
    rows = dict(line.split(None, 1) for line in result.stdout.splitlines() if line)
    name, parameters = parse(rows["winner"])
    assert name == "gamma"
    assert float(rows["matching"].removeprefix("loss")) < 0.001
    density, *slopes = map(float, rows["0.0000"].split())
    assert density == pytest.approx(2 / np.sqrt(np.pi / 2), rel=2e-3)
    assert slopes == [1, 1]
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    printed = json.loads(run("distill", "--family", "gamma", "--teacher", "hyper:alpha=1", "--json", "--quiet").stdout)
    (found,) = printed["families"]
    assert found["parameters"] == pytest.approx({k: v for k, v in parameters.items() if k != "shift"}, rel=1e-3)
    assert max(found["slope"]) == max(printed["slope"]) == 1
    assert len(printed["d"]) == len(printed["density"]) == len(found["slope"])
    # All that is likely is shown: the ends stand for half as much.
    shares = np.array(printed["density"]) * printed["d"][1]
    assert shares.sum() - (shares[0] + shares[-1]) / 2 == pytest.approx(1, rel=2e-3)


def test_a_file_gives_its_own_distances(fitted_file, originals, names, tmp_path):
    for name, cloud in zip(names, originals, strict=True):
        write_ply(tmp_path / f"{name}.ply", cloud)
    result = run("distill", fitted_file, tmp_path, "--family", "normal", "--json")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    with pcqaad.open(fitted_file) as collection:
        normalisation = Normalisation(
            np.array(collection.info["normalisation"]["centre"]), collection.info["normalisation"]["scale"]
        )
        apart = []
        for cloud, decoded in zip(originals, collection, strict=True):
            a, b = normalisation.normalise(cloud), normalisation.normalise(decoded)
            squared = np.square(a[:, None] - b[None]).sum(2)
            apart += [np.sqrt(squared.min(0)), np.sqrt(squared.min(1))]
    assert printed["distances"]["mean"] == pytest.approx(np.mean(apart), rel=1e-3)
    assert printed["distances"]["largest"] == pytest.approx(np.max(apart), rel=1e-6)
    one = tmp_path / f"{names[0]}.ply"
    assert "is not among the inputs, nor those of 4 others" in refused("distill", fitted_file, one)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--teacher", "augmented"], "unknown teacher 'augmented', expected one of hyper, "),
        (["--teacher", "emd"], "unknown criterion 'emd', expected one of l1, "),
        (["--alpha", "-1"], "criterion hyper: alpha is -1, expected more than 0"),
        (["--teacher", "l1", "--alpha", "2"], "criterion l1: unknown parameter 'alpha', it takes: none"),
        (["--teacher", "dcd:alpha=1e300"], "teacher dcd:alpha=1e+300,exponent=1: expected slopes that are finite"),
        (["--teacher", "gamma:rate=1e300"], "expected slopes that are finite and not all 0"),
        (["--sigma", "1e300"], "sigma is 1e+300, expected 1e-06 to 4"),
        (["x.qaad"], "expected FILE.qaad and the originals of its clouds, found one of them"),
        (["x.qaad", "y", "--sigma", "1"], "--sigma and --cut, found both"),
        (["--family", "cauchy"], "'cauchy' is not one of"),
        (["--teacher", "hyper:alpha=2", "--alpha", "1"], "expected alpha once"),
    ],
)
def test_wrong_usage_is_2(arguments, line):
    result = run("distill", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert line in result.stderr


def test_a_picture_without_a_folder_is_refused_before_the_search():
    assert refused("distill", "--plot", "nowhere/x.png").startswith("nowhere/x.png: folder nowhere does not exist")


def test_distilling_loads_no_torch():
    script = """
import sys
from pcqaad.cli.main import main
try:
    main(["distill", "--family", "normal", "--quiet"])
except SystemExit as end:
    assert not end.code
assert not {"torch", "numba", "matplotlib"} & set(sys.modules), sorted(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command_offers_every_judge():
    from pcqaad.cli.commands import distill
    from pcqaad.distillation import learn

    assert distill.JUDGES == learn.JUDGES


def test_the_command_learns_with_a_decoder(tmp_path):
    np.save(tmp_path / "clouds.npy", np.stack(population(2, points=520)))
    learn = ["distill", tmp_path / "clouds.npy", "--bilevel", "--family", "normal", "--rounds", "3", "--device", "cpu"]
    result = run(*learn, "--json", "--quiet")
    assert (result.exit_code, result.stderr) == (0, "")
    printed = json.loads(result.stdout)
    assert len(printed["losses"]) == len(printed["path"]) == 3
    assert printed["path"][0] == {"sigma": 2.64}
    assert parse(printed["criterion"])[1]["sigma"] == pytest.approx(printed["parameters"]["sigma"], rel=1e-3)
    shown = run(*learn)
    assert f"learned  {printed['criterion']}\n" in shown.stdout
    assert [line.split()[0] for line in shown.stdout.splitlines()[-3:]] == ["1", "2", "3"]
    assert "learning: done" in shown.stderr
