import dataclasses
import errno
import itertools
import os

import numpy as np
import pytest
import torch

import pcqaad
import pcqaad.points.collect
from pcqaad.decoder.architecture import Architecture
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.decoder.integer_model import LARGEST_LATENT, latent_reach
from pcqaad.decoder.module import Decoder
from pcqaad.decoder.patches import patch_sizes
from pcqaad.latents.whole import straight_through
from pcqaad.monitor import SILENT, Monitor, Stage
from pcqaad.points.collect import collect
from pcqaad.quantisation.evaluator import Evaluator
from pcqaad.quantisation.probe import probe
from pcqaad.quantisation.quantise import quantise
from pcqaad.quantisation.step_sizes import choose_step_sizes, search_lambda
from pcqaad.settings import PRESETS, Settings
from pcqaad.training.run import Run
from pcqaad.training.sizing import latent_size, resolve
from tests.conftest import SMALL, stop_in
from tests.generators import population


def stop_after(calls):
    counter = itertools.count()
    return lambda: next(counter) >= calls


@pytest.mark.parametrize(
    ("preset", "clouds", "points", "ratio"),
    [
        ("paper-skulls", 4096, 65536, 3311),
        ("paper-dfaust", 13744, 131072, 1144),
        ("paper-coma", 6576, 109500, 748),
    ],
)
def test_the_paper_s_ratios_come_out(preset, clouds, points, ratio):
    p = PRESETS[preset]
    architecture = Architecture(clouds, points, p.latent, p.shared, p.patch, p.patches, p.residual)
    assert round(architecture.paper_ratio()) == ratio


def test_the_decoder_is_the_paper_s_formula():
    """One point at a time, layer by layer, against the batched product over all patches."""
    torch.manual_seed(0)
    decoder = Decoder(torch.randn(11, 3), torch.randn(2, 5), (7, 6), 4, 3, residual=False)
    for bias in decoder.parameters():
        bias.data += 0.1 * torch.randn_like(bias)
    w = {name: torch.from_numpy(array) for name, array in decoder.arrays().weights.items()}
    decoded = decoder(decoder.latents)
    patch_of = np.repeat(np.arange(3), patch_sizes(11, 3))
    for cloud, point in itertools.product(range(2), range(11)):
        q, k = decoder.template[point], int(patch_of[point])
        x = torch.selu(torch.cat([decoder.latents[cloud], q]) @ torch.cat([w["latent"], w["point"]]) + w["bias 0"])
        x = torch.selu(x @ w["shared 1"] + w["bias 1"])
        x = torch.selu(torch.cat([x, q]) @ torch.cat([w["patch"][k], w["patch point"][k]]) + w["patch bias"][k])
        x = x @ w["out"][k] + w["out bias"][k]
        assert torch.allclose(decoded[cloud, point], x, atol=1e-5)


@pytest.mark.parametrize("residual", [False, True])
def test_torch_and_numpy_decode_alike(residual):
    torch.manual_seed(1)
    decoder = Decoder(torch.randn(101, 3), torch.randn(3, 8), (32, 16, 16), 8, 7, residual)
    model = decoder.arrays()
    numpy_decoder = FloatDecoder(model)
    there = decoder(decoder.latents).detach().numpy()
    again = Decoder.of(model)(decoder.latents).detach().numpy()
    assert np.array_equal(there, again)
    for i in range(3):
        here = numpy_decoder.decode(model.latents[i])
        assert np.abs(here - there[i]).max() <= 1e-5 * np.linalg.norm(np.ptp(here, axis=0))


def with_components(count, residual=True):
    """Return a network of 101 points in 7 patches and 5 latent numbers, and its components."""
    generator = torch.Generator().manual_seed(2)
    components = torch.randn(101, count, 3, generator=generator)
    start = torch.randn(101, 3, generator=generator), torch.randn(3, 5, generator=generator)
    return Decoder(*start, (8, 6), 4, 7, residual, generator, components), components


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("count", [1, 5])
def test_components_move_a_cloud_by_its_first_latent_numbers_times_them(residual, count):
    decoder, components = with_components(count, residual)
    model = decoder.arrays()
    assert model.architecture.components == count
    without = dataclasses.replace(
        model, components=None, architecture=dataclasses.replace(model.architecture, components=0)
    )
    assert model.architecture.weights() == without.architecture.weights()
    latents = decoder.latents.detach()
    linear = sum(latents[:, k, None, None] * components[:, k] for k in range(count))
    decoded = Decoder.of(without)(latents) + linear
    assert torch.allclose(decoder(latents), decoded, atol=1e-5)
    assert torch.equal(Decoder.of(model)(latents), decoder(latents))
    for latent, expected in zip(model.latents, decoded, strict=True):
        assert np.allclose(FloatDecoder(model).decode(latent), expected.detach(), atol=1e-5)
    decoder(latents).sum().backward()
    assert torch.allclose(decoder.components.grad, latents[:, :count].sum(0)[:, None].expand(101, count, 3))


