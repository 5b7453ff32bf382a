"""The distances between the clouds of a fitted file and their originals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pcqaad.bitstream.collection import Collection
from pcqaad.distillation.distances import Distances, of_samples
from pcqaad.evaluation.originals import References, read_originals
from pcqaad.monitor import SILENT, Monitor, Stage
from pcqaad.parallel import in_parallel
from pcqaad.points.collect import Normalisation, Points

# Distances kept of all clouds together, the same number of each.
_MAX_DISTANCES = 1 << 24


def observed(collection: Collection, references: References, *, monitor: Monitor = SILENT) -> Distances:
    """Measure the distances to nearest neighbours between the clouds of a file and their originals, both ways.

    They are normalised as a fit sees them: a quarter of the clouds' median diagonal is 1. References are those of
    `pcqaad.verify`. The monitor is told of every cloud. Raises CloudError and FormatError as `verify` does.
    """
    normalisation = Normalisation.of(collection.denormalisation)
    pairs = ((original.points, collection[i]) for i, original in enumerate(read_originals(collection, references)))
    share = max(_MAX_DISTANCES // len(collection), 1)

    def distances(pair: tuple[Points, Points]) -> NDArray[np.float64]:
        a, b = (normalisation.normalise(points) for points in pair)
        found = np.concatenate([cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]])
        return found[:: -(-len(found) // share)]

    found = []
    monitor.update(Stage.MEASURE, 0, len(collection), "clouds")
    for some in in_parallel(distances, pairs):
        found.append(some)
        monitor.update(Stage.MEASURE, len(found), len(collection), "clouds")
    return of_samples(np.concatenate(found))
