"""Completion: what is whole stays, what is missing is of the file's kind, and the same seed says the same."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pcqaad
from benchmarks.baselines.completion_training import Completer, Training
from pcqaad.evaluation.metrics import chamfer
from pcqaad.formats.container.container import pack
from pcqaad.latents.plan import CompletePlan
from pcqaad.latents.prior import LatentPrior
from pcqaad.losses import criterion
from pcqaad.monitor import Monitor, Stage
from pcqaad.points.views import cut_view
from tests.generators import population

QUICK = {"device": "cpu", "steps": 40}


@pytest.fixture(scope="module")
def ellipsoids():
    """Ellipsoids for a file to know the kind by, and two held out."""
    return population(count=18, points=128, seed=3)


@pytest.fixture(scope="module")
def known(ellipsoids, tmp_path_factory):
    """The file of the first sixteen."""
    path = tmp_path_factory.mktemp("known") / "known.qaad"
    quick = pcqaad.Settings(epochs=40, latent=4, batch=8, rematch=0, tune=0, measure=4, tolerance=0.03, device="cpu")
    fitted = pcqaad.fit(ellipsoids[:16], quick)
    fitted.save(path)
    with pcqaad.open(path) as opened:
        yield opened


# The prior.


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 1000))
@settings(max_examples=50)
def test_scores_and_latents_lead_back_to_each_other(count, size, seed):
    rng = np.random.default_rng(seed)
    latents = rng.standard_normal((count, size)) @ rng.standard_normal((size, size)) + 100 * rng.random(size)
    prior = LatentPrior.of(latents)
    assert 0 <= prior.shrinkage <= 1
    assert prior.latents(np.zeros((1, size)))[0] == pytest.approx(latents.mean(0))
    assert prior.latents(prior.scores(latents)) == pytest.approx(latents, abs=1e-6)
    # Every dimension keeps its variance, however far the correlations are shrunk.
    assert np.diag(prior.factor @ prior.factor.T) == pytest.approx(latents.var(0), abs=1e-9)


def test_the_prior_learns_correlations_from_many_and_none_from_few():
    rng = np.random.default_rng(0)
    true = np.array([[1, 0.8, 0], [0.8, 1, 0], [0, 0, 4]])
    many = rng.multivariate_normal([1, 2, 3], true, 20_000)
    prior = LatentPrior.of(many)
    assert prior.factor @ prior.factor.T == pytest.approx(true, abs=0.1)
    assert prior.shrinkage < 1e-3 < LatentPrior.of(many[:4]).shrinkage


def test_a_dimension_that_all_latents_share_does_not_move():
    latents = np.random.default_rng(0).standard_normal((5, 3))
    latents[:, 1] = 7
    prior = LatentPrior.of(latents)
    moved = prior.latents(10 * np.random.default_rng(1).standard_normal((4, 3)))
    assert (moved[:, 1] == 7).all()
    assert prior.latents(prior.scores(latents)) == pytest.approx(latents)


# By a fitted file.


def test_a_cloud_with_nothing_missing_comes_back_as_the_file_has_it(known, ellipsoids):
    some = [2, 9]
    found = pcqaad.complete(known, [ellipsoids[i] for i in some], **QUICK)
    for i, one in zip(some, found, strict=True):
        assert chamfer(one.points, ellipsoids[i]).mean <= 1.05 * chamfer(known[i], ellipsoids[i]).mean
        # Point by point it is the reconstruction, nearer to that than that is to the cloud.
        apart = np.linalg.norm(one.points - known[i], axis=1).mean()
        assert apart <= 0.7 * pcqaad.emkd(known[i], ellipsoids[i]).mean
        assert one.points.tobytes() == known.decode(one.latent).tobytes()


def test_a_new_cloud_with_nothing_missing_is_as_good_as_appended(known, ellipsoids):
    whole = ellipsoids[16:]
    appended = pcqaad.Collection(pack(pcqaad.append(known, whole, device="cpu").sections))
    for cloud, other, one in zip(whole, appended[16:], pcqaad.complete(known, whole, **QUICK), strict=True):
        assert chamfer(one.points, cloud).mean <= 1.1 * chamfer(other, cloud).mean


@pytest.mark.parametrize("name", ["l1", "hyper", "landau"])
def test_views_are_completed_to_what_they_are_views_of(known, ellipsoids, name):
    whole = ellipsoids[16:]
    rows = [cut_view(x, np.random.default_rng([5, i])) for i, x in enumerate(whole)]
    given = [x[seen] for x, seen in zip(whole, rows, strict=True)]
    found = pcqaad.complete(known, given, criterion=name, **QUICK)
    mean = known.decode(known.latents.mean(0))
    errors = [(chamfer(one.points, x).mean, chamfer(mean, x).mean) for x, one in zip(whole, found, strict=True)]
    assert sum(error for error, _ in errors) < 0.8 * sum(of_mean for _, of_mean in errors)
    for x, part, one in zip(whole, given, found, strict=True):
        assert one.given == len(part)
        hidden = x[~np.isin(x, part).all(1)]
        to_part, to_whole = (np.linalg.norm(hidden[:, None] - y, axis=2).min(1).mean() for y in (part, one.points))
        assert to_whole < 0.6 * to_part


def test_the_errors_are_those_of_the_given_points(known, ellipsoids):
    part = ellipsoids[17][:50].astype(np.float64)
    (one,) = pcqaad.complete(known, [part], names=["part"], steps=5, device="cpu")
    nearest = np.linalg.norm(part[:, None] - one.points, axis=2).min(1)
    assert one.errors.mean == pytest.approx(nearest.mean())
    assert one.errors.rms == pytest.approx(np.square(nearest).mean() ** 0.5)
    assert one.percent == pytest.approx(100 * nearest.mean() / known.info["fidelity"]["diagonal"])
    assert one.name == "part"


@pytest.mark.parametrize("row", [0, 70])
def test_of_next_to_nothing_the_prior_makes_a_shape_of_the_kind(known, ellipsoids, row):
    (one,) = pcqaad.complete(known, [ellipsoids[16][row : row + 1]], **QUICK)
    # As near to some shape of the file as these are to each other.
    shapes = list(known)
    apart = [min(chamfer(a, b).mean for b in shapes if b is not a) for a in shapes[:4]]
    assert min(chamfer(one.points, x).mean for x in shapes) <= max(apart)
    assert one.deviations <= 2


def test_a_stronger_prior_stays_nearer_to_the_mean(known, ellipsoids):
    part = ellipsoids[16][:60]
    deviations = [pcqaad.complete(known, [part], prior=prior, starts=1, **QUICK)[0].deviations for prior in (0, 1, 1e4)]
    assert deviations[0] > deviations[1] > deviations[2]
    assert deviations[-1] < 0.01


def test_the_same_seed_gives_the_same_whatever_else_is_completed(known, ellipsoids):
    parts = [x[:100] for x in ellipsoids[16:]]
    both = pcqaad.complete(known, parts, steps=8, seed=3, device="cpu")
    again = pcqaad.complete(known, parts[1:], steps=8, seed=3, device="cpu")
    assert both[1].points.tobytes() == again[0].points.tobytes()


def test_large_parts_are_sampled_and_patches_unevenly_hit(monkeypatch, tmp_path):
    monkeypatch.setattr("pcqaad.latents.complete.CompletePlan", partial(CompletePlan, sampled_points=64))
    clouds = population(count=4, points=300, seed=8)
    pcqaad.fit(
        clouds,
        pcqaad.Settings(
            epochs=80, latent=2, patches=5, rematch=0, measure=2, components=False, tolerance=0.03, device="cpu"
        ),
        names=list("abcd"),
    ).save(tmp_path / "patches.qaad")
    x = clouds[0]
    # All from one side: some patches have none of the nearest points.
    side = x[np.argsort(x[:, 0])[:120]]
    with pcqaad.open(tmp_path / "patches.qaad") as c:
        first, last = (pcqaad.complete(c, [side], starts=1, steps=n, device="cpu")[0] for n in (1, 40))
    assert last.given == 120
    assert last.errors.mean < first.errors.mean


@pytest.mark.parametrize(
    ("partials", "choices", "message"),
    [
        ([], {}, "at least 1 cloud to complete, found none"),
        ([np.ones((0, 3))], {}, r"cloud_0000: expected points of shape \(n, 3\), found \(0, 3\)"),
        ([np.ones((5, 2))], {}, "cloud_0000: expected points of shape"),
        ([np.full((5, 3), np.nan)], {}, "cloud_0000: expected finite coordinates, found NaN"),
        ([np.full((5, 3), 1e300)], {}, "cloud_0000: lies nowhere near"),
        ([np.ones((5, 3))], {}, r"cloud_0000: lies nowhere near .*, found it [0-9,]+ % of a diagonal away"),
        ([np.ones((5, 3))], {"names": ["a", "b"]}, "expected 1 different names, found 2"),
    ],
)
def test_what_cannot_be_completed_is_refused(known, partials, choices, message):
    with pytest.raises(pcqaad.Error, match=message):
        pcqaad.complete(known, partials, **choices)


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"starts": 0},
        {"seed": -1},
        {"prior": -1},
        {"prior": float("nan")},
        {"criterion": "best"},
        {"criterion": "gumbel:beta=1e-5"},
    ],
)
def test_impossible_choices_are_refused(known, ellipsoids, bad):
    with pytest.raises(pcqaad.SettingsError, match=next(iter(bad))):
        pcqaad.complete(known, ellipsoids[:1], **bad)


@pytest.mark.parametrize("calls", [1, 2, 9])
def test_stopping_is_asked_at_every_cloud_and_step(known, ellipsoids, calls):
    seen = []
    with pytest.raises(pcqaad.Interrupted):
        pcqaad.complete(
            known,
            ellipsoids[:2],
            steps=5,
            device="cpu",
            monitor=Monitor(lambda p: seen.append((p.stage, p.done, p.total)), lambda: len(seen) == calls),
        )
    assert seen == [*((Stage.READ, i, 2) for i in range(3)), *((Stage.FIT, i, 10) for i in range(11))][:calls]


def test_what_is_refused_is_refused_before_anything_is_fitted(known, ellipsoids):
    stages = set()
    with pytest.raises(pcqaad.CloudError, match="cloud_0001: lies nowhere near"):
        pcqaad.complete(
            known, [ellipsoids[0], ellipsoids[0] + 1e4], device="cpu", monitor=Monitor(lambda p: stages.add(p.stage))
        )
    assert stages == {Stage.READ}


# By a network.


@pytest.fixture(scope="module")
def views(ellipsoids):
    """Pairs of views and their whole clouds, normalised."""
    normal = [((x - x.mean(0)) / 30).astype(np.float32) for x in ellipsoids]
    return [(x[cut_view(x, np.random.default_rng([i, j]))], x) for i, x in enumerate(normal) for j in range(3)]


@pytest.mark.parametrize(("decoder", "name"), [("folding", "l1"), ("patches", "landau")])
def test_a_network_learns_to_complete(views, decoder, name):
    completer = Completer(decoder, views[:48], 64, device="cpu")
    steps = []
    monitor = Monitor(show=lambda progress: steps.append(progress.done))
    completer.train(criterion(name), Training(80, batch=4, learning_rate=3e-3), monitor)
    assert steps == list(range(1, 81))
    partials, wholes = zip(*views[48:], strict=True)
    completed = completer.complete(partials)
    assert all(x.shape == (128, 3) for x in completed)
    # Of what it has not seen it knows where that is, how large and how wide: all its points in the middle would be
    # four times as far, and a grid that folds from there takes its time.
    error, middle = (
        np.mean([chamfer(x, whole).mean for x, whole in zip(some, wholes, strict=True)])
        for some in (completed, [np.zeros((1, 3))] * len(wholes))
    )
    assert error < (0.6 if decoder == "folding" else 0.3) * middle


@pytest.mark.parametrize("decoder", ["folding", "patches"])
def test_training_repeats_itself_and_sees_no_order(views, decoder):
    found = []
    for _ in range(2):
        torch.randn(7)
        completer = Completer(decoder, views[:6], 500, seed=4, device="cpu")
        completer.train(criterion("l1"), Training(3, batch=2))
        found.append(completer.complete([views[9][0]])[0])
    assert found[0].tobytes() == found[1].tobytes()
    network = completer.network.eval()
    points = torch.from_numpy(views[9][0][None])
    turned = network(points.flip(1)).detach()
    assert torch.allclose(network(points).detach(), turned, atol=1e-5)


def test_what_cannot_be_trained_is_refused(views):
    for decoder, pairs, size, message in [
        ("best", views, 8, "unknown decoder 'best'"),
        ("folding", views, 0, "given is 0"),
        ("folding", [], 8, "at least 1 pair"),
        ("folding", [(views[0][0], views[0][1][:9]), views[1]], 8, "whole cloud 1: expected 9 points"),
        ("folding", [(views[0][0] * np.nan, views[0][1])], 8, "partial cloud 0: expected finite"),
    ]:
        with pytest.raises((pcqaad.CloudError, pcqaad.SettingsError), match=message):
            Completer(decoder, pairs, size)
    with pytest.raises(pcqaad.SettingsError, match="batch is 1, expected at least 2"):
        Training(3, batch=1)
