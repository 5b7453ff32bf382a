"""Edges: sizes that no file holds and numbers that no float tells are refused in time and by name."""

import json
import math
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

import pcqaad
from pcqaad import devices
from pcqaad.bitstream.info import sampling
from pcqaad.bitstream.sections import to_sections
from pcqaad.errors import CloudError, SettingsError
from pcqaad.evaluation.verify import verify
from pcqaad.formats.container.source import FileSource
from pcqaad.formats.errors import FormatError
from pcqaad.monitor import Monitor, Stage
from pcqaad.points.collect import collect
from pcqaad.settings import Settings
from pcqaad.training.checkpoint import Checkpoint
from pcqaad.training.sizing import resolve
from tests.cli.commands import run
from tests.conftest import stop_in
from tests.generators import population
from tests.test_file import resection


@pytest.mark.parametrize(
    "choice",
    [
        {"shared": (8,) * 17},
        {"shared": (8, 16385)},
        {"shared": (8, 0)},
        {"shared": ()},
        {"patch": 16385},
        {"patches": 65536},
        {"latent": 65536},
        {"surface": 2**24 + 1},
        {"minutes": math.inf},
        {"minutes": math.nan},
        {"ratio": math.inf},
        {"max_emkd": math.nan},
        {"learning_rate": math.inf},
    ],
    ids=str,
)
def test_what_no_file_can_hold_is_refused_before_any_work(choice):
    ((name, _),) = choice.items()
    with pytest.raises(SettingsError, match=f"{name} is .*, expected"):
        Settings(**choice)


def test_a_model_larger_than_a_file_is_refused_before_it_is_trained():
    spectrum = np.ones(1)
    assert resolve(Settings(latent=60_000), 1000, 100, spectrum).latent == 60_000
    with pytest.raises(SettingsError, match="at most 67108864 latent numbers, found 120000000"):
        resolve(Settings(latent=60_000), 2000, 100, spectrum)
    with pytest.raises(SettingsError, match="at most 67108864 weights, found"):
        resolve(Settings(shared=(16384, 16384)), 2000, 100, spectrum)


def test_sections_that_no_reader_takes_are_not_made(fitted):
    shared = fitted.encoded.quantised.shared
    broken = SimpleNamespace(
        **{**vars(shared), "bits": shared.bits, "scales": (99,) * len(shared.scales), "points": shared.points}
    )
    with pytest.raises(pcqaad.SettingsError, match="a file cannot hold such a model: HEAD: expected scales up to"):
        to_sections(broken, fitted.encoded.quantised.latents, fitted.denormalisation, fitted.names, {})


def test_a_budget_below_any_file_is_refused_before_the_fit():
    seen = []
    with pytest.raises(pcqaad.GoalError, match="a file of 0 bytes cannot be made"):
        pcqaad.fit(population(3, 64), Settings(epochs=1, ratio=5000), monitor=Monitor(seen.append))
    assert {progress.stage for progress in seen} == {Stage.READ, Stage.NORMALISE}


def test_names_that_take_many_bytes_do_not_break_a_budget(tmp_path):
    # Written as JSON, a letter of these takes six bytes; the longest name is another.
    rng = np.random.default_rng(0)
    names = ["".join(map(chr, rng.integers(0x4E00, 0x9FFF, 80))) for _ in range(5)] + ["a" * 81]
    fitted = pcqaad.fit(population(6, 256), Settings(epochs=2, tune=0, max_bytes=7000, device="cpu"), names=names)
    fitted.save(tmp_path / "x.qaad")
    assert (tmp_path / "x.qaad").stat().st_size <= 7000


def test_far_from_the_origin_rounding_of_coordinates_is_not_that_of_the_model(tmp_path, caplog):

    def size_and_degradation(offset):
        clouds = [x.astype(np.float64) / 20 + offset for x in population(4, 512)]
        fitted = pcqaad.fit(clouds, Settings(epochs=8, tune=0, device="cpu"))
        fitted.save(tmp_path / "x.qaad")
        return (tmp_path / "x.qaad").stat().st_size, fitted.encoded.degradation

    near, degradation = size_and_degradation([0, 0, 0])
    assert degradation < 0.01
    assert not caplog.messages
    far, degradation = size_and_degradation([5e5, 5.4e6, 200])
    assert degradation < 0.01
    assert far < 1.2 * near
    (note,) = caplog.messages
    assert "decoded points are float32, and so far from the origin it is 0.5," in note


