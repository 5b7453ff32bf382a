"""The k-d forest that point sets are coded in: cells with points, halved stage by stage, and their neighbours.

Encoder and decoder grow the same forest. Before every halving it gives each cell the context that its neighbours
make: on which side of it they have more points.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pcqaad.formats.coding.rans import Ints

MAX_SMALL = 8  # points of a cell up to which the count in its half is one symbol
BUCKETS = 16  # of a larger cell, the count is all, none, or in one of this many buckets, with a remainder
_SURPLUS = (2, 4, 6, 9, 12, 16)  # of one side over the other, in twentieths, from which the next context begins
CONTEXTS = len(_SURPLUS) + 2
# Of each number of points; most cells hold one or two, so these also tell crowded neighbourhoods from empty ones.
CLASSES = MAX_SMALL + 1 + 4
CLASS_SYMBOLS = [n + 1 for n in range(1, MAX_SMALL + 1)] + [BUCKETS + 2] + [2, 2, 3, 3]


class Forest:
    """The occupied cells of one stage, in order: `count` points in each, all sets side by side."""

    def __init__(self, counts: Ints) -> None:
        self.count = counts[counts > 0]
        roots = len(self.count)
        # _near[dx + 1, dy + 1, dz + 1] is the cell there, or the number of cells where there is none. Roots
        # of different sets are no neighbours.
        self._near: npt.NDArray[np.intp] | None = np.full((3, 3, 3, roots), roots, np.intp)
        self._near[1, 1, 1] = np.arange(roots)

    @property
    def near(self) -> npt.NDArray[np.intp] | None:
        """The cells (3, 3, 3, n) around each, the number of cells where there is none; None where no cell has any."""
        return self._near

    def contexts(self, axis: int) -> tuple[npt.NDArray[np.bool_], Ints]:
        """Return, for a halving along `axis`, whether to mirror each cell, and class * CONTEXTS + context.

        A mirrored cell has more points before it than behind it: its halves change places, so that the upper one is
        always the half of the heavier side.
        """
        kind = np.minimum(self.count, MAX_SMALL + 1) - 1
        if self._near is None:  # The sums below would be 0.
            return np.zeros(len(kind), np.bool_), kind * CONTEXTS
        count = np.append(self.count, 0)
        near = np.moveaxis(self._near, axis, 0)
        sides = np.zeros((2, len(kind)), np.int64)
        for side, plane in enumerate((near[0], near[2])):
            for i, one in enumerate((1, 2, 1)):
                for j, other in enumerate((1, 2, 1)):
                    sides[side] += one * other * count[plane[i, j]]
        before, behind = sides
        surplus, both = 20 * np.abs(behind - before), before + behind
        context = (surplus > 0).astype(np.int64)
        for twentieths in _SURPLUS:
            context += surplus > twentieths * both
        crowd = np.where(both >= 9 * self.count, 2, (both >= 3 * self.count).astype(np.int64))
        # Classes of cells of one point: 0, 9, 10; of two points: 1, 11, 12.
        kind = np.where((kind < 2) & (crowd > 0), MAX_SMALL + 2 * kind + crowd, kind)
        return before > behind, kind * CONTEXTS + context

    def split(self, axis: int, upper: Ints) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Halve all cells, `upper` of the points to the upper half; return the parent and side (0, 1) of those left."""
        halves = np.stack([self.count - upper, upper], axis=1)
        parent, side = np.nonzero(halves)
        cells = len(parent)
        child = np.full((2, len(self.count) + 1), cells, np.intp)
        child[side, parent] = np.arange(cells)
        self.count = halves[parent, side]
        if self._near is None:
            return parent, side
        old = np.moveaxis(self._near, axis, 0)
        grown = np.empty((3, 3, 3, cells), np.intp)
        new = np.moveaxis(grown, axis, 0)
        is_upper = side.astype(np.bool_)
        flat = child.ravel()
        same, opposite = side * child.shape[1], (1 - side) * child.shape[1]
        found = 0
        for i in range(3):
            for j in range(3):
                before, here, behind = (old[step, i, j][parent] for step in range(3))
                new[0, i, j] = flat[opposite + np.where(is_upper, here, before)]
                new[1, i, j] = flat[same + here]
                new[2, i, j] = flat[opposite + np.where(is_upper, behind, here)]
                found += int(np.count_nonzero(new[:, i, j] < cells))
        # Every cell finds itself. Where that is all, and no cell can give two, it will be all for ever.
        self._near = grown if found > cells or self.count.max() > 1 else None
        return parent, side
