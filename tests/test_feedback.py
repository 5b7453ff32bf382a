"""Error feedback: rounding whose errors the rows behind make up for, on the inputs that a model has."""

import dataclasses

import numpy as np
import pytest

from pcqaad.decoder.architecture import Architecture, Model
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.quantisation.calibration import Calibration, layers
from pcqaad.quantisation.feedback import Moments, round_rows
from pcqaad.quantisation.probe import probe
from pcqaad.quantisation.quantise import quantise
from pcqaad.quantisation.step_sizes import choose_step_sizes

ARCHITECTURE = Architecture(clouds=6, points=300, latent=3, shared=(24, 16), patch=12, patches=2, residual=True)


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)

    def normal(*size):
        return rng.normal(size=size).astype(np.float32)

    weights = {
        name: normal(*size) / np.float32(np.sqrt(size[-2] if len(size) > 1 else size[0]))
        for name, size in ARCHITECTURE.tensors().items()
    }
    return Model(ARCHITECTURE, normal(300, 3), normal(6, 3), weights)


def moments_of(inputs):
    return Moments.of((np.swapaxes(inputs, 1, 2) @ inputs) / inputs.shape[1])


def low_rank(rng, rank, rows=20, matrices=3):
    """Inputs of few degrees of freedom, and a constant."""
    x = rng.normal(size=(matrices, 500, rank)) @ rng.normal(size=(matrices, rank, rows - 1))
    return np.concatenate([x + 0.01 * rng.normal(size=x.shape), np.ones((matrices, 500, 1))], -1)


def cost(error, moments):
    return np.einsum("kio,kij,kjo->", error, moments.damped, error)


def test_inputs_that_have_nothing_in_common_leave_plain_rounding():
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(2, 9, 5))
    moments = Moments.of(np.stack([np.diag(rng.uniform(0.1, 5, 9)) for _ in range(2)]))
    np.testing.assert_array_equal(round_rows(weights, np.array(0.1), moments), np.rint(weights / 0.1))


@pytest.mark.parametrize("rank", [2, 5, 19])
def test_feedback_moves_the_outputs_less_than_plain_rounding(rank):
    rng = np.random.default_rng(rank)
    moments = moments_of(low_rank(rng, rank))
    weights, steps = rng.normal(size=(3, 20, 30)), rng.uniform(0.05, 0.3, (3, 20, 1))
    fed = cost(round_rows(weights, steps, moments) * steps - weights, moments)
    assert fed < cost(np.rint(weights / steps) * steps - weights, moments) * (0.5 if rank < 19 else 1)


def test_the_error_is_the_remainders_by_what_later_inputs_leave():
    rng = np.random.default_rng(3)
    moments = moments_of(low_rank(rng, 4))
    weights = rng.normal(size=(3, 20, 30))
    error = weights - 0.1 * round_rows(weights, np.array(0.1), moments)
    # No remainder is more than half a step.
    assert cost(error, moments) <= 0.25 * 0.01 * 30 * moments.conditional.sum() * (1 + 1e-9)
    # The last row has none behind it.
    np.testing.assert_allclose(moments.conditional[:, -1], moments.damped[:, -1, -1])


def test_the_steps_of_each_row_are_kept_and_zero_inputs_do_no_harm():
    rng = np.random.default_rng(4)
    weights, steps = rng.normal(size=(1, 6, 4)), np.geomspace(0.01, 1, 6)[None, :, None]
    inputs = np.zeros((1, 50, 6))
    np.testing.assert_array_equal(round_rows(weights, steps, moments_of(inputs)), np.rint(weights / steps))


def test_what_is_missing_is_made_up_for():
    """A planted optimum: weights that are off by something that inputs times weights can express."""
    rng = np.random.default_rng(5)
    inputs = rng.normal(size=(2, 400, 7))
    inputs[..., -1] = 1
    planted, off = rng.normal(size=(2, 7, 3)), rng.normal(size=(2, 7, 3))
    missing = inputs @ (planted - off)
    cross = np.swapaxes(inputs, 1, 2) @ missing / 400
    np.testing.assert_allclose(moments_of(inputs).corrected(off, cross), planted, atol=0.1)


def test_a_calibration_follows_the_model_layer_by_layer(model):
    """The sample's last pre-activations are what the decoder adds to its template."""
    calibration = Calibration(model)
    assert [name for names in layers(ARCHITECTURE) for name in names] == list(ARCHITECTURE.tensors())
    rows = calibration._rows
    offsets = calibration.pre_activations[-1].reshape(*rows.shape, 3)
    decoder = FloatDecoder(model)
    for cloud, latent in enumerate(calibration._latents):
        moved = decoder.decode(latent) - model.template
        np.testing.assert_allclose(offsets[:, cloud], moved[rows[:, cloud]], atol=1e-4)


def test_at_the_same_step_sizes_feedback_moves_the_points_less(model):
    calibration = Calibration(model)
    step_sizes = choose_step_sizes(model, probe(model, 0, calibration), 1e-5)
    # Template and latents of both are the float model's.
    before = FloatDecoder(model)

    def moved(quantised):
        after = FloatDecoder(dataclasses.replace(model, weights=quantised.model().weights))
        return sum(float(np.square(after.decode(z) - before.decode(z)).sum()) for z in model.latents)

    fed = quantise(model, step_sizes, calibration=calibration)
    assert moved(fed) < 0.5 * moved(quantise(model, step_sizes))
    fed.shared.check()
    assert all(np.isfinite(w).all() for w in fed.model().weights.values())


def test_the_relief_is_a_part(model):
    calibration = Calibration(model)
    scales = probe(model, 0, calibration).weight_scales
    for name in model.weights:
        assert 0 < calibration.relief(name, scales.factors(name)) <= 1 + 1e-9
    assert calibration.relief("bias 1", scales.factors("bias 1")) == pytest.approx(1)


def test_a_seed_gives_the_same_symbols(model):
    step_sizes = choose_step_sizes(model, probe(model), 1e-4)
    first, second = (Calibration(model, 7).symbols(step_sizes) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)
