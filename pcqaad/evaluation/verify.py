"""Judge a file: its integrity, its sizes, and its clouds against their originals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypedDict, cast

import numpy as np

from pcqaad.bitstream.collection import Collection
from pcqaad.bitstream.info import AppendedFidelity, Bytes, sampling
from pcqaad.errors import CloudError, SettingsError
from pcqaad.evaluation.metrics import CELL, METRICS, measure, summarise
from pcqaad.formats.clouds.find import find_clouds
from pcqaad.monitor import SILENT, Monitor
from pcqaad.points.collect import Points, diagonal, subsample
from pcqaad.points.surface import Mesh, draw


class Source(Protocol):
    """A reference cloud that can be read, as `pcqaad.formats.clouds.find.find_clouds` finds them."""

    @property
    def name(self) -> str:
        """The name the cloud has in the file."""

    def read(self) -> Any:
        """Read it: something with `points` (n, 3)."""

    def read_mesh(self) -> Any:
        """Read its faces too: something with `vertices` (v, 3) and `triangles` (t, 3)."""


class Verification(TypedDict, total=False):
    """What `verify` returns, and `pcqaad verify --json` prints.

    Lengths are in the data's unit. `metrics` has an entry for each metric: `mean`, `rms`, `mean_squared`, `sum`,
    `mean_percent` of `diagonal`, `worst` with a `name` and its `mean`, `per_cloud` where it was measured, `at_least`
    where a lower bound is proven, and `psnr` for D1. `source` is "measured" or "recorded"; `appended` holds the
    records of clouds that came later.
    """

    clouds: int
    points: int
    unit: str
    bytes: Bytes
    ratio: float
    bits_per_point: float
    paper_ratio: float
    source: str
    diagonal: float | None
    metrics: dict[str, Mapping[str, Any]]
    appended: list[AppendedFidelity]


def verify(
    file: Collection | Path | str,
    references: Sequence[Source] | Sequence[Path | str] | Sequence[Points] | Sequence[Mesh] | None = None,
    metrics: Sequence[str] = ("emkd",),
    cell: int = CELL,
    effort: str = "normal",
    device: str = "cpu",
    *,
    monitor: Monitor = SILENT,
) -> Verification:
    """Judge a file: sizes, and errors against its originals, or as recorded when it was made.

    Args:
        file: opened, or its path; everything in it is read and checked.
        references: the originals. Files and folders, as for `pcqaad compress`, whose clouds are found by name; or
            arrays (n, 3) in the order of the file's clouds, or (vertices, triangles) where the file's points were
            drawn from meshes. None reports what was recorded at encoding.
        metrics: of "emkd", "emd", "chamfer", "d1".
        cell: points of a cell of EM-kD.
        effort: "normal" or "high": how narrow a bracket around the earth mover's distance has to be.
        device: "cpu", or "cuda" to match EM-kD there.
        monitor: told of every cloud.

    Raises:
        CloudError: an original is missing or holds too few points.
        FormatError: the file is damaged, or an original cannot be read.
        SettingsError: there is no such metric or device.
        Interrupted: stopped.
    """
    if unknown := [name for name in metrics if name not in METRICS]:
        raise SettingsError(f"unknown metric {unknown[0]!r}, expected one of {', '.join(METRICS)}")
    if not isinstance(file, Collection):
        with Collection(file) as collection:
            return verify(collection, references, metrics, cell, effort, device, monitor=monitor)
    file.check()
    info = file.info
    result: Verification = {
        "clouds": info["clouds"],
        "points": info["points"],
        "unit": info["unit"],
        "bytes": info["bytes"],
        "ratio": info["ratio"],
        "bits_per_point": info["bits_per_point"],
        "paper_ratio": info["paper_ratio"],
        "metrics": {},
    }
    if references is None:
        recorded = info["fidelity"]
        result |= {"source": "recorded", "diagonal": recorded.get("diagonal"), "appended": info["appended"]}
        if recorded:
            result["metrics"]["emkd"] = recorded
        return result

    originals = read_originals(file, _sources(file, references))
    diagonals: list[float] = []

    def pairs() -> Iterator[tuple[Points, Points]]:
        # One at a time: a data set may be larger than memory.
        for i, original in enumerate(originals):
            diagonals.append(original.diagonal)
            yield original.points, file[i]

    found = measure(pairs(), metrics, cell, effort, device, monitor=monitor, total=len(file))
    reference_diagonal = float(np.median(diagonals))
    result |= {"source": "measured", "diagonal": reference_diagonal}
    for name, errors in found.items():
        figures = summarise(errors, file.names, reference_diagonal)
        if name == "d1":
            figures["psnr"] = _psnr(figures["mean_squared"], reference_diagonal)
        figures["per_cloud"] = [
            {"name": n, **{key: value for key, value in asdict(e).items() if value is not None}}
            for n, e in zip(file.names, errors, strict=True)
        ]
        result["metrics"][name] = figures
    return result


@dataclass(frozen=True)
class _Given:
    """An original that the caller has at hand, read as a file's is."""

    name: str
    given: Any

    @property
    def points(self) -> Points:
        return np.asarray(self.given)

    @property
    def vertices(self) -> Points:
        return np.asarray(self.given[0])

    @property
    def triangles(self) -> Any:
        return np.asarray(self.given[1])

    def read(self) -> _Given:
        return self

    def read_mesh(self) -> _Given:
        return self


