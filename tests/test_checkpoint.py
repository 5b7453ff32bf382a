"""Checkpoints that are archives of the right kind and hold the wrong things are refused by one line."""

import json

import numpy as np
import pytest
import torch

import pcqaad
from pcqaad.monitor import SILENT, Stage
from pcqaad.points.collect import collect
from pcqaad.training.checkpoint import Checkpoint
from pcqaad.training.run import Run
from tests.conftest import stop_in
from tests.generators import population

SETTINGS = pcqaad.Settings(epochs=20, latent=2, patches=2, device="cpu")


@pytest.fixture
def interrupted(tmp_path):
    """Return the arrays of a checkpoint that a fit left behind, and its path."""
    path = tmp_path / "x.checkpoint"
    with pytest.raises(pcqaad.Interrupted):
        pcqaad.fit(population(4, 64), SETTINGS, checkpoint=path, **stop_in(Stage.FIT, 5))
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}, path


def header(**changes):
    def change(arrays):
        made = {**json.loads(str(arrays["header"])), **changes}
        return {**arrays, "header": np.array(json.dumps({k: v for k, v in made.items() if v is not ...}))}

    return change


def array(name, change):
    return lambda arrays: {**arrays, name: change(arrays[name])}


def without(name):
    return lambda arrays: {k: v for k, v in arrays.items() if k != name}


def repeated(assignments):
    changed = assignments.copy()
    changed[1, 3] = changed[1, 4]
    return changed


ATTACKS = {
    "no settings": header(settings=...),
    "settings that are none": header(settings=3),
    "a step that is none": header(step="many"),
    "a step below 0": header(step=-1),
    "seconds that are none": header(elapsed=None),
    "seconds without end": header(elapsed=float("inf")),
    "another header": lambda arrays: {**arrays, "header": np.array("[]")},
    "no header": without("header"),
    "no assignments": without("assignments"),
    "a point assigned twice": array("assignments", repeated),
    "a point beyond the cloud": array("assignments", lambda a: np.where(a == 5, 64, a).astype(np.int32)),
    "a point before the cloud": array("assignments", lambda a: np.where(a == 5, -1, a).astype(np.int32)),
    "assignments of floats": array("assignments", lambda a: a.astype(np.float32)),
    "weights that are no numbers": array("array network template", lambda a: a * np.nan),
    "weights of integers": array("array network template", lambda a: a.astype(np.int64)),
    "weights of another shape": array("array network template", lambda a: a[1:]),
    "latents without a size": array("array network latents", lambda a: a[0]),
    "no template": without("array network template"),
    "an average of another shape": array("array descent 0 exp_avg", lambda a: a[:1]),
    "an average left out": without("array descent 0 exp_avg_sq"),
    "an average of no parameter": lambda arrays: {**arrays, "array descent x y": arrays["array descent 0 exp_avg"]},
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_checkpoint_of_wrong_content_is_refused(interrupted, name):
    arrays, path = interrupted
    with path.open("wb") as file:
        np.savez(file, **ATTACKS[name](arrays))
    with pytest.raises(pcqaad.CheckpointError, match=r"x\.checkpoint: \w"):
        Run(SETTINGS, torch.device("cpu"), path, True, SILENT).train(collect(population(4, 64), None, None, 0))


def test_a_checkpoint_as_it_was_left_is_loaded(interrupted):
    _, path = interrupted
    found = Checkpoint.load(path, collect(population(4, 64), None, None, 0), SETTINGS)
    assert found.step == 5
