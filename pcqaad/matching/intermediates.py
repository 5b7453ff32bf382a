"""Matching by way of clouds between.

Where two shapes are far apart, the cheapest bijection between them tears: points of one arm go to another, or to the
trunk. Where they are near, it does not. So a cloud far from the template is matched to one nearer to it that is
matched already, and so on along a path: of all paths through some of the clouds, the one of least risk.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import dijkstra

from pcqaad.matching.assign import match_cells
from pcqaad.monitor import Monitor
from pcqaad.parallel import in_parallel
from pcqaad.seeds import Use, generator

Samples = NDArray[np.float32]

# Points of each cloud that distances are taken by.
SAMPLE = 256
# From about this distance on a matching is not to be trusted, in coordinates of which a diagonal is 4: as far as limbs
# are thick. A step's risk is (distance / this) ** 8, and 1 for the sampling noise that every step adds.
_FAR, _STEEP = 0.2, 8
# Clouds of which the noise of sampling is measured.
_NOISE = 16


def parents(
    template: Samples, clouds: Samples, again: Samples, intermediates: int, seed: int, monitor: Monitor
) -> NDArray[np.int64]:
    """Choose for every cloud what it is matched to: another cloud, matched before it, or the template itself.

    Args:
        template: (S, 3) random points of the template, normalised.
        clouds: (N, S, 3) random points of every cloud.
        again: (n, S, 3) other points of the first n of them: how far two samples of one cloud are apart.
        intermediates: how many clouds others may be matched by way of.
        seed: draws these where there are more clouds.
        monitor: asked for a stop as distances are taken.

    Returns:
        (N,) numbers of clouds, -1 for the template. No cloud depends on itself.
    """
    noise = np.mean([_apart(a, b) for a, b in zip(clouds[:_NOISE], again[:_NOISE], strict=False)])

    def risks(sample: Samples, others: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the risk (n,) of matching a cloud and each of others."""
        found = []
        for apart in in_parallel(lambda other: _apart(sample, clouds[other]), others.tolist()):
            found.append(apart)
            monitor.check()
        # What two samplings differ in says nothing of shapes.
        shapes: NDArray[np.float64] = np.sqrt(np.maximum(np.square(found) - noise**2, 0))
        return 1 + np.power(shapes / _FAR, _STEEP)

    direct = risks(template, np.arange(len(clouds)))
    chosen = np.full(len(clouds), -1)
    # No path by way of another cloud has a risk below 2.
    far = np.flatnonzero(direct > 2)
    if not len(far) or intermediates == 0:
        return chosen
    stations = np.sort(generator(seed, Use.INTERMEDIATES).permutation(len(clouds))[:intermediates])
    # The template is the first of the graph's nodes, and nothing leads back to it.
    steps = np.zeros((len(stations) + 1, len(stations) + 1))
    steps[0, 1:] = direct[stations]
    rest = np.setdiff1d(far, stations)
    last = np.empty((len(stations), len(rest)))
    for k, station in enumerate(stations):
        found = risks(clouds[station], np.concatenate([stations[k + 1 :], rest]))
        steps[k + 1, k + 2 :] = steps[k + 2 :, k + 1] = found[: len(stations) - k - 1]
        last[k] = found[len(stations) - k - 1 :]
    total, before = dijkstra(steps, indices=0, return_predecessors=True)
    chosen[stations] = np.where(before[1:] > 0, stations[before[1:] - 1], -1)
    paths = total[1:, None] + last
    best = paths.argmin(0)
    chosen[rest] = np.where(paths.min(0) < direct[rest], stations[best], -1)
    return chosen


def generations(parents: NDArray[np.int64]) -> list[list[int]]:
    """Return the clouds in the order in which they can be matched: each after its parent, together where possible."""
    children: dict[int, list[int]] = {}
    for cloud, parent in enumerate(parents.tolist()):
        children.setdefault(parent, []).append(cloud)
    found, last = [], [-1]
    while last := sorted(child for parent in last for child in children.get(parent, [])):
        found.append(last)
    return found


def _apart(a: Samples, b: Samples) -> float:
    """Return the earth mover's distance of two samples, a point."""
    return match_cells(a, b, len(a), workers=1).cost / len(a)
