import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from pcqaad.decoder.patches import padded_patches, patch_sizes
from pcqaad.errors import CloudError
from pcqaad.matching import reassignment
from pcqaad.matching.assign import greedy, match_all, match_cells, optimal, refine_many, rematch
from pcqaad.matching.cpu.auction import solve_cells
from pcqaad.matching.fan2017 import fan2017_auction
from pcqaad.matching.gpu.auction import batched
from pcqaad.matching.kd import paired_cells, patch_order, rotated_blocks
from pcqaad.matching.solvers import TOLERANCE, certified, exact
from tests.generators import clouds

quick = settings(deadline=None, max_examples=40)


def is_permutation(p, n):
    return np.array_equal(np.sort(p), np.arange(n))


@quick
@given(clouds(count=2), st.integers(1, 64))
def test_paired_cells_tile_both_clouds_in_equal_cells(pair, cell):
    a, b = pair
    order_a, order_b, bounds = paired_cells(a, b, cell)
    assert is_permutation(order_a, len(a))
    assert is_permutation(order_b, len(a))
    sizes = np.diff(bounds)
    assert sizes.sum() == len(a)
    assert sizes.max() <= cell
    if len(a) > cell:
        assert sizes.min() >= (cell + 1) // 2  # halving never leaves less


def test_a_cell_boundary_separates_ranks_on_the_widest_joint_axis():
    rng = np.random.default_rng(0)
    a, b = rng.random((64, 3)) * [1, 5, 1], rng.random((64, 3)) * [4, 1, 1] + [0, 7, 0]
    order_a, order_b, _ = paired_cells(a, b, 32)  # joint widths: x 4, y about 8
    for x, order in ((a, order_a), (b, order_b)):
        assert x[order[:32], 1].max() <= x[order[32:], 1].min()


@quick
@given(clouds(), st.data())
def test_patches_are_equal_parts_of_the_cloud(drawn, data):
    (x,) = drawn
    patches = data.draw(st.integers(1, len(x)))
    sizes = patch_sizes(len(x), patches)
    assert sizes.sum() == len(x)
    assert np.ptp(sizes) <= 1
    assert is_permutation(patch_order(x, patches), len(x))
    rows, inside = padded_patches(len(x), patches)
    assert np.array_equal(rows[inside], np.arange(len(x)))


def test_patches_are_compact():
    x = np.random.default_rng(0).random((1024, 3))
    parts = np.split(x[patch_order(x, 8)], 8)
    assert all(np.prod(np.ptp(part, axis=0)) < 0.2 for part in parts)


@quick
@given(clouds(), st.integers(1, 40), st.integers(0, 99))
@example([np.eye(3)[:2]], 1, 0)  # Shares of two points round down to none.
@example([np.eye(3)[:1]], 1, 0)
def test_rotated_blocks_tile(drawn, block, seed):
    order, bounds = rotated_blocks(drawn[0], block, np.random.default_rng(seed))
    assert is_permutation(order, len(drawn[0]))
    assert np.diff(bounds).max() <= block


@quick
@given(clouds(count=2), st.integers(1, 64), st.sampled_from([1, 2]))
def test_matching_is_a_bijection_above_the_optimum(pair, cell, power):
    a, b = pair
    matching = match_cells(a, b, cell, power)
    assignment = matching.assignment
    assert is_permutation(assignment, len(a))
    cost = cdist(a, b) ** power
    reached = cost[np.arange(len(a)), assignment].sum()
    optimum = cost[linear_sum_assignment(cost)].sum()
    assert matching.cost == pytest.approx(reached, 1e-9)
    assert matching.lower_bound <= reached * (1 + 1e-9)
    assert reached >= optimum * (1 - 1e-9)
    if len(a) <= cell:
        assert reached <= optimum * (1 + TOLERANCE) * (1 + 1e-9) + 1e-300
        assert matching.lower_bound <= optimum * (1 + 1e-9)


@pytest.mark.parametrize("points", [100, 1000, 1023])
def test_a_planted_permutation_is_found(points):
    rng = np.random.default_rng(points)
    a = rng.random((points, 3))
    planted = rng.permutation(points)
    assert np.array_equal(a[planted][match_cells(a, a[planted], 64).assignment], a)


def test_matching_scales_and_moves_with_the_clouds():
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 500, 3))
    same, moved = match_cells(a, b, 64), match_cells(a * 1024 + 4096, b * 1024 + 4096, 64)
    assert np.array_equal(same.assignment, moved.assignment)
    assert moved.cost == pytest.approx(1024 * same.cost)


