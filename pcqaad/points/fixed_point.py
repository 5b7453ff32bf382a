"""The targets of a fit: the points of a whole collection, in 16 bits a coordinate."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The largest number that a coordinate is stored as, in step sizes: of 16 bits.
_LARGEST = 65535


class Targets:
    """N clouds of M points as 16-bit fixed point, each in a box of its own, so that an odd one spoils no other.

    A coordinate is low + step size * k, k from 0 to 65535, where 65535 step sizes are the largest side of the cloud's
    bounding box. Rounding moves it by at most half a step size: 2^-17 of that side. Float32, in which points are
    returned, adds its own. A fit errs by a percent of a cloud's diagonal, a thousand times as much.

    The points' order is the caller's to change. They are moved as they are stored, so no move alters a point.

    Attributes:
        points: M.
    """

    def __init__(self, rows: NDArray[np.uint16]) -> None:
        """Take room (N, M, 3) for the points, in memory or in a file. Each cloud is to be stored by `put`."""
        clouds, self.points, _ = rows.shape
        self._rows = rows
        self._low = np.zeros((clouds, 3), np.float32)
        self._step_size = np.zeros(clouds, np.float32)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, cloud: int) -> NDArray[np.float32]:
        """Return the points (M, 3) of a cloud."""
        return self._decode(cloud, self._rows[cloud])

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self[i] for i in range(len(self)))

    def put(self, cloud: int, points: NDArray[np.floating]) -> None:
        """Store the points (M, 3), finite in float32, of a cloud."""
        least, greatest = box(points)
        low = least.astype(np.float32)
        step_size = np.float32((greatest - low).max() / _LARGEST)
        self._low[cloud], self._step_size[cloud] = low, step_size
        # By the box as it is stored: float32 may have rounded its corner past the points.
        k = points - low.astype(np.float64)
        k /= step_size or 1
        self._rows[cloud] = np.clip(np.rint(k, out=k), 0, _LARGEST, out=k)

    def gather(self, clouds: NDArray[np.integer], points: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return the same points (S,) of some clouds (B,): (B, S, 3)."""
        # Cloud by cloud: an index of both at once takes half as long again.
        return np.stack([self._decode(cloud, self._rows[cloud].take(points, 0)) for cloud in clouds])

    def permute(self, cloud: int, permutation: NDArray[np.integer]) -> None:
        """Reorder a cloud: row i becomes what was row permutation[i], (M,)."""
        self._rows[cloud] = self._rows[cloud].take(permutation, 0)

    def permute_some(
        self, clouds: NDArray[np.integer], points: NDArray[np.integer], permutation: NDArray[np.integer]
    ) -> None:
        """Reorder the points (S,) of some clouds (B,) among themselves, by a permutation (B, S) of 0 to S - 1."""
        permute_some(self._rows, clouds, points, permutation)

    def checksum(self, cloud: int, before: int) -> int:
        """Return the checksum of all before, continued over the points of a cloud in their order."""
        for stored in (self._rows[cloud], self._low[cloud], self._step_size[cloud : cloud + 1]):
            before = zlib.crc32(stored.data, before)
        return before

    def _decode(self, cloud: int, rows: NDArray[np.uint16]) -> NDArray[np.float32]:
        moved: NDArray[np.float32] = np.multiply(rows, self._step_size[cloud], dtype=np.float32)
        moved += self._low[cloud]
        return moved


class Reordered(Targets):
    """Clouds of which some are read in another order of their points; they stay where they are stored."""

    def __init__(self, clouds: Targets, orders: Mapping[int, NDArray[np.integer]]) -> None:
        """Take clouds of M points and, of some, which of its points a row is, (M,)."""
        super().__init__(clouds._rows)
        self._low, self._step_size, self._orders = clouds._low, clouds._step_size, orders

    def __getitem__(self, cloud: int) -> NDArray[np.float32]:
        points = super().__getitem__(cloud)
        return points[self._orders[cloud]] if cloud in self._orders else points


def box(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the least and the greatest coordinates (2, 3) of points (n, 3)."""
    # Column by column: numpy takes ten times as long for all of them at once.
    return np.array([[axis.min() for axis in points.T], [axis.max() for axis in points.T]], np.float64)


def permute_some(
    array: NDArray[Any], clouds: NDArray[np.integer], points: NDArray[np.integer], permutation: NDArray[np.integer]
) -> None:
    """Reorder, in an array (N, M, ...), the points (S,) of different clouds (B,) as `Targets.permute_some` does."""
    row, column = np.nonzero(permutation != np.arange(len(points)))
    array[clouds[row], points[column]] = array[clouds[row], points[permutation[row, column]]]
