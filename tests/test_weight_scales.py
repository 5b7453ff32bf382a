"""Per-channel weight scales: steps inside a matrix that follow the cost of an error; and latents of a sequence."""

import dataclasses

import numpy as np
import pytest

import pcqaad
from pcqaad.bitstream.latent_coding import LatentCoding, latent_groups, shortest_latents
from pcqaad.bitstream.sections import to_sections
from pcqaad.decoder.architecture import Architecture, Model
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.float32 import FloatDecoder, selu, selu_slope
from pcqaad.decoder.step_sizes import StepSize
from pcqaad.decoder.weight_scales import LEVELS, WeightScales
from pcqaad.formats.coding.symbols import Model as SymbolModel
from pcqaad.formats.container.container import pack
from pcqaad.quantisation.calibration import Calibration
from pcqaad.quantisation.probe import probe
from pcqaad.quantisation.quantise import quantise
from pcqaad.quantisation.step_sizes import choose_step_sizes
from pcqaad.quantisation.weight_scales import choose_weight_scales
from tests import reference

ARCHITECTURE = Architecture(clouds=6, points=64, latent=3, shared=(8, 6), patch=5, patches=2, residual=True)


@pytest.fixture
def model():
    """A network whose first feature reaches the patches ten times as strongly as the others."""
    rng = np.random.default_rng(0)

    def normal(*size):
        return rng.normal(size=size).astype(np.float32)

    weights = {
        name: normal(*size) / np.sqrt(size[-2 if len(size) > 1 else 0]) for name, size in ARCHITECTURE.tensors().items()
    }
    weights["shared 1"][:, 0] *= 10
    weights["out"][0, 2] *= 10
    return Model(ARCHITECTURE, normal(64, 3), normal(6, 3), weights)


def test_codes_survive_their_row():
    inputs, neurons = WeightScales.count(ARCHITECTURE)
    codes = np.arange(inputs + neurons, dtype=np.int32) % len(LEVELS)
    scales = WeightScales.of_codes(ARCHITECTURE, codes)
    np.testing.assert_array_equal(scales.codes(), codes)
    row, column = scales.rows["patch"][2], scales.columns[1, 3]
    assert scales.factors("patch").shape == (2, 6, 5)
    assert scales.factors("patch")[1, 2, 3] == LEVELS[row] * LEVELS[column]
    assert scales.classes("patch")[1, 2, 3] == row + column
    assert scales.factors("shared 1").shape == (8, 1)
    assert scales.factors("out").shape == scales.classes("bias 0").shape == ()


def test_what_moves_the_points_most_gets_the_finest_steps(model):
    weight_scales = choose_weight_scales(Calibration(model))
    assert weight_scales.rows["patch"].argmin() == 0
    assert weight_scales.columns[0].argmin() == 2
    assert weight_scales.columns[1].min() > weight_scales.columns[0, 2]


def test_the_slope_of_selu_is_its_derivative():
    x = np.linspace(-3, 3, 61, dtype=np.float32) + np.float32(0.013)
    rise = (selu(x + np.float32(1e-2)) - selu(x - np.float32(1e-2))) / np.float32(2e-2)
    np.testing.assert_allclose(selu_slope(x), rise, atol=2e-3)


def test_with_weight_scales_the_same_bits_move_the_points_less(model):
    """Bits of a weight: log2 of its size over its step; the cost: how far the decoded points move."""
    sensitivities = probe(model)
    flat = dataclasses.replace(
        sensitivities,
        weight_scales=WeightScales.of_codes(ARCHITECTURE, np.zeros_like(sensitivities.weight_scales.codes())),
        weights={},
    )
    scaled = choose_step_sizes(model, sensitivities, 1e-5)
    # Every tensor of the same bits: the geometric mean of its steps is kept.
    weights = {}
    for name, step in scaled.weights.items():
        finer = np.exp(
            np.log(np.broadcast_to(sensitivities.weight_scales.factors(name), ARCHITECTURE.tensors()[name])).mean()
        )
        weights[name] = step.value * float(finer) / flat.weight_scales.factors(name).flat[0]

    def moved(step_sizes):
        symbols = Calibration(model).symbols(step_sizes)
        changed = {n: (s * step_sizes.within(n)).astype(np.float32) for n, s in symbols.items()}
        decoders = [FloatDecoder(dataclasses.replace(model, weights=w)) for w in (model.weights, changed)]
        clouds = np.array([[decoder.decode(latent) for latent in model.latents] for decoder in decoders])
        return float(np.square(clouds[0] - clouds[1]).sum(-1).mean())

    steps = {name: StepSize.nearest(value) for name, value in weights.items()}
    even = dataclasses.replace(scaled, weights=steps, weight_scales=flat.weight_scales)
    assert moved(scaled) < 0.8 * moved(even)


def test_a_quantised_weight_is_near_its_number(model):
    steps = choose_step_sizes(model, probe(model), 1e-6)
    quantised = quantise(model, steps)
    shared = quantised.shared
    shared.check()
    for name, values in quantised.model().weights.items():
        within = shared.weight_scales.factors(name) * shared.weight_step_sizes[name].value
        assert np.all(np.abs(values - model.weights[name]) <= 0.5001 * within)


@pytest.mark.parametrize("latent", [1, 5, 200])
def test_latents_of_a_sequence_take_fewer_bytes(latent, model):
    rng = np.random.default_rng(1)
    steps = np.rint(rng.normal(0, 2, (150, latent))).astype(np.int32)
    walk = np.cumsum(steps, 0).astype(np.int32) * 3
    for latents, expected in ((walk, True), (rng.permutation(walk), False)):
        coding, _, groups = shortest_latents(latents)
        assert coding.sequence is expected
        assert len(groups) == 3


def test_a_sequence_is_read_cloud_by_cloud_and_as_the_specification_says(model):
    latents = np.cumsum(np.random.default_rng(2).integers(-1, 2, (70, 3)), 0).astype(np.int32) * 50
    architecture = dataclasses.replace(ARCHITECTURE, clouds=70)
    model = dataclasses.replace(model, architecture=architecture, latents=latents.astype(np.float32))
    shared = quantise(model, choose_step_sizes(model, probe(model), 1e-5)).shared
    sections = to_sections(shared, latents, Denormalisation((0, 0, 0), 2.0**-20), [str(i) for i in range(70)], {})
    data = pack(sections)
    file = pcqaad.Collection(data)
    steps = np.array([step.value for step in shared.latent_step_sizes])
    np.testing.assert_allclose(file.latents, latents * steps, rtol=1e-6)
    assert file[67].tobytes() == reference.decode_file(data)[67].tobytes()


def test_differences_that_leave_32_bits_are_refused_and_coded_otherwise():
    far = np.array([[-(2**31)], [2**31 - 1], [0]], np.int32)
    assert LatentCoding(1, True).symbols(far).tolist() == [-(2**31), 2**32 - 1, 1 - 2**31]
    with pytest.raises(ValueError, match="symbols of 32 bits"):
        latent_groups(SymbolModel.fit([0, 1], [0, 1]), far, LatentCoding(1, True))
    assert not shortest_latents(far)[0].sequence
