"""Attributes carried from the points of an original to those that a file decodes to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from pcqaad.decoder.attributes import Attribute, Coding, as_type, to_luma

Points = NDArray[np.floating]
# Clouds by which pairs of points that are the same in all are found; enough to tell neighbours apart.
_TOLD_BY = 8


class Carrier:
    """From an original's points (n, 3) to a decoded cloud's (M, 3)."""

    def __init__(self, original: Points, decoded: Points, same: NDArray[np.int64] | None = None) -> None:
        """Take both, and which of the original's points each decoded one is (M,), where that is known."""
        self._back: NDArray[np.int64] | None = None
        if same is not None:
            self._there = same
        else:
            _, self._there = KDTree(original).query(decoded)
            _, self._back = KDTree(decoded).query(original)

    def carry(self, values: NDArray[Any], attribute: Attribute) -> NDArray[Any]:
        """Return what decoded points have of values (n, channels): (M, channels), of the same type.

        Of colours and of floating point that is the mean over the nearest original point and all original ones whose
        nearest it is, of anything else that of the nearest original point.
        """
        nearest: NDArray[Any] = values[self._there]
        if self._back is None or not (attribute.coding is Coding.COLOURS or attribute.type.kind == "f"):
            return nearest
        total = nearest.astype(np.float64)
        count = np.ones(len(total))
        # An original point that is nearest both ways counts once.
        other = self._there[self._back] != np.arange(len(values))
        np.add.at(total, self._back[other], values[other])
        np.add.at(count, self._back[other], 1)
        return as_type(total / count[:, None], attribute.type)

    def luma_error(self, values: NDArray[Any], carried: NDArray[Any]) -> float:
        """Return the mean square of what colours (n, 3) and decoded ones (M, 3) differ by in luma at nearest points.

        Of the two ways, from either cloud to the nearest point of the other, it is the larger one.
        """
        true, own = (to_luma(colours)[:, 0] for colours in (values, carried))
        ways = [own - true[self._there]]
        if self._back is not None:
            ways.append(own[self._back] - true)
        return max(float(np.square(way).mean()) for way in ways)


def same_points(
    originals: Callable[[int], Points], decoded: Callable[[int], Points], clouds: int
) -> NDArray[np.int64] | None:
    """Return which point of the originals each decoded point is (M,), the same in all clouds, or None if unclear.

    Point j of all originals is the same one. What is near in several clouds at once is the same.
    """
    some = np.unique(np.linspace(0, clouds - 1, min(clouds, _TOLD_BY)).round()).astype(int).tolist()
    first, second = ([cloud(i) for i in some] for cloud in (originals, decoded))
    if {len(cloud) for cloud in first} != {len(cloud) for cloud in second} or len({len(c) for c in first}) > 1:
        return None
    _, found = KDTree(np.concatenate(first, axis=1)).query(np.concatenate(second, axis=1))
    same: NDArray[np.int64] = found.astype(np.int64)
    return same if len(np.unique(same)) == len(same) else None
