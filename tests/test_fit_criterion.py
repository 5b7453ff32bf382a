"""Fits by losses of nearest neighbours: as reproducible as those by assignment, and measured alike."""

import re

import numpy as np
import pytest
import torch

import pcqaad
from pcqaad.errors import SettingsError
from pcqaad.losses.criteria import criterion
from pcqaad.monitor import SILENT, Monitor, Stage
from pcqaad.points.collect import collect
from pcqaad.quantisation.evaluator import Evaluator
from pcqaad.settings import Settings
from pcqaad.training.trainer import decode
from tests.cli.commands import QUICK, run
from tests.conftest import stop_in
from tests.generators import population

QUICKLY = {"epochs": 8, "latent": 3, "device": "cpu", "measure": 2}


@pytest.fixture(scope="module")
def clouds():
    return population(4, 128)


def test_an_interrupted_fit_goes_on_to_the_same_bytes(clouds, tmp_path):
    settings = Settings(**QUICKLY, criterion="hyper:alpha=2")
    fits = [pcqaad.fit(clouds, settings)]
    checkpoint = tmp_path / "x.checkpoint"
    with pytest.raises(pcqaad.Interrupted):
        pcqaad.fit(clouds, settings, checkpoint=checkpoint, **stop_in(Stage.FIT, 3))
    with pytest.raises(pcqaad.CheckpointError, match=r"other settings \(criterion hyper:alpha=2\)"):
        pcqaad.fit(clouds, Settings(**QUICKLY), checkpoint=checkpoint, resume=True)
    fits.append(pcqaad.fit(clouds, settings, checkpoint=checkpoint, resume=True))
    for i, fitted in enumerate(fits):
        fitted.save(tmp_path / f"{i}.qaad")
    assert (tmp_path / "0.qaad").read_bytes() == (tmp_path / "1.qaad").read_bytes()
    with pcqaad.open(tmp_path / "0.qaad") as collection:
        assert collection.info["settings"]["criterion"] == "hyper:alpha=2"
        recorded = collection.info["fidelity"]["mean"]
        errors = [pcqaad.emkd(a, b).mean for a, b in zip(clouds, collection, strict=True)]
        assert recorded == pytest.approx(np.mean(errors), rel=1e-3)


@pytest.mark.parametrize("name", ["augmented", "landau"])
def test_a_fit_lowers_what_it_is_asked_to(clouds, name):
    seen = []

    def see(progress):
        if progress.stage is Stage.FIT:
            seen.append(progress.figures["loss"])

    settings = Settings(**{**QUICKLY, "epochs": 80}, criterion=name, learning_rate=2e-3)
    fitted = pcqaad.fit(clouds, settings, monitor=Monitor(see))
    assert np.mean(seen[-5:]) < 0.8 * np.mean(seen[:5])
    # The network's clouds are near to the originals.
    collected = collect(clouds, None, None, 0)
    floats = Evaluator(collected, 1, SILENT).floats(fitted.model)
    decoded = torch.from_numpy(np.stack([floats(i) for i in range(4)])).float()
    same = torch.from_numpy(np.stack(list(collected.targets)))
    template = torch.from_numpy(fitted.model.template)[None].repeat(4, 1, 1)
    loss = criterion(name)
    # As far as two samplings of a surface allow.
    assert loss(decoded, same) < 0.85 * loss(template, same)


def test_the_loss_is_of_the_decoded_points_and_as_many_others(clouds, monkeypatch):
    from pcqaad.training import trainer

    given = []

    def spy(name, **parameters):
        real = criterion(name, **parameters)

        def called(predicted, target):
            given.append((predicted.detach().clone(), target))
            return real(predicted, target)

        return called

    monkeypatch.setattr(trainer, "criterion", spy)
    before = []
    original = trainer.Trainer._train_step

    def step(self, rate):
        before.append(list(decode(self.network, [0, 1, 2, 3])))
        return original(self, rate)

    monkeypatch.setattr(trainer.Trainer, "_train_step", step)
    pcqaad.fit(clouds, Settings(**{**QUICKLY, "epochs": 3}, criterion="l2", tune=0, sample=50, patches=3))
    assert len(given) == 3
    targets = [{tuple(point) for point in cloud.tolist()} for cloud in collect(clouds, None, None, 0).targets]
    drawn = []
    for (predicted, target), decoded in zip(given, before, strict=True):
        assert predicted.shape == target.shape == (4, 48, 3)
        drawn.append({tuple(point) for point in target.reshape(-1, 3).tolist()})
        for cloud, compared in zip(predicted, target, strict=True):
            # Each with points of its own cloud: they come in an order drawn for the step.
            own = [tuple(point) for point in compared.tolist()]
            (of,) = [i for i, points in enumerate(targets) if points.issuperset(own)]
            assert len(set(own)) == 48
            apart = np.abs(cloud.numpy()[:, None] - decoded[of][None]).max(2).min(1)
            assert apart.max() < 1e-5
    assert drawn[0] != drawn[1] != drawn[2]


def test_a_criterion_is_named_with_its_parameters():
    assert Settings(criterion="weibull:scale=4").as_json()["criterion"] == "weibull:scale=4"
    with pytest.raises(SettingsError, match="unknown criterion 'emd', expected one of l1,"):
        Settings(criterion="emd")
    with pytest.raises(SettingsError, match="criterion hyper: alpha is -1, expected more than 0"):
        Settings(criterion="hyper:alpha=-1")


def test_the_command_takes_it_and_info_shows_it(clouds, tmp_path):
    np.save(tmp_path / "clouds.npy", np.stack(clouds))
    file = tmp_path / "x.qaad"
    quick = [a if a != "256" else "64" for a in QUICK]
    result = run("compress", tmp_path / "clouds.npy", "-o", file, *quick, "--criterion", "landau-released")
    assert result.exit_code == 0, result.output
    assert re.search(r"^  criterion +landau-released$", run("info", file).stdout, re.MULTILINE)