def test_rows_fold_as_the_whole_cloud_and_none_without_their_components():
    decoder, _ = with_components(2)
    rows = decoder.patch_index[:, [1, 0, 5]]
    some = decoder.fold_rows(decoder.latents, rows)  # (K, B, S, 3)
    assert torch.allclose(some, decoder(decoder.latents)[:, rows].transpose(0, 1), atol=1e-6)
    assert torch.equal(some, decoder.fold_rows(decoder.latents, rows.numpy()))
    with pytest.raises(ValueError, match="components"):
        decoder.fold(decoder.latents, decoder.template[rows])


def test_the_differentiable_module_is_near_to_what_a_file_decodes_to(fitted_file):
    with pcqaad.open(fitted_file) as c:
        normalisation = c.info["normalisation"]
        there = c.module()(torch.from_numpy(c.latents)).detach().numpy()
        there = there * normalisation["scale"] + normalisation["centre"]
        diagonal = c.info["fidelity"]["diagonal"]
        for i, cloud in enumerate(c):
            assert np.linalg.norm(cloud - there[i], axis=1).max() <= 1e-4 * diagonal


def test_gradients_reach_latents_template_and_weights(fitted_file):
    with pcqaad.open(fitted_file) as c:
        module = c.module()
    module(module.latents[:2]).square().mean().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_a_fit_learns(fitted, originals):
    """Far closer than one cloud of the set to another."""
    file = fitted.model
    assert file.architecture.clouds == 6
    with_template = np.mean([pcqaad.emkd(originals[0], x).mean for x in originals[1:]])
    evaluator = Evaluator(collect(originals, None, None, 0), 1, SILENT)
    assert evaluator.clouds.normalisation.scale * evaluator.error(file) < 0.5 * with_template


@pytest.mark.parametrize("reassign", [False, True])
def test_targets_stay_the_clouds_themselves_in_assigned_order(originals, reassign):
    collected, trained = (collect(originals, None, None, 0) for _ in range(2))
    trainer = Run(Settings(epochs=2, reassign=reassign), torch.device("cpu"), None, False, SILENT).train(trained)
    assert not np.array_equal(list(trained.targets), list(collected.targets))
    for target, cloud, assignment in zip(trained.targets, collected.targets, trainer.assignments, strict=True):
        assert np.array_equal(np.sort(assignment), np.arange(len(cloud)))
        assert np.array_equal(target, cloud[assignment])


def test_a_collection_in_a_file_is_fitted_alike(fitted, originals, monkeypatch):
    monkeypatch.setattr(pcqaad.points.collect, "_IN_MEMORY", 0)
    files = []
    monkeypatch.setattr(
        np, "memmap", lambda *args, memmap=np.memmap, **more: files.append(memmap(*args, **more)) or files[-1]
    )
    again = pcqaad.fit(originals, Settings(**SMALL, device="cpu"))
    assert [file.shape for file in files] == [(6, 256, 3), (6, 256)]
    assert np.array_equal(again.model.template, fitted.model.template)
    assert np.array_equal(again.model.latents, fitted.model.latents)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="there a full disk is noticed later")
def test_a_collection_that_fits_nowhere_is_refused(originals, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pcqaad.points.collect, "_IN_MEMORY", 0)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(pcqaad.Error, match="no room for"):
        pcqaad.fit(originals, Settings(**SMALL))


