"""A view sees the near side, into hollows and through nothing, in any unit and place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pcqaad
from pcqaad.points.views import cut_view, visible


def sphere(n, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, 3))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@settings(max_examples=20)
@given(st.integers(0, 100), st.integers(500, 4000), st.floats(4, 50))
def test_of_a_sphere_the_cap_that_faces_the_eye_is_seen(seed, n, away):
    x, eye = sphere(n, seed), np.array([0, away, 0])
    seen = visible(x, eye)
    # The tangents from the eye touch where x . eye = 1.
    facing = np.flatnonzero(x @ eye > 1)
    assert np.isin(facing, seen).all()
    # Beyond them by more than the distance between points, little shows through the gaps of the edge.
    assert (x[seen, 1] < 1 / away - 4 / n**0.5).mean() < 0.02


def test_from_afar_half_of_a_sphere_is_seen():
    x = sphere(4000)
    assert 0.47 < len(visible(x, np.array([200.0, 0, 0]))) / len(x) < 0.53


def test_a_wall_hides_and_a_hollow_does_not():
    outer, inner, eye = sphere(4000, 1), 0.6 * sphere(2000, 2), np.array([4.0, 0, 0])
    seen = visible(np.concatenate([outer, inner]), eye)
    assert (seen >= len(outer)).mean() < 0.01
    bowl = outer * [-1, 1, 1] * np.where(outer[:, :1] > 0, 1, [-1, 1, 1])
    assert bowl[:, 0].max() <= 0
    assert len(visible(bowl, eye)) > 0.95 * len(bowl)


@settings(max_examples=20)
@given(st.integers(0, 100), st.floats(-8, 8))
def test_rows_are_sorted_and_independent_of_unit_place_and_order(seed, exponent):
    rng = np.random.default_rng(seed)
    x, eye = sphere(400, seed) * [1, 2, 0.5], np.array([3.0, -2, 5])
    seen = visible(x, eye)
    assert (np.diff(seen) > 0).all()
    order = rng.permutation(len(x))
    scale, shift = 2.0 ** round(exponent), np.round(8 * rng.standard_normal(3))
    again = visible((x[order] + shift) * scale, (eye + shift) * scale)
    # Points on the very edge of the hull may tip over with their last bits.
    assert len(np.setxor1d(order[again], seen)) <= 2


def test_a_cut_view_is_a_part_and_the_same_for_the_same_draw():
    x = (sphere(1500) * [30, 40, 50] + [1000, 0, -7]).astype(np.float32)
    a, b, c = (cut_view(x, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert 0.25 * len(x) < len(a) < 0.6 * len(x)


def test_what_has_no_view_is_refused_and_three_points_hide_nothing():
    x = sphere(50)
    with pytest.raises(pcqaad.Error, match="eye apart"):
        visible(x, x[3])
    with pytest.raises(pcqaad.Error, match=r"radius is 0\.5, expected at least 1"):
        visible(x, 3 * x[3], 0.5)
    with pytest.raises(pcqaad.Error, match="in one plane with the eye"):
        visible(x * [1, 1, 0], np.array([4.0, 1, 0]))
    with pytest.raises(pcqaad.Error, match="finite"):
        visible(x * np.nan, x[0])
    assert visible(x[:3], np.array([9.0, 9, 9])).tolist() == [0, 1, 2]
