"""The first matching: tears are counted and mended, planted pairs are found, and it stays a bijection."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

import pcqaad
from pcqaad.errors import Interrupted
from pcqaad.matching.low_rank import mend
from pcqaad.matching.nonrigid import match_nonrigid
from pcqaad.matching.registration import Bending, Carrier
from pcqaad.matching.tears import Neighbourhood
from pcqaad.monitor import Monitor
from pcqaad.points.fixed_point import Targets
from pcqaad.settings import Settings
from pcqaad.training.start import first_matching
from pcqaad.training.trainer import Trainer
from tests.generators import population

POINTS = 1200


def scissors(angle, seed=0):
    """Return two legs (M, 3) that hang side by side from a bar and swing in opposite directions, by an angle each."""
    rng = np.random.default_rng(seed)
    around, down = rng.uniform(0, 2 * np.pi, POINTS), rng.uniform(0, 2, POINTS)
    side = np.where(np.arange(POINTS) < POINTS // 2, 1, -1)
    x, y = 0.1 * np.cos(around), 0.1 * np.sin(around) + 0.13 * side
    swung = np.radians(angle) * side * np.clip(4 * down, 0, 1)
    legs = np.stack([x * np.cos(swung) - down * np.sin(swung), y, -x * np.sin(swung) - down * np.cos(swung)], 1)
    bar = np.stack([0.15 * np.cos(around), rng.uniform(-0.25, 0.25, POINTS), 0.15 * np.sin(around)], 1)[: POINTS // 4]
    return np.concatenate([legs, bar]).astype(np.float32)


def motion(angles, seed=1):
    """Return the pair of legs at some angles, as targets in shuffled order, and the true rows (N, M)."""
    legs, rng = [scissors(angle) for angle in angles], np.random.default_rng(seed)
    targets = Targets(np.empty((len(legs), len(legs[0]), 3), np.uint16))
    orders = [rng.permutation(len(cloud)) for cloud in legs]
    for i, (cloud, order) in enumerate(zip(legs, orders, strict=True)):
        targets.put(i, cloud[order])
    return legs, targets, np.argsort(orders, 1)


def matched(template, targets, **choices):
    return first_matching(template, targets, Settings(**choices))


def astray(targets, found, true):
    """Return how far points are matched from their true partners, cloud by cloud (N,)."""
    pairs = zip(targets, found, true, strict=True)
    return np.array([np.linalg.norm(cloud[a] - cloud[b], axis=1).mean() for cloud, a, b in pairs])


# Tears.


def test_a_template_has_no_tears_and_a_random_order_has_little_else():
    template = scissors(10)
    neighbourhood = Neighbourhood(template)
    assert neighbourhood.kept(template) == 1
    assert neighbourhood.kept(template[np.random.default_rng(0).permutation(len(template))]) < 0.3
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    assert neighbourhood.kept(template @ turn + 5) == 1


@pytest.mark.parametrize("points", [1, 2, 9])
def test_few_points_and_coinciding_ones_have_neighbours_too(points):
    assert Neighbourhood(np.zeros((points, 3), np.float32)).kept(np.zeros((points, 3))) == 1


# Bending.


def test_a_rigid_motion_is_followed_exactly_by_every_round():
    template = scissors(0)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = template @ turn + [1, 2, 3]
    for bent in (Bending(template).follow(moved, k) for k in range(3)):
        np.testing.assert_allclose(bent, moved, atol=1e-6)


def test_wrong_pairs_pull_less_than_they_are_many():
    template, moved, rng = scissors(0), scissors(15), np.random.default_rng(0)
    wrong = rng.random(len(template)) < 0.1
    matched = moved.copy()
    matched[wrong] = moved[rng.permutation(len(moved))][wrong]
    bent = Bending(template).settle(matched)
    off, pulled = (np.linalg.norm(x - moved, axis=1).mean() for x in (bent, matched))
    assert off < 0.5 * pulled


def test_a_carrier_moves_what_is_moved_and_all_between():
    template = scissors(0)
    some = np.arange(0, len(template), 3)
    carry = Carrier(template, some)
    np.testing.assert_allclose(carry(template[some] + np.array([1, 2, 3])), template + [1, 2, 3], atol=1e-5)
    np.testing.assert_allclose(carry(scissors(20)[some])[some], scissors(20)[some], atol=1e-4)


# The whole.


def test_legs_that_swap_sides_are_not_taken_for_each_other():
    legs, targets, true = motion(range(-30, 31, 6))
    template = legs[0]
    neighbourhood, off, whole = Neighbourhood(template), {}, {}
    for name in ("optimal", "nonrigid"):
        found = matched(template, targets, matching=name)
        off[name] = astray(targets, found, true)
        whole[name] = min(neighbourhood.kept(cloud[a]) for cloud, a in zip(targets, found, strict=True))
    # The optimum takes one leg for the other, and tears where they meet.
    assert off["optimal"].max() > 0.3 and whole["optimal"] < 0.97
    assert off["nonrigid"].max() < 0.3 * off["optimal"].max() and whole["nonrigid"] > 0.99


def test_every_matching_is_a_bijection_told_of_and_the_same_again():
    legs, targets, _ = motion([-30, 0, 20, 40])
    done = []
    found = first_matching(legs[0], targets, Settings(), Monitor(lambda p: done.append(p.done)))
    assert (np.sort(found, 1) == np.arange(targets.points)).all()
    assert done == sorted(done) and done[-1] == len(targets)
    np.testing.assert_array_equal(found, matched(legs[0], targets))


@pytest.mark.parametrize("points", [1, 2, 5, 300])
def test_points_that_coincide_are_matched(points):
    targets = Targets(np.empty((2, points, 3), np.uint16))
    for i in range(2):
        targets.put(i, np.zeros((points, 3)))
    assert (np.sort(matched(targets[0], targets), 1) == np.arange(points)).all()


def test_near_clouds_are_bent_without_intermediates(monkeypatch):
    legs, targets, true = motion([0, 1, 2])
    monkeypatch.setattr("pcqaad.matching.intermediates.cells", None)
    assert (matched(legs[0], targets) == true).mean() > 0.99


def test_few_minutes_mend_less_and_the_same_every_time():
    legs, targets, true = motion([-30, 0, 30])
    hurried, plain = (matched(legs[0], targets, **some) for some in ({"minutes": 1e-4}, {"matching": "optimal"}))
    assert astray(targets, hurried, true).mean() < 2 * astray(targets, plain, true).mean()
    assert (matched(legs[0], targets, minutes=1e-4) == hurried).all()
    # An estimate decides, no clock.
    assert (matched(legs[0], targets, minutes=1e4) == matched(legs[0], targets)).all()


def test_it_stops_when_asked_to():
    legs, targets, _ = motion([-30, 30])
    for last in range(1, 6):
        told = []

        def stop(part, told=told, last=last):
            told.append(part)
            if len(told) == last:
                raise Interrupted(resumable=False)

        with pytest.raises(Interrupted):
            match_nonrigid(legs[0], targets, np.zeros((2, targets.points), np.int32), 64, 0, np.inf, stop)
        assert len(told) == last


# Mended by each other.


def test_wrong_pairs_of_a_set_of_few_dimensions_are_found_by_the_others():
    rng = np.random.default_rng(0)
    template = scissors(0)
    fields = [np.sin(template @ rng.normal(size=(3, 3)) + rng.normal(size=3)) for _ in range(2)]
    clouds = [template + 0.1 * sum(f * w for f, w in zip(fields, rng.normal(size=2), strict=True)) for _ in range(16)]
    targets = Targets(np.empty((16, len(template), 3), np.uint16))
    for i, cloud in enumerate(clouds):
        targets.put(i, cloud)
    true = np.tile(np.arange(len(template)), (16, 1))
    found = true.astype(np.int32)
    near = cKDTree(template).query(template, 9)[1][:, -1]
    for row in found:
        for point in rng.permutation(len(row))[: len(row) // 50]:
            row[[point, near[point]]] = row[[near[point], point]]
    before, told = astray(targets, found, true).mean(), list[float]()
    mend(targets, found, Neighbourhood(template), told.append)
    assert (np.sort(found, 1) == true).all()
    assert astray(targets, found, true).mean() < 0.5 * before
    assert told == sorted(told) and 0 < told[-1] <= 1


def test_a_set_of_many_dimensions_is_left_alone():
    rng = np.random.default_rng(0)
    targets = Targets(np.empty((12, 300, 3), np.uint16))
    for i in range(12):
        targets.put(i, rng.normal(size=(300, 3)))
    given = np.stack([rng.permutation(300) for _ in range(12)]).astype(np.int32)
    found = given.copy()
    mend(targets, found, Neighbourhood(targets[0]), lambda part: None)
    np.testing.assert_array_equal(found, given)


@pytest.mark.parametrize("choices", [{}, {"matching": "optimal"}, {"schedule": "constant"}])
def test_good_pairs_are_left_alone_while_a_fit_is_far_off(choices, monkeypatch):
    rematched = []
    monkeypatch.setattr(Trainer, "_rematch", lambda trainer: rematched.append(trainer.step))
    pcqaad.fit(population(3, 300), Settings(epochs=40, warmup=4, latent=2, device="cpu", measure=1, **choices))
    steps = rematched[-1] + 1
    assert rematched == list(range(rematched[0], steps))
    # By a cosine a rate has fallen to its half in the middle.
    assert rematched[0] == 0 if choices else 0.4 * steps < rematched[0] < 0.6 * steps
