"""Components found for what a network leaves of matched clouds, and the choice between models."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import pcqaad
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.decoder.module import Decoder
from pcqaad.monitor import SILENT
from pcqaad.points.collect import collect
from pcqaad.points.components import principal_components
from pcqaad.quantisation import choice
from pcqaad.quantisation.evaluator import Evaluator
from pcqaad.quantisation.principal import Linear, with_components, without_network
from pcqaad.quantisation.rate_control import Search
from tests.generators import population


def moving(clouds=12, points=400, fields=3, noise=0.0, seed=0):
    """Return clouds (count, points, 3) that a few smooth fields move, each half as far as the one before."""
    rng = np.random.default_rng(seed)
    template = rng.normal(size=(points, 3))
    template /= np.linalg.norm(template, axis=1)[:, None]
    waves = np.stack([np.sin(template @ rng.normal(size=(3, 3)) + i) * 0.5**i for i in range(fields)])
    coefficients = rng.normal(size=(clouds, fields))
    return template + 0.2 * np.tensordot(coefficients, waves, 1) + noise * rng.normal(size=(clouds, points, 3))


def targets(clouds):
    return collect(list(clouds), None, None, 0, registered=True).targets


def left(model, clouds):
    """Return the root mean square distance of what a model decodes to from clouds in assigned order."""
    decoded = map(FloatDecoder(model).decode, model.latents)
    return np.sqrt(np.mean([np.square(a - b).sum(1).mean() for a, b in zip(clouds, decoded, strict=True)]))


def test_components_without_a_network_leave_nothing_of_a_planted_set():
    clouds = targets(moving())
    linear = without_network(clouds, 0)
    assert len(linear.squares) >= 3
    assert left(linear.first(3), clouds) < 1e-3
    errors = [left(linear.first(n), clouds) for n in range(4)]
    assert errors == sorted(errors, reverse=True)
    # Their squares are what each takes away.
    assert errors[0] ** 2 - errors[1] ** 2 == pytest.approx(linear.squares[0], rel=0.05)


def test_components_are_the_best_of_their_number():
    """By the singular values of the clouds' coordinates, which bound what any linear model leaves."""
    clouds = targets(moving(noise=0.01))
    _, spectrum = principal_components(clouds)
    for count in (1, 2, 5):
        bound = np.sqrt(np.square(spectrum[count:]).sum() / (len(clouds) * clouds.points))
        assert left(without_network(clouds, 0).first(count), clouds) == pytest.approx(bound, rel=0.02)


def test_components_of_what_a_network_leaves_lower_its_error():
    """Of any network: this one is as it was drawn."""
    clouds = targets(moving(noise=0.003))
    drawn = torch.Generator().manual_seed(1)
    template, latents = torch.from_numpy(clouds[0]), torch.randn(len(clouds), 2, generator=drawn)
    model = Decoder(template, latents, (8, 6), 5, 4, True, drawn).arrays()
    linear = with_components(model, clouds, 0)
    after = [left(linear.first(n), clouds) for n in (1, 2, 4)]
    before = left(model, clouds)
    assert [before, *after] == sorted([before, *after], reverse=True)
    assert after[-1] < 0.5 * before
    assert linear.first(0).architecture.latent == 2


def test_a_larger_lambda_keeps_fewer_components():
    linear = without_network(targets(moving(clouds=20, noise=0.02)), 0)
    counts = [linear.at(lambda_).architecture.components for lambda_ in (1e-9, 1e-6, 1e-4, 1.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 3
    assert counts[-1] == 0


@pytest.mark.parametrize("registered", [True, False])
def test_a_set_that_fields_move_needs_no_network(tmp_path, registered):
    """The smaller file of those that keep the tolerance, and no larger error for it."""
    sizes, errors = [], []
    for components in (False, True):
        settings = pcqaad.Settings(epochs=30, components=components, device="cpu")
        fitted = pcqaad.fit(list(moving(noise=0.002)), settings, registered=registered)
        fitted.save(tmp_path / "x.qaad")
        sizes.append((tmp_path / "x.qaad").stat().st_size)
        fidelity = fitted.info["fidelity"]
        errors.append(fidelity["per_vertex"]["mean"] if registered else fidelity["mean"])
    with pcqaad.open(tmp_path / "x.qaad") as c:
        assert c.integers.architecture.components > 0
    assert sizes[1] < sizes[0]
    assert errors[1] <= 1.02 * errors[0]


def test_clouds_that_are_all_the_same_have_no_components():
    linear = without_network(targets(np.repeat(population(1, 64)[0][None], 3, 0)), 0)
    assert left(linear.at(1e-9), targets(np.repeat(population(1, 64)[0][None], 3, 0))) < 1e-4


def test_a_model_that_misses_the_tolerance_in_floats_is_not_quantised():
    collected = collect(list(moving(noise=0.002)), None, None, 0, registered=True)
    linear = without_network(collected.targets, 0)
    evaluator = Evaluator(collected, 16, SILENT, by_pairs=True)
    search = Search(linear.first(3), evaluator, pcqaad.Settings(tolerance=0.02), lambda: None, smooth=True)
    assert search.of_another(linear.first(4), 1e-9, evaluator).reachable
    too_few = search.of_another(linear.first(2), 1e-9, evaluator)
    assert not too_few.reachable
    candidate = too_few.candidate(linear.first(2), 1e-9)
    assert too_few.kept_by(replace(candidate, degradation=0.019))
    assert not too_few.kept_by(replace(candidate, degradation=0.021))
    kind = choice._Kind(lambda _: linear_of(linear, 2), lambda _: evaluator)
    assert choice._drafted(kind, search, None, None, lambda quantised: 0) is None


def linear_of(linear, count):
    """Return the same without its later components."""
    return Linear(linear.first(count), linear.squares[:count])
