"""Verify a file: its integrity, its sizes, and its clouds against their originals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from pcqaad.bitstream.collection import Collection
from pcqaad.bitstream.info import AppendedFidelity, Bytes, VertexErrors
from pcqaad.errors import SettingsError
from pcqaad.evaluation.attributes import AttributeErrors, AttributeMeasure
from pcqaad.evaluation.floor import CLOUDS, Floor, sampling_floor
from pcqaad.evaluation.meshes import Meshes, measure_meshes, summarise_meshes
from pcqaad.evaluation.metrics import CELL, METRICS, Work, beyond, summarise, work_out, works
from pcqaad.evaluation.originals import Originals, References
from pcqaad.evaluation.point_to_plane import NEIGHBOURS
from pcqaad.evaluation.reference import Reference
from pcqaad.monitor import SILENT, Monitor, Stage
from pcqaad.points.collect import Points

# The part of a cloud's own diagonal that points are counted beyond.
_FAR = 0.01


class Beyond(TypedDict):
    """Percent of points that are farther from the other cloud than 1 % of the original's own diagonal."""

    decoded: float  # of the decoded points, from the nearest original one
    original: float  # of the original points, from the nearest decoded one


class Verification(TypedDict, total=False):
    """The result of `verify`, which `pcqaad verify --json` prints.

    Lengths are in the data's unit. `metrics` has an entry for each metric: `mean`, `rms`, `mean_squared`, `sum`,
    `mean_percent` of `diagonal`, `worst` with a `name` and its `mean`, `per_cloud` where it was measured, `at_least`
    where a lower bound is proven, `psnr` for D1 and D2, and `normals`, where those of D2 are from. Where they were
    measured, `floor` is the sampling floor of EM-kD, `beyond_one_percent` the share of points far off, `meshes` tells
    of the file's own meshes, and `attributes` of what points have beside their places. `source` is "measured" or
    "recorded"; `appended` holds the records of appended clouds. `per_vertex` is there where the clouds were registered,
    as it was recorded: a file does not keep the order of points, by which alone it could be measured again.
    """

    clouds: int
    points: int
    least_points: int  # of the smallest cloud, where clouds have their own numbers
    most_points: int
    unit: str
    bytes: Bytes
    ratio: float
    bits_per_point: float
    paper_ratio: float
    source: str
    diagonal: float | None
    metrics: dict[str, Mapping[str, Any]]
    floor: Floor
    beyond_one_percent: Beyond
    appended: list[AppendedFidelity]
    per_vertex: VertexErrors
    meshes: Meshes
    attributes: list[AttributeErrors]


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
            were drawn from such or a metric uses faces. None reports the errors that were recorded at encoding.
        metrics: of "emkd", "emd", "chamfer", "d1", "d2", and "surface": to the originals' faces, which it needs, or,
            where the file's template is a surface, both ways between its meshes and the originals.
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
        "least_points": info["least_points"],
        "most_points": info["most_points"],
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

    # A file's own meshes are measured to points too, where the originals have no faces.
    own_meshes = "surface" in metrics and info["model"]["triangles"] > 0
    faces = "d2" in metrics or own_meshes
    originals = Originals(file, references, faces=faces, needed="surface" in metrics and not own_meshes)
    of_points = AttributeMeasure(file)
    diagonals: list[float] = []
    with_faces: list[bool] = []

    def pairs() -> Iterator[tuple[Reference, Points]]:
        # One at a time: a data set may be larger than memory.
        for i, original in enumerate(originals):
            diagonals.append(original.diagonal)
            with_faces.append(original.mesh is not None)
            decoded = file[i]
            if file.attributes and (whole := originals.whole(i)) is not None:
                of_points.compare(i, decoded, *whole, file.names[i])
            yield original, decoded

    by_points = [name for name in metrics if name != "surface" or not own_meshes]
    wanted: dict[str, Work] = {**works(by_points, cell, effort), "beyond": partial(beyond, part=_FAR)}
    found = work_out(pairs(), wanted, cell, device, monitor=monitor, stage=Stage.MEASURE, total=len(file))
    reference_diagonal = float(np.median(diagonals))
    there, back = 100 * np.mean(found.pop("beyond"), 0)
    result |= {
        "source": "measured",
        "diagonal": reference_diagonal,
        "beyond_one_percent": {"decoded": float(there), "original": float(back)},
    }
    if errors_of_attributes := of_points.summary():
        result["attributes"] = errors_of_attributes
    if "emkd" in metrics:
        some = np.unique(np.linspace(0, len(file) - 1, min(len(file), CLOUDS)).round()).astype(int).tolist()
        clouds = (originals[i].points for i in some)
        if floor := sampling_floor(clouds, reference_diagonal, cell, device, monitor, len(some)):
            result["floor"] = floor
    if own_meshes:
        measured = measure_meshes(file, originals, monitor)
        triangles = info["model"]["triangles"]
        result["meshes"] = summarise_meshes(measured, file.names, triangles, reference_diagonal)
        found["surface"] = [errors.worse for errors in measured]
    for name, errors in ((name, found[name]) for name in metrics):
        figures = summarise(errors, file.names, reference_diagonal)
        if name in ("d1", "d2"):
            figures["psnr"] = _psnr(figures["mean_squared"], reference_diagonal)
        if name == "d2":
            figures["normals"] = _normals(with_faces)
        figures["per_cloud"] = [
            {"name": n, **{key: value for key, value in asdict(e).items() if value is not None}}
            for n, e in zip(file.names, errors, strict=True)
        ]
        result["metrics"][name] = figures
    return result


def _normals(with_faces: Sequence[bool]) -> str:
    """Say where the originals' normals are from."""
    estimated = f"{NEIGHBOURS} nearest points"
    return "faces" if all(with_faces) else f"faces or {estimated}" if any(with_faces) else estimated


def _psnr(mean_squared: float, peak: float) -> float | None:
    return float(10 * np.log10(peak**2 / mean_squared)) if mean_squared > 0 and peak > 0 else None
