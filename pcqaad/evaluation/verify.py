"""Evaluator a file: its integrity, its sizes, and its clouds against their originals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, Protocol

import numpy as np

from pcqaad.bitstream.collection import Collection
from pcqaad.bitstream.info import sampling
from pcqaad.errors import CloudError, SettingsError
from pcqaad.evaluation.metrics import CELL, METRICS, measure, summarise
from pcqaad.points.collect import Points, diagonal, subsample
from pcqaad.points.surface import draw
from pcqaad.progress import Progress, Report, silent


class Source(Protocol):
    """A reference cloud that can be read: what `pcqaad.formats.clouds.find.find_clouds` finds."""

    @property
    def name(self) -> str:
        """The name the cloud has in the file."""

    def read(self) -> Any:
        """Read it: something with `points` (n, 3)."""

    def read_mesh(self) -> Any:
        """Read its faces too: something with `vertices` (v, 3) and `triangles` (t, 3)."""


def verify(
    collection: Collection,
    references: Sequence[Source] | None = None,
    metrics: Sequence[str] = ("emkd",),
    cell: int = CELL,
    effort: str = "normal",
    device: str = "cpu",
    on_progress: Report = silent,
) -> dict[str, Any]:
    """Evaluator a file: sizes, and errors against its originals, or as recorded when it was made.

    Args:
        collection: the opened file; everything in it is read and checked.
        references: the originals, found by name; None to report what was recorded at encoding.
        metrics: of "emkd", "emd", "chamfer", "d1".
        cell: points of a cell of EM-kD.
        effort: "normal" or "high": how narrow a bracket around the earth mover's distance has to be.
        device: "cpu", or "cuda" to match EM-kD there.
        on_progress: told of every cloud.

    Returns:
        JSON-able figures; lengths in the data's unit.

    Raises:
        CloudError: an original is missing or holds too few points, or a metric is unknown.
        FormatError: the file is damaged.
        SettingsError: there is no such device.
    """
    if unknown := [name for name in metrics if name not in METRICS]:
        raise SettingsError(f"unknown metric {unknown[0]!r}, expected one of {', '.join(METRICS)}")
    collection.check()
    info = collection.info
    kept = ("clouds", "points", "unit", "bytes", "ratio", "bits_per_point", "paper_ratio")
    result: dict[str, Any] = {key: value for key, value in info.items() if key in kept}
    if references is None:
        recorded = info["fidelity"]
        result |= {"source": "recorded", "diagonal": recorded.get("diagonal"), "metrics": {}}
        result["appended"] = info["appended"]
        if recorded:
            result["metrics"]["emkd"] = recorded
        return result

    originals = read_originals(collection, references)
    diagonals: list[float] = []
    done = 0

    def pairs() -> Iterator[tuple[Points, Points]]:
        # One at a time: a data set may be larger than memory.
        for i, original in enumerate(originals):
            diagonals.append(original.diagonal)
            yield original.points, collection[i]

    def step() -> None:
        nonlocal done
        done += 1
        on_progress(Progress("measure", done, len(collection), "clouds"))

    found = measure(pairs(), metrics, cell, effort, step, device)
    reference_diagonal = float(np.median(diagonals))
    result |= {"source": "measured", "diagonal": reference_diagonal, "metrics": {}}
    for name, errors in found.items():
        figures = summarise(errors, collection.names, reference_diagonal)
        if name == "d1":
            figures["psnr"] = _psnr(figures["mean_squared"], reference_diagonal)
        figures["per_cloud"] = [
            {"name": n, **{key: value for key, value in asdict(e).items() if value is not None}}
            for n, e in zip(collection.names, errors, strict=True)
        ]
        result["metrics"][name] = figures
    return result


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
