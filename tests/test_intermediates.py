"""Matching by way of intermediates: paths lead from the template to every cloud, and help where shapes are far."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcqaad.errors import Interrupted
from pcqaad.matching.intermediates import cells, generations, parents
from pcqaad.monitor import Monitor
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


def chosen(clouds, intermediates=64, check=lambda: None, near=None):
    of_clouds = np.stack([cells(cloud) for cloud in clouds])
    return parents(of_clouds[0], of_clouds, intermediates, 0, check, near)


def path(parents, cloud):
    found = [cloud]
    while parents[found[-1]] >= 0:
        found.append(int(parents[found[-1]]))
    return found


def test_near_clouds_are_matched_to_the_template_itself():
    assert (chosen(rods([0, 1, 2, 3, 4])) == -1).all()


def test_the_cells_of_a_cloud_do_not_depend_on_its_order_and_weigh_it_evenly():
    rng = np.random.default_rng(0)
    for points in (1, 100, 256, 1000, 4096):
        cloud = rng.normal(size=(points, 3)).astype(np.float32)
        found = cells(cloud)
        assert len(found) == len(cells(rng.normal(size=(points, 3)))) <= points
        np.testing.assert_allclose(found, cells(cloud[rng.permutation(points)]), atol=1e-6)
        np.testing.assert_allclose(found.mean(0), cloud.mean(0), atol=0.1)


def test_far_ones_by_way_of_intermediates():
    turned = rods([0, 60, 20, 100, 40, 80])
    way = path(chosen(turned), 3)
    assert way == [3, 5, 1, 4, 2]
    assert (chosen(turned, intermediates=0) == -1).all()


def test_a_motion_is_walked_along_frame_by_frame():
    found = chosen(rods(range(0, 100, 5)), intermediates=1)
    way = path(found, 19)
    assert way == sorted(way, reverse=True) and len(way) > 6


def test_a_path_ends_where_the_template_is_good_enough():
    turned = rods(range(0, 100, 5))
    near = np.zeros(len(turned), bool)
    near[10] = True
    found = chosen(turned, near=near)
    assert found[10] == -1 and 10 in path(found, 19)


@pytest.mark.parametrize("intermediates", [1, 3])
def test_few_intermediates_serve_all(intermediates):
    # In no order, so that neighbours are of little use.
    angles = np.random.default_rng(3).permutation(range(0, 100, 12))
    found = chosen(rods([0, *angles]), intermediates)
    assert (found >= 0).any()
    assert sum(map(len, generations(found))) == len(found)


def test_it_stops_when_asked_to():
    asked = []

    def stop():
        asked.append(0)
        if len(asked) == 5:
            raise Interrupted(resumable=False)

    with pytest.raises(Interrupted):
        chosen(rods([0, 50, 100]), check=stop)
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
            turned[0],
            targets,
            Settings(matching="optimal", intermediates=intermediates),
            Monitor(lambda p: done.append(p.done)),
        )
        assert [n for n in done if n] == list(range(1, len(turned) + 1))
        rod = turned[0]
        return np.mean([np.linalg.norm(rod[s[f]] - rod, axis=1).mean() for s, f in zip(shuffles, found, strict=True)])

    assert astray(64) < 0.2 * astray(0)
