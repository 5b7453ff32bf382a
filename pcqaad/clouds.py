"""From the user's clouds to one array: the same number of points in each, normalised, in float32."""

from __future__ import annotations

import math
import os
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating]

# Collections larger than this many bytes lie in a temporary file.
_IN_MEMORY = 4_000_000_000


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
    """N clouds of M points, normalised.

    Attributes:
        points: (N, M, 3); a fit brings every cloud's into assigned order. A large array lies in a file.
        names: one per cloud.
        frame: the normalisation.
        diagonal: median over the clouds of their bounding boxes' diagonals, data units.
        sizes: the smallest and largest number of points as given.
        fingerprint: a checksum of the points as given, that tells this collection from another.
    """

    points: NDArray[np.float32]
    names: list[str]
    frame: Frame
    diagonal: float
    sizes: tuple[int, int]
    fingerprint: int


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
    array = _allocate((len(clouds), count, 3))
    fingerprint = 0
    for i, cloud in enumerate(clouds):
        array[i] = frame.normalise(subsample(cloud, count, seed, i))
        fingerprint = zlib.crc32(array[i].data, fingerprint)
    return CloudSet(array, names, frame, median, (min(sizes), max(sizes)), fingerprint)


def _allocate(shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Return an array in memory, or in an unnamed temporary file where it is large: pages come as needed."""
    size = 4 * math.prod(shape)
    if size <= _IN_MEMORY:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile(prefix="pcqaad-") as file:
        try:
            if hasattr(os, "posix_fallocate"):
                # Now, not page by page: a disk that fills up later would end the process.
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, np.float32, "w+", shape=shape)
        except OSError as error:
            folder = tempfile.gettempdir()
            raise CloudError(f"{folder}: no room for {size / 1e9:.1f} GB of points ({error.strerror})") from error


def subsample(cloud: Points, count: int, seed: int, index: int) -> Points:
    """Keep `count` random points of cloud number `index`, in their order; the same ones for the same seed."""
    if len(cloud) == count:
        return cloud
    kept = np.random.default_rng([seed, index]).choice(len(cloud), count, replace=False)
    return cloud[np.sort(kept)]
