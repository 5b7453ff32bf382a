"""A collection larger than memory: clouds are read when they are needed, twice, and let go again."""

import tracemalloc
import weakref
from collections.abc import Sequence

import numpy as np
import pytest

import pcqaad
from pcqaad.formats.clouds.find import LazyClouds, find_clouds
from pcqaad.formats.clouds.write import write_clouds
from pcqaad.monitor import Monitor, Stage
from pcqaad.parallel import AHEAD
from pcqaad.points.collect import collect
from pcqaad.points.fixed_point import Targets
from tests.generators import population


class Alive:
    """Counts the arrays that it was shown and that something still holds."""

    def __init__(self):
        self.shown = self.now = self.most = 0

    def show(self, array):
        self.shown, self.now = self.shown + 1, self.now + 1
        self.most = max(self.most, self.now)
        weakref.finalize(array, self._gone)
        return array

    def _gone(self):
        self.now -= 1


class Drawn(Sequence):
    """Clouds that come into being when they are asked for."""

    def __init__(self, count, points):
        self.count, self.points, self.alive = count, points, Alive()

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        size = self.points + index % 3
        return self.alive.show(np.random.default_rng(index).standard_normal((size, 3)) * [1, 2, 3])


def test_clouds_are_read_twice_and_not_kept():
    drawn = Drawn(40, 50)
    collected = collect(drawn, None, None, 0)
    assert (len(collected.targets), collected.targets.points) == (40, 50)
    assert drawn.alive.shown == 2 * 40
    # The one that is read, and the one before.
    assert drawn.alive.most <= 2
    assert drawn.alive.now == 0


def test_what_collecting_takes_is_the_targets_and_a_few_clouds():
    drawn = Drawn(100, 5000)
    tracemalloc.start()
    try:
        collect(drawn, None, None, 0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    cloud = 24 * 5000
    assert peak < 100 * 5000 * 6 + 12 * cloud


@pytest.mark.parametrize("target", ["clouds", "clouds.npy", "clouds.h5"])
def test_files_are_read_cloud_by_cloud(target, tmp_path):
    """Of a single file too, each time a cloud is asked for."""
    drawn = [cloud.astype(np.float32) for cloud in np.random.default_rng(0).standard_normal((30, 4000, 3))]
    write_clouds(tmp_path / target, [f"x{i}" for i in range(30)], 4000, iter(drawn))
    clouds = LazyClouds(find_clouds([tmp_path / target]))
    assert len(clouds) == len(clouds[5:35]) + 5 == 30
    assert np.array_equal(clouds[0], drawn[0])  # and whatever reading imports is imported
    tracemalloc.start()
    try:
        for cloud, own in zip(clouds, drawn, strict=True):
            assert np.array_equal(cloud, own)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * drawn[0].nbytes


def test_lazy_clouds_are_fitted_as_a_list_is(tmp_path):
    files = []
    drawn = Drawn(6, 100)
    for i, clouds in enumerate((drawn, [drawn[j] for j in range(6)])):
        pcqaad.fit(clouds, pcqaad.Settings(epochs=3, device="cpu")).save(tmp_path / f"{i}.qaad")
        files.append((tmp_path / f"{i}.qaad").read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("matching", ["optimal", "greedy", "random"])
def test_a_fit_decodes_few_clouds_at_once(matching, monkeypatch, tmp_path):
    """Matching, training and the measurements of `save`: no more of the targets than there are workers, about."""
    alive, read = Alive(), Targets.__getitem__
    monkeypatch.setattr(Targets, "__getitem__", lambda self, cloud: alive.show(read(self, cloud)))
    monkeypatch.setattr("pcqaad.parallel.cores", lambda workers=None: workers or 2)
    settings = pcqaad.Settings(epochs=2, matching=matching, device="cpu")
    drawn = Drawn(40, 64)
    pcqaad.fit(drawn, settings).save(tmp_path / "x.qaad")
    assert drawn.alive.most <= 2
    assert alive.shown >= 40
    # The template stays, and one more is being let go.
    assert alive.most <= 2 + AHEAD + 2


def test_progress_is_told_cloud_by_cloud():
    told = []
    collect(population(), None, None, 0, Monitor(lambda p: told.append((p.stage, p.done))))
    assert told == [(stage, done) for stage in (Stage.READ, Stage.NORMALISE) for done in range(7)]


class Changing(Sequence):
    """Clouds, one of them another when it is read again."""

    def __init__(self, again):
        self.clouds, self.again, self.reads = population(), again, 0

    def __len__(self):
        return 6

    def __getitem__(self, index):
        self.reads += index == 4
        return self.again if self.reads == 2 else self.clouds[index]


@pytest.mark.parametrize(
    ("again", "problem"),
    [
        (np.zeros((255, 3)), "changed while the clouds were read"),
        (np.zeros((256, 3)), "changed while the clouds were read"),
        (np.full((256, 3), np.inf), "expected finite coordinates, found NaN or infinity"),
        (np.zeros((256, 2)), r"expected points of shape \(n, 3\), found \(256, 2\)"),
    ],
)
def test_a_cloud_that_changes_while_it_is_read_is_refused(again, problem):
    with pytest.raises(pcqaad.CloudError, match=f"^cloud_0004: {problem}$"):
        pcqaad.fit(Changing(again))


def test_a_cloud_from_another_world_is_refused():
    drawn = [*population(), population()[0] * np.float64(1e30)]
    with pytest.raises(pcqaad.CloudError, match=r"^cloud_0006: lies too far from the other clouds"):
        collect(drawn, None, None, 0)


def test_a_fingerprint_tells_collections_apart():
    drawn = population()
    other = [*drawn[:5], drawn[5] + [0, 0, 1]]
    found = {collect(x, None, n, 0).fingerprint for x in (drawn, other, drawn[::-1], list(drawn)) for n in (None, 200)}
    assert len(found) == 6
