"""Laws of the Chamfer family: against plain formulas in numpy, and where gradients go."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cdist

import pcqaad.losses
from pcqaad.errors import CloudError, SettingsError
from pcqaad.losses import CRITERIA, DENSITIES, criterion, parse
from pcqaad.losses import nearest as nearest_module
from pcqaad.losses.densities import FAMILIES, slope, weight
from pcqaad.losses.names import complete
from pcqaad.losses.nearest import nearest, safe_sqrt
from tests.test_architecture import loaded

# The densities as another library has them.
SCIPY = {
    "chi2": lambda p: stats.chi2(p["k"]),
    "gumbel": lambda p: stats.gumbel_r(scale=p["beta"]),
    "weibull": lambda p: stats.weibull_min(p["shape"], scale=p["scale"]),
    "log-logistic": lambda p: stats.fisk(p["beta"], scale=p["alpha"]),
    "gamma": lambda p: stats.gamma(p["shape"], scale=1 / p["rate"]),
    "logistic": lambda p: stats.logistic(scale=p["sigma"]),
    "normal": lambda p: stats.norm(scale=p["sigma"]),
    "landau": lambda p: stats.moyal(),
}
OTHERS = {
    "chi2": {"k": 5.0},
    "gumbel": {"beta": 2.5},
    "weibull": {"shape": 1.5, "scale": 2.0},
    "log-logistic": {"alpha": 3.0, "beta": 4.0},
    "gamma": {"shape": 2.5, "rate": 0.5},
    "logistic": {"sigma": 0.7},
    "normal": {"sigma": 0.4},
    "landau": {},
}
# With these the random clouds below leave no loss without a slope: dcd sees nothing beyond a few hundredths.
GIVEN = {"dcd": {"alpha": 20.0, "exponent": 0.5}, "info": {"temperature": 0.5, "weight": 0.3}}


def defaults(family):
    return {key: p.default for key, p in DENSITIES[family].items()}


def families():
    return [(name, p) for name in DENSITIES for p in (defaults(name), OTHERS[name])]


def some(seed=0, count=3, n=60, m=50, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (0.3 * torch.randn(count, k, 3, generator=generator, dtype=dtype) for k in (n, m))


def by_formula(name, there, back, n_there, n_back):
    """One pair's loss from its nearest distances and counts, in plain numpy."""
    p = complete(name, GIVEN.get(name, {}))
    if name in DENSITIES:
        shift = p.pop("shift")
        density = SCIPY[name](p)
        mode = FAMILIES[name].mode(**p) if shift else 0

        def cost(d):
            return (density.pdf(d + mode) * d).mean()

        return cost(there) + cost(back)
    match name:
        case "l1":
            return there.mean() + back.mean()
        case "l2":
            return (there**2).mean() + (back**2).mean()
        case "augmented":
            return max(there.mean(), back.mean())
        case "hyper":
            return np.arccosh(1 + p["alpha"] * there**2).mean() + np.arccosh(1 + p["alpha"] * back**2).mean()
        case "info":
            parts = [np.exp(-d / p["temperature"]) for d in (there, back)]
            return sum(-np.log(e / e.mean() ** p["weight"]).mean() for e in parts)
        case "dcd":
            sides = []
            for d, n in ((there, n_there), (back, n_back)):
                sides.append((1 - np.exp(-p["alpha"] * d**2) / n ** p["exponent"]).mean())
            return np.mean(sides)
        case "landau-released":
            return sum((np.exp(-(d + np.exp(-d)) / 2) * (1 - np.exp(-d))).mean() for d in (there, back))
    raise AssertionError(name)


def make(name):
    return criterion(name, **GIVEN.get(name, {}))