def test_matching_is_symmetric():
    rng = np.random.default_rng(2)
    a, b = rng.random((2, 2000, 3))
    there, back = match_cells(a, b, 256), match_cells(b, a, 256)
    assert there.cost == pytest.approx(back.cost, TOLERANCE)
    # Nothing between the cells' best and twice the tolerance: the same cells, seen from either side.
    assert max(there.lower_bound, back.lower_bound) <= min(there.cost, back.cost)


@settings(max_examples=40)
@given(clouds(count=2, max_points=400), st.sampled_from([1, 2]))
@example([np.zeros((1200, 3)), np.zeros((1200, 3))], 1)
@example([np.eye(3)[np.arange(1500) % 3], np.eye(3)[np.arange(1500) % 2]], 2)
def test_the_auction_proves_its_tolerance(pair, power):
    a, b = pair
    cost = cdist(a, b) ** power
    whole = np.array([0, len(a)])
    found, optimum = certified(a, b, whole, power), exact(a, b, whole, power)
    reached = cost[np.arange(len(a)), found.columns].sum()
    assert is_permutation(found.columns, len(a))
    assert found.costs[0] == pytest.approx(reached, 1e-9, 1e-300)
    assert found.lower_bounds[0] <= optimum.costs[0] * (1 + 1e-9)
    assert found.costs[0] - found.lower_bounds[0] <= TOLERANCE * found.costs[0]


@pytest.mark.parametrize("noise", [0, 1e-12, 1e-7, 1e-4])
@pytest.mark.parametrize("power", [1, 2])
def test_the_auction_ends_on_clouds_that_are_nearly_the_same(noise, power):
    rng = np.random.default_rng(7)
    a = rng.random((128, 3))
    b = rng.permutation(a) + noise * rng.standard_normal(a.shape)
    whole = np.array([0, 128])
    assert certified(a, b, whole, power).costs[0] <= 1.001 * exact(a, b, whole, power).costs[0] * (1 + 1e-9) + 1e-300


def test_where_float32_cannot_prove_it_scipy_takes_over():
    rng = np.random.default_rng(6)
    a = np.concatenate([rng.random((99, 3)) * 1e-9, [[1, 0, 0]]])
    b = np.concatenate([rng.random((99, 3)) * 1e-9, [[1, 0, 0]]])
    whole = np.array([0, 100])
    found = certified(a, b, whole, 1)
    assert found.costs[0] == found.lower_bounds[0] == pytest.approx(exact(a, b, whole, 1).costs[0])


@pytest.mark.parametrize("far", [1, 1e5, 1e9])
@pytest.mark.parametrize(
    ("solver", "points", "seeds"), [(certified, 100, 20), (certified, 500, 4), (batched("cpu"), 33, 2)]
)
def test_one_point_far_away_proves_nothing_of_the_others(solver, points, seeds, far):
    """Of squared distances the one between the means is left out: it must not be taken for more than its digits."""
    whole = np.array([0, points])
    for seed in range(seeds):
        a, b = np.random.default_rng(seed).standard_normal((2, points, 3)) * 1e-9
        a[-1] = b[0] = far
        optimum, found = exact(a, b, whole, 2).costs[0], solver(a, b, whole, 2)
        assert found.lower_bounds[0] <= optimum * (1 + 1e-9)
        assert found.costs[0] <= optimum * (1 + TOLERANCE) * (1 + 1e-9)


@pytest.mark.parametrize("points", [2, 31, 32, 33, 1024, 1025, 2500])
@pytest.mark.parametrize("tolerance", [0.05, 0.005])
def test_the_bracket_holds_the_earth_movers_distance(points, tolerance):
    rng = np.random.default_rng(points)
    a, b = rng.standard_normal((2, points, 3))
    matching = match_all(a, b, tolerance)
    optimum = exact(a, b, np.array([0, points]), 1).costs[0]
    assert matching.lower_bound <= optimum * (1 + 1e-12)
    assert optimum * (1 - 1e-12) <= matching.cost <= (1 + tolerance) * matching.lower_bound
    assert is_permutation(matching.assignment, points)


def near_copy(rng, points):
    a = rng.standard_normal((points, 3))
    return a, a[rng.permutation(points)] + 1e-6 * rng.standard_normal(a.shape)


def with_a_stray_point(rng, points):
    a, b = rng.standard_normal((2, points, 3))
    a[0] = b[7] = 1e6
    return a, b


