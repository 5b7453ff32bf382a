"""The parameters of a weighting, learned while a network trains (iterative differentiation).

The upper problem asks for the weighting with which training ends well, the lower one is the training: steps of
gradient descent on the weighted Chamfer distance. The last of these steps are kept as one differentiable function of
the parameters, and the loss on held-out points that they lead to is descended (Franceschi et al., 2017, reverse mode;
Shaban et al., 2019, for the truncation).

What is learned is the form of f, not its size, which would only be another rate: f(d + m) / f(m) d is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pcqaad.errors import SettingsError
from pcqaad.losses.criteria import Criterion, relative
from pcqaad.losses.names import DENSITIES
from pcqaad.monitor import SILENT, Monitor, Stage

# What a network is given, and the clouds (B, M, 3) that what it returns, (B, N, 3), is compared with.
Batch = tuple[tuple[Tensor, ...], Tensor]
# The batch of a step, by its number.
Draw = Callable[[int], Batch]
Loss = Callable[[Tensor, Tensor], Tensor]
Weights = dict[str, Tensor]


class Weighting:
    """A family's parameters as numbers without bounds, by which they are learned.

    A parameter is its least value and the exponential of its number.

    Attributes:
        numbers: (P,) in float64, in the order of `pcqaad.losses.names.DENSITIES`.
    """

    def __init__(self, family: str, parameters: Mapping[str, float] | None = None) -> None:
        """Begin at some parameters, or where None are given at the defaults; raises SettingsError."""
        known = DENSITIES.get(family, {})
        if not known:
            learned = ", ".join(name for name, own in DENSITIES.items() if own)
            raise SettingsError(f"family {family!r} has no parameters to learn, expected one of {learned}")
        self.family = family
        self._least = {key: parameter.least for key, parameter in known.items()}
        start = {key: parameter.default for key, parameter in known.items()} | dict(parameters or {})
        above = []
        for key, least in self._least.items():
            if not start[key] > least:
                raise SettingsError(f"{family}: {key} is {start[key]:g}, expected more than {least:g} to learn it from")
            above.append(start[key] - least)
        self.numbers = torch.tensor(above, dtype=torch.float64).log().requires_grad_()

    def criterion(self) -> Criterion:
        """Return the loss f(d + m) / f(m) d, differentiable in the numbers."""
        values = (self.numbers.exp() + torch.tensor(list(self._least.values()), dtype=torch.float64)).unbind()
        return relative(self.family, dict(zip(self._least, values, strict=True)))

    @property
    def parameters(self) -> dict[str, float]:
        """The parameters as they are."""
        return {key: float(value.detach()) for key, value in self.criterion().parameters.items()}  # type: ignore[union-attr]


@dataclass(frozen=True)
class Plan:
    """How long is trained, and how much of it is looked back on."""

    rounds: int = 50  # steps of the weighting's parameters
    steps: int = 10  # of the network in a round
    unrolled: int = 5  # the last of these that are differentiated through
    rate: float = 0.05  # of the network's steps
    outer_rate: float = 0.05  # of the parameters' logarithms, by Adam
    restart: bool = False  # begin every round with the same network, where otherwise it trains on

    def __post_init__(self) -> None:
        for name in ("rounds", "steps", "unrolled"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}, expected at least 1")
        for name in ("rate", "outer_rate"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name} is {getattr(self, name):g}, expected more than 0")
        if self.unrolled > self.steps:
            raise SettingsError(f"unrolled is {self.unrolled}, expected at most the {self.steps} steps of a round")


@dataclass(frozen=True)
class Learned:
    """What came of it.

    Attributes:
        parameters: of the density at the end.
        losses: held-out, one a round.
        path: the parameters that each round began with.
    """

    parameters: dict[str, float]
    losses: list[float] = field(default_factory=list)
    path: list[dict[str, float]] = field(default_factory=list)


def train(
    network: nn.Module, weights: Weights, loss: Loss, draw: Draw, first: int, steps: int, rate: float, keep: bool
) -> Weights:
    """Return the weights after some steps of gradient descent, as a function of the loss's parameters with `keep`.

    Raises SettingsError where the rate is too large to stay finite.
    """
    for step in range(first, first + steps):
        inputs, target = draw(step)
        value = loss(_finite(functional_call(network, weights, inputs), rate), target)
        # What a step has no use for stays where it is.
        gradients = torch.autograd.grad(value, list(weights.values()), create_graph=keep, allow_unused=True)
        moved = zip(weights.items(), gradients, strict=True)
        weights = {name: w if g is None else w - rate * g for (name, w), g in moved}
        if not keep:
            weights = {name: w.detach().requires_grad_() for name, w in weights.items()}
    return weights


def _finite(predicted: Tensor, rate: float) -> Tensor:
    # Beyond this nothing is left of a cloud, whatever it was normalised to.
    if not (predicted.detach().abs() < 1e6).all():
        raise SettingsError(f"training went astray: expected a smaller rate than {rate:g}")
    return predicted


def hypergradient(
    network: nn.Module,
    weights: Weights,
    weighting: Weighting,
    draw: Draw,
    held_out: Batch,
    judge: Loss,
    first: int,
    plan: Plan,
) -> tuple[float, Tensor, Weights]:
    """Train for a round and differentiate the loss it ends with.

    Args:
        network: what is trained; its own weights stay as they are.
        weights: of its parameters, by name, that the round begins with.
        weighting: whose numbers the gradient is of.
        draw: the training's batches.
        held_out: what the round is judged by.
        judge: the loss it is judged with.
        first: the number of the round's first step.
        plan: of which `steps`, `unrolled` and `rate` count here.

    Returns:
        The held-out loss, its gradient (P,) by the last `unrolled` steps, and the weights the round ends with.
    """
    before = plan.steps - plan.unrolled
    weights = {name: w.detach().requires_grad_() for name, w in weights.items()}
    loss = weighting.criterion()
    weights = train(network, weights, loss, draw, first, before, plan.rate, keep=False)
    weights = train(network, weights, loss, draw, first + before, plan.unrolled, plan.rate, keep=True)
    inputs, target = held_out
    value = judge(_finite(functional_call(network, weights, inputs), plan.rate), target)
    (gradient,) = torch.autograd.grad(value, [weighting.numbers])
    return float(value.detach()), gradient, {name: w.detach() for name, w in weights.items()}


def learn(
    network: nn.Module,
    weighting: Weighting,
    draw: Draw,
    held_out: Draw,
    judge: Loss,
    plan: Plan | None = None,
    monitor: Monitor = SILENT,
) -> Learned:
    """Learn a weighting's parameters with the network that trains by it.

    Args:
        network: returns clouds (B, N, 3); trained in place, from its weights on.
        weighting: moved in place.
        draw: batches to train on.
        held_out: batches to judge by, one a round, of points that `draw` never gives.
        judge: the loss they are judged with: one that does not depend on the weighting.
        plan: how long.
        monitor: told of every round, with the held-out loss.

    Raises:
        SettingsError: the rate is too large to train at.
        Interrupted: stopped.
    """
    plan = plan or Plan()
    start = {name: w.detach().clone() for name, w in network.named_parameters()}
    weights, losses, path = start, [], []
    optimiser = torch.optim.Adam([weighting.numbers], lr=plan.outer_rate)
    for number in range(plan.rounds):
        if plan.restart:
            weights = start
        path.append(weighting.parameters)
        first = 0 if plan.restart else number * plan.steps
        batch = held_out(0 if plan.restart else number)
        loss, gradient, weights = hypergradient(network, weights, weighting, draw, batch, judge, first, plan)
        losses.append(loss)
        weighting.numbers.grad = gradient
        optimiser.step()
        monitor.update(Stage.LEARN, number + 1, plan.rounds, "rounds", {"held-out loss": loss})
    with torch.no_grad():
        for name, w in network.named_parameters():
            w.copy_(weights[name])
    return Learned(weighting.parameters, losses, path)