@pytest.mark.parametrize("name", CRITERIA)
def test_a_loss_is_its_formula(name):
    predicted, target = some()
    expected = []
    for a, b in zip(predicted.numpy(), target.numpy(), strict=True):
        apart = cdist(a, b)
        there, back = apart.argmin(1), apart.argmin(0)
        counts = np.bincount(there, minlength=len(b))[there], np.bincount(back, minlength=len(a))[back]
        evenly = max(len(a) / len(b), 1), max(len(b) / len(a), 1)
        n = [np.maximum(c / e, 1) for c, e in zip(counts, evenly, strict=True)]
        expected.append(by_formula(name, apart.min(1), apart.min(0), *n))
    loss = make(name)
    assert np.allclose(loss.each(predicted, target), expected, rtol=1e-10)
    assert np.isclose(loss(predicted, target), np.mean(expected), rtol=1e-10)
    # One by one, the other way round, and in float32.
    alone = [loss(a[None], b[None]) for a, b in zip(predicted, target, strict=True)]
    assert np.allclose(alone, expected, rtol=1e-10)
    assert np.allclose(loss.each(target, predicted), expected, rtol=1e-10)
    assert np.allclose(loss.each(predicted.float(), target.float()), expected, rtol=1e-4)


@pytest.mark.parametrize("name", CRITERIA)
def test_a_cloud_is_at_no_distance_from_itself_nor_are_its_parts(name):
    cloud, other = some()
    loss = make(name)
    shuffled = cloud[:, torch.randperm(cloud.shape[1], generator=torch.Generator().manual_seed(1))]
    assert loss.each(cloud, shuffled).abs().max() < 1e-12
    assert loss.one_sided(cloud[:, :20], cloud).abs().max() < 1e-12
    assert (loss.one_sided(other, cloud) > 1e-3).all()
    # What the whole has beyond the part costs nothing: far points change nothing.
    whole = torch.cat([cloud, cloud + 100], 1)
    assert torch.equal(loss.one_sided(other, whole), loss.one_sided(other, cloud))


