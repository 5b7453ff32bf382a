"""The losses of the Chamfer family: each says how much a distance to the nearest neighbour costs.

A directed loss is the mean cost over the points of one cloud. A loss adds both directions, unless its description
says otherwise (Lin et al., equation 1). It is zero between a cloud without duplicates and itself.

Most losses are not linear in the unit: give them normalised coordinates, about [-1, 1]. A weighted loss falls again
at large distances, where its slope f'(d) d + f(d) is negative. With default parameters this begins at 1.9 for
`gumbel`, at 2.2 for `landau` and at 1.3 for `landau-released`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pcqaad.losses.densities import Ops, weight
from pcqaad.losses.names import DENSITIES, complete
from pcqaad.losses.nearest import Nearest, nearest, nearest_one_sided

# A scalar tensor is a parameter that may be learned.
Value = float | Tensor
# The mean cost of the distances of one direction: (B, N) -> (B,).
Directed = Callable[[Nearest], Tensor]


def _softplus(x: Tensor) -> Tensor:
    return torch.logaddexp(torch.zeros_like(x), x)


_TORCH = Ops(torch.exp, torch.log, _softplus, torch.tanh, torch.lgamma, torch.clip)


@dataclass(frozen=True)
class Criterion:
    """A loss between clouds."""

    name: str  # one of `pcqaad.losses.CRITERIA`
    parameters: Mapping[str, Value]  # all that the loss has
    _directed: Directed
    _combined: Callable[[Tensor, Tensor], Tensor] = torch.add

    def __call__(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss, a scalar, of a batch (B, N, 3) against (B, M, 3).

        Gradients flow to both. Raises CloudError where the shapes do not fit or a coordinate is not finite.
        """
        return self.each(predicted, target).mean()

    def each(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return the loss (B,) of each pair of clouds, (B, N, 3) and (B, M, 3)."""
        there, back = nearest(predicted, target)
        return self._combined(self._directed(there), self._directed(back))

    def one_sided(self, partial: Tensor, whole: Tensor) -> Tensor:
        """Return the directed loss (B,) from partial clouds (B, N, 3) to whole ones (B, M, 3).

        It is zero where every point of the part lies on a point of the whole. Points that the part lacks cost nothing.
        """
        return self._directed(nearest_one_sided(partial, whole))


def criterion(name: str, **parameters: Value) -> Criterion:
    """Return a loss by its name.

    - `l1`, `l2`: the Chamfer distance, of distances or of squared distances.
    - `augmented`: the larger of the two directed means (Wagner and Schwanecke, equation 11). The paper has sums. Means
      do not depend on the clouds' sizes.
    - `hyper`: HyperCD, arccosh(1 + alpha d^2) (Lin et al., 2023).
    - `info`: InfoCD (Lin et al., 2023), see `_info`.
    - `dcd`: the density-aware Chamfer distance (Wu et al., 2021), see `_dcd`. It is the mean of both directions,
      between 0 and 1.
    - the names of `pcqaad.losses.DENSITIES`: the weighted Chamfer distance f(d + m) d, f a density with its mode at m.
      With shift=0 it is f(d) d (Lin et al., 2024, equation 1).
    - `landau-released`: the Landau loss of the authors' code, exp(-(d + exp(-d)) / 2) (1 - exp(-d)). It does not have
      the form f(d) d.

    `pcqaad.losses.CRITERIA` lists the parameters. A scalar tensor may be learned. Raises SettingsError where there is
    no such loss, or it has no such parameters.
    """
    given = {key: value.item() if isinstance(value, Tensor) else value for key, value in parameters.items()}
    values: dict[str, Value] = {**complete(name, given)}
    values |= {key: value for key, value in parameters.items() if isinstance(value, Tensor)}
    directed = _weighted(name, values) if name in DENSITIES else partial(_DIRECTED[name], **values)
    return Criterion(name, values, directed, _COMBINED.get(name, torch.add))


def _l1(near: Nearest) -> Tensor:
    return near.distance.mean(-1)


def _l2(near: Nearest) -> Tensor:
    return near.squared.mean(-1)


def _hyper(near: Nearest, alpha: Value) -> Tensor:
    """HyperCD. arccosh(1 + 2 s^2) is 2 arsinh(s): exact near 0, where its slope is sqrt(2 alpha)."""
    return 2 * torch.asinh(near.distance * (alpha / 2) ** 0.5).mean(-1)


def _info(near: Nearest, temperature: Value, weight: Value) -> Tensor:
    """InfoCD: the mean of d / temperature, plus `weight` times the logarithm of the mean of exp(-d / temperature).

    The second term takes force from the points that are already near. The paper has a sum in place of its mean, which
    differs by a constant. The released code's weight, 1e-7, makes this term negligible.
    """
    scaled = near.distance / temperature
    return scaled.mean(-1) + weight * (torch.logsumexp(-scaled, -1) - math.log(scaled.shape[-1]))


def _dcd(near: Nearest, alpha: Value, exponent: Value) -> Tensor:
    """DCD: the mean of 1 - exp(-alpha d^2) / n^exponent.

    A target point has a count: the number of points whose nearest neighbour it is. n divides this count by N / M, the
    count of N points spread evenly over M, where N > M. It is at least 1.
    """
    evenly = max(near.index.shape[1] / near.among, 1.0)
    share = (near.sharing / evenly).clamp_min(1.0).pow(-exponent)
    return (1 - torch.exp(-alpha * near.squared) * share).mean(-1)


def _landau_released(near: Nearest) -> Tensor:
    d = near.distance
    return (torch.exp(-(d + torch.exp(-d)) / 2) * -torch.expm1(-d)).mean(-1)


# The losses without a density: the costs, which take the loss's parameters.
_DIRECTED: dict[str, Callable[..., Tensor]] = {
    "l1": _l1,
    "l2": _l2,
    "augmented": _l1,
    "hyper": _hyper,
    "info": _info,
    "dcd": _dcd,
    "landau-released": _landau_released,
}
# How the two directions make a loss, where they are not added.
_COMBINED = {"augmented": torch.maximum, "dcd": lambda a, b: (a + b) / 2}


def relative(family: str, parameters: Mapping[str, Tensor]) -> Criterion:
    """Return the weighted Chamfer distance f(d + m) / f(m) d, whose slope is 1 at d = 0 whatever the parameters are.

    `parameters` are those of the density, scalar tensors.
    """

    def directed(near: Nearest) -> Tensor:
        d = near.distance
        of_mode = weight(family, torch.zeros_like(d[:1, :1]), parameters, True, _TORCH)
        cost: Tensor = weight(family, d, parameters, True, _TORCH) / of_mode * d
        return cost.mean(-1)

    return Criterion(family, parameters, directed)


def _weighted(name: str, parameters: Mapping[str, Value]) -> Directed:
    """Weighted Chamfer distance: the mean of f(d + m) d."""
    own = {
        key: value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
        for key, value in parameters.items()
    }
    shift = bool(own.pop("shift"))

    def directed(near: Nearest) -> Tensor:
        d = near.distance
        cost: Tensor = weight(name, d, own, shift, _TORCH) * d
        return cost.mean(-1)

    return directed
