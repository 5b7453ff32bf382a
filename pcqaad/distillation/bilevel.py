"""The parameters of a weighting, learned while a network trains (iterative differentiation).

The upper problem asks for the weighting with which training ends well. The lower one is the training: steps of
gradient descent on the weighted Chamfer distance. The last of these steps are kept as one differentiable function of
the parameters, and the loss on held-out points that they lead to is descended (Franceschi et al., 2017, reverse mode;
Shaban et al., 2019, for the truncation).

The form of f is learned, not its size, which would only be another rate: f(d + m) / f(m) d is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pcqaad.errors import DivergenceError, SettingsError
from pcqaad.losses.criteria import Criterion, relative
from pcqaad.losses.names import DENSITIES
from pcqaad.monitor import SILENT, Monitor, Stage

# A network's inputs, and the clouds (B, M, 3) that its outputs (B, N, 3) are compared with.
Batch = tuple[tuple[Tensor, ...], Tensor]
# The batch of a step, by its number.
Draw = Callable[[int], Batch]
Loss = Callable[[Tensor, Tensor], Tensor]
Weights = dict[str, Tensor]

# A normalised coordinate beyond this is none of a cloud any more.
_DIVERGED = 1e6


class Weighting:
    """A family's parameters, learned without bounds: each is its least value and the exponential of a number.

    Attributes:
        family: of `pcqaad.losses.names.DENSITIES`.
        logarithms: (P,) these numbers in float64, in the family's order.
    """

    def __init__(self, family: str, parameters: Mapping[str, float] | None = None) -> None:
        """Begin at some parameters, or at the defaults; raises SettingsError."""
        known = DENSITIES.get(family, {})
        if not known:
            learned = ", ".join(name for name, own in DENSITIES.items() if own)
            raise SettingsError(f"family {family!r} has no parameters to learn, expected one of {learned}")
        self.family = family
        self._least = {key: parameter.least for key, parameter in known.items()}
        start = {key: parameter.default for key, parameter in known.items()} | dict(parameters or {})
        for key, least in self._least.items():
            if not start[key] > least:
                raise SettingsError(f"{family}: {key} is {start[key]:g}, expected more than {least:g} to learn it from")
        above = [start[key] - least for key, least in self._least.items()]
        self.logarithms = torch.tensor(above, dtype=torch.float64).log().requires_grad_()

    def _values(self) -> dict[str, Tensor]:
        return {key: least + x.exp() for (key, least), x in zip(self._least.items(), self.logarithms, strict=True)}

    def criterion(self) -> Criterion:
        """Return the loss f(d + m) / f(m) d, differentiable in the logarithms."""
        return relative(self.family, self._values())

    @property
    def parameters(self) -> dict[str, float]:
        """The parameters as they are."""
        return {key: float(value.detach()) for key, value in self._values().items()}


@dataclass(frozen=True)
class Plan:
    """How long to train, and how many of the steps to differentiate through."""

    rounds: int = 50  # steps of the weighting's parameters
    steps: int = 10  # of the network in a round
    unrolled: int = 5  # last steps of a round that are differentiated through
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


def train(
    network: nn.Module, weights: Weights, loss: Loss, draw: Draw, first: int, steps: int, rate: float, keep: bool
) -> Weights:
    """Return the weights after some steps of gradient descent, with `keep` as a function of the loss's parameters.

    Raises DivergenceError.
    """
    for step in range(first, first + steps):
        inputs, target = draw(step)
        value = loss(_predict(network, weights, inputs, rate), target)
        # A weight that the step does not use stays as it is.
        gradients = torch.autograd.grad(value, list(weights.values()), create_graph=keep, allow_unused=True)
        moved = zip(weights.items(), gradients, strict=True)
        weights = {name: w if g is None else w - rate * g for (name, w), g in moved}
        if not keep:
            weights = {name: w.detach().requires_grad_() for name, w in weights.items()}
    return weights


def _predict(network: nn.Module, weights: Weights, inputs: tuple[Tensor, ...], rate: float) -> Tensor:
    """Return the clouds (B, N, 3) of a network with other weights; raises DivergenceError where training diverged."""
    predicted: Tensor = functional_call(network, weights, inputs)
    # Not `any() >= _DIVERGED`: NaN has to fail as well.
    if not (predicted.detach().abs() < _DIVERGED).all():
        raise DivergenceError(f"training diverged: expected a smaller rate than {rate:g}")
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
    """Train for a round of the plan, from step `first` on, and differentiate the held-out loss that it ends with.

    The network's own weights stay as they are; `weights` are those that the round begins with. The judge is the
    held-out loss. Returns it, its gradient (P,) by the weighting's logarithms through the last `unrolled` steps, and
    the weights at the end of the round.
    """
    before = plan.steps - plan.unrolled
    weights = {name: w.detach().requires_grad_() for name, w in weights.items()}
    loss = weighting.criterion()
    weights = train(network, weights, loss, draw, first, before, plan.rate, keep=False)
    weights = train(network, weights, loss, draw, first + before, plan.unrolled, plan.rate, keep=True)
    inputs, target = held_out
    value = judge(_predict(network, weights, inputs, plan.rate), target)
    (gradient,) = torch.autograd.grad(value, [weighting.logarithms])
    return float(value.detach()), gradient, {name: w.detach() for name, w in weights.items()}


def learn(
    network: nn.Module,
    weighting: Weighting,
    draw: Draw,
    held_out: Draw,
    judge: Loss,
    plan: Plan,
    monitor: Monitor = SILENT,
) -> tuple[list[float], list[dict[str, float]]]:
    """Learn a weighting's parameters with the network that trains by it.

    Args:
        network: returns clouds (B, N, 3). It is trained in place, from its weights on.
        weighting: moved in place.
        draw: batches to train on.
        held_out: batches for the judge, one a round, of points that `draw` never gives.
        judge: the held-out loss, which does not depend on the weighting.
        plan: how long.
        monitor: told of every round, with the held-out loss; may stop the job.

    Returns the held-out losses, one a round, and the parameters that each round began with. Raises DivergenceError
    where the rate is too large to train at, and Interrupted when stopped.
    """
    start = {name: w.detach().clone() for name, w in network.named_parameters()}
    weights = start
    losses, path = [], []
    optimiser = torch.optim.Adam([weighting.logarithms], lr=plan.outer_rate)
    for number in range(plan.rounds):
        at, weights = (0, start) if plan.restart else (number, weights)
        path.append(weighting.parameters)
        batch, first = held_out(at), at * plan.steps
        loss, gradient, weights = hypergradient(network, weights, weighting, draw, batch, judge, first, plan)
        losses.append(loss)
        weighting.logarithms.grad = gradient
        optimiser.step()
        monitor.update(Stage.LEARN, number + 1, plan.rounds, "rounds", {"held-out loss": loss})
    with torch.no_grad():
        for name, w in network.named_parameters():
            w.copy_(weights[name])
    return losses, path
