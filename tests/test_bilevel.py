"""The weighting that is learned with a network: its gradient is that of the training itself."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import pcqaad
from pcqaad.distillation.bilevel import Plan, Weighting, hypergradient, learn, train
from pcqaad.distillation.learn import Halves, emd_loss, learn_weighting
from pcqaad.errors import SettingsError
from pcqaad.losses.criteria import criterion
from pcqaad.losses.names import DENSITIES
from pcqaad.monitor import Monitor, Stage
from tests.generators import population

FAMILIES = [name for name, own in DENSITIES.items() if own]


class Mover(nn.Module):
    """Points, moved by a small network: clouds (B, N, 3) -> (B, N, 3)."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        self.unused = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def forward(self, points):
        return points + self.layers(points)


def clouds(seed, count=2, n=12):
    """Clouds to start from, and others, half of whose last points lie far off: the weights matter to them."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(count, n, 3, generator=generator, dtype=torch.float64)
    target = start * torch.tensor([1.3, 0.8, 1.0], dtype=torch.float64) + 0.2
    target[:, -3:] += 2.5
    return (start,), target


def clean(seed):
    """The same without what lies far off."""
    inputs, target = clouds(seed)
    target[:, -3:] -= 2.5
    return inputs, target


def round_of(weighting, plan, first=0):
    network = Mover()
    weights = dict(network.named_parameters())
    return hypergradient(network, weights, weighting, clouds, clean(99), criterion("l2"), first, plan)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_is_that_of_differences(family):
    """Through all steps of a round, in float64."""
    plan = Plan(steps=4, unrolled=4, rate=0.1)
    _, gradient, _ = round_of(Weighting(family), plan)
    step, found = 1e-5, []
    for i in range(len(gradient)):
        values = []
        for sign in (1, -1):
            weighting = Weighting(family)
            with torch.no_grad():
                weighting.logarithms[i] += sign * step
            values.append(round_of(weighting, plan)[0])
        found.append((values[0] - values[1]) / (2 * step))
    assert np.abs(found).max() > 1e-5
    assert gradient.numpy() == pytest.approx(found, rel=1e-4, abs=1e-9)


def test_steps_before_the_last_are_trained_by_and_not_looked_at():
    """A round of 5 steps, 2 of them looked back on, is 3 steps and then a round of 2."""
    network, weighting = Mover(), Weighting("gamma")
    weights = dict(network.named_parameters())
    loss = criterion("l2")
    plan = Plan(steps=5, unrolled=2, rate=0.1)
    value, gradient, after = hypergradient(network, weights, weighting, clouds, clean(9), loss, 0, plan)
    trained = train(network, weights, weighting.criterion(), clouds, 0, 3, 0.1, keep=False)
    short = dataclasses.replace(plan, steps=2)
    again = hypergradient(network, trained, weighting, clouds, clean(9), loss, 3, short)
    assert (value, gradient.tolist()) == (again[0], again[1].tolist())
    assert all(torch.equal(after[name], again[2][name]) for name in after)
    _, whole, _ = hypergradient(
        network, weights, weighting, clouds, clean(9), loss, 0, dataclasses.replace(plan, unrolled=5)
    )
    assert not torch.allclose(gradient, whole, rtol=1e-3)
    # The network itself stayed as it was.
    assert all(torch.equal(w, Mover().state_dict()[name]) for name, w in network.state_dict().items())


@pytest.mark.parametrize("family", ["gumbel", "log-logistic"])
def test_what_training_leads_to_falls_from_round_to_round(family):
    """Every round begins with the same network: only the weighting gets better."""
    plan = Plan(rounds=8, steps=6, unrolled=6, rate=0.2, outer_rate=0.05, restart=True)
    weighting = Weighting(family)
    before = weighting.parameters
    losses, path = learn(Mover(), weighting, clouds, lambda number: clean(99), criterion("l2"), plan)
    assert len(losses) == len(path) == 8
    assert losses[-1] < 0.97 * losses[0]
    # Nearly so: at times another point becomes the nearest one, and the loss jumps.
    assert np.diff(losses).max() < 0.02 * losses[0]
    assert path[0] == before != weighting.parameters


def test_a_network_trains_on_from_round_to_round():
    plan = Plan(rounds=12, steps=3, unrolled=2, rate=0.1)
    network = Mover()
    before = {name: w.clone() for name, w in network.state_dict().items()}
    seen = []

    def see(progress):
        seen.append((int(progress.done) - 1, progress.figures["held-out loss"]))

    weighting = Weighting("weibull")
    losses, _ = learn(network, weighting, clouds, clean, criterion("l1"), plan, Monitor(see))
    assert seen == list(enumerate(losses))
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    stayed = [name for name, w in network.state_dict().items() if torch.equal(w, before[name])]
    assert stayed == ["unused"]


@pytest.mark.parametrize("family", FAMILIES)
def test_numbers_without_bounds_keep_parameters_within_theirs(family):
    own = DENSITIES[family]
    start = {key: p.least + 1.5 for key, p in own.items()}
    weighting = Weighting(family, start)
    assert weighting.parameters == pytest.approx(start)
    # The published loss, but for its size.
    d = torch.linspace(0.1, 2, 9, dtype=torch.float64)[:, None, None] * torch.eye(1, 3, dtype=torch.float64)
    ratio = weighting.criterion().one_sided(d, 0 * d) / criterion(family, **start).one_sided(d, 0 * d)
    assert torch.allclose(ratio, ratio[0])
    near = 1e-9 * d[:1]
    assert weighting.criterion().one_sided(near, 0 * near).item() == pytest.approx(1e-10, rel=1e-6)
    with torch.no_grad():
        weighting.logarithms -= 30
    assert all(value >= own[key].least for key, value in weighting.parameters.items())
    with pytest.raises(SettingsError, match="expected more than"):
        Weighting(family, {key: p.least for key, p in own.items()})


def test_what_cannot_be_learned_is_refused():
    with pytest.raises(SettingsError, match="family 'landau' has no parameters to learn, expected one of chi2,"):
        Weighting("landau")
    for values, message in (
        ({"steps": 3, "unrolled": 4}, "unrolled is 4, expected at most the 3 steps of a round"),
        ({"rounds": 0}, "rounds is 0, expected at least 1"),
        ({"rate": 0.0}, "rate is 0, expected more than 0"),
    ):
        with pytest.raises(SettingsError, match=message):
            Plan(**values)
    with pytest.raises(SettingsError, match="unknown judge 'l2', expected one of l1, emd"):
        learn_weighting(population(2, 600), "gamma", judge="l2")
    with pytest.raises(pcqaad.CloudError, match="expected clouds of at least 512 points, found 300"):
        learn_weighting(population(2, 300), "gamma")


def test_training_that_diverges_says_so():
    plan = Plan(rounds=3, steps=4, unrolled=1, rate=1e200)
    with pytest.raises(pcqaad.DivergenceError, match=r"diverged: expected a smaller rate than 1e\+200"):
        learn(Mover(), Weighting("gamma"), clouds, clean, criterion("l1"), plan)


def test_halves_share_no_point_and_are_those_of_their_clouds():
    given = population(3, 640)
    halves = Halves(given, 640, 0, "cpu", Monitor())
    train, judge = [set(), set(), set()], [set(), set(), set()]
    for number in range(12):
        for draw, seen in ((halves.train, train), (halves.held_out, judge)):
            (drawn, rows), target = draw(number)
            assert halves.network(drawn, rows).shape == target.shape == (3, 256, 3)
            for cloud, points in zip(drawn.tolist(), target.numpy(), strict=True):
                seen[cloud] |= {point.tobytes() for point in points}
    for a, b in zip(train, judge, strict=True):
        assert len(a) == len(b) == 320
        assert not a & b
    assert len(set.union(*train)) == 960


def test_the_judge_s_matching_is_one_to_one():
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.randn(2, 40, 3, generator=generator) for _ in range(2))
    expected = np.mean([pcqaad.emkd(x, y).mean for x, y in zip(a.numpy(), b.numpy(), strict=True)])
    moved = a.clone().requires_grad_()
    value = emd_loss(moved, b)
    assert value.item() == pytest.approx(expected, rel=1e-3)
    value.backward()
    # Each point is drawn by one other, with all its force.
    assert torch.allclose(moved.grad.norm(dim=2), torch.tensor(1 / 80))
    assert emd_loss(a, a) == 0


def test_learning_is_repeated_to_the_last_digit_and_can_be_stopped():
    plan = Plan(rounds=3, steps=3, unrolled=2)
    given = population(3, 520)
    found = [learn_weighting(given, "gamma", plan=plan, device="cpu") for _ in range(2)]
    assert found[0] == found[1]
    assert found[0]["parameters"] != {key: p.default for key, p in DENSITIES["gamma"].items()}
    stages = []
    with pytest.raises(pcqaad.Interrupted):
        learn_weighting(
            given,
            "gamma",
            plan=plan,
            device="cpu",
            monitor=Monitor(lambda progress: stages.append(progress.stage), lambda: stages[-1] is Stage.LEARN),
        )
    assert stages.count(Stage.LEARN) == 1
