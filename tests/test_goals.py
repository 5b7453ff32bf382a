"""What a fit is asked for, it keeps: a tolerance, a size, or an error."""

import json
import re

import numpy as np
import pytest

import pcqaad
from pcqaad.cli.commands.compress import Bytes
from pcqaad.errors import SettingsError
from pcqaad.settings import Settings
from pcqaad.training.sizing import resolve
from tests.cli.commands import run
from tests.generators import population

POINTS = 256


@pytest.fixture(scope="module")
def clouds():
    return population(4, POINTS)


def fitted(clouds, path, **choices):
    pcqaad.fit(clouds, Settings(**{"epochs": 12, "device": "cpu", **choices})).save(path)
    with pcqaad.open(path) as file:
        return path.stat().st_size, file.info


@pytest.mark.parametrize("limit", [2000, 8000])
def test_a_budget_of_bytes_is_filled_and_never_exceeded(clouds, tmp_path, limit):
    size, info = fitted(clouds, tmp_path / "x.qaad", max_bytes=limit, components=False)
    # Step sizes come in leaps.
    assert 0.93 * limit <= size <= limit
    assert info["settings"]["max_bytes"] == limit


@pytest.mark.parametrize("limit", [2000, 8000])
def test_components_never_make_a_budget_s_error_larger(clouds, tmp_path, limit):
    (_, without), (size, info) = (
        fitted(clouds, tmp_path / "x.qaad", max_bytes=limit, components=components) for components in (False, True)
    )
    assert size <= limit
    assert info["fidelity"]["mean"] <= 1.001 * without["fidelity"]["mean"]


def test_a_ratio_is_a_budget(clouds, tmp_path):
    size, info = fitted(clouds, tmp_path / "x.qaad", ratio=3)
    assert 3 <= info["ratio"] <= 3 / 0.95
    assert size <= 4 * POINTS * 12 / 3


def test_more_bytes_make_wider_networks():
    spectrum = np.r_[np.full(10, 10.0), np.ones(90)]
    sizes = [resolve(Settings(max_bytes=n), 64, 16384, spectrum) for n in (10_000, 60_000, 150_000, 400_000)]
    widths = [s.shared for s in sizes]
    assert all(a is not None and b is not None and a < b for a, b in zip(widths, widths[1:], strict=False))
    # A width that is asked for stays.
    assert resolve(Settings(max_bytes=10_000, shared=(64,), patch=8), 64, 16384, spectrum).shared == (64,)


def test_a_budget_that_no_file_keeps_is_refused(clouds, tmp_path):
    with pytest.raises(
        pcqaad.GoalError, match=r"a file of 300 bytes cannot be made: the coarsest step sizes take [0-9,]+;"
    ):
        fitted(clouds, tmp_path / "x.qaad", max_bytes=300, epochs=2)
    assert list(tmp_path.iterdir()) == []


def test_an_error_is_reached_by_a_smaller_file_the_larger_it_may_be(clouds, tmp_path):
    sizes = []
    for wanted in (20.0, 30.0):
        size, info = fitted(clouds, tmp_path / "x.qaad", max_emkd=wanted)
        assert info["fidelity"]["mean_percent"] <= wanted
        sizes.append(size)
    assert sizes[1] < sizes[0]


def test_an_error_far_above_the_fit_s_is_said_to_leave_room(clouds, tmp_path, caplog):
    pcqaad.fit(clouds, Settings(epochs=2, max_emkd=90, device="cpu"))
    assert any(
        re.match(r"the fit reaches [0-9.]+ %, far below 90 %: a smaller network, as max_bytes makes one", text)
        for text in caplog.messages
    )


def test_an_error_in_percent_of_nothing_is_refused():
    with pytest.raises(pcqaad.GoalError, match="expected clouds that have one, found one point each"):
        pcqaad.fit([np.zeros((4, 3))] * 2, Settings(epochs=2, max_emkd=1, device="cpu"))


def test_an_error_below_that_of_the_float_model_is_reached_by_tuning(clouds, tmp_path):
    # At a constant rate the model is not at rest when its training ends; tuning brings it there.
    restless = {"schedule": "constant", "learning_rate": 0.01, "epochs": 40, "tune": 0.3}
    _, info = fitted(clouds, tmp_path / "x.qaad", **restless)
    found = info["fidelity"]
    floats = found["mean_percent"] / (1 + found["rise"])
    wanted = 0.98 * floats
    _, info = fitted(clouds, tmp_path / "x.qaad", max_emkd=wanted, **restless)
    assert info["fidelity"]["mean_percent"] <= wanted < floats


def test_an_error_that_is_not_reached_is_said_and_the_fit_can_go_on(clouds, tmp_path):
    checkpoint = tmp_path / "x.checkpoint"
    with pytest.raises(pcqaad.GoalError, match=r"an EM-kD of 0.001 % was not reached: the fit ended at [0-9.]+ %"):
        pcqaad.fit(clouds, Settings(epochs=2, max_emkd=0.001, device="cpu"), checkpoint=checkpoint)
    assert checkpoint.exists()


def test_goals_exclude_each_other():
    with pytest.raises(SettingsError, match="max_bytes and ratio cannot both be asked for"):
        Settings(max_bytes=1000, ratio=3)
    with pytest.raises(SettingsError, match="max_emkd is -1, expected more than 0"):
        Settings(max_emkd=-1)


@pytest.mark.parametrize(
    ("text", "count"), [("200000", 200_000), ("200kB", 200_000), ("1.5 MB", 1_500_000), ("2G", 2 * 10**9)]
)
def test_sizes_are_read_as_files_are_listed(text, count):
    assert Bytes().convert(text, None, None) == count


def test_compress_keeps_to_a_size_and_refuses_what_is_none(clouds, tmp_path):
    np.save(tmp_path / "c.npy", np.stack(clouds))
    target = tmp_path / "x.qaad"
    result = run("compress", tmp_path / "c.npy", "-o", target, "--max-bytes", "3kB", "--epochs", 2, "--json")
    assert result.exit_code == 0, result.stderr
    assert 2850 <= json.loads(result.stdout)["bytes"]["file"] == target.stat().st_size <= 3000
    assert run("compress", tmp_path / "c.npy", "-o", target, "--max-bytes", "much", "--overwrite").exit_code == 2
    both = run("compress", tmp_path / "c.npy", "-o", target, "--overwrite", "--max-bytes", "5kB", "--ratio", 3)
    assert (both.exit_code, both.stdout) == (2, "")
    assert "max_bytes and ratio cannot both be asked for" in both.stderr
