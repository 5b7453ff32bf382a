"""Matching by way of intermediates: paths lead from the template to every cloud, and help where shapes are far."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcqaad.errors import Interrupted
from pcqaad.matching.intermediates import generations, parents
from pcqaad.monitor import SILENT, Monitor
from pcqaad.points.fixed_point import Targets
from pcqaad.settings import Settings
from pcqaad.training.start import first_matching

POINTS = 1024


def rods(angles, seed=0):
    """Return a thin rod (N, M, 3) turned by angles, row by row the same points."""
    rng = np.random.default_rng(seed)
    rod = rng.normal(size=(POINTS, 3)) * (1.2, 0.1, 0.1)
    turns = [np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) for a in np.radians(angles)]
    return np.stack([rod @ turn.T for turn in turns]).astype(np.float32)


def chosen(clouds, intermediates=64, monitor=SILENT):
    template, half = clouds[0], POINTS // 2
    rng = np.random.default_rng(1)
    mixed = np.stack([x[rng.permutation(POINTS)] for x in clouds])
    return parents(template[:half], mixed[:, :half], mixed[:, half:], intermediates, 0, monitor)


def test_near_clouds_are_matched_to_the_template_itself():
    assert (chosen(rods([0, 2, 4, 6, 8])) == -1).all()


def test_far_ones_by_way_of_intermediates():
    found = chosen(rods([0, 20, 40, 60, 80, 100]))
    assert found[0] == -1
    path = [5]
    while found[path[-1]] >= 0:
        path.append(int(found[path[-1]]))
    assert len(path) >= 3 and path == sorted(path, reverse=True)
    assert (chosen(rods([0, 20, 40, 60, 80, 100]), intermediates=0) == -1).all()


@pytest.mark.parametrize("intermediates", [1, 3])
def test_few_intermediates_serve_all(intermediates):
    found = chosen(rods(range(0, 100, 12)), intermediates)
    used = set(found[found >= 0].tolist())
    assert len(used) <= intermediates
    assert sum(map(len, generations(found))) == len(found)


def test_it_stops_when_asked_to():
    asked = []
    with pytest.raises(Interrupted):
        chosen(rods([0, 50, 100]), monitor=Monitor(should_stop=lambda: asked.append(0) or len(asked) == 5))
    assert len(asked) == 5


@given(st.lists(st.integers(-1, 50), min_size=1, max_size=30))
def test_everyone_comes_after_its_parent_and_once(drawn):
    # Any forest: the parent of a cloud is one before it, and then all are shuffled.
    forest = np.array([min(parent, i - 1) for i, parent in enumerate(drawn)])
    names = np.random.default_rng(len(drawn)).permutation(len(drawn))
    shuffled = np.full(len(drawn), -1)
    shuffled[names] = np.where(forest >= 0, names[forest], -1)
    order = generations(shuffled)
    place = {cloud: i for i, together in enumerate(order) for cloud in together}
    assert sorted(place) == list(range(len(drawn)))
    assert all(parent == -1 or place[parent] < place[cloud] for cloud, parent in enumerate(shuffled.tolist()))


def test_partners_are_near_the_true_ones_where_the_template_alone_finds_others():
    turned = rods(range(0, 91, 9))
    targets, rng = Targets(np.empty((*turned.shape[:2], 3), np.uint16)), np.random.default_rng(2)
    shuffles = [rng.permutation(POINTS) for _ in turned]
    for i, (cloud, shuffle) in enumerate(zip(turned, shuffles, strict=True)):
        targets.put(i, cloud[shuffle])

    def astray(intermediates):
        done = []
        found = first_matching(
            turned[0], targets, Settings(intermediates=intermediates), Monitor(lambda p: done.append(p.done))
        )
        assert [n for n in done if n] == list(range(1, len(turned) + 1))
        rod = turned[0]
        return np.mean([np.linalg.norm(rod[s[f]] - rod, axis=1).mean() for s, f in zip(shuffles, found, strict=True)])

    assert astray(64) < 0.2 * astray(0)