def test_threads_may_read_one_file(tmp_path):
    data = np.random.default_rng(0).bytes(1 << 12)
    (tmp_path / "x").write_bytes(data)
    source = FileSource(tmp_path / "x")
    file = source._file

    def read(length):
        time.sleep(1e-3)
        return file.read(length)

    # Time enough for another thread to move the file's position.
    source._file = SimpleNamespace(seek=file.seek, read=read, close=file.close)
    wrong = []

    def check(offset):
        if source.get_bytes(offset, 64) != data[offset : offset + 64]:
            wrong.append(offset)

    threads = [threading.Thread(target=check, args=(64 * i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    source.close()
    assert not wrong


def test_a_file_that_was_drawn_as_no_fit_draws_is_refused():
    assert sampling({}) == (0, None)
    assert sampling({"settings": {"seed": 3, "surface": 2**24}}) == (3, 2**24)
    with pytest.raises(FormatError, match="expected a seed of 0 or more, found -1"):
        sampling({"settings": {"seed": -1}})
    with pytest.raises(FormatError, match="expected a surface of at most 16777216 points, found 100000000000"):
        sampling({"settings": {"surface": 10**11}})


@pytest.mark.parametrize(
    "choice",
    [
        {"learning_rate": 1e4},
        {"learning_rate": 1e30},
        {"learning_rate": 1e30, "rematch": 0},
        {"learning_rate": 1e10, "rematch": 0, "reassign": True},
        {"learning_rate": 1e30, "criterion": "l1", "rematch": 0},
        {"learning_rate": 1e30, "latent_init": "encoder", "latent": 2, "epochs": 20},
    ],
    ids=str,
)
def test_a_fit_that_diverges_says_so(choice):
    with pytest.raises(pcqaad.DivergenceError, match="the fit diverged"):
        pcqaad.fit(population(3, 64), Settings(**{"epochs": 6, "warmup": 1, "device": "cpu"} | choice))


def test_coordinates_beyond_float32_are_refused_by_name():
    clouds = [x.astype(np.float64) for x in population(3, 64)]
    for scale in (1e38, 1e153):
        with pytest.raises(CloudError, match=r"b: expected coordinates of at most 4.25e\+37, found"):
            collect([clouds[0], clouds[1] * scale, clouds[2]], ["a", "b", "c"], None, 0)
    with pytest.raises(CloudError, match="c: lies too far from the other clouds"):
        collect([clouds[0], clouds[1], clouds[2] + 1e12], ["a", "b", "c"], None, 0)


@pytest.mark.parametrize("points", [0, -5, 2**24 + 1])
def test_a_number_of_points_that_is_none_is_refused(points):
    with pytest.raises(pcqaad.SettingsError, match=f"points is {points}, expected 1 to 16,777,216"):
        collect(population(2, 8), None, points, 0)


def test_an_unknown_device_is_refused():
    with pytest.raises(SettingsError, match="device is 'gpu', expected auto or cpu or cuda"):
        devices.choose("gpu")


def test_of_no_latents_there_are_no_clouds(fitted_file):
    with pcqaad.open(fitted_file) as collection:
        none = collection.latents[:0]
        assert collection.decoder("cpu")(none).shape == (0, 256, 3)
        import torch

        assert collection.module()(torch.from_numpy(none)).shape == (0, 256, 3)


@pytest.fixture
def interrupted(tmp_path):
    clouds, path = population(3, 64), tmp_path / "x.fitting"
    settings = Settings(epochs=20, device="cpu")
    with pytest.raises(pcqaad.Interrupted):
        pcqaad.fit(clouds, settings, checkpoint=path, **stop_in(Stage.FIT, 2))
    return collect(clouds, None, None, 0), settings, path


def test_a_resumed_fit_keeps_a_large_matching_in_a_file(interrupted, monkeypatch):
    collected, settings, path = interrupted
    small = Checkpoint.load(path, collected, settings).assignments
    monkeypatch.setattr(pcqaad.points.collect, "_IN_MEMORY", 0)
    large = Checkpoint.load(path, collected, settings).assignments
    assert isinstance(large.base, np.memmap)
    assert not isinstance(small.base, np.memmap)
    assert np.array_equal(small, large)
    assert np.array_equal(np.sort(large, 1), np.tile(np.arange(64), (3, 1)))


def test_what_is_no_checkpoint_is_named(interrupted):
    collected, settings, path = interrupted
    whole = path.read_bytes()
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(pcqaad.CheckpointError, match=r"x\.fitting: not a checkpoint that can be read"):
        Checkpoint.load(path, collected, settings)
    rng = np.random.default_rng(0)
    for _ in range(100):
        data = bytearray(whole)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        try:
            Checkpoint.load(path, collected, settings)
        except pcqaad.CheckpointError as error:
            assert str(path) in str(error)


# A second measurement gives the recorded figures.


def test_percent_is_of_the_diagonal_of_whole_clouds(tmp_path):
    """Of clouds that were subsampled too: the few points that are left span less."""
    clouds = list(np.random.default_rng(0).standard_normal((3, 3000, 3)))
    pcqaad.fit(clouds, Settings(epochs=2, device="cpu"), points=60).save(tmp_path / "x.qaad")
    with pcqaad.open(tmp_path / "x.qaad") as c:
        sources = [
            SimpleNamespace(name=name, read=lambda points=points: SimpleNamespace(points=points))
            for name, points in zip(c.names, clouds, strict=True)
        ]
        recorded, measured = (verify(c, references) for references in (None, sources))
    assert measured["diagonal"] == recorded["diagonal"]
    figures = [found["metrics"]["emkd"]["mean_percent"] for found in (recorded, measured)]
    assert figures[0] == pytest.approx(figures[1], 1e-3)


def test_more_pairs_to_rematch_a_step_than_there_are_are_all_of_them():
    pcqaad.fit(population(3, 33), Settings(epochs=2, rematch=10**12, device="cpu"))


# Info of another maker's.


def test_what_is_not_known_of_an_info_is_not_shown(fitted_file, tmp_path):
    """Keys of later versions, a record without what it need not hold, and metrics of another kind."""
    with pcqaad.open(fitted_file) as c:
        known = c.info["fidelity"]
    few = {key: known[key] for key in ("metric", "cell", "measured", "mean", "mean_percent", "worst")}
    strange = {"per_cloud": 3, "psnr": "x", "clouds": 7, "later": [1]}
    for fidelity, shown in (
        (few, few),
        (known | strange, known),
        (known | {"metric": "emd"}, {}),
        (known | {"metric": "foo"}, {}),
    ):
        path = tmp_path / "x.qaad"
        info = {"fidelity": fidelity, "appended": [fidelity | {"clouds": 1}]}
        path.write_bytes(resection(fitted_file.read_bytes(), info=json.dumps(info).encode()))
        with pcqaad.open(path) as c:
            assert c.info["fidelity"] == shown
            assert len(c.info["appended"]) == bool(shown)
        for command in (["info", path], ["verify", path], ["verify", path, "--report", tmp_path / "x.html"]):
            assert run(*command).exit_code == 0
