"""What moves the numbers of a fit down a gradient: Muon for its matrices, Adam for all else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, overload

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pcqaad.errors import DivergenceError

# Of the quintic Newton-Schulz iteration, and how often it runs (Jordan et al., "Muon", 2024). It leaves singular values
# between 0.7 and 1.2, which serves as well as 1.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
# A step of Muon, in learning rates: its matrices move by 0.02 where Adam's numbers move by 0.005.
_MUON_RATE = 4.0
_MOMENTUM = 0.95


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is made orthogonal, so that no direction of a matrix is left behind.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. torch's own takes single matrices
    and computes in bfloat16, which a CPU without it does at a sixth of the speed. This one takes batches of matrices,
    as the patches' layers are, (..., inputs, outputs), and computes in their own precision.
    """

    def __init__(self, matrices: Iterable[Tensor], lr: float) -> None:
        """Take tensors of at least two axes."""
        super().__init__(matrices, {"lr": lr})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every matrix against its orthogonal gradient."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if not self.state[matrix]:
                    self.state[matrix]["momentum"] = torch.zeros_like(matrix)
                momentum = self.state[matrix]["momentum"]
                momentum.lerp_(matrix.grad, 1 - _MOMENTUM)
                inputs, outputs = matrix.shape[-2:]
                # As long a step for a tall matrix as for a square one, by what its inputs' change does.
                rate = group["lr"] * math.sqrt(max(1, inputs / outputs))
                matrix.sub_(orthogonal(torch.lerp(matrix.grad, momentum, _MOMENTUM)), alpha=rate)
        return None


def orthogonal(matrices: Tensor) -> Tensor:
    """Return the nearest matrices (..., I, O) whose singular values are all near 1."""
    a, b, c = _QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    wide = matrices.mT if tall else matrices
    x = wide.reshape(-1, *wide.shape[-2:])
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-30)
    for _ in range(_ITERATIONS):
        gram = torch.bmm(x, x.mT)
        # a x + (b gram + c gram gram) x
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    x = x.view(wide.shape)
    return x.mT if tall else x


class Descent:
    """Moves parameters down the gradient of a loss, one step after another."""

    def __init__(self, parameters: Sequence[nn.Parameter], matrices: Sequence[nn.Parameter] = ()) -> None:
        """Take parameters: Muon moves those of them that are `matrices`, Adam all others."""
        self._parameters, ours = list(parameters), {id(matrix) for matrix in matrices}
        others = [parameter for parameter in self._parameters if id(parameter) not in ours]
        # On a CPU one pass over each parameter; a GPU has its own choice.
        fused = True if all(parameter.device.type == "cpu" for parameter in others) else None
        self._optimisers: list[tuple[torch.optim.Optimizer, float]] = []
        if others:
            self._optimisers.append((torch.optim.Adam(others, lr=1.0, fused=fused), 1.0))
        if matrices:
            self._optimisers.append((Muon(matrices, lr=1.0), _MUON_RATE))
        self.rate = 0.0  # of the last step

    def follow(self, loss: Tensor, rate: float, step: int) -> float:
        """Make a step of a number down the gradient of a loss, and return it; raises DivergenceError for NaN."""
        self.rate = rate
        for optimiser, factor in self._optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
            optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimiser, _ in self._optimisers:
            optimiser.step()
        figure = float(loss.detach())
        must_be_finite(figure, step)
        return figure

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the averages kept of every parameter, by its number and theirs."""
        return {
            f"descent {i} {name}": values.cpu().numpy()
            for i, parameter, optimiser in self._pairs()
            for name, values in optimiser.state.get(parameter, {}).items()
        }

    def load_state(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from the averages that `state` returned, or from none; raises ValueError for those of others."""
        kept = {name: torch.from_numpy(values) for name, values in arrays.items() if name.startswith("descent ")}
        for i, parameter, optimiser in self._pairs() if kept else ():
            size = parameter.shape
            by_adam = {"step": torch.Size(), "exp_avg": size, "exp_avg_sq": size}
            for name, shape in (by_adam if isinstance(optimiser, torch.optim.Adam) else {"momentum": size}).items():
                values = kept.pop(f"descent {i} {name}", None)
                if values is None or values.shape != shape:
                    raise ValueError(f"expected {name} of parameter {i} in shape {tuple(shape)}")
                # Adam counts its steps on the CPU.
                optimiser.state[parameter][name] = values if name == "step" else values.to(parameter.device)
        if kept:
            raise ValueError(f"expected averages of parameters, found {next(iter(kept))}")

    def _pairs(self) -> Iterator[tuple[int, nn.Parameter, torch.optim.Optimizer]]:
        """Yield every parameter's number, it, and what moves it."""
        movers = {id(p): o for o, _ in self._optimisers for group in o.param_groups for p in group["params"]}
        return ((i, parameter, movers[id(parameter)]) for i, parameter in enumerate(self._parameters))


def must_be_finite(figure: float, step: int) -> None:
    """Raise DivergenceError where a figure of a step is infinite or NaN: no model comes of it any more."""
    if not math.isfinite(figure):
        raise DivergenceError(f"the fit diverged at step {step}: give pcqaad.Settings a lower learning_rate")
