import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import pcqaad
from pcqaad.evaluation.metrics import EFFORTS, chamfer, d1, emd, emkd
from pcqaad.matching.solvers import TOLERANCE
from tests.generators import clouds

quick = settings(deadline=None, max_examples=25)


@quick
@given(clouds(count=2, max_points=120), st.integers(4, 64))
def test_emkd_is_symmetric_and_above_the_true_distance(pair, cell):
    a, b = pair
    there, back = emkd(a, b, cell), emkd(b, a, cell)
    cost = cdist(a, b)
    assert there.sum >= cost[linear_sum_assignment(cost)].sum() * (1 - 1e-9)
    if len(np.unique(np.concatenate([a, b]), axis=0)) == 2 * len(a):  # no ties: the same cells
        assert there.sum == pytest.approx(back.sum, rel=TOLERANCE)
        assert there.at_least <= back.mean and back.at_least <= there.mean


@quick
@given(clouds(count=1, min_points=2))
def test_equal_clouds_in_any_order_have_no_error(drawn):
    a = np.unique(drawn[0], axis=0)
    shuffled = np.random.default_rng(0).permutation(a)
    for metric in (emkd, emd, chamfer, d1):
        assert metric(a, shuffled).mean <= 1e-12 * np.abs(a).max()


@pytest.mark.parametrize("effort", EFFORTS)
def test_the_bracket_of_emd_is_as_narrow_as_promised(effort):
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((2, 3000, 3))
    e = emd(a, b, effort)
    assert e.at_least <= e.mean <= (1 + EFFORTS[effort]) * e.at_least
    assert e.at_least <= emkd(a, b, 256).mean
    assert emd(a * 1e-6, b * 1e-6, effort).mean == pytest.approx(1e-6 * e.mean)


def test_an_unknown_effort_is_refused():
    with pytest.raises(pcqaad.SettingsError, match="effort 'low'"):
        emd(np.zeros((2, 3)), np.zeros((2, 3)), "low")


def test_one_cell_is_the_true_distance():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 100, 3))
    cost = cdist(a, b)
    matched = cost[linear_sum_assignment(cost)]
    e = emkd(a, b)
    assert matched.sum() * (1 - 1e-9) <= e.sum <= matched.sum() * 1.001
    assert e.mean == pytest.approx(e.sum / 100)
    assert e.rms == pytest.approx(e.mean_squared**0.5)
    assert e.mean_squared == pytest.approx((matched**2).mean(), rel=0.02)
    assert float(e) == e.mean


def test_emkd_scales_with_the_unit():
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 300, 3))
    assert emkd(a * 1e6, b * 1e6, 64).mean == pytest.approx(1e6 * emkd(a, b, 64).mean)
    assert emkd(a, b, 64).scaled(1e6).mean_squared == pytest.approx(emkd(a * 1e6, b * 1e6, 64).mean_squared)


def test_chamfer_and_d1_by_hand():
    a = np.array([[0, 0, 0], [1, 0, 0]], float)
    b = np.array([[0, 0, 0], [1, 0, 0], [4, 0, 0]], float)
    assert chamfer(a, b).sum == 3
    assert chamfer(a, b).mean == pytest.approx((0 + 1) / 2)
    assert d1(a, b).mean_squared == pytest.approx(3)  # b to a is the worse direction: 9 / 3


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((3, 3)), np.zeros((4, 3)), "one shape"),
        (np.zeros((3, 2)), np.zeros((3, 2)), "one shape"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "one shape"),
        (np.full((2, 3), np.nan), np.zeros((2, 3)), "finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(a, b, message):
    with pytest.raises(pcqaad.CloudError, match=message):
        emkd(a, b)


@pytest.mark.parametrize("metric", [chamfer, d1])
@pytest.mark.parametrize("bad", [np.zeros((0, 3)), np.full((2, 3), np.nan), np.zeros((2, 3), np.complex128)])
def test_nearest_neighbours_of_what_is_no_cloud_are_refused(metric, bad):
    for pair in ((bad, np.zeros((2, 3))), (np.zeros((2, 3)), bad)):
        with pytest.raises(pcqaad.CloudError, match="cloud: expected"):
            metric(*pair)


@pytest.mark.parametrize("cell", [0, -1, 1.5])
def test_a_cell_of_no_whole_number_of_points_is_refused(cell):
    with pytest.raises(pcqaad.SettingsError, match="expected a cell of at least 1 point, found"):
        emkd(np.eye(3), np.eye(3), cell)
