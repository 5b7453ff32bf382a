"""Every path for GPUs, on one that is pretended: no tensor lies in the wrong place, and the numbers are the CPU's."""

import numpy as np
import pytest
import torch

import pcqaad
from benchmarks.baselines.atlasnet import AtlasNet, AtlasNetArchitecture
from benchmarks.baselines.completion_networks import DECODERS
from benchmarks.baselines.completion_training import Completer, Training
from pcqaad.distillation.bilevel import Plan
from pcqaad.distillation.learn import learn_weighting
from pcqaad.evaluation.metrics import measure
from pcqaad.losses.criteria import criterion
from pcqaad.losses.names import CRITERIA
from pcqaad.matching.assign import match_many
from pcqaad.matching.gpu.auction import batched
from pcqaad.matching.solvers import certified
from pcqaad.monitor import Stage
from pcqaad.points.collect import collect
from pcqaad.settings import Settings
from pcqaad.training.loop import train
from pcqaad.training.pretrain import ChamferTrainer
from pcqaad.training.schedule import Schedule, pretraining
from tests.conftest import stop_in
from tests.generators import population
from tests.pretend import GPU, NAME, marked, pretend_cuda
from tests.surface_files import surface_file, surface_model

POINTS = 64
TINY = Settings(epochs=6, sample=32, batch=2, patches=2, shared=(8,), patch=4, latent=3, rematch=0, measure=2)


@pytest.fixture(scope="module")
def clouds():
    return population(5, POINTS)


@pytest.fixture(scope="module")
def file(clouds, tmp_path_factory):
    path = tmp_path_factory.mktemp("pretended") / "x.qaad"
    pcqaad.fit(clouds[:3], TINY).save(path)
    return path


def test_the_pretended_gpu_is_as_strict_as_one():
    with pretend_cuda():
        there, here = torch.zeros(3, device="cuda"), torch.ones(3)
        assert torch.cuda.is_available() and there.is_cuda and not there.cpu().is_cuda
        assert (there + 1)[here.long()].device == GPU == torch.nn.Linear(3, 2).to("cuda")(there).device
        for mix in (lambda: there + here, lambda: here[there.long()], lambda: torch.cat([here, there])):
            with pytest.raises(RuntimeError, match="tensors on the CPU and on the GPU"):
                mix()
        for taken in (there.numpy, lambda: np.asarray(there)):
            with pytest.raises(TypeError, match="on a GPU into an array"):
                taken()
    assert not torch.cuda.is_available()


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"matching": "greedy", "residual": False, "schedule": "constant"},
        {"criterion": "landau"},
        {"criterion": "augmented"},
        {"latent_init": "encoder", "matching": "random"},
    ],
    ids=str,
)
def test_a_fit_is_that_of_the_cpu(clouds, choices):
    settings = {**TINY.as_json(), **choices}
    here = pcqaad.fit(clouds[:3], Settings(**{**settings, "device": "cpu"}))
    with pretend_cuda():
        there = pcqaad.fit(clouds[:3], Settings(**{**settings, "device": "cuda"}))
    assert there.info["encoder"]["device"] == NAME
    for name, weights in here.model.weights.items():
        np.testing.assert_allclose(there.model.weights[name], weights, rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(there.model.latents, here.model.latents, rtol=1e-2, atol=1e-3)


def test_swaps_and_matching_while_a_fit_trains(clouds, tmp_path):
    settings = Settings(**{**TINY.as_json(), "device": "cuda", "reassign": True, "rematch": 64})
    checkpoint = tmp_path / "checkpoint"
    with pretend_cuda():
        whole = pcqaad.fit(clouds[:3], settings).model
        with pytest.raises(pcqaad.Interrupted):
            pcqaad.fit(clouds[:3], settings, checkpoint=checkpoint, **stop_in(Stage.FIT, 5))
        again = pcqaad.fit(clouds[:3], settings, checkpoint=checkpoint, resume=True).model
    assert np.isfinite(whole.template).all()
    np.testing.assert_array_equal(whole.latents, again.latents)


def test_decoding(file):
    with pretend_cuda(), pcqaad.open(file) as c:
        latents = torch.from_numpy(c.latents).cuda()
        points = c.decoder("cuda")(latents)
        assert points.is_cuda
        assert points.cpu().numpy().tobytes() == np.stack(list(c)).tobytes()
        module, moved = c.module().cuda(), latents.requires_grad_()
        module(moved).square().sum().backward()
        assert moved.grad.is_cuda


def test_decoding_of_a_surface():
    with pretend_cuda(), pcqaad.Collection(surface_file(surface_model(0))) as c:
        points = c.decoder("cuda")(torch.from_numpy(c.latents).cuda())
        assert points.is_cuda
        assert points.cpu().numpy().tobytes() == c[:].tobytes()


def test_new_clouds_and_partial_ones(clouds, file):
    def both(device):
        with pcqaad.open(file) as c:
            grown = pcqaad.append(c, clouds[3:], names=["a", "b"], steps=12, device=device)
            whole = pcqaad.complete(c, [clouds[0][:20]], steps=6, device=device)
            return grown.record["mean"], whole[0].points

    here = both("cpu")
    with pretend_cuda():
        there = both("cuda")
    np.testing.assert_allclose(here[0], there[0], rtol=1e-2)
    np.testing.assert_allclose(here[1], there[1], atol=1e-2 * np.abs(here[1]).max())


def test_matching_there(clouds):
    pairs = [(clouds[0], clouds[1]), (clouds[2], clouds[3])]
    with pretend_cuda(solving=True):
        there = list(match_many(pairs, 16, 1, batched("cuda")))
        errors = measure(pairs, ("emkd",), cell=16, device="cuda")["emkd"]
    here = match_many(pairs, 16, 1, certified)
    for a, b, error in zip(here, there, errors, strict=True):
        assert b.cost == pytest.approx(a.cost, rel=2e-3)
        assert error.sum == pytest.approx(b.cost)


@pytest.mark.parametrize("name", CRITERIA)
def test_losses(name):
    a, b = torch.rand(2, 2, 20, 3, generator=torch.Generator().manual_seed(0)).unbind()
    here = criterion(name)(a, b)
    with pretend_cuda():
        moved = a.cuda().requires_grad_()
        there = criterion(name)(moved, b.cuda())
        there.backward()
        assert moved.grad.is_cuda
    assert float(there.detach()) == pytest.approx(float(here), rel=1e-5)


def test_other_networks(clouds):
    targets = collect(clouds, None, None, 0).targets
    with pretend_cuda():
        net = AtlasNet(AtlasNetArchitecture(3, 2, 16), targets.points).to("cuda")
        trainer = ChamferTrainer(net, targets, TINY, torch.device("cuda"))
        train(trainer, pretraining(Schedule(TINY, len(targets))), lambda: 0.0, pcqaad.Monitor())
        assert marked(trainer.embed())
        for decoder in DECODERS:
            completer = Completer(decoder, [(x[:20], x) for x in clouds], 16, device="cuda")
            completer.train(criterion("l1"), Training(2, batch=2))
            assert completer.complete([clouds[0][:20]])[0].shape == (POINTS, 3)


def test_a_weighting_is_learned_there():
    clouds, plan = population(2, 512), Plan(rounds=1)
    here = learn_weighting(clouds, "gumbel", plan=plan, judge="l1", device="cpu")["parameters"]
    with pretend_cuda():
        there = learn_weighting(clouds, "gumbel", plan=plan, judge="l1", device="cuda")["parameters"]
    assert there == pytest.approx(here, rel=1e-3)
