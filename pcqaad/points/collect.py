"""From the user's clouds to the targets of a fit: the same number of points in each, normalised."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pcqaad.decoder.architecture import MAX_POINTS
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.errors import CloudError, Error, SettingsError
from pcqaad.formats.clouds.names import safe_name
from pcqaad.monitor import SILENT, Monitor, Stage
from pcqaad.points.fixed_point import Targets, box
from pcqaad.seeds import subsample_generator

Points = NDArray[np.floating]
Rows = TypeVar("Rows", bound=NDArray[Any])

# Bytes of an array; larger ones lie in a temporary file.
_IN_MEMORY = 4_000_000_000
# The largest normalised coordinate: for farther ones no file can hold the numbers that a model would need.
FARTHEST = 1e8
# The largest coordinate, in the data's unit: decoded ones are float32, and may lie a little beyond the clouds.
LARGEST = float(np.finfo(np.float32).max) / 8


@dataclass(frozen=True)
class Normalisation:
    """The normalisation of a collection: coordinates are (points - centre) / scale.

    A quarter of the median diagonal is one unit. So a cloud spans about 4 units from corner to corner.
    """

    centre: NDArray[np.float64]  # (3,), data units
    scale: float  # data units

    @classmethod
    def of(cls, denormalisation: Denormalisation) -> Normalisation:
        """Return the normalisation that a file undoes when it decodes."""
        centre, scale = denormalisation.centre_and_scale
        return cls(np.array(centre), scale)

    def normalise(self, points: Points) -> NDArray[np.float64]:
        """Map (..., 3) from data units; in float64, so that far-away clouds keep their detail."""
        normalised: NDArray[np.float64] = (points.astype(np.float64) - self.centre) / self.scale
        return normalised


@dataclass(frozen=True)
class CloudSet:
    """N clouds of M points, normalised."""

    targets: Targets  # the points; a fit brings every cloud's into assigned order
    names: list[str]  # one per cloud
    normalisation: Normalisation  # from the data's unit
    diagonal: float  # median over the clouds of their bounding boxes' diagonals, data units
    sizes: NDArray[np.int64]  # (N,) the numbers of points as given
    fingerprint: int  # a checksum of the points, which tells this collection from another
    registered: bool = False  # whether point j of every cloud was given as the same point
    # Returns a cloud's mesh in the data's unit, vertices (v, 3) and triangles (t, 3), or None where it has no faces.
    mesh: Callable[[int], tuple[Points, NDArray[np.integer]] | None] | None = None


def diagonal(clouds: Sequence[Points]) -> float:
    """Return the median over clouds (n, 3) of each cloud's own bounding-box diagonal."""
    return float(np.median([np.linalg.norm(np.ptp(cloud.astype(np.float64), axis=0)) for cloud in clouds]))


def collect(
    clouds: Sequence[Points],
    names: Sequence[str] | None,
    points: int | None,
    seed: int,
    monitor: Monitor = SILENT,
    registered: bool = False,
) -> CloudSet:
    """Bring clouds (n_i, 3) to one number of points by random subsampling, and normalise them.

    Each cloud is asked for twice, in order, and none is kept: any sequence will do that reads them from a disk. Names
    are numbers where there are none; `points` is the smallest cloud's where it is None; the seed draws those that stay.
    Of `registered` clouds, in which point j is the same everywhere, the same ones stay.

    Raises:
        CloudError: there are fewer than 2 clouds, or one is malformed, smaller than `points`, beyond float32, far from
            all others, or another when it is asked for again; or registered ones hold different numbers of points.
        SettingsError: names or points do not go with the clouds.
        Interrupted: stopped.
    """
    if len(clouds) < 2:
        raise CloudError(f"expected at least 2 clouds to fit a model to, found {len(clouds)}")
    if points is not None and not 1 <= points <= MAX_POINTS:
        raise SettingsError(f"points is {points}, expected 1 to {MAX_POINTS:,}")
    names = name_clouds(names, len(clouds))
    sizes = np.zeros(len(clouds), np.int64)
    boxes = np.zeros((len(clouds), 2, 3))
    for i, cloud in checked_clouds(clouds, names, Stage.READ, monitor):
        sizes[i], boxes[i] = len(cloud), box(cloud)
        if not (farthest := np.abs(boxes[i]).max()) <= LARGEST:
            raise CloudError(f"{names[i]}: expected coordinates of at most {LARGEST:.3g}, found {farthest:.3g}")
    if registered:
        _check_alike(sizes, names)
    count = points or int(sizes.min())
    if count > MAX_POINTS:
        raise CloudError(f"the smallest cloud holds {count:,} points: expected at most {MAX_POINTS:,}; give --points")
    if sizes.min() < count:
        smallest = names[int(np.argmin(sizes))]
        raise CloudError(f"{smallest}: holds {sizes.min()} points, {count} were asked for; give fewer")
    median = float(np.median(np.linalg.norm(boxes[:, 1] - boxes[:, 0], axis=1)))
    normalisation = Normalisation(boxes.mean((0, 1)), median / 4 if median > 0 else 1.0)
    reach = np.abs(normalisation.normalise(boxes)).max((1, 2))
    if not reach.max() < FARTHEST:
        farthest = names[int(np.argmax(reach))]
        raise CloudError(f"{farthest}: lies too far from the other clouds to be fitted with them; leave it out")

    targets = Targets(allocate((len(clouds), count, 3), np.uint16))
    fingerprint = 0
    for i, cloud in checked_clouds(clouds, names, Stage.NORMALISE, monitor):
        if len(cloud) != sizes[i] or not np.array_equal(boxes[i], box(cloud)):
            raise CloudError(f"{names[i]}: changed while the clouds were read")
        targets.put(i, normalisation.normalise(subsample(cloud, count, seed, i, registered)))
        fingerprint = targets.checksum(i, fingerprint)
    return CloudSet(targets, names, normalisation, median, sizes, fingerprint, registered)


