"""The rate of a fit: it falls while the fit trains, whatever came before."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

import pcqaad
from pcqaad.decoder.module import Decoder
from pcqaad.points.fixed_point import Targets
from pcqaad.training.loop import train
from pcqaad.training.schedule import LAST_RATE, Schedule, fitting
from pcqaad.training.trainer import Trainer
from tests.generators import population


@pytest.mark.parametrize("prepared", [0.0, 40.0])
def test_the_rate_falls_from_its_whole_to_its_last_in_the_seconds_left(prepared):
    rng = np.random.default_rng(0)
    targets = Targets(np.empty((2, 32, 3), np.uint16))
    for i in range(2):
        targets.put(i, rng.random((32, 3)))
    settings = pcqaad.Settings(minutes=1, learning_rate=0.01, warmup=1, tune=0.0, sample=8)
    network = Decoder(torch.from_numpy(targets[0]), torch.zeros(2, 2), (4,), 4, 2, True)
    trainer = Trainer(network, targets, np.tile(np.arange(32, dtype=np.int32), (2, 1)), settings)
    seconds = itertools.count(prepared, 0.1)
    rates = []

    def note(_):
        rates.append(trainer.descent.rate)

    train(trainer, fitting(Schedule(settings, 2), prepared), lambda: next(seconds), pcqaad.Monitor(note))
    assert rates[0] == pytest.approx(0.01, rel=0.01)
    assert rates[-1] < 2 * LAST_RATE * 0.01
    assert all(a >= b for a, b in itertools.pairwise(rates))


def test_training_leaves_the_seconds_that_are_reserved():
    settings = pcqaad.Settings(minutes=1, tune=0.0)
    phase = fitting(Schedule(settings, 2, reserved=15), 5)
    assert phase.done(0, 44.9) < 1 <= phase.done(0, 45)
    # The rate has fallen by then.
    assert phase.rate_at(100, phase.done(100, 45)) == pytest.approx(LAST_RATE * settings.learning_rate)


def test_progress_counts_the_seconds_of_the_whole_fit():
    schedule = Schedule(pcqaad.Settings(minutes=1), 2, reserved=15)
    assert schedule.told(100, 45) == (45, 60, "seconds")


def test_a_phase_is_left_where_it_is_told_to_be():
    rng = itertools.count()
    phase = replace(fitting(Schedule(pcqaad.Settings(minutes=1), 2), 0), until=0.5)

    class Idle:
        step = 0

        def descend(self, rate):
            return {}

    train(idle := Idle(), phase, lambda: next(rng) / 2, pcqaad.monitor.SILENT)
    # The clock is asked twice a step.
    assert idle.step == 30


def test_epochs_end_a_fit_whatever_is_reserved():
    schedule = Schedule(pcqaad.Settings(epochs=10), 2, reserved=15)
    assert schedule.part(5, 1e9) == 0.5
    assert schedule.told(5, 1e9) == (5, 10, "steps")


def test_a_fit_of_minutes_is_whole_once_and_at_its_end():
    seen = []
    settings = pcqaad.Settings(minutes=0.03, rematch=0, measure=2, device="cpu")
    pcqaad.fit(population(4, 64), settings, monitor=pcqaad.Monitor(seen.append))
    first = next(i for i, progress in enumerate(seen) if progress.unit == "seconds")
    shares = [progress.done / progress.total for progress in seen[first:]]
    assert {progress.unit for progress in seen[first:]} == {"seconds"}
    assert shares[-1] == 1
    assert max(shares[:-1]) < 1
    assert all(a <= b for a, b in itertools.pairwise(shares))