def test_the_recorded_fidelity_is_what_a_reader_measures(fitted_file, originals, names):
    with pcqaad.open(fitted_file) as c:
        assert c.names == names
        errors = [pcqaad.emkd(a, b).mean for a, b in zip(originals, c, strict=True)]
        recorded = c.info["fidelity"]
        # It was measured on rounded targets, whose points lie at most half a step off along each axis; and
        # the solver proves its cost to 0.1 %.
        half_step = max(np.ptp(x, 0).max() for x in originals) / 65535 / 2
        assert abs(recorded["mean"] - np.mean(errors)) <= 3**0.5 * half_step + 1e-3 * np.mean(errors)
        assert recorded["worst"]["name"] == names[int(np.argmax(errors))]
        assert recorded["rise"] < Settings().tolerance


def test_the_same_seed_gives_the_same_bytes(originals, names, tmp_path):
    files = []
    for i in range(2):
        path = tmp_path / f"{i}.qaad"
        pcqaad.fit(originals, Settings(**SMALL), names=names).save(path)
        files.append(path.read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("steps", [1, 14])
def test_a_killed_fit_resumes_to_the_same_bytes(originals, fitted_file, names, tmp_path, steps):
    checkpoint, path = tmp_path / "x.checkpoint", tmp_path / "x.qaad"
    settings = Settings(**SMALL, device="cpu")
    common = {"names": names, "unit": "mm", "checkpoint": checkpoint}
    with pytest.raises(pcqaad.Interrupted) as stopped:
        pcqaad.fit(originals, settings, **common, **stop_in(Stage.FIT, steps))
    assert stopped.value.resumable
    assert checkpoint.exists()
    pcqaad.fit(originals, settings, **common, resume=True).save(path)
    assert path.read_bytes() == fitted_file.read_bytes()
    assert not checkpoint.exists()


def test_a_fit_killed_while_it_is_tuned_resumes_to_the_same_bytes(originals, names, tmp_path):
    checkpoint, path = tmp_path / "x.checkpoint", tmp_path / "x.qaad"
    common = {"names": names, "unit": "mm", "checkpoint": checkpoint}
    settings = Settings(**SMALL, tune=0.2, device="cpu")
    with pytest.raises(pcqaad.Interrupted) as stopped:
        pcqaad.fit(originals, settings, **common, **stop_in(Stage.TUNE, 2))
    assert stopped.value.resumable
    pcqaad.fit(originals, settings, **common, resume=True).save(path)
    unbroken = tmp_path / "unbroken.qaad"
    pcqaad.fit(originals, settings, names=names, unit="mm").save(unbroken)
    assert path.read_bytes() == unbroken.read_bytes()


def test_rounding_is_what_the_file_will_hold_and_its_gradient_passes_through():
    values = torch.tensor([0.26, -0.74, 3.0], requires_grad=True)
    rounded = straight_through(values, torch.tensor(0.5))
    assert torch.equal(rounded.detach(), torch.tensor([0.5, -0.5, 3.0]))
    (rounded * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert torch.equal(values.grad, torch.tensor([1.0, 2.0, 3.0]))


def test_a_smooth_template_has_a_grid_finer_than_its_points_are_apart(fitted):
    sensitivities = probe(fitted.model)
    rough, smooth = (choose_step_sizes(fitted.model, sensitivities, 1.0, smooth) for smooth in (False, True))
    template = fitted.model.template
    apart = np.sort(np.linalg.norm(template[:, None] - template, axis=2), 1)[:, 1].mean()
    assert smooth.template.value <= 0.27 * apart < rough.template.value
    assert (smooth.weights, smooth.latents) == (rough.weights, rough.latents)
    assert fitted.encoded.quantised.shared.step_size.value <= 0.27 * apart


def test_a_fit_stops_while_it_reads(originals, tmp_path):
    checkpoint = tmp_path / "x.checkpoint"
    for resumable in (False, True):
        if resumable:
            checkpoint.touch()
        with pytest.raises(pcqaad.Interrupted) as stopped:
            pcqaad.fit(originals, checkpoint=checkpoint, resume=True, monitor=Monitor(should_stop=stop_after(3)))
        assert stopped.value.resumable == resumable


def test_a_checkpoint_of_other_clouds_or_settings_is_refused(originals, names, tmp_path):
    checkpoint = tmp_path / "x.checkpoint"
    settings = Settings(**SMALL)
    with pytest.raises(pcqaad.Interrupted):
        pcqaad.fit(originals, settings, names=names, checkpoint=checkpoint, **stop_in(Stage.FIT, 6))
    again = {"names": names, "checkpoint": checkpoint, "resume": True}
    with pytest.raises(pcqaad.CheckpointError, match="other clouds"):
        pcqaad.fit(population(seed=1), settings, **again)
    with pytest.raises(pcqaad.CheckpointError, match=r"other settings \(seed 0\)"):
        pcqaad.fit(originals, dataclasses.replace(settings, seed=5), **again)
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(pcqaad.CheckpointError, match="not a checkpoint"):
        pcqaad.fit(originals, settings, **again)


def test_minutes_end_a_fit(originals):
    settings = Settings(minutes=0.03, epochs=10**6)
    fitted = pcqaad.fit(originals, settings)
    assert 0 < fitted.info["encoder"]["steps"] < 10**6


def test_clouds_of_different_sizes_are_brought_to_one(tmp_path, caplog):
    clouds = [x[: 200 - 10 * i] for i, x in enumerate(population())]
    fitted = pcqaad.fit(clouds, Settings(**SMALL))
    assert caplog.messages == ["clouds hold 150 to 200 points: 150 of each, drawn at random, are fitted"]
    assert fitted.model.architecture.points == 150
    with pytest.raises(pcqaad.CloudError, match="cloud_0005: holds 150 points, 180 were asked for"):
        pcqaad.fit(clouds, Settings(**SMALL), points=180)


@pytest.mark.parametrize(
    ("clouds", "message"),
    [
        ([np.zeros((5, 3))], "at least 2 clouds"),
        ([np.zeros((5, 3)), np.zeros((5, 2))], r"cloud_0001: expected points of shape \(n, 3\)"),
        ([np.zeros((5, 3)), np.full((5, 3), np.nan)], "cloud_0001: expected finite"),
        ([np.zeros((5, 3)), np.zeros((0, 3))], "cloud_0001"),
    ],
)
def test_what_cannot_be_fitted_is_refused(clouds, message):
    with pytest.raises(pcqaad.CloudError, match=message):
        pcqaad.fit(clouds, Settings(**SMALL))


def test_more_patches_than_points_are_refused():
    with pytest.raises(pcqaad.SettingsError, match="cloud_0000: 5 points cannot be cut into 8 patches"):
        pcqaad.fit([np.eye(5, 3), np.eye(5, 3)], Settings(patches=8))


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"batch": 0},
        {"learning_rate": -1},
        {"template": "mean"},
        {"minutes": 0},
        {"shared": ()},
    ],
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(pcqaad.SettingsError, match=next(iter(bad))):
        Settings(**bad)


