"""Matchings mended by each other: shapes of one kind live in few dimensions, and wrong pairs do not.

The first principal components of all matched clouds together leave out what is peculiar to one of them, wrong pairs
above all. So match each cloud again, to what they make of it, with more of them from round to round.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pcqaad.matching.assign import match_all
from pcqaad.matching.tears import Neighbourhood
from pcqaad.parallel import in_parallel
from pcqaad.points.fixed_point import Targets

Numbers = NDArray[np.float64]

# Points by which the clouds' covariance is taken: it has one number for two clouds, which fewer points than all give.
_POINTS = 2048
_FEWEST = 4  # components of the first round
# The root of the mean square that components may leave out, normalised: under 1 % of a diagonal, less than limbs are
# wide. A set that is more varied than that is not mended: few components would make other shapes of its clouds.
_LEFT_OUT = 0.03
_ROUNDS = 2
_CLOUDS = 3  # for each component, at least
_TOLERANCE = 0.05  # of a matching
# By how much more a new matching may tear: less than a thousandth of neighbours is not told from noise.
_TORN_MORE = 1e-3


def mend(
    clouds: Targets, assignments: NDArray[np.int32], neighbourhood: Neighbourhood, told: Callable[[float], None]
) -> None:
    """Match all clouds again, in place, each to what a growing number of components makes of it.

    Args:
        clouds: N of them, as given.
        assignments: (N, M) of the template's points; an assignment that would tear its cloud stays as it was.
        neighbourhood: the template's.
        told: gets the part that is done, and may raise Interrupted.
    """
    count, points = assignments.shape
    some = np.linspace(0, points - 1, min(_POINTS, points)).astype(np.intp)
    rank = 0
    for done in range(_ROUNDS):
        part = np.stack([clouds[i][assignments[i][some]].ravel() for i in range(count)]).astype(np.float64)
        part -= part.mean(0)
        values, vectors = np.linalg.eigh(part @ part.T)
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        left_out = np.sqrt(np.append(values[::-1].cumsum()[::-1], 0) / (count * len(some)))
        rank = 2 * rank or max(_FEWEST, int(np.argmax(left_out <= _LEFT_OUT)))
        if rank * _CLOUDS > count:
            return
        basis = vectors[:, :rank]
        mean, components = np.zeros(3 * points), np.zeros((rank, 3 * points))
        for i in range(count):
            placed = clouds[i][assignments[i]].ravel()
            mean += placed / count
            components += basis[i][:, None] * placed
        # Of the clouds less their mean.
        components -= basis.sum(0)[:, None] * mean

        def again(
            i: int, basis: Numbers = basis, mean: Numbers = mean, components: Numbers = components
        ) -> NDArray[np.int32]:
            smooth = (mean + basis[i] @ components).reshape(-1, 3).astype(np.float32)
            cloud, before = clouds[i], assignments[i]
            found = match_all(smooth, cloud, _TOLERANCE, 2, before).assignment.astype(np.int32)
            torn_more = neighbourhood.kept(cloud[before]) - neighbourhood.kept(cloud[found])
            return found if torn_more <= _TORN_MORE else before

        for i, found in enumerate(in_parallel(again, range(count))):
            assignments[i] = found
            told((done + (i + 1) / count) / _ROUNDS)