def _sources(collection: Collection, references: Sequence[Any]) -> Sequence[Source]:
    """Return references as what can be read by name; raises CloudError where arrays are not as many as clouds."""
    if len(references) and isinstance(references[0], (str, Path)):
        return find_clouds(references)
    if len(references) and hasattr(references[0], "read"):
        return cast(Sequence[Source], references)
    if len(references) != len(collection):
        raise CloudError(f"expected the originals of all {len(collection)} clouds in order, found {len(references)}")
    return [_Given(name, given) for name, given in zip(collection.names, references, strict=True)]


class Original(NamedTuple):
    """What a cloud of a file was made from.

    Attributes:
        points: (M, 3), drawn and subsampled as they were for the fit.
        diagonal: of the bounding box of all its points, data units.
    """

    points: Points
    diagonal: float


def read_originals(collection: Collection, references: Sequence[Source]) -> Iterator[Original]:
    """Find every cloud's original, and read them one by one.

    Raises CloudError where one is missing, and, once it is its turn, where one holds too few points; FormatError where
    the file says that they were drawn as no fit draws them.
    """
    by_name: Mapping[str, Source] = {source.name: source for source in references}
    missing = [name for name in collection.names if name not in by_name]
    if missing:
        like = [name for name in by_name if name.endswith(f"/{missing[0]}")]
        if len(like) > 1:
            where = collection.info["file"]
            raise CloudError(f"{where}: two originals of {missing[0]!r} are among the inputs, {like[0]} and {like[1]}")
        raise CloudError(
            f"{collection.info['file']}: the original of {missing[0]!r} is not among the inputs"
            + (f", nor those of {len(missing) - 1} others" if len(missing) > 1 else "")
        )
    count, (seed, surface) = collection.info["points"], sampling(collection.info)

    def read(index: int, name: str) -> Original:
        points: Points
        if surface:
            mesh = by_name[name].read_mesh()
            points = draw((mesh.vertices, mesh.triangles), name, surface, seed, index)
        else:
            points = by_name[name].read().points
        if len(points) < count:
            raise CloudError(f"{name}: the original holds {len(points)} points, the file {count}")
        return Original(subsample(points, count, seed, index), diagonal([points]))

    return (read(i, name) for i, name in enumerate(collection.names))


def _psnr(mean_squared: float, peak: float) -> float | None:
    return float(10 * np.log10(peak**2 / mean_squared)) if mean_squared > 0 and peak > 0 else None
