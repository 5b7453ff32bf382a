"""Clouds that are given to a fitted file: brought into its normalisation, and refused where they lie elsewhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pcqaad.bitstream.collection import Collection
from pcqaad.errors import CloudError
from pcqaad.evaluation.metrics import percent
from pcqaad.points.collect import FARTHEST, Normalisation, Points

_ELSEWHERE = "lies nowhere near the clouds of the file: expected their unit and place"


def normalised(cloud: Points, name: str, normalisation: Normalisation) -> NDArray[np.float64]:
    """Return a cloud (n, 3) normalised as those of the file; raises CloudError where a point is farther than any."""
    found = normalisation.normalise(cloud)
    if not np.abs(found).max() < FARTHEST:
        raise CloudError(f"{name}: {_ELSEWHERE}")
    return found


def check_near(name: str, distance: float, farthest: float) -> None:
    """Raise CloudError where a cloud lies more than a normalised distance from those of the file."""
    if distance > farthest:
        raise CloudError(f"{name}: {_ELSEWHERE}, found it {percent(distance, 4):,.0f} % of a diagonal away")


def reference_diagonal(collection: Collection) -> float:
    """Return the median diagonal of the fit's clouds: new and old errors are parts of the same length."""
    recorded = collection.info["fidelity"].get("diagonal")
    return float(recorded) if isinstance(recorded, (int, float)) else 4 * collection.denormalisation.centre_and_scale[1]
