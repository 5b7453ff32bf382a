"""The first matching of a set: all points at once, checked for tears, and mended where poses differ."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pcqaad.matching import intermediates, low_rank
from pcqaad.matching.assign import Assignment, match_all, optimal
from pcqaad.matching.registration import Bending, Carrier, Shape
from pcqaad.matching.solvers import Points
from pcqaad.matching.tears import Neighbourhood
from pcqaad.parallel import in_parallel
from pcqaad.points.fixed_point import Targets
from pcqaad.seeds import Use, generator

# A cloud is torn where fewer of the template's neighbours are still neighbours. Skulls keep 99.98 %.
_WHOLE = 0.995
# Points by which a template is bent, at most: matching them takes most of the time.
_SAMPLE = 4096
# Points from which on a template has pieces to bend.
_FEWEST = 256
_TOLERANCE = 0.05  # of a matching of all points
# By how much more a smoother matching may tear: less than a thousandth of neighbours is not told from noise.
_TORN_MORE = 1e-3
# Seconds for a point of a core's work, to match a cloud once and to bend the template onto it; and the part of a fit
# that either may take.
_MEND_SECONDS, _MEND_PART = 1.5e-5, 0.2
_BEND_SECONDS, _BEND_PART = 4e-5, 0.5
# The parts of the work that are over when clouds begin to be bent, and when they end, by the time they take.
_MATCHED, _BENT = 0.2, 0.8


def match_nonrigid(
    template: Points,
    clouds: Targets,
    assignments: NDArray[np.int32],
    most: int,
    seed: int,
    seconds: float,
    told: Callable[[float], None],
) -> None:
    """Match clouds to a template (M, 3), and mend what tears.

    Args:
        template: normalised, as the clouds.
        clouds: N of them.
        assignments: (N, M) gets their assignments.
        most: intermediate clouds for those that tear. Neighbours in order are not counted. 0: none at all.
        seed: of the points by which a template is bent.
        seconds: of the whole fit. Where they are few, less is mended: by an estimate, not by a clock, so that the same
            clouds get the same assignments.
        told: gets the part that is done, and may raise Interrupted.
    """
    count, neighbourhood = len(clouds), Neighbourhood(template)
    for i, found in enumerate(optimal((template, cloud) for cloud in clouds)):
        assignments[i] = found
        told(_MATCHED * (i + 1) / count)
    if clouds.points >= _FEWEST:
        _bend(template, clouds, assignments, neighbourhood, most, seed, seconds, told)
        if _MEND_SECONDS * assignments.size <= _MEND_PART * seconds:
            low_rank.mend(clouds, assignments, neighbourhood, lambda part: told(_BENT + (1 - _BENT) * part))
    told(1)


def _bend(
    template: Points,
    clouds: Targets,
    assignments: NDArray[np.int32],
    neighbourhood: Neighbourhood,
    most: int,
    seed: int,
    seconds: float,
    told: Callable[[float], None],
) -> None:
    """Match clouds anew, in place: to the template bent onto them, or bent as their first matching asks for.

    The first is for those that are torn, from the shape that the template has taken on their parent.
    """
    count = len(clouds)
    kept = np.array([neighbourhood.kept(cloud[found]) for cloud, found in zip(clouds, assignments, strict=True)])
    torn = kept < _WHOLE
    if _BEND_SECONDS * clouds.points * torn.sum() > _BEND_PART * seconds:
        torn[:] = False
    parents = np.full(count, -1)
    if torn.any() and most:
        cells = np.stack(list(in_parallel(intermediates.cells, clouds)))
        of_template = intermediates.cells(template)
        parents = intermediates.parents(of_template, cells, most, seed, lambda: told(_MATCHED), ~torn)
    some = np.sort(generator(seed, Use.BENT_POINTS).permutation(clouds.points)[:_SAMPLE])
    bending, carry = Bending(template[some]), Carrier(template, some)
    shapes: dict[int, Shape] = {-1: bending.template}

    def bend(cloud: int) -> tuple[Shape, Assignment, float]:
        """Return the shape of the template on a cloud, the cloud's assignment, and how much of it is whole."""
        points, found = clouds[cloud], assignments[cloud].astype(np.int64)
        if torn[cloud]:
            drawn = generator(seed, Use.BENT_POINTS, cloud).permutation(len(points))[: len(some)]
            shape = bending.register(shapes[int(parents[cloud])], points[drawn])
            found = match_all(carry(shape), points, _TOLERANCE, 2).assignment
        shape = bending.settle(points[found[some]])
        found = match_all(carry(shape), points, _TOLERANCE, 2, found).assignment
        return shape, found, neighbourhood.kept(points[found])

    leading, done = set(parents.tolist()), 0
    for together in intermediates.generations(parents):
        for cloud, (shape, found, whole) in zip(together, in_parallel(bend, together), strict=True):
            if cloud in leading:
                shapes[cloud] = shape
            if whole >= kept[cloud] - _TORN_MORE:
                assignments[cloud] = found
            done += 1
            told(_MATCHED + (_BENT - _MATCHED) * done / count)
