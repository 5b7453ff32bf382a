"""The baselines are as their authors describe them, and batched products do not change them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import pcqaad
from benchmarks.baselines.atlasnet import STRUCTURES, AtlasNet, AtlasNetArchitecture
from pcqaad.decoder.module import Decoder
from pcqaad.decoder.patches import patch_sizes
from pcqaad.errors import SettingsError
from pcqaad.monitor import Monitor, Stage
from pcqaad.points.collect import collect
from pcqaad.seeds import Use
from pcqaad.settings import PRESETS, Settings
from pcqaad.training.loop import train
from pcqaad.training.pointnet import PointNet
from pcqaad.training.pretrain import ChamferTrainer
from pcqaad.training.schedule import Schedule, pretraining
from pcqaad.training.sizing import resolve
from tests.generators import population

CPU = torch.device("cpu")
SMALL = Settings(latent=4, batch=3, sample=64, epochs=2, device="cpu", tune=0.0, learning_rate=1e-3)


def numbers(module):
    return sum(p.numel() for p in module.parameters())


def one_patch(net, patch):
    """Return an AtlasNet of one patch with the weights of another's."""
    k, points = net.architecture, int(patch_sizes(net.points, net.patches)[patch])
    single = AtlasNet(AtlasNetArchitecture(k.latent, 1, k.width, k.structure), points)
    with torch.no_grad():
        for name in ("layers", "biases", "deformation", "deformation_bias"):
            for mine, theirs in zip(getattr(single, name), getattr(net, name), strict=True):
                mine.copy_(theirs[patch : patch + 1])
        if k.structure == "translation":
            single.translated.copy_(net.translated[net.patch_index[patch][net.in_patch[patch]]])
    return single


@pytest.mark.parametrize(("latent", "patches", "count"), [(10, 16, 563_248), (256, 28, 1_867_348)])
def test_the_papers_atlasnet_has_as_many_weights_as_its_text_says(latent, patches, count):
    shape = AtlasNetArchitecture(latent, patches)
    assert shape.weights() == count


@pytest.mark.parametrize("structure", STRUCTURES)
def test_weights_are_what_is_trained(structure):
    shape = AtlasNetArchitecture(5, 3, 16, structure)
    assert numbers(AtlasNet(shape, 100)) == shape.weights() + shape.structure_weights(100)


@pytest.mark.parametrize("preset", ["paper-skulls", "paper-dfaust", "auto"])
def test_a_matched_atlasnet_has_our_decoders_weights(preset):
    s = resolve(replace(PRESETS[preset], latent=PRESETS[preset].latent or 12), 64, 4096, np.zeros(1))
    ours = Decoder(torch.zeros(4096, 3), torch.zeros(2, s.latent), s.shared, s.patch, s.patches, s.residual)
    weights = ours.arrays().architecture.weights()
    assert numbers(ours) == weights + 3 * 4096 + 2 * s.latent
    for patches in (s.patches, 6, 16):
        assert AtlasNetArchitecture.of_weights(weights, s.latent, patches).weights() == pytest.approx(weights, rel=0.02)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_batched_patches_are_each_patch_by_itself(structure):
    torch.manual_seed(1)
    net = AtlasNet(AtlasNetArchitecture(4, 5, 8, structure), 103)  # patches of 21 and of 20 points
    latents = torch.randn(3, 4)
    whole, start = net(latents), 0
    assert whole.shape == (3, 103, 3)
    for patch, size in enumerate(patch_sizes(103, 5)):
        alone = one_patch(net, patch)(latents)
        torch.testing.assert_close(whole[:, start : start + size], alone, rtol=1e-4, atol=1e-5)
        start += int(size)


def test_a_deformed_patch_lies_where_tanh_ends_and_is_drawn_anew():
    torch.manual_seed(1)
    net = AtlasNet(AtlasNetArchitecture(4, 3, 8), 90)
    a, b = (net.draw(np.random.default_rng(seed), 60) for seed in (0, 1))
    assert a.shape == (3, 20, 3) and a.abs().max() < 1
    assert not torch.equal(a, b)
    assert torch.equal(a, net.draw(np.random.default_rng(0), 60))
    # Every fifth of the square, in both axes, holds a fifth of the decoded points, but for one.
    square = net.squares[:30].numpy()
    counts = np.histogram2d(*square.T, bins=(5, 1))[0], np.histogram2d(*square.T, bins=(1, 5))[0]
    assert all(np.abs(c - 6).max() <= 1 for c in counts)


def test_drawn_template_points_are_the_templates_patch_by_patch():
    template = torch.arange(30.0)[:, None].expand(30, 3)
    net = Decoder(template, torch.zeros(2, 4), (8,), 8, 3, True)
    drawn = net.draw(np.random.default_rng(0), 12)[..., 0]
    assert drawn.shape == (3, 4)
    assert all(len(set(row.tolist())) == 4 for row in drawn)
    assert torch.equal(drawn.div(10).floor(), torch.arange(3.0)[:, None].expand(3, 4))