@pytest.mark.parametrize("draw", [near_copy, with_a_stray_point])
def test_large_clouds_are_bracketed_in_float64_where_float32_proves_nothing(draw):
    points, tolerance = 5000, 0.005
    a, b = draw(np.random.default_rng(0), points)
    whole, proven = np.array([0, points]), []
    for dtype in (np.float32, np.float64):
        columns, costs, lower_bounds = np.empty(points, np.int64), np.empty(1), np.empty(1)
        solve_cells(a, b, whole, 1, tolerance, False, columns, costs, lower_bounds, np.empty(0, dtype))
        assert is_permutation(columns, points)
        assert costs[0] == pytest.approx(np.linalg.norm(a - b[columns], axis=1).sum(), 1e-9)
        proven.append(costs[0] <= (1 + tolerance) * lower_bounds[0])
    assert proven == [False, True]
    matching = match_all(a, b, tolerance)
    assert matching.cost <= (1 + tolerance) * matching.lower_bound


@pytest.mark.parametrize("match", [lambda a, b: match_cells(a, b, 4), lambda a, b: match_all(a, b, 0.1)])
def test_what_is_not_finite_or_not_alike_is_refused(match):
    x = np.zeros((5, 3))
    for bad in (np.nan, np.inf):
        broken = x.copy()
        broken[2, 1] = bad
        with pytest.raises(CloudError, match="finite"):
            match(x, broken)
    with pytest.raises(CloudError, match=r"at most 4.25e\+37, found 1e\+200"):
        match(x, x + 1e200)
    with pytest.raises(CloudError, match=r"one shape .* \(5, 3\) and \(4, 3\)"):
        match(x, x[:4])


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_units_change_no_matching(unit):
    rng = np.random.default_rng(4)
    a, b = rng.random((2, 700, 3)) * [1, 1, 100]
    for power in (1, 2):
        one, scaled = match_cells(a, b, 300, power), match_cells(a * unit, b * unit, 300, power)
        assert scaled.cost == pytest.approx(one.cost * unit**power, 2 * TOLERANCE)
        assert scaled.lower_bound == pytest.approx(one.lower_bound * unit**power, 2 * TOLERANCE)
        assert np.mean(one.assignment == scaled.assignment) > 0.99  # rounding may break a tie otherwise


@pytest.mark.parametrize("seed", [0, 7, 11, 26])
def test_on_grids_neither_order_nor_unit_nor_place_change_the_cells(seed):
    """Coordinates tie there, and so do the sides of boxes but for rounding."""
    rng = np.random.default_rng(seed)
    a, b = np.round(3 * rng.standard_normal((2, 1024, 3))) / 3
    one = match_cells(a, b, 200)
    others = [
        (match_cells(a[rng.permutation(1024)], b[rng.permutation(1024)], 200), 1),
        (match_cells(a * 1e-6, b * 1e-6, 200), 1e-6),
        (match_cells(a * 1024 + 2**20, b * 1024 + 2**20, 200), 1024),
    ]
    for other, unit in others:
        # The same cells, whose best lies between the two ends of either.
        assert max(one.lower_bound * unit, other.lower_bound) <= min(one.cost * unit, other.cost) * (1 + 1e-9)


def test_cells_do_not_depend_on_the_number_of_workers():
    rng = np.random.default_rng(3)
    a, b = rng.random((2, 3000, 3))
    one, three = (match_cells(a, b, 100, workers=workers) for workers in (1, 3))
    assert np.array_equal(one.assignment, three.assignment)
    assert one.lower_bound == three.lower_bound


def test_greedy_does_not_depend_on_the_number_of_workers():
    rng = np.random.default_rng(2)
    template, x = rng.random((200, 3)), rng.random((5, 200, 3))
    one, three = (np.stack(list(greedy(template, x, 32, workers))) for workers in (1, 3))
    assert np.array_equal(one, three)


@quick
@given(clouds(count=2), st.integers(2, 64), st.integers(0, 99))
def test_refinement_never_raises_the_cost(pair, block, seed):
    p, t = pair
    (permutation,) = refine_many([(p, t)], [np.random.default_rng(seed)], block)
    assert is_permutation(permutation, len(p))
    assert np.square(p - t[permutation]).sum() <= np.square(p - t).sum() * (1 + 1e-12)


@settings(max_examples=25)
@given(clouds(count=2))
def test_rematching_never_raises_the_cost_and_reaches_the_optimum(pair):
    p, t = pair
    cost = cdist(p, t, "sqeuclidean")
    permutation = rematch(p, t)
    assert is_permutation(permutation, len(p))
    reached = cost[np.arange(len(p)), permutation].sum()
    assert reached <= np.trace(cost)
    assert reached <= 1.01 * cost[linear_sum_assignment(cost)].sum() * (1 + 1e-9) + 1e-300