@pytest.mark.parametrize("name", CRITERIA)
def test_descent_brings_clouds_together(name):
    predicted, target = some(n=50)
    moved, loss, apart = predicted.clone().requires_grad_(), make(name), criterion("l1")
    optimiser = torch.optim.Adam([moved], lr=0.02)
    for _ in range(20):
        optimiser.zero_grad()
        loss(moved, target).backward()
        optimiser.step()
    assert loss(moved, target) < 0.6 * loss(predicted, target)
    assert apart(moved, target) < 0.6 * apart(predicted, target)


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_where_points_coincide(name, dtype):
    cloud, _ = some(dtype=dtype)
    doubled = torch.cat([cloud, cloud[:, :10]], 1)
    heap = torch.ones(3, 8, 3, dtype=dtype)
    # At the origin, where numbers so near to each other are still two.
    origin = torch.zeros(3, 8, 3, dtype=dtype)
    near = origin + {torch.float32: 1e-18, torch.float64: 1e-150}[dtype]
    assert (nearest(origin, near)[0].squared > 0).all()
    for a, b in ((cloud, cloud), (doubled, cloud), (doubled, doubled), (heap, heap), (heap, cloud), (near, origin)):
        a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
        for value in (make(name)(a, b), make(name).one_sided(a, b).sum()):
            gradients = torch.autograd.grad(value, (a, b))
            assert torch.isfinite(value)
            assert all(torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize(
    "name",
    [
        "log-logistic:alpha=0.02,beta=20",
        "weibull:shape=15,scale=0.01",
        "weibull:shape=30,scale=0.02",
        "gumbel:beta=0.001",
        "normal:sigma=0.001",
        "logistic:sigma=0.001",
        "gamma:shape=40,rate=2000",
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steep_weights_have_finite_slopes_at_any_distance(name, dtype):
    family, parameters = parse(name)
    distances = np.concatenate([[0], np.geomspace(1e-9, 4, 400)])
    own = {key: value for key, value in parameters.items() if key != "shift"}
    assert np.isfinite(slope(family, distances, own)).all()
    for d in (0, 1e-9, 1e-3, 0.02, 0.5, 2, 3.9):
        a = torch.zeros(1, 1, 3, dtype=dtype, requires_grad=True)
        value = criterion(family, **parameters)(a, torch.tensor([[[d, 0.0, 0.0]]], dtype=dtype))
        (gradient,) = torch.autograd.grad(value, a)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


def test_coordinates_whose_squares_are_beyond_their_type_are_refused():
    far = torch.full((1, 2, 3), 1e19)
    with pytest.raises(CloudError, match="expected finite coordinates below"):
        nearest(far, -far)
    assert torch.isfinite(nearest(far.double(), -far.double())[0].squared).all()
    near = far * 0.45
    assert torch.isfinite(nearest(near, -near)[0].squared).all()


@pytest.mark.parametrize("name", CRITERIA)
def test_gradients_are_those_of_differences(name):
    predicted, target = some(count=1, n=4, m=3)
    weights = make(name)
    assert torch.autograd.gradcheck(weights.each, (predicted.requires_grad_(), target.requires_grad_()))


@pytest.mark.parametrize(("name", "p"), families(), ids=str)
def test_densities_are_those_of_scipy_and_fall_from_their_mode(name, p):
    x = np.linspace(0.01, 20, 400)
    density = SCIPY[name](p)
    assert np.allclose(weight(name, x, p, shift=False), density.pdf(x), rtol=1e-10, atol=1e-300)
    mode = FAMILIES[name].mode(**p)
    assert density.pdf(mode) >= density.pdf(mode + np.linspace(-min(mode, 1), 1, 201)).max() * (1 - 1e-12)
    assert (np.diff(weight(name, x[x < 6], p)) < 0).all()


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize(("name", "p"), families(), ids=str)
def test_slopes_are_those_of_the_losses(name, p, shift):
    """z(d) = f'(d) d + f(d) in numpy, against the gradient that reaches a point at distance d."""
    d = np.concatenate([[1e-6, 1e-3], np.linspace(0.1, 6, 40)])
    points = torch.zeros(len(d), 1, 3, dtype=torch.float64)
    points[:, 0, 0] = torch.from_numpy(d)
    points.requires_grad_()
    criterion(name, **p, shift=float(shift)).one_sided(points, torch.zeros_like(points)).sum().backward()
    assert np.allclose(points.grad[:, 0, 0], slope(name, d, p, shift), rtol=1e-9, atol=1e-12)


def turning(name, **p):
    """The distance from which on a point's gradient points away from its neighbour."""
    d = torch.linspace(1e-4, 8, 80000, dtype=torch.float64)
    points = (d[None, :, None] * torch.eye(1, 3, dtype=torch.float64)).requires_grad_()
    criterion(name, **p).one_sided(points, torch.zeros(1, 1, 3, dtype=torch.float64)).sum().backward()
    return float(d[(points.grad[0, :, 0] < 0).nonzero()[0, 0]])


def test_weighted_losses_turn_where_they_are_said_to():
    # By hand: x (1 - exp(-x)) = 1 with x = d / beta for Gumbel, and = 2 for Landau; q^2 - 4 q + 1 = 0 with
    # q = exp(-d) for the released one; k for the chi-squared density without shift.
    assert turning("gumbel") == pytest.approx(1.89, abs=0.005)
    assert turning("landau") == pytest.approx(2.24, abs=0.01)
    assert turning("landau-released") == pytest.approx(-np.log(2 - np.sqrt(3)), abs=2e-4)
    assert turning("chi2", k=3.0, shift=0.0) == pytest.approx(3, abs=2e-4)


def test_hyper_is_linear_near_zero_and_exact_where_arccosh_is_not():
    loss = criterion("hyper", alpha=3.0)
    for d in (1e-9, 1e-6, 1e-3):
        point = torch.tensor([[[d, 0.0, 0.0]]], dtype=torch.float64, requires_grad=True)
        value = loss.one_sided(point, torch.zeros_like(point))
        # Of the series in d: the next term is alpha d^2 / 12 of the first.
        assert value.item() == pytest.approx(np.sqrt(6) * d, rel=1e-6)
        value.backward()
        assert float(point.grad[0, 0, 0]) == pytest.approx(np.sqrt(6), rel=1e-5)


@settings(max_examples=25)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**31))
def test_neighbours_are_the_nearest_by_trees_and_by_blocks(n, m, seed):
    a, b = some(seed, 2, n, m)
    # On a lattice, where many are as near.
    a, b = (a * 4).round(), (b * 4).round()
    all_of_them = torch.cdist(a, b).square()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest_module, "_DISTANCES_AT_ONCE", 100)
        for index in (nearest(a, b)[0].index, nearest_module._by_blocks(a, b)):
            assert torch.allclose(all_of_them.gather(2, index[..., None])[..., 0], all_of_them.amin(2))
    there, back = nearest(a, b)
    assert torch.allclose(there.squared, all_of_them.amin(2))
    assert torch.allclose(back.squared, all_of_them.amin(1))
    # Every nearest point's sharers add up to all points.
    assert torch.allclose((1 / there.sharing).sum(1), torch.tensor([len(i.unique()) for i in there.index]).double())


