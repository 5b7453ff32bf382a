"""The distances that a fitted file leaves: what its losses would look at from then on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pcqaad.bitstream.collection import Collection
from pcqaad.distillation.distances import Distances, of_samples
from pcqaad.evaluation.verify import Source, read_originals
from pcqaad.monitor import SILENT, Monitor, Stage
from pcqaad.parallel import in_parallel
from pcqaad.points.collect import Normalisation, Points

# Distances that are kept; of more, as many of each cloud.
_MOST = 1 << 24


def observed(collection: Collection, references: Sequence[Source], *, monitor: Monitor = SILENT) -> Distances:
    """Measure the distances to nearest neighbours between the clouds of a file and their originals, both ways.

    They are normalised as a fit sees them: a quarter of the clouds' median diagonal is 1.

    Args:
        collection: the opened file.
        references: the originals, found by name.
        monitor: told of every cloud.

    Raises:
        CloudError: an original is missing or holds too few points.
        FormatError: the file is damaged.
    """
    centre, scale = collection.denormalisation.centre_and_scale
    normalisation = Normalisation(np.array(centre), scale)
    pairs = ((original.points, collection[i]) for i, original in enumerate(read_originals(collection, references)))

    share = max(_MOST // len(collection), 1)

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
