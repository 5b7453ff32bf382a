"""From the user's clouds to one array: the same number of points in each, normalised, in float32."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating]


class CloudError(ValueError):
    """A collection that cannot be compressed or judged, in one line: which cloud, and why."""


@dataclass(frozen=True)
class Frame:
    """The normalisation of a collection: coordinates are (points - centre) / scale.

    A quarter of the median diagonal is one unit, so a cloud spans about 4 units from corner to corner.
    """

    centre: NDArray[np.float64]  # (3,), data units
    scale: float  # data units

    def normalise(self, points: Points) -> NDArray[np.float32]:
        """Map (..., 3) from data units; in float64, so that far-away clouds keep their detail."""
        return ((points.astype(np.float64) - self.centre) / self.scale).astype(np.float32)


@dataclass(frozen=True)
class CloudSet:
    """N clouds of M points, normalised: `points` (N, M, 3)."""

    points: NDArray[np.float32]
    names: list[str]
    frame: Frame
    diagonal: float  # median over the clouds of their bounding boxes' diagonals, data units
    sizes: tuple[int, int]  # the smallest and largest number of points as given

    def fingerprint(self) -> int:
        """Return a checksum that tells this collection from another, for checkpoints."""
        return zlib.crc32(np.ascontiguousarray(self.points).data)


def diagonal(clouds: Sequence[Points]) -> float:
    """Return the median over clouds (n, 3) of each cloud's own bounding-box diagonal."""
    return float(np.median([np.linalg.norm(np.ptp(cloud.astype(np.float64), axis=0)) for cloud in clouds]))


def collect(clouds: Sequence[Points], names: Sequence[str] | None, points: int | None, seed: int) -> CloudSet:
    """Bring clouds (n_i, 3) to one number of points by random subsampling, and normalise them.

    Args:
        clouds: at least 2, finite.
        names: one each; numbered where missing.
        points: the number to bring them to; the smallest cloud's where missing.
        seed: draws which points stay.

    Raises:
        CloudError: fewer than 2 clouds, a malformed or non-finite one, or one smaller than `points`.
    """
    names = list(names) if names is not None else [f"cloud_{i:04d}" for i in range(len(clouds))]
    if len(clouds) < 2:
        raise CloudError(f"expected at least 2 clouds to fit a model to, found {len(clouds)}")
    if len(names) != len(clouds) or len(set(names)) != len(names):
        raise CloudError(f"expected {len(clouds)} different names, found {len(set(names))}")
    for name, cloud in zip(names, clouds, strict=True):
        if cloud.ndim != 2 or cloud.shape[1] != 3 or len(cloud) == 0:
            raise CloudError(f"{name}: expected points of shape (n, 3), found {cloud.shape}")
        if not np.isfinite(cloud).all():
            raise CloudError(f"{name}: expected finite coordinates, found NaN or infinity")
    sizes = [len(cloud) for cloud in clouds]
    count = points or min(sizes)
    if min(sizes) < count:
        smallest = int(np.argmin(sizes))
        raise CloudError(f"{names[smallest]}: holds {sizes[smallest]} points, {count} were asked for")

    low = np.array([cloud.min(0) for cloud in clouds], np.float64)
    high = np.array([cloud.max(0) for cloud in clouds], np.float64)
    median = diagonal(clouds)
    frame = Frame(((low + high) / 2).mean(0), median / 4 if median > 0 else 1.0)
    array = np.empty((len(clouds), count, 3), np.float32)
    for i, cloud in enumerate(clouds):
        array[i] = frame.normalise(subsample(cloud, count, seed, i))
    return CloudSet(array, names, frame, median, (min(sizes), max(sizes)))


def subsample(cloud: Points, count: int, seed: int, index: int) -> Points:
    """Keep `count` random points of cloud number `index`, in their order; the same ones for the same seed."""
    if len(cloud) == count:
        return cloud
    kept = np.random.default_rng([seed, index]).choice(len(cloud), count, replace=False)
    return cloud[np.sort(kept)]