def test_the_root_of_nothing_has_no_slope():
    squared = torch.tensor([0.0, 4.0, 1e-40], requires_grad=True)
    root = safe_sqrt(squared)
    root.sum().backward()
    assert squared.grad.tolist() == pytest.approx([0, 0.25, 5e19], rel=1e-3)


def test_dcd_prefers_even_clouds():
    """Of two clouds on the target's points, the one that leaves none out is nearer, by the published formula."""
    target = torch.arange(4.0)[None, :, None] * torch.ones(3)
    heaped = target[:, [0, 0, 0, 3]]
    loss = criterion("dcd")
    assert loss(target, target) == 0
    # There: three of four points share one, 1 - 1/3 each. Back: the middle two are far off; where points coincide
    # one of them is the nearest.
    assert float(loss(heaped, target)) == pytest.approx((3 * (1 - 1 / 3) / 4 + back(loss, heaped, target)) / 2)


def back(loss, heaped, target):
    return float(loss.one_sided(target, heaped))


def test_parameters_are_read_checked_and_written_out():
    assert parse("landau") == ("landau", {"shift": 1.0})
    assert parse("gamma:shape=2.5, rate=0.5") == ("gamma", {"shape": 2.5, "rate": 0.5, "shift": 1.0})
    assert criterion("hyper").parameters == {"alpha": 1.0}
    for name, given_, message in (
        ("chamfer", {}, "unknown criterion 'chamfer', expected one of l1, l2"),
        ("hyper", {"beta": 1.0}, "criterion hyper: unknown parameter 'beta', it takes: alpha"),
        ("l1", {"beta": 1.0}, "it takes: none"),
        ("hyper", {"alpha": 0.0}, "alpha is 0, expected more than 0"),
        ("hyper", {"alpha": float("nan")}, "alpha is nan"),
        ("normal", {"sigma": float("inf")}, "sigma is inf"),
        ("chi2", {"k": 1.9}, "k is 1.9, expected at least 2"),
        ("landau", {"shift": 0.5}, "shift is 0.5, expected 1 or 0"),
        ("info", {"weight": 1.0}, "weight is 1, expected less than 1"),
    ):
        with pytest.raises(SettingsError) as error:
            criterion(name, **given_)
        assert message in str(error.value)
    with pytest.raises(SettingsError, match="criterion gamma: expected PARAMETER=NUMBER, found 'shape'"):
        parse("gamma:shape")


def test_what_has_no_neighbours_is_refused_in_a_line():
    good = torch.zeros(2, 5, 3)
    loss = criterion("l1")
    for a, b, message in (
        (good[0], good, r"expected clouds \(batch, points, 3\), found shape \(5, 3\)"),
        (good, good[:, :0], r"found shape \(2, 0, 3\)"),
        (good, good[:1], "expected batches of the same number of clouds, found 2 and 1"),
        (good, good + torch.nan, "found NaN"),
        (good.double() + 1e200, good, "or a larger one"),
    ):
        with pytest.raises(CloudError, match=message):
            loss(a, b)


def test_the_room_exports_its_losses_and_names_them_without_torch():
    script = "import pcqaad.losses as losses\nassert 'gamma' in losses.CRITERIA\nlosses.parse('landau')"
    assert loaded(script) == []
    assert loaded(f"{script}\nlosses.criterion('l1')") != []
    assert all(getattr(pcqaad.losses, name) is not None for name in pcqaad.losses.__all__)
    with pytest.raises(AttributeError, match="no attribute 'chamfer'"):
        _ = pcqaad.losses.chamfer


def test_parameters_can_be_learned():
    predicted, target = some()
    sigma = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)

    def value(sigma):
        return criterion("normal", sigma=sigma)(predicted, target)

    assert torch.autograd.gradcheck(value, (sigma,))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", CRITERIA)
def test_a_gpu_agrees(name):
    predicted, target = some()
    there = make(name).each(predicted.cuda(), target.cuda()).cpu()
    assert torch.allclose(there, make(name).each(predicted, target), rtol=1e-9)
