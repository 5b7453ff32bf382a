"""Quantising within a time: what it leaves out, and that it leaves nothing out where nothing ends it."""

import math
from dataclasses import replace

import numpy as np
import pytest

import pcqaad
from pcqaad.bitstream.sections import to_sections
from pcqaad.formats.container.container import pack
from pcqaad.monitor import SILENT, Stage
from pcqaad.parallel import slowdown
from pcqaad.points.collect import collect
from pcqaad.quantisation import choice
from pcqaad.quantisation.clock import Clock, Step
from pcqaad.quantisation.evaluator import Evaluator
from tests.generators import population


@pytest.fixture(scope="module")
def fitted():
    settings = pcqaad.Settings(epochs=20, rematch=0, components=False, measure=4, device="cpu")
    return pcqaad.fit(population(16, 128), settings)


def encoded(fitted, clock):
    """Return what is made of a fitted network in a time, and how often clouds were measured."""
    seen = []
    collected = collect(population(16, 128), None, None, 0)
    evaluator = Evaluator(collected, 4, pcqaad.Monitor(seen.append), clock=clock)
    size = bytes_of(evaluator)
    found = choice.encode(fitted.model, evaluator, pcqaad.Settings(), lambda: None, None, size)
    return evaluator, found, sum(progress.stage is Stage.QUANTISE for progress in seen)


def bytes_of(evaluator):
    names = evaluator.clouds.names
    return lambda q: len(pack(to_sections(q.shared, q.latents, evaluator.denormalisation, names, {})))


def test_a_time_that_is_over_leaves_out_what_may_be_left_out(fitted):
    _, plain, all_measured = encoded(fitted, Clock())
    evaluator, hurried, measured = encoded(fitted, Clock(lambda: -1.0))
    assert measured < all_measured
    # The tolerance is kept all the same, by the network alone.
    assert hurried.degradation <= pcqaad.Settings().tolerance
    assert hurried.quantised.shared.components is None
    size = bytes_of(evaluator)
    assert size(hurried.quantised) >= size(plain.quantised)
    record = evaluator.fidelity(hurried.quantised, hurried.degradation, hurried.errors)
    assert 8 <= record["measured"] < 16


def test_a_long_time_changes_nothing(fitted):
    (evaluator, plain, _), (_, timed, _) = (encoded(fitted, clock) for clock in (Clock(), Clock(lambda: 1e9)))
    assert timed.lambda_ == plain.lambda_
    assert np.array_equal(timed.quantised.latents, plain.quantised.latents)
    assert evaluator.fidelity(timed.quantised, 0.0, {})["measured"] == 16


def test_a_clock_holds_what_took_less():
    clock = Clock(lambda: 10.0)
    assert clock.holds({Step.WHOLE: 100})
    clock.note(Step.WHOLE, 2.0)
    clock.note(Step.RECORD, 0.5)
    assert clock.takes({Step.WHOLE: 2, Step.RECORD: 4}) == 6.0
    assert clock.holds({Step.WHOLE: 2, Step.RECORD: 4})
    assert not clock.holds({Step.WHOLE: 4, Step.RECORD: 4})
    assert Clock().left() == math.inf


def test_a_record_of_large_clouds_holds_fewer_of_them():
    evaluator = Evaluator(collect(population(16, 128), None, None, 0), 4, SILENT)
    assert evaluator.to_come() == {Step.RECORD: 12}
    evaluator.clock.most_recorded = 10
    # Those that have the last word among them, and known.
    assert evaluator.to_come()[Step.RECORD] < 12
    assert replace(evaluator, promised=True).to_come() == {Step.RECORD: 12}


def test_a_machine_is_never_quicker_than_when_it_is_idle():
    assert slowdown(0.01) >= 1
