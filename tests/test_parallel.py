"""Work on all cores, in order; a limit that holds for every library and ends with its block."""

import os

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from pcqaad import devices
from pcqaad.errors import SettingsError
from pcqaad.evaluation.metrics import emkd
from pcqaad.parallel import AHEAD, cores, in_parallel, limit


def test_in_parallel_keeps_order_and_passes_errors_on():
    assert list(in_parallel(lambda x: x * x, range(50), 3)) == [x * x for x in range(50)]
    with pytest.raises(ZeroDivisionError):
        list(in_parallel(lambda x: 1 / x, [1, 0], 2))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_in_parallel_takes_no_more_items_than_it_needs(workers):
    taken = 0

    def items():
        nonlocal taken
        while taken < 40:
            taken += 1
            yield taken

    for done, result in enumerate(in_parallel(lambda x: x, items(), workers)):
        assert result == done + 1
        assert taken - done <= workers + AHEAD
    assert taken == 40


@pytest.fixture
def four_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4), raising=False)


def blas():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.mark.usefixtures("four_cores")
def test_a_limit_holds_for_all_libraries_and_ends_with_its_block():
    before = blas(), torch.get_num_threads()
    with limit(3):
        assert (cores(8), cores(2), cores()) == (3, 2, 3)
        assert (blas(), torch.get_num_threads()) == ({3}, 3)
        for inner in (5, None):
            with limit(inner):
                assert cores(8) == 3 and blas() == {3}
        with limit(1):
            assert cores() == cores(8) == 1 and blas() == {1}
        with pytest.raises(ZeroDivisionError), limit(1):
            _ = 1 / 0
        assert blas() == {3}
    assert cores(8) == 8 and (blas(), torch.get_num_threads()) == before


def test_a_limit_gives_no_more_threads_than_there_are_cores():
    most = cores()
    with limit(64):
        assert cores() == most and max(blas()) <= most


@pytest.mark.usefixtures("four_cores")
def test_torch_loaded_later_is_held_to_the_limit():
    before = torch.get_num_threads()
    with limit(2):
        torch.set_num_threads(4)  # as if it had just been loaded
        devices.choose("cpu")
        assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_no_limit_is_below_one():
    with pytest.raises(SettingsError, match="at least 1 thread, found 0"), limit(0):
        pass


def test_results_do_not_depend_on_the_limit():
    a, b = np.random.default_rng(0).random((2, 900, 3))
    with limit(1):
        alone = emkd(a, b, 100)
    with limit(3):
        assert emkd(a, b, 100, workers=3) == alone


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux alone")
def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 8})
    assert cores() == 3
    with limit(2):
        assert cores() == 2