def test_optimal_matching_finds_the_correspondence_of_a_convex_deformation():
    rng = np.random.default_rng(8)
    a = rng.random((3000, 3))
    b = a + 0.05 * np.sin(3 * a) + [0.5, 0, 0]  # the gradient of a convex function: optimal by Brenier's theorem
    shuffle = rng.permutation(3000)
    (found,) = optimal([(a, b[shuffle])])
    assert np.mean(shuffle[found] == np.arange(3000)) > 0.99


def test_refinement_comes_close_to_the_optimum():
    rng = np.random.default_rng(3)
    p = rng.random((512, 3))
    t = p + rng.normal(scale=0.02, size=p.shape)
    t = t[match_cells(p, t, 32, 2).assignment]
    for _ in range(12):
        t = t[refine_many([(p, t)], [rng], 128)[0]]
    cost = cdist(p, t, "sqeuclidean")
    assert np.trace(cost) <= 1.03 * cost[linear_sum_assignment(cost)].sum()


def reassign(predicted, targets):
    return reassignment.reassign(torch.from_numpy(predicted), torch.from_numpy(targets)).numpy()


@quick
@given(clouds(count=6, min_points=2, max_points=80))
def test_reassignment_is_a_bijection_that_never_raises_the_cost(drawn):
    # Normalised coordinates, as in a fit; the accounts are kept in float64.
    unit = max(float(np.abs(x).max()) for x in drawn) or 1.0
    predicted, targets = np.stack(drawn).astype(np.float32).reshape(2, 3, -1, 3) / np.float32(unit)
    permutation = reassign(predicted, targets)
    p = predicted.astype(np.float64)
    for i in range(3):
        assert is_permutation(permutation[i], p.shape[1])
        assert np.array_equal(permutation[i][permutation[i]], np.arange(p.shape[1]))  # swaps: no point twice
        before = np.square(p[i] - targets[i]).sum()
        after = np.square(p[i] - targets[i][permutation[i]]).sum()
        assert after <= before * (1 + 1e-12)


@pytest.mark.parametrize("points", [5, 33, 5000, 40000])
@pytest.mark.parametrize("far", [1e15, 1e25, 1e30, 1e38])
def test_swaps_survive_predictions_whose_squares_overflow(points, far):
    """A fit that diverges ends in a word, and not in memory beyond its trees."""
    targets = np.random.default_rng(0).standard_normal((1, points, 3)).astype(np.float32)
    found = reassignment.nearest(torch.full(targets.shape, far), torch.from_numpy(targets))
    assert ((found >= 0) & (found < points)).all()


def test_reassignment_undoes_planted_swaps():
    rng = np.random.default_rng(4)
    p = rng.random((1, 200, 3)).astype(np.float32)
    planted = np.arange(200)
    pairs = rng.permutation(200)[:80].reshape(-1, 2)
    planted[pairs[:, 0]], planted[pairs[:, 1]] = pairs[:, 1], pairs[:, 0]
    targets = p[:, planted]
    assert np.array_equal(targets[0][reassign(p, targets)[0]], p[0])


def test_reassignment_repeated_ends_where_no_single_swap_gains():
    rng = np.random.default_rng(5)
    p, t = rng.random((2, 1, 60, 3)).astype(np.float32)
    for _ in range(500):
        permutation = reassign(p, t)
        if np.array_equal(permutation[0], np.arange(60)):
            break
        t = np.take_along_axis(t, permutation[..., None], 1)
    cost = cdist(p[0], t[0], "sqeuclidean")
    nearest = cost.argmin(1)
    i = np.arange(60)
    gain = cost[i, i] + cost[nearest, nearest] - cost[i, nearest] - cost[nearest, i]
    assert gain.max() <= 1e-9


@quick
@given(clouds(count=2), st.integers(2, 64), st.sampled_from([1, 2]))
def test_fan2017_s_auction_is_completed_to_a_bijection(pair, cell, power):
    a, b = pair
    matching = match_cells(a, b, cell, power, fan2017_auction)
    best = match_cells(a, b, cell, power, exact)
    assert is_permutation(matching.assignment, len(a))
    assert matching.lower_bound * (1 - 1e-9) <= best.cost <= matching.cost * (1 + 1e-9)


def test_fan2017_s_auction_is_as_far_off_as_a_large_eps_leaves_it():
    rng = np.random.default_rng(9)
    a, b = rng.random((2, 1024, 3))
    cost = match_cells(a, b, 1024, solver=fan2017_auction).cost
    assert 1.02 < cost / match_cells(a, b, 1024).cost < 1.5
    # The normalisation is the cell's own: no unit changes the result.
    assert match_cells(a * 1e-6, b * 1e-6, 1024, solver=fan2017_auction).cost == pytest.approx(1e-6 * cost)