def _check_alike(sizes: NDArray[np.int64], names: Sequence[str]) -> None:
    """Raise CloudError, by the first odd one's name, unless all clouds are of one size."""
    found, counts = np.unique(sizes, return_counts=True)
    if len(found) == 1:
        return
    usual = found[counts.argmax()]
    odd, other = int((sizes != usual).argmax()), int((sizes == usual).argmax())
    text = f"{names[odd]}: holds {sizes[odd]:,} points, but {names[other]} {usual:,}"
    raise CloudError(f"{text}: registered clouds have the same points; leave it out, or fit without registered")


def default_names(count: int, first: int = 0) -> list[str]:
    """Return names for clouds that came without, numbered on from `first`."""
    return [f"cloud_{i:04d}" for i in range(first, first + count)]


def name_clouds(names: Sequence[str] | None, count: int, first: int = 0) -> list[str]:
    """Return a name for each of `count` clouds, numbered on from `first` where none are given.

    Raises SettingsError where they are not `count` different ones, CloudError for one that is not safe as a file's.
    """
    names = list(names) if names is not None else default_names(count, first)
    if len(names) != count or len(set(names)) != count:
        raise SettingsError(f"expected {count} different names, found {len(set(names))}")
    if unsafe := [name for name in names if not safe_name(name)]:
        raise CloudError(f"name {unsafe[0][:80]!r} is not safe as the name of a file")
    return names


def checked_clouds(
    clouds: Sequence[Points], names: Sequence[str], stage: Stage, monitor: Monitor
) -> Iterator[tuple[int, Points]]:
    """Read clouds one by one, as a stage that the monitor is told of; raises CloudError as `check_cloud` does."""
    monitor.update(stage, 0, len(names), "clouds")
    for i, name in enumerate(names):
        yield i, check_cloud(clouds[i], name)
        monitor.update(stage, i + 1, len(names), "clouds")


def check_cloud(cloud: Points, name: str) -> Points:
    """Return a cloud (n, 3) of at least one point, all finite real numbers; raises CloudError for another."""
    cloud = np.asarray(cloud)
    if cloud.dtype.kind not in "fiu":
        raise CloudError(f"{name}: expected coordinates that are numbers, found {cloud.dtype}")
    if cloud.ndim != 2 or cloud.shape[1] != 3 or len(cloud) == 0:
        raise CloudError(f"{name}: expected points of shape (n, 3), found {cloud.shape}")
    if not np.isfinite(cloud).all():
        raise CloudError(f"{name}: expected finite coordinates, found NaN or infinity")
    return cloud


def allocate(shape: tuple[int, ...], of: DTypeLike) -> NDArray[Any]:
    """Return an array in memory or, where it is large, in an unnamed temporary file; raises Error without room."""
    size = np.dtype(of).itemsize * math.prod(shape)
    if size <= _IN_MEMORY:
        return np.empty(shape, of)
    with tempfile.TemporaryFile(prefix="pcqaad-") as file:
        try:
            if hasattr(os, "posix_fallocate"):
                # Now, not page by page: a disk that fills up later would end the process.
                os.posix_fallocate(file.fileno(), 0, size)
            # As a plain array: an index of a memmap makes another memmap, and takes longer over that.
            return np.asarray(np.memmap(file, of, "w+", shape=shape))
        except OSError as error:
            folder = tempfile.gettempdir()
            text = f"no room for {size / 1e9:.1f} GB of points ({error.strerror}); let TMPDIR name another folder"
            raise Error(f"{folder}: {text}") from error


def subsample(cloud: Rows, count: int, seed: int, index: int, registered: bool = False) -> Rows:
    """Keep `count` random points of cloud number `index`, in their order; the same ones for the same seed.

    Of `registered` clouds, those of one size all keep the same ones.
    """
    if len(cloud) == count:
        return cloud
    kept = subsample_generator(seed, 0 if registered else index).choice(len(cloud), count, replace=False)
    return cast(Rows, cloud[np.sort(kept)])
