"""The densities that weight distances, each written once for numpy and torch (Lin et al., "Weighting functions").

A density f is the weight in the loss f(d) d of a distance d. Losses shift f by its mode m: f(d + m) falls from d = 0
on. Parameters are floats, or scalar tensors that gradients reach.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# A float, an array of numpy or a tensor of torch.
Value = Any

_LEAST = 1e-30  # its logarithm and its reciprocal are finite in float32
_LARGEST_EXPONENT = 80.0  # exp of it is finite in float32, and exp(-exp) of it is 0


class Ops(NamedTuple):
    """The functions a density is written in."""

    exp: Callable[[Value], Value]
    log: Callable[[Value], Value]
    softplus: Callable[[Value], Value]  # log(1 + exp(x)), also where exp(x) overflows
    tanh: Callable[[Value], Value]
    lgamma: Callable[[Value], Value]
    clip: Callable[[Value, float | None, float | None], Value]

    def positive(self, x: Value) -> Value:
        """Raise values to `_LEAST`, where they are below it."""
        return self.clip(x, _LEAST, None)

    def capped(self, x: Value) -> Value:
        """Lower values to `_LARGEST_EXPONENT`, where they are above it."""
        return self.clip(x, None, _LARGEST_EXPONENT)


NUMPY = Ops(np.exp, np.log, lambda x: np.logaddexp(0, x), np.tanh, math.lgamma, np.clip)


class Density(NamedTuple):
    """One family."""

    log: Callable[..., Value]  # log f(x) of values and parameters; f integrates to 1
    score: Callable[..., Value]  # the derivative of that, f'(x) / f(x)
    mode: Callable[..., Value]  # the x at which f is largest


def _gamma_log(x: Value, ops: Ops, shape: Value, rate: Value) -> Value:
    return shape * ops.log(rate) - ops.lgamma(shape) + (shape - 1) * ops.log(ops.positive(x)) - rate * x


def _gamma_score(x: Value, ops: Ops, shape: Value, rate: Value) -> Value:
    return (shape - 1) / ops.positive(x) - rate


def _chi2_log(x: Value, ops: Ops, k: Value) -> Value:
    return (k / 2 - 1) * ops.log(ops.positive(x)) - x / 2 - k / 2 * math.log(2) - ops.lgamma(k / 2)


def _chi2_score(x: Value, ops: Ops, k: Value) -> Value:
    return _gamma_score(x, ops, k / 2, 0.5)


def _gumbel_log(x: Value, ops: Ops, beta: Value) -> Value:
    # The extreme value distribution of type I.
    return -ops.log(beta) - x / beta - ops.exp(-x / beta)


def _gumbel_score(x: Value, ops: Ops, beta: Value) -> Value:
    return (ops.exp(-x / beta) - 1) / beta


def _weibull_log(x: Value, ops: Ops, shape: Value, scale: Value) -> Value:
    logs = ops.log(ops.positive(x)) - ops.log(scale)
    return ops.log(shape) - ops.log(scale) + (shape - 1) * logs - ops.exp(ops.capped(shape * logs))


def _weibull_score(x: Value, ops: Ops, shape: Value, scale: Value) -> Value:
    logs = ops.log(ops.positive(x)) - ops.log(scale)
    return (shape - 1) / ops.positive(x) - shape / scale * ops.exp(ops.capped((shape - 1) * logs))


def _log_logistic_log(x: Value, ops: Ops, alpha: Value, beta: Value) -> Value:
    # (beta / alpha) (x / alpha)^(beta - 1) / (1 + (x / alpha)^beta)^2. The poster prints another function, which is
    # not this density but has its mode.
    logs = ops.log(ops.positive(x)) - ops.log(alpha)
    return ops.log(beta) - ops.log(alpha) + (beta - 1) * logs - 2 * ops.softplus(beta * logs)


def _log_logistic_score(x: Value, ops: Ops, alpha: Value, beta: Value) -> Value:
    logs = ops.log(ops.positive(x)) - ops.log(alpha)
    return (-1 - beta * ops.tanh(beta * logs / 2)) / ops.positive(x)


def _log_logistic_mode(alpha: Value, beta: Value) -> Value:
    return alpha * ((beta - 1) / (beta + 1)) ** (1 / beta)


def _logistic_log(x: Value, ops: Ops, sigma: Value) -> Value:
    return -x / sigma - ops.log(sigma) - 2 * ops.softplus(-x / sigma)


def _logistic_score(x: Value, ops: Ops, sigma: Value) -> Value:
    return -ops.tanh(x / (2 * sigma)) / sigma


def _normal_log(x: Value, ops: Ops, sigma: Value) -> Value:
    return -((x / sigma) ** 2) / 2 - ops.log(sigma) - math.log(2 * math.pi) / 2


def _normal_score(x: Value, ops: Ops, sigma: Value) -> Value:
    return -x / sigma**2


def _landau_log(x: Value, ops: Ops) -> Value:
    # Moyal's approximation of Landau's density.
    return -(x + ops.exp(-x)) / 2 - math.log(2 * math.pi) / 2


def _landau_score(x: Value, ops: Ops) -> Value:
    return (ops.exp(-x) - 1) / 2


def _zero(**parameters: Value) -> float:
    return 0.0


FAMILIES: dict[str, Density] = {
    "chi2": Density(_chi2_log, _chi2_score, lambda k: k - 2),
    "gumbel": Density(_gumbel_log, _gumbel_score, _zero),
    "weibull": Density(_weibull_log, _weibull_score, lambda shape, scale: scale * ((shape - 1) / shape) ** (1 / shape)),
    "log-logistic": Density(_log_logistic_log, _log_logistic_score, _log_logistic_mode),
    "gamma": Density(_gamma_log, _gamma_score, lambda shape, rate: (shape - 1) / rate),
    "logistic": Density(_logistic_log, _logistic_score, _zero),
    "normal": Density(_normal_log, _normal_score, _zero),
    "landau": Density(_landau_log, _landau_score, _zero),
}


def weight(name: str, d: Value, parameters: Mapping[str, Value], shift: bool = True, ops: Ops = NUMPY) -> Value:
    """Return f(d + m), or f(d) without `shift`, of distances of any shape."""
    density = FAMILIES[name]
    return ops.exp(density.log(d + density.mode(**parameters) if shift else d, ops, **parameters))


def slope(name: str, d: Floats, parameters: Mapping[str, float], shift: bool = True) -> Floats:
    """Return the slope f'(d + m) d + f(d + m) of f(d + m) d, at distances of any shape (equation 3).

    Without `shift` the m is 0.
    """
    density = FAMILIES[name]
    x = d + density.mode(**parameters) if shift else d
    f: Floats = np.exp(density.log(x, NUMPY, **parameters))
    score: Floats = density.score(x, NUMPY, **parameters)
    return f * (1 + d * score)
