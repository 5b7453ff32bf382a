"""The losses' names and their parameters, in plain Python: settings and command lines read them without torch.

A default is that of the authors' released code. Where there is none, loss distillation from HyperCD found it
(alpha = 1, half-normal distances with sigma 0.5; `pcqaad distill --family all`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pcqaad.errors import SettingsError


class Parameter(NamedTuple):
    """A parameter of a loss."""

    default: float  # its value where none is given
    least: float = 0.0  # its lower bound
    reached: bool = False  # whether it may be equal to that


# The densities that weight distances (Lin et al., poster: "Weighting functions"). With a shape below its lower bound
# f(0) would be infinite, and so would be the slope of the loss.
DENSITIES: dict[str, dict[str, Parameter]] = {
    "chi2": {"k": Parameter(3.0, 2.0, True)},
    "gumbel": {"beta": Parameter(1.4)},
    "weibull": {"shape": Parameter(1.3, 1.0, True), "scale": Parameter(4.4)},
    "log-logistic": {"alpha": Parameter(5.0), "beta": Parameter(2.0, 1.0, True)},
    "gamma": {"shape": Parameter(2.0, 1.0, True), "rate": Parameter(0.4)},
    "logistic": {"sigma": Parameter(1.86)},
    "normal": {"sigma": Parameter(2.64)},
    "landau": {},
}

# All losses. Those with a density are weighted Chamfer distances: `shift` 1 takes the density from its mode on,
# `shift` 0 as it is.
CRITERIA: dict[str, dict[str, Parameter]] = {
    "l1": {},
    "l2": {},
    "augmented": {},
    "hyper": {"alpha": Parameter(1.0)},
    "info": {"temperature": Parameter(2.0), "weight": Parameter(1e-7, 0.0, True)},
    "dcd": {"alpha": Parameter(1000.0), "exponent": Parameter(1.0, 0.0, True)},
    **{name: {**own, "shift": Parameter(1.0, 0.0, True)} for name, own in DENSITIES.items()},
    "landau-released": {},
}


def complete(name: str, given: Mapping[str, float]) -> dict[str, float]:
    """Return all parameters of a loss: those given, and the others' defaults.

    Raises SettingsError where there is no such loss, or it cannot have such parameters.
    """
    if name not in CRITERIA:
        raise SettingsError(f"unknown criterion {name!r}, expected one of {', '.join(CRITERIA)}")
    known = CRITERIA[name]
    for key, value in given.items():
        if key not in known:
            raise SettingsError(f"criterion {name}: unknown parameter {key!r}, it takes: {', '.join(known) or 'none'}")
        _, least, reached = known[key]
        # Not `value <= least`: NaN has to fail as well.
        if not (value > least or (reached and value == least)) or value == float("inf"):
            rule = f"at least {least:g}" if reached else f"more than {least:g}"
            raise SettingsError(f"criterion {name}: {key} is {value:g}, expected {rule}")
    if name in DENSITIES and given.get("shift", 1.0) not in (0.0, 1.0):
        raise SettingsError(f"criterion {name}: shift is {given['shift']:g}, expected 1 or 0")
    if name == "info" and given.get("weight", 0.0) >= 1:
        raise SettingsError(f"criterion info: weight is {given['weight']:g}, expected less than 1")
    return {key: float(given.get(key, parameter.default)) for key, parameter in known.items()}


def parse(text: str) -> tuple[str, dict[str, float]]:
    """Read a loss as settings hold it, `gamma` or `gamma:shape=2.5,rate=0.5`: its name and all its parameters.

    Raises SettingsError as `complete` does, and for a value that is no number.
    """
    name, _, rest = text.partition(":")
    given: dict[str, float] = {}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        try:
            given[key.strip()] = float(value)
        except ValueError as error:
            raise SettingsError(f"criterion {name}: expected PARAMETER=NUMBER, found {part!r}") from error
    return name, complete(name, given)


def write(name: str, parameters: Mapping[str, float]) -> str:
    """Return a loss as `parse` reads it, its parameters to four digits."""
    values = ",".join(f"{key}={value:.4g}" for key, value in parameters.items())
    return f"{name}:{values}" if values else name
