"""Verify a file: its integrity, its sizes, and its clouds against their originals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, TypedDict

import numpy as np

from pcqaad.bitstream.collection import Collection
from pcqaad.bitstream.info import AppendedFidelity, Bytes, VertexErrors, registered, sampling
from pcqaad.errors import CloudError, SettingsError
from pcqaad.evaluation.metrics import CELL, METRICS, measure, summarise
from pcqaad.formats.clouds.find import find_clouds
from pcqaad.monitor import SILENT, Monitor
from pcqaad.points.collect import Points, check_cloud, diagonal, subsample
from pcqaad.points.surface import Mesh, draw


class Source(Protocol):
    """A cloud that can be read, as `pcqaad.formats.clouds.find.find_clouds` finds them."""

    @property
    def name(self) -> str:
        """The name the cloud has in the file."""

    def read(self) -> Any:
        """Read it: something with `points` (n, 3)."""

    def read_mesh(self) -> Any:
        """Read its faces too: something with `vertices` (v, 3) and `triangles` (t, 3)."""


# The originals of a file's clouds. Files, folders and sources are found by name, arrays and meshes come in order.
References: TypeAlias = Path | str | Sequence[Path | str] | Sequence[Source] | Sequence[Points] | Sequence[Mesh]


class Verification(TypedDict, total=False):
    """The result of `verify`, which `pcqaad verify --json` prints.

    Lengths are in the data's unit. `metrics` has an entry for each metric: `mean`, `rms`, `mean_squared`, `sum`,
    `mean_percent` of `diagonal`, `worst` with a `name` and its `mean`, `per_cloud` where it was measured, `at_least`
    where a lower bound is proven, and `psnr` for D1. `source` is "measured" or "recorded"; `appended` holds the
    records of appended clouds. `per_vertex` is there where the clouds were registered, as it was recorded: a file
    does not keep the order of points, by which alone it could be measured again.
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
    per_vertex: VertexErrors


def verify(
    file: Collection | Path | str,
    references: References | None = None,
    metrics: Sequence[str] = ("emkd",),
    cell: int = CELL,
    effort: str = "normal",
    device: str = "cpu",
    *,
    monitor: Monitor = SILENT,
) -> Verification:
    """Verify a file: its integrity, its sizes, and its errors as measured against the originals or as recorded.

    Args:
        file: opened, or its path. Everything in it is read and checked.
        references: the originals. Files and folders, as for `pcqaad compress`, whose clouds are found by name; or
            arrays (n, 3) in the order of the file's clouds, or meshes, (vertices, triangles), where the file's points
            were drawn from such. None reports the errors that were recorded at encoding.
        metrics: of "emkd", "emd", "chamfer", "d1".
        cell: points of a cell of EM-kD.
        effort: "normal" or "high": how narrow a bracket around the earth mover's distance has to be.
        device: "cpu", or "cuda" to match EM-kD there.
        monitor: told of every cloud; may stop the job.

    Raises:
        CloudError: an original is missing, malformed, or holds too few points.
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
    recorded = info["fidelity"]
    if "per_vertex" in recorded:
        result["per_vertex"] = recorded["per_vertex"]
    if references is None:
        result |= {"source": "recorded", "diagonal": recorded.get("diagonal"), "appended": info["appended"]}
        if recorded:
            result["metrics"]["emkd"] = recorded
        return result

    originals = read_originals(file, references)
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


class Original(NamedTuple):
    """The cloud that a cloud of a file was made from.

    Attributes:
        points: (M, 3), drawn and subsampled as they were for the fit.
        diagonal: of the bounding box of all its points, data units.
    """

    points: Points
    diagonal: float


def read_originals(collection: Collection, references: References) -> Iterator[Original]:
    """Find the original of every cloud, and read them one by one.

    Raises CloudError where one is missing and, once it is its turn, where one is malformed or holds too few points;
    FormatError where the file records a sampling that no fit makes.
    """
    found = _in_order(collection, references)
    count, (seed, surface) = collection.info["points"], sampling(collection.info)
    alike = registered(collection.info)

    def read(index: int, name: str) -> Original:
        original = found[index]
        from_source = hasattr(original, "read")
        if surface:
            mesh = original.read_mesh() if from_source else None
            points = draw((mesh.vertices, mesh.triangles) if mesh else original, name, surface, seed, index)
        elif isinstance(original, tuple):
            raise CloudError(f"{name}: expected points (n, 3), as the file's were not drawn from meshes, found a mesh")
        else:
            points = check_cloud(original.read().points if from_source else original, name)
        if len(points) < count:
            raise CloudError(f"{name}: the original holds {len(points)} points, the file {count}")
        return Original(subsample(points, count, seed, index, alike), diagonal([points]))

    return (read(i, name) for i, name in enumerate(collection.names))


def _in_order(collection: Collection, references: References) -> Sequence[Any]:
    """Return a source, an array or a mesh for each cloud; raises CloudError where one is missing."""
    given: Any = [references] if isinstance(references, (str, Path)) else references
    first = given[0] if len(given) else None
    file, names = collection.info["file"] or "the file", collection.names
    if isinstance(first, (str, Path)):
        given = find_clouds(given)
    elif not hasattr(first, "read"):
        if len(given) != len(names):
            raise CloudError(f"{file}: expected the originals of all {len(names)} clouds in order, found {len(given)}")
        # Not as a list: they may be read from a disk when they are asked for.
        found: Sequence[Any] = given
        return found
    by_name = {source.name: source for source in given}
    if missing := [name for name in names if name not in by_name]:
        like = [name for name in by_name if name.endswith(f"/{missing[0]}")]
        if len(like) > 1:
            raise CloudError(f"{file}: two originals of {missing[0]!r} are among the inputs, {like[0]} and {like[1]}")
        others = f", nor those of {len(missing) - 1} others" if len(missing) > 1 else ""
        raise CloudError(f"{file}: the original of {missing[0]!r} is not among the inputs{others}")
    return [by_name[name] for name in names]


def _psnr(mean_squared: float, peak: float) -> float | None:
    return float(10 * np.log10(peak**2 / mean_squared)) if mean_squared > 0 and peak > 0 else None