def test_the_unit_of_the_data_does_not_matter(tmp_path):
    percents = []
    for unit in (1.0, 1e-30, 1e-6, 1e6, 1e30):
        clouds = [x * unit for x in population(points=64)]
        pcqaad.fit(clouds, Settings(epochs=10)).save(tmp_path / "x.qaad")
        with pcqaad.open(tmp_path / "x.qaad") as c:
            measured = np.mean([pcqaad.emkd(a, b).mean for a, b in zip(clouds, c, strict=True)])
            assert c.info["fidelity"]["mean"] == pytest.approx(measured, rel=1e-4)
            percents.append(c.info["fidelity"]["mean_percent"])
    assert percents == pytest.approx(percents[:1] * len(percents), rel=0.02)


def test_small_clouds_far_away_keep_what_float32_can_tell(tmp_path):
    """One part in 10**9 of the distance: the points of a cloud are all but one in float32."""
    clouds = [(x - x.mean(0)) * 1e-5 + [1e6, -1e6, 1e6] for x in population(points=64)]
    pcqaad.fit([x.astype(np.float64) for x in clouds], Settings(epochs=10)).save(tmp_path / "x.qaad")
    with pcqaad.open(tmp_path / "x.qaad") as c:
        for cloud, decoded in zip(clouds, c, strict=True):
            assert np.abs(decoded - cloud.mean(0)).max() <= np.spacing(np.float32(1e6))


@pytest.mark.parametrize("clouds", [[np.zeros((4, 3))] * 2, [np.eye(3), np.eye(3) + 1], [np.ones((1, 3))] * 3])
def test_degenerate_clouds_still_make_a_file(clouds, tmp_path, caplog):
    pcqaad.fit(clouds, Settings(epochs=3)).save(tmp_path / "x.qaad")
    with pcqaad.open(tmp_path / "x.qaad") as c:
        assert np.isfinite(c[0]).all()
        assert c[0].shape == clouds[0].shape
    assert any("their diagonal is 0" in text for text in caplog.messages) == (np.ptp(clouds[0]) == 0)


