"""Matching by way of intermediate shapes.

Where two shapes are far apart, the cheapest bijection between them tears: points of one arm go to another, or to the
trunk. Where they are near, it does not. So a cloud far from the template is matched to an intermediate one nearer to
it, which is matched already, and so on along a path: of all paths through the intermediates, the one of least risk.
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

# Points of each cloud by which distances are estimated.
SAMPLE = 256
# The distance from which on a matching is not to be trusted, normalised (a diagonal is about 4): the width of limbs.
_FAR = 0.2
# The risk of one matching is (distance / _FAR) ** _STEEPNESS, and 1 for the sampling noise that each one adds.
_STEEPNESS = 8
# Clouds by which the noise of sampling is measured.
_NOISE_CLOUDS = 16


def parents(
    template: Samples, clouds: Samples, again: Samples, intermediates: int, seed: int, monitor: Monitor
) -> NDArray[np.int64]:
    """Choose for every cloud its parent, to which it is matched: a cloud matched before it, or the template itself.

    Args:
        template: (S, 3) random points of the template, normalised.
        clouds: (N, S, 3) random points of every cloud.
        again: (n, S, 3) other points of the first n clouds: the distance of two samples of one cloud.
        intermediates: the number of clouds that may serve as such, at most.
        seed: draws these where there are more clouds.
        monitor: may raise Interrupted after every distance.

    Returns:
        (N,) numbers of clouds, -1 for the template. No cloud depends on itself.
    """
    noise = np.mean([_distance(a, b) for a, b in zip(clouds[:_NOISE_CLOUDS], again[:_NOISE_CLOUDS], strict=False)])

    def risks(sample: Samples, others: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the risk (n,) of matching a cloud and each of others."""
        found = []
        for distance in in_parallel(lambda other: _distance(sample, clouds[other]), others.tolist()):
            found.append(distance)
            monitor.check()
        # Less the distance of two samplings of one shape.
        shapes: NDArray[np.float64] = np.sqrt(np.maximum(np.square(found) - noise**2, 0))
        return 1 + np.power(shapes / _FAR, _STEEPNESS)

    direct = risks(template, np.arange(len(clouds)))
    chosen = np.full(len(clouds), -1)
    # A path by way of another cloud has a risk of 2 or more.
    far = np.flatnonzero(direct > 2)
    if not len(far) or intermediates == 0:
        return chosen
    nodes = np.sort(generator(seed, Use.INTERMEDIATES).permutation(len(clouds))[:intermediates])
    # The template is the first of the graph's nodes, and nothing leads back to it.
    risk = np.zeros((len(nodes) + 1, len(nodes) + 1))
    risk[0, 1:] = direct[nodes]
    rest = np.setdiff1d(far, nodes)
    last = np.empty((len(nodes), len(rest)))
    for k, node in enumerate(nodes):
        found = risks(clouds[node], np.concatenate([nodes[k + 1 :], rest]))
        risk[k + 1, k + 2 :] = risk[k + 2 :, k + 1] = found[: len(nodes) - k - 1]
        last[k] = found[len(nodes) - k - 1 :]
    total, before = dijkstra(risk, indices=0, return_predecessors=True)
    chosen[nodes] = np.where(before[1:] > 0, nodes[before[1:] - 1], -1)
    paths = total[1:, None] + last
    chosen[rest] = np.where(paths.min(0) < direct[rest], nodes[paths.argmin(0)], -1)
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


def _distance(a: Samples, b: Samples) -> float:
    """Return the earth mover's distance of two samples, per point."""
    return match_cells(a, b, len(a), workers=1).cost / len(a)
