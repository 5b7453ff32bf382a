"""The points of a collection in 16 bits: what rounding costs, and that moving them costs nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcqaad.points.fixed_point import Targets, permute_some
from tests.generators import clouds


def stored(points):
    """Targets of clouds of one size."""
    targets = Targets(np.empty((len(points), *points[0].shape), np.uint16))
    for i, cloud in enumerate(points):
        targets.put(i, cloud)
    return targets


@given(clouds(count=2), st.sampled_from([0.0, 7.0, -1e5]))
def test_rounding_moves_a_point_by_half_a_step_at_most(pair, shift):
    drawn = [cloud + shift for cloud in pair]
    for cloud, back in zip(drawn, stored(drawn), strict=True):
        half_step = np.ptp(cloud, axis=0).max() / 65535 / 2
        # And what float32 keeps of the corner, the step, and their sum: each rounds once.
        float32 = 3 * np.finfo(np.float32).eps * np.abs(cloud).max() + np.finfo(np.float32).smallest_subnormal
        assert np.abs(back - cloud).max() <= half_step + float32


def test_an_odd_cloud_spoils_no_other():
    ball = np.random.default_rng(0).standard_normal((500, 3))
    alone, beside = stored([ball]), stored([1e6 * ball + 1e7, ball])
    assert np.array_equal(alone[0], beside[1])


@pytest.fixture
def drawn():
    rng = np.random.default_rng(1)
    return rng, stored(rng.standard_normal((5, 40, 3)).astype(np.float32))


def test_gathered_points_are_the_clouds_own(drawn):
    _, targets = drawn
    some, points = np.array([3, 0, 4]), np.array([39, 2, 2, 17])
    assert np.array_equal(targets.gather(some, points), np.stack(list(targets))[some[:, None], points])


def test_moved_points_are_the_points_themselves(drawn):
    """A thousand moves of a cloud and of a part of some clouds, against the same moves of their numbers."""
    rng, targets = drawn
    before = np.stack(list(targets))
    numbers = np.tile(np.arange(40), (5, 1))
    for _ in range(500):
        cloud, whole = int(rng.integers(5)), rng.permutation(40)
        targets.permute(cloud, whole)
        numbers[cloud] = numbers[cloud][whole]
        some, points = rng.permutation(5)[:3], rng.permutation(40)[:10]
        part = np.stack([rng.permutation(10) for _ in some])
        targets.permute_some(some, points, part)
        permute_some(numbers, some, points, part)
    assert not np.array_equal(numbers[0], np.arange(40))
    assert np.array_equal(np.stack(list(targets)), np.take_along_axis(before, numbers[..., None], 1))


def test_a_part_is_reordered_row_by_row(drawn):
    _, targets = drawn
    before = targets[2]
    targets.permute_some(np.array([2]), np.array([7, 30, 9]), np.array([[1, 2, 0]]))
    assert np.array_equal(targets[2][[7, 30, 9]], before[[30, 9, 7]])
    others = np.setdiff1d(np.arange(40), [7, 30, 9])
    assert np.array_equal(targets[2][others], before[others])


def test_a_checksum_tells_points_their_place_and_their_order_apart():
    cloud = np.random.default_rng(2).standard_normal((9, 3))
    found = {stored([x]).checksum(0, 5) for x in (cloud, cloud + 1, cloud * 2, cloud[::-1], cloud)}
    assert len(found) == 4
