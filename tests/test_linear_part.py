"""The linear part on its way into a file: what the step sizes promise, and what the file then decodes to."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import pcqaad
from pcqaad.bitstream.sections import to_sections
from pcqaad.decoder.architecture import Architecture, Model
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.decoder.module import Decoder
from pcqaad.formats.container.container import Container, pack
from pcqaad.quantisation.probe import probe
from pcqaad.quantisation.quantise import Quantised, quantise
from pcqaad.quantisation.step_sizes import choose_step_sizes, code_components, latent_drive

PLACED = Denormalisation((0, 0, 0), 2.0**-20)


def model(network: float = 0.0, clouds: int = 12, points: int = 400) -> Model:
    """A sphere that moves by three smooth components of falling size, beside a network of some size."""
    rng = np.random.default_rng(0)
    shape = Architecture(clouds, points, 4, (5,), 3, 2, True, 3)
    sphere = rng.normal(0, 1, (points, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    waves = rng.normal(0, 1.5, (3, 3, 3))
    components = np.sin(np.einsum("mx,xcd->mcd", sphere, waves)) * np.array([0.3, 0.05, 0.004])[:, None]
    weights = {name: (network * rng.normal(0, 0.3, size)).astype(np.float32) for name, size in shape.tensors().items()}
    arrays = (array.astype(np.float32) for array in (sphere, rng.normal(0, 1, (clouds, 4))))
    return Model(shape, *arrays, weights, components.astype(np.float32))


def file_of(quantised: Quantised) -> bytes:
    names = [str(i) for i in range(len(quantised.latents))]
    return pack(to_sections(quantised.shared, quantised.latents, PLACED, names, {}))


def movement(fitted: Model, rounded: Model) -> float:
    """The mean squared distance between what two models decode to."""
    pairs = zip(*(map(FloatDecoder(m).decode, m.latents) for m in (fitted, rounded)), strict=True)
    return float(np.mean([np.square(a - b).sum(1).mean() for a, b in pairs]))


@pytest.mark.parametrize("network", [0.0, 1.0])
def test_a_file_decodes_as_the_rounded_model(network: float) -> None:
    fitted = model(network)
    steps = choose_step_sizes(fitted, probe(fitted), 1e-9)
    quantised = quantise(fitted, steps)
    near = steps.round(fitted)
    with pcqaad.Collection(file_of(quantised)) as c:
        c.check()
        assert c.info["model"]["components"] == 3
        parts = c.info["bytes"]["parts"]
        assert parts["components"] == c.info["bytes"]["sections"]["COMP"] > 0
        # The file has an order of its own in each patch.
        order, own = (np.lexsort(grid.T) for grid in (c.integers.grid, quantised.shared.grid))
        for i, latent in enumerate(near.latents):
            expected = FloatDecoder(near).decode(latent)
            # Of the network, activations are rounded: a cloud spans 4 units.
            assert np.abs(c[i][order] - expected[own]).max() < (4e-4 if network else 4e-6)
        module = c.module()(torch.from_numpy(c.latents)).detach().numpy()
        assert np.abs(module - np.stack(list(c))).max() < 4e-4
        assert np.array_equal(c.decoder()(c.latents).numpy(), np.stack(list(c)))


def test_a_smaller_lambda_moves_less_and_takes_more_bytes() -> None:
    fitted = model()
    sensitivities = probe(fitted)
    before = None
    for lambda_ in (1e-6, 1e-8, 1e-10):
        steps = choose_step_sizes(fitted, sensitivities, lambda_)
        coded = code_components(fitted, steps)
        assert coded is not None
        moved = movement(fitted, dataclasses.replace(fitted, components=coded.dequantise()))
        # At most a dead zone more than rounding each number of the transform, three a point and component.
        assert moved < 2 * 3 * 3 * lambda_ * fitted.architecture.points
        if before is not None:
            assert moved < before[0] and len(coded.coded) > before[1]
        before = moved, len(coded.coded)


def test_components_and_latents_trade_their_scales() -> None:
    """Latents twice as wide and components half as large are the same model: they cost and move the same."""
    fitted = model()
    assert fitted.components is not None
    wider = dataclasses.replace(fitted, latents=fitted.latents * 4, components=fitted.components / 4)
    a, b = (choose_step_sizes(m, probe(m), 1e-8) for m in (fitted, wider))
    ratio = [x.value / y.value for x, y in zip(a.components, b.components, strict=True)]
    assert ratio == pytest.approx([4] * 3, rel=0.07)
    ratio = [x.value / y.value for x, y in zip(a.latents[:3], b.latents[:3], strict=True)]
    assert ratio == pytest.approx([1 / 4] * 3, rel=0.07)


def test_a_latent_is_finer_the_farther_its_component_moves_the_points() -> None:
    fitted = model()
    steps = choose_step_sizes(fitted, probe(fitted), 1e-8)
    first, second, third, none = (step.value for step in steps.latents)
    assert first < second < third < none
    without = dataclasses.replace(fitted, components=None)
    assert np.array_equal(latent_drive(without), latent_drive(without, gain=5.0))


@pytest.mark.parametrize("lambda_", [1e-30, 1e9])
def test_the_finest_and_the_coarsest_step_sizes_make_a_file(lambda_: float) -> None:
    fitted = model(1.0)
    quantised = quantise(fitted, choose_step_sizes(fitted, probe(fitted), lambda_))
    with pcqaad.Collection(file_of(quantised)) as c:
        c.check()
        if lambda_ < 1:
            order, own = (np.lexsort(grid.T) for grid in (c.integers.grid, quantised.shared.grid))
            expected = FloatDecoder(fitted).decode(fitted.latents[3])
            assert np.abs(c[3][order] - expected[own]).max() < 4e-4


@pytest.mark.parametrize(("part", "factor"), [("components", 1e4), ("components", np.nan), ("latents", 1e5)])
def test_what_no_file_holds_is_said_to_have_diverged(part: str, factor: float) -> None:
    fitted = model()
    fitted = dataclasses.replace(fitted, **{part: getattr(fitted, part) * np.float32(factor)})
    with pytest.raises(pcqaad.DivergenceError, match="the fit diverged"):
        quantise(fitted, choose_step_sizes(fitted, probe(fitted), 1e-8))


def test_a_network_of_zeros_costs_next_to_nothing() -> None:
    fitted = model()
    data = file_of(quantise(fitted, choose_step_sizes(fitted, probe(fitted), 1e-8)))
    with Container.open(data) as c:
        assert c.entry("WGTS").length + c.entry("GAIN").length < 60


def test_more_clouds_leave_the_components_as_they_are() -> None:
    fitted = model()
    quantised = quantise(fitted, choose_step_sizes(fitted, probe(fitted), 1e-8))
    record = {"metric": "emkd", "cell": 1, "clouds": 1, "mean": 0, "mean_percent": 0, "worst": {"name": "x", "mean": 0}}
    with pcqaad.Collection(file_of(quantised)) as old:
        sections = old.appended_sections(quantised.latents[2:3], ["x"], record)
        with pcqaad.Collection(pack(sections)) as new:
            new.check()
            assert len(new) == len(old) + 1
            assert np.array_equal(new["x"], old[2])
            assert np.array_equal(new[0], old[0])
            assert new.info["model"] == old.info["model"]


def test_components_of_a_module_survive_the_way_through_arrays() -> None:
    fitted = model(1.0)
    again = Decoder.of(fitted).arrays()
    assert again.architecture == fitted.architecture
    assert again.components is not None
    assert np.array_equal(again.components, fitted.components)
