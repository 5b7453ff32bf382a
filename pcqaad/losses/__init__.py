"""The Chamfer family: losses between clouds, made of distances to nearest neighbours.

    from pcqaad.losses import criterion

    loss = criterion("hyper", alpha=1.0)
    loss(predicted, target).backward()

- `criterion(name, **parameters)` returns a loss, a `Criterion`. It works on any device.
- `CRITERIA` names every loss, with its parameters, their defaults and their lower bounds.
- `DENSITIES` names those losses that weight distances by a density.
- `parse(text)` reads a loss as settings hold it, `gamma:shape=2.5,rate=0.5`. `write(name, parameters)` writes it so.

This import loads no torch. The first use of `criterion` or `Criterion` does.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pcqaad.losses.criteria import Criterion as Criterion
    from pcqaad.losses.criteria import criterion as criterion
    from pcqaad.losses.names import CRITERIA as CRITERIA
    from pcqaad.losses.names import DENSITIES as DENSITIES
    from pcqaad.losses.names import parse as parse
    from pcqaad.losses.names import write as write

_HOMES = {
    "Criterion": "criteria",
    "criterion": "criteria",
    "CRITERIA": "names",
    "DENSITIES": "names",
    "parse": "names",
    "write": "names",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pcqaad.losses' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"pcqaad.losses.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