def test_small_sets_get_small_models():
    spectrum = np.r_[np.full(10, 10.0), np.ones(90)]
    sizes = [resolve(Settings(), n, m, spectrum) for n, m in ((8, 1000), (48, 8192), (64, 16384), (4096, 65536))]
    weights = [Architecture(2, 1, s.latent, s.shared, s.patch, s.patches, True).weights() for s in sizes]
    assert weights == sorted(weights)
    assert weights[0] < weights[-1] / 5
    assert latent_size(spectrum) == 10
    asked = resolve(Settings(latent=3, shared=(8,), patch=4, patches=2, epochs=1), 8, 100, spectrum)
    assert (asked.latent, asked.shared, asked.patch, asked.patches, asked.epochs) == (3, (8,), 4, 2, 1)


def test_a_smaller_lambda_quantises_finer(fitted):
    sensitivities = probe(fitted.model)
    coarse, fine = (
        quantise(fitted.model, choose_step_sizes(fitted.model, sensitivities, lambda_)) for lambda_ in (1e-4, 1e-6)
    )
    model, finer, coarser = fine.model(), fine.shared, coarse.shared
    assert finer.step_size.value < coarser.step_size.value
    # What hardly matters is as coarse as its own size allows either way.
    assert all(step.value <= coarser.weight_step_sizes[name].value for name, step in finer.weight_step_sizes.items())
    assert finer.weight_step_sizes["shared 1"].value < coarser.weight_step_sizes["shared 1"].value
    for name, step in finer.weight_step_sizes.items():
        off = np.abs(model.weights[name] - fitted.model.weights[name])
        assert np.all(off <= 0.5001 * step.value * finer.weight_scales.factors(name))
    assert np.abs(model.template - fitted.model.template).max() <= 0.5001 * finer.step_size.value
    latent_step_sizes = np.array([step.value for step in finer.latent_step_sizes])
    assert np.all(np.abs(model.latents - fitted.model.latents) <= 0.5001 * latent_step_sizes + 1e-7)


@pytest.mark.parametrize("lambda_", [1e-30, 1e-15])
def test_a_model_quantised_as_finely_as_can_be_decodes_like_the_floats(fitted, originals, lambda_):
    quantised = quantise(fitted.model, choose_step_sizes(fitted.model, probe(fitted.model), lambda_))
    quantised.shared.check()
    evaluator = Evaluator(collect(originals, None, None, 0), 1, SILENT)
    floats, decoded = evaluator.floats(fitted.model), evaluator.integers(quantised)
    for i in range(3):
        # What is left is the rounding of activations: a cloud spans 4 units.
        assert np.abs(decoded(i) - floats(i)).max() < 4 * 1e-4


@pytest.mark.parametrize("factor", [1e-9, 1e3, 1e9, 1e30, np.inf])
@pytest.mark.parametrize("part", ["latent", "bias 0", "shared 1", "patch point", "out", "template", "latents"])
def test_a_model_of_any_size_is_exact_or_refused(fitted, part, factor):
    """Whatever training leaves: a file that breaks the bounds is never written."""
    model = fitted.model
    with np.errstate(over="ignore", invalid="ignore"):
        if part in model.weights:
            model = dataclasses.replace(
                model, weights={**model.weights, part: model.weights[part] * np.float32(factor)}
            )
        else:
            model = dataclasses.replace(model, **{part: getattr(model, part) * np.float32(factor)})
        try:
            quantised = quantise(model, choose_step_sizes(model, probe(model), 1e-9))
        except pcqaad.DivergenceError as error:
            assert "the fit diverged" in str(error)
            assert factor > 1e3
            return
    quantised.shared.check()
    assert (latent_reach(quantised.latents, quantised.shared.latent_step_sizes) < LARGEST_LATENT).all()


def test_the_search_for_lambda_stays_below_its_target():
    found = search_lambda(lambda lambda_: lambda_**0.5, 1e-3, 0.01)
    assert 0.9e-4 <= found <= 1e-4
