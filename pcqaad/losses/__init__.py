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

from pcqaad.losses.names import CRITERIA, DENSITIES, parse, write

if TYPE_CHECKING:
    from pcqaad.losses.criteria import Criterion, criterion

__all__ = ["CRITERIA", "DENSITIES", "Criterion", "criterion", "parse", "write"]


def __getattr__(name: str) -> Any:
    if name not in ("Criterion", "criterion"):
        raise AttributeError(f"module 'pcqaad.losses' has no attribute {name!r}")
    from pcqaad.losses import criteria

    return getattr(criteria, name)
