"""The sampling floor: how far two samplings of one shape lie apart, which says how to read EM-kD."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypedDict

import numpy as np

from pcqaad.evaluation.metrics import measure, percent
from pcqaad.monitor import Monitor, Stage
from pcqaad.points.collect import Points
from pcqaad.seeds import Use, generator

# Originals that it is estimated from, spread over the collection: they differ little.
CLOUDS = 16
# EM-kD between samplings of a surface falls with the root of their number of points.
_TWICE_AS_MANY = 0.5**0.5


class Floor(TypedDict):
    """The mean EM-kD between two independent samplings of as many points as a cloud of the file, estimated."""

    mean: float
    mean_percent: float  # of the diagonal
    halves: float  # the mean EM-kD between two halves of an original, which it is estimated from
    points: int  # of a half
    measured: int  # originals


def sampling_floor(
    clouds: Iterable[Points], reference_diagonal: float, cell: int, device: str, monitor: Monitor, total: int
) -> Floor | None:
    """Estimate the floor from random halves of originals (M, 3); None for clouds of a single point.

    Halves of M / 2 points each lie farther apart than two samplings of M would, by the root of 2 on a surface.
    """
    sizes: list[int] = []

    def halves() -> Iterator[tuple[Points, Points]]:
        for i, cloud in enumerate(clouds):
            sizes.append(len(cloud) // 2)
            drawn = generator(0, Use.FLOOR_HALVES, i).permutation(cloud)[: 2 * sizes[-1]]
            if sizes[-1]:
                yield drawn[::2], drawn[1::2]

    errors = measure(halves(), ("emkd",), cell, device=device, monitor=monitor, stage=Stage.FLOOR, total=total)["emkd"]
    if not errors:
        return None
    apart = float(np.mean([error.mean for error in errors]))
    mean = apart * _TWICE_AS_MANY
    return {
        "mean": mean,
        "mean_percent": percent(mean, reference_diagonal),
        "halves": apart,
        "points": sizes[0],
        "measured": len(errors),
    }