def test_an_embedding_knows_no_order():
    torch.manual_seed(0)
    points = torch.randn(4, 50, 3)
    encoder = PointNet(6)
    shuffled = points[:, torch.randperm(50)]
    for mode in (True, False):
        encoder.train(mode)
        torch.testing.assert_close(encoder(points), encoder(shuffled))
    assert not torch.allclose(encoder(points), encoder(points + 1))
    assert encoder(points).shape == (4, 6)


@pytest.fixture(scope="module")
def small_set():
    return collect(population(5), None, None, 0)


def chamfer_trainer(small_set, settings=SMALL):
    torch.manual_seed(0)
    net = AtlasNet(AtlasNetArchitecture(4, 2, 16), small_set.targets.points)
    return ChamferTrainer(net, small_set.targets, settings, CPU)


def test_the_chamfer_stage_lowers_its_loss_and_is_the_same_twice(small_set):
    settings = replace(SMALL, epochs=40, learning_rate=5e-3)

    def run():
        trainer, losses = chamfer_trainer(small_set, settings), []
        monitor = Monitor(lambda p: losses.append(p.figures["loss"]))
        train(trainer, pretraining(Schedule(replace(settings, pretrain=0.5), 5)), lambda: 0.0, monitor)
        assert trainer.step == 40  # half of 40 epochs of 2 steps
        assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:3])
        return trainer.embed()

    runs = run(), run()
    assert torch.equal(*runs)
    assert runs[0].shape == (5, 4) and torch.isfinite(runs[0]).all()


def test_a_stage_stops_when_asked_and_when_its_time_is_over(small_set):
    trainer = chamfer_trainer(small_set)
    phase = pretraining(Schedule(replace(SMALL, pretrain=0.9), 5))
    with pytest.raises(pcqaad.Interrupted):
        train(trainer, phase, lambda: 0.0, Monitor(should_stop=lambda: trainer.step == 2))
    assert trainer.step == 2
    settings = replace(SMALL, epochs=None, minutes=1.0, pretrain=0.5)
    timed, seconds = chamfer_trainer(small_set, settings), iter(range(0, 1000, 5))
    train(timed, pretraining(Schedule(settings, 5)), lambda: float(next(seconds)), Monitor())
    assert 1 <= timed.step <= 4


def test_no_batch_is_a_single_cloud():
    # Five clouds, two at a time: the third step takes the first of the order again.
    schedule = Schedule(replace(SMALL, batch=2), 5)
    drawn = [schedule.clouds_of(step, Use.PRETRAIN_CLOUDS, wrapped=True) for step in range(3)]
    assert [len(clouds) for clouds in drawn] == [2, 2, 2]
    assert set(np.concatenate(drawn)) == set(range(5))


def test_a_fit_can_start_from_an_encoder_and_be_resumed(tmp_path):
    settings = replace(SMALL, latent_init="encoder", epochs=16, matching="greedy", rematch=0, measure=1)
    clouds, checkpoint = population(4), tmp_path / "fit.checkpoint"
    stages = []
    whole = pcqaad.fit(clouds, settings, monitor=Monitor(lambda p: stages.append(p.stage)))
    order = list(dict.fromkeys(stages))
    assert order[order.index(Stage.PRETRAIN) :][:3] == [Stage.PRETRAIN, Stage.MATCH, Stage.FIT]
    assert whole.info["encoder"]["steps"] == 32
    fits = stages.count(Stage.FIT)
    assert fits == 24  # the other quarter of the steps is the encoder's

    def enough():
        return stages.count(Stage.FIT) > fits + 10

    with pytest.raises(pcqaad.Interrupted) as stopped:
        pcqaad.fit(
            clouds,
            settings,
            checkpoint=checkpoint,
            monitor=Monitor(lambda p: stages.append(p.stage), enough),
        )
    assert stopped.value.resumable
    resumed = pcqaad.fit(clouds, settings, checkpoint=checkpoint, resume=True)
    assert np.array_equal(whole.model.template, resumed.model.template)
    assert np.array_equal(whole.model.latents, resumed.model.latents)
    assert not np.array_equal(
        whole.model.latents, pcqaad.fit(clouds, replace(settings, latent_init="random")).model.latents
    )


def test_an_encoder_needs_a_latent_size_and_more_than_one_cloud():
    with pytest.raises(SettingsError, match="needs a latent size"):
        Settings(latent_init="encoder")
    with pytest.raises(SettingsError, match="batch is 1"):
        Settings(latent_init="encoder", latent=4, batch=1)
    with pytest.raises(SettingsError, match="pretrain is 1"):
        Settings(pretrain=1.0)
