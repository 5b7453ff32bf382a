"""Matching by way of intermediate shapes.

Where two shapes are far apart, the cheapest bijection between them tears: points of one arm go to another, or to the
trunk. Where they are near, it does not. So a cloud far from the template is matched to an intermediate one nearer to
it, which is matched already, and so on along a path: of all paths through the intermediates, the one of least risk.
Frames of a motion move little from one to the next, so neighbours in the clouds' order are tried before others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from pcqaad.matching.assign import match_cells
from pcqaad.matching.kd import split
from pcqaad.matching.solvers import Points
from pcqaad.parallel import in_parallel
from pcqaad.seeds import Use, generator

Cells = NDArray[np.float32]

# How often a cloud is halved. The means of its cells stand for it: they are less noisy than points drawn from it.
_HALVINGS = 8
# The distance from which on a matching is not to be trusted, normalised (a diagonal is about 4): the width of limbs.
_FAR = 0.1
# The risk of one matching is (distance / _FAR) ** _STEEPNESS, and 1 for the noise that each one adds.
_STEEPNESS = 4
# A path is good enough where each of its matchings is as safe as this: steps of 1.1 _FAR.
_SAFE = 2.5


def cells(points: Points) -> Cells:
    """Return the means (C, 3) of the cells of a balanced k-d tree over a cloud (n, 3), C the same for every n alike."""
    most = -(-len(points) >> _HALVINGS)
    (order,), bounds = split([points], lambda low, high: None if high - low <= most else (low + high) // 2)
    sums = np.add.reduceat(points[order].astype(np.float64), bounds[:-1])
    means: Cells = (sums / np.diff(bounds)[:, None]).astype(np.float32)
    return means


def parents(
    template: Cells,
    clouds: Cells,
    intermediates: int,
    seed: int,
    check: Callable[[], None],
    near: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Choose for every cloud its parent, to which it is matched: a cloud matched before it, or the template itself.

    Args:
        template: (C, 3) the template's cells, normalised.
        clouds: (N, C, 3) those of every cloud.
        intermediates: the number of clouds that may serve as such, neighbours in order not counted; 0: none at all.
        seed: draws these where there are more clouds.
        check: called after every distance; may raise Interrupted.
        near: (N,) clouds that the template alone is good for; the others are found where None.

    Returns:
        (N,) numbers of clouds, -1 for the template. No cloud depends on itself.
    """
    count = len(clouds)
    direct = np.ones(count)
    asked = np.arange(count) if near is None else np.flatnonzero(~near)
    direct[asked] = _risks([(template, clouds[i]) for i in asked], check)
    # A path by way of another cloud has a risk of 2 or more.
    far = direct > 2
    found = np.full(count, -1)
    if intermediates == 0 or not far.any():
        return found
    # The template is the first of the graph's nodes, and nothing leads back to it.
    first, second, risk = [np.zeros(count, np.intp)], [np.arange(1, count + 1)], [direct]

    def add(a: NDArray[np.intp], b: NDArray[np.intp]) -> None:
        first.append(a + 1)
        second.append(b + 1)
        risk.append(_risks(zip(clouds[a], clouds[b], strict=True), check))

    def walk() -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return each node's node before, and the risk of its last step."""
        a, b, r = (np.concatenate(parts) for parts in (first, second, risk))
        keep = a > 0
        edges = csr_array(
            (np.append(r, r[keep]), (np.append(a, b[keep]), np.append(b, a[keep]))), shape=(count + 1,) * 2
        )
        total, before = dijkstra(edges, indices=0, return_predecessors=True)
        return before[1:].astype(np.intp), total[1:] - total[before[1:]]

    add(np.arange(count - 1), np.arange(1, count))
    before, step = walk()
    path = far.copy()
    for together in reversed(generations(before - 1)):
        for cloud in together:
            if path[cloud] and before[cloud] > 0:
                path[before[cloud] - 1] = True
    if step[path].max() > _SAFE:
        nodes = np.sort(generator(seed, Use.INTERMEDIATES).permutation(count)[:intermediates])
        a, b = (x.ravel() for x in np.meshgrid(nodes, np.arange(count), indexing="ij"))
        # Each pair once, and none that is there.
        new = ~(np.isin(b, nodes) & (b <= a)) & (np.abs(a - b) > 1)
        new &= far[b] | np.isin(b, nodes)
        add(a[new], b[new])
        before, _ = walk()
    return before - 1


def generations(parents: NDArray[np.integer]) -> list[list[int]]:
    """Return the clouds in the order in which they can be matched: each after its parent, together where possible."""
    children: dict[int, list[int]] = {}
    for cloud, parent in enumerate(parents.tolist()):
        children.setdefault(parent, []).append(cloud)
    found, last = [], [-1]
    while last := sorted(child for parent in last for child in children.get(parent, [])):
        found.append(last)
    return found


def _risks(pairs: Iterable[tuple[Cells, Cells]], check: Callable[[], None]) -> NDArray[np.float64]:
    """Return the risk of matching each pair of clouds, given by their cells."""
    found = []
    for distance in in_parallel(lambda pair: _distance(*pair), pairs):
        found.append(distance)
        check()
    return 1 + np.power(np.array(found) / _FAR, _STEEPNESS)


def _distance(a: Cells, b: Cells) -> float:
    """Return the earth mover's distance of two clouds' cells, per cell."""
    return match_cells(a, b, len(a), workers=1).cost / len(a)
