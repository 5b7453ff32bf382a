"""How far decoded clouds lie from the originals: EM-kD, Chamfer, point-to-point, point-to-plane and surface errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import tee
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pcqaad.errors import CloudError, SettingsError
from pcqaad.evaluation import point_to_plane
from pcqaad.evaluation.reference import Reference
from pcqaad.evaluation.surface import Surface
from pcqaad.matching.assign import TOGETHER, Matching, match_all, match_cells, match_many
from pcqaad.monitor import SILENT, Monitor, Stage
from pcqaad.parallel import in_parallel
from pcqaad.points.collect import check_cloud

Points = NDArray[np.floating]

CELL = 1024  # points of a cell of EM-kD (paper, section 4.2)

# How far apart the ends of the bracket around the earth mover's distance may lie, as a part of the lower one.
EFFORTS = {"normal": 0.05, "high": 0.005}


@dataclass(frozen=True)
class Errors:
    """Distances between matched points of two clouds, in the data's unit.

    Attributes:
        mean: of the distances.
        rms: root of the mean squared distance.
        mean_squared: mean squared distance (the unit's square). The paper's tables seem to hold it.
        sum: of the distances: for EM-kD, equation 14 as printed.
        at_least: the certificate of a matching. No other one of its kind has a smaller mean.
    """

    mean: float
    rms: float
    mean_squared: float
    sum: float
    at_least: float | None = None

    @classmethod
    def of(cls, distances: NDArray[np.float64]) -> Errors:
        """Summarise distances (n,)."""
        mean_squared = float(np.square(distances).mean())
        return cls(float(distances.mean()), mean_squared**0.5, mean_squared, float(distances.sum()))

    @classmethod
    def matched(cls, a: Points, b: Points, matching: Matching) -> Errors:
        """Summarise the distances between matched points of clouds (n, 3), with the matching's certificate."""
        errors = cls.of(np.linalg.norm(a - b[matching.assignment], axis=1))
        return replace(errors, at_least=min(matching.lower_bound / len(a), errors.mean))

    def scaled(self, scale: float) -> Errors:
        """Return the same errors in a unit 1 / scale as long."""
        at_least = None if self.at_least is None else self.at_least * scale
        return Errors(self.mean * scale, self.rms * scale, self.mean_squared * scale**2, self.sum * scale, at_least)

    def __float__(self) -> float:
        return self.mean


def emkd(a: Points, b: Points, cell: int = CELL, workers: int | None = None) -> Errors:
    """Earth mover's distance by k-d cells (paper, section 3.2): two clouds (n, 3) of the same size.

    Balanced k-d trees cut both clouds in step into cells of at most `cell` points. Cell i is assigned to cell i at
    a summed Euclidean distance that is proven to be within 0.1 % of the least. The assignment is a bijection, so its
    cost is never below the true earth mover's distance. The result does not depend on the number of `workers`, the
    threads that share the cells.

    Raises CloudError where shapes differ or coordinates are not finite, SettingsError for a cell of no points.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if not (isinstance(cell, (int, np.integer)) and cell >= 1):
        raise SettingsError(f"expected a cell of at least 1 point, found {cell}")
    return Errors.matched(a, b, match_cells(a, b, cell, workers=workers))


def emd(a: Points, b: Points, effort: str = "normal") -> Errors:
    """Earth mover's distance of two clouds (n, 3), bracketed: all points at once, without cells.

    The matching is a bijection, so the earth mover's distance (the least mean distance of any) is at most
    `mean`. Prices prove that it is at least `at_least`. mean / at_least is at most 1.05 with `effort` "normal" and
    1.005 with "high". It may be more where points lie apart by less than some 1e-11 of the clouds' extent; the
    bracket holds all the same.

    Raises CloudError where shapes differ or coordinates are not finite, SettingsError for an unknown effort.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if effort not in EFFORTS:
        raise SettingsError(f"unknown effort {effort!r}, expected one of {', '.join(EFFORTS)}")
    return Errors.matched(a, b, match_all(a, b, EFFORTS[effort]))


def chamfer(a: Points, b: Points) -> Errors:
    """Chamfer distance of clouds (n, 3), (m, 3): distances to the nearest neighbours, both directions.

    `mean` and `mean_squared` are the averages of the two directions' means. `sum` is equation 10, with the sums of
    both directions. Raises CloudError for clouds that are empty or not finite.
    """
    there, back = _nearest(a, b), _nearest(b, a)
    mean_squared = float(np.square(there).mean() + np.square(back).mean()) / 2
    mean = float(there.mean() + back.mean()) / 2
    return Errors(mean, mean_squared**0.5, mean_squared, float(there.sum() + back.sum()))


def d1(a: Points, b: Points) -> Errors:
    """Point-to-point error D1 of clouds (n, 3), (m, 3): the worse direction, as codecs report it.

    Raises CloudError for clouds that are empty or not finite.
    """
    return max((Errors.of(_nearest(a, b)), Errors.of(_nearest(b, a))), key=lambda e: e.mean_squared)


def d2(reference: Reference, decoded: Points) -> Errors:
    """Point-to-plane error D2 of decoded points (n, 3): the worse direction, as codecs report it.

    Raises CloudError for clouds that are empty or not finite.
    """
    check_cloud(reference.points, "cloud"), check_cloud(decoded, "cloud")
    there, back = point_to_plane.distances(reference, decoded)
    return max((Errors.of(there), Errors.of(back)), key=lambda e: e.mean_squared)


def surface(reference: Reference, decoded: Points) -> Errors:
    """Distances of decoded points (n, 3) to the surface of the original, whose faces are known.

    Raises CloudError where they are not, or where a triangle names no vertex.
    """
    if reference.mesh is None or not len(reference.mesh[1]):
        raise CloudError("expected an original with faces, found points alone")
    return Errors.of(Surface(reference.mesh).nearest(check_cloud(decoded, "cloud"))[0])


def beyond(reference: Reference, decoded: Points, part: float) -> tuple[float, float]:
    """Return the shares of points that are farther from the other cloud than a part of the original's own diagonal.

    That is of the decoded points (n, 3), to the nearest original one, and the other way round.
    """
    limit = part * reference.diagonal
    ways = _nearest(decoded, reference.points), _nearest(reference.points, decoded)
    there, back = (float((distances > limit).mean()) for distances in ways)
    return there, back


def _nearest(of: Points, among: Points) -> NDArray[np.float64]:
    of, among = check_cloud(of, "cloud"), check_cloud(among, "cloud")
    distances: NDArray[np.float64] = cKDTree(among).query(of)[0]
    return distances


METRICS = ("emkd", "emd", "chamfer", "d1", "d2", "surface")
# What can be worked out of an original and its decoded points.
Work = Callable[[Reference, Points], Any]


def measure(
    pairs: Iterable[tuple[Points | Reference, Points]],
    metrics: Sequence[str] = ("emkd",),
    cell: int = CELL,
    effort: str = "normal",
    device: str = "cpu",
    *,
    monitor: Monitor = SILENT,
    stage: Stage = Stage.MEASURE,
    total: int = 0,
) -> dict[str, list[Errors]]:
    """Measure (reference, decoded) pairs, in parallel: the errors per metric and pair.

    With `device` "cuda", or "auto" where there is a GPU, EM-kD is matched there, many pairs at once. Its values agree
    with those of the CPU within the 0.1 % that both prove. The monitor is told of every pair, of `total`, as a stage.

    Raises:
        CloudError: a pair cannot be measured.
        SettingsError: there is no such device.
        Interrupted: stopped.
    """
    references = ((a if isinstance(a, Reference) else Reference(a), b) for a, b in pairs)
    found: dict[str, list[Errors]] = work_out(
        references, works(metrics, cell, effort), cell, device, monitor=monitor, stage=stage, total=total
    )
    return found


def works(metrics: Sequence[str], cell: int, effort: str) -> dict[str, Work]:
    """Return what works out each of some metrics of a pair."""
    every: dict[str, Work] = {
        # The pairs keep all cores busy.
        "emkd": lambda a, b: emkd(a.points, b, cell, workers=1),
        "emd": lambda a, b: emd(a.points, b, effort),
        "chamfer": lambda a, b: chamfer(a.points, b),
        "d1": lambda a, b: d1(a.points, b),
        "d2": d2,
        "surface": surface,
    }
    return {name: every[name] for name in metrics}


def work_out(
    pairs: Iterable[tuple[Reference, Points]],
    wanted: Mapping[str, Work],
    cell: int,
    device: str,
    *,
    monitor: Monitor,
    stage: Stage,
    total: int,
) -> dict[str, list[Any]]:
    """Work out what is wanted of every pair, as `measure` does: a list over the pairs for each name."""
    there = [name for name in wanted if name == "emkd" and _on_gpu(device)]
    here = [name for name in wanted if name not in there]

    def measure_here(pair: tuple[Reference, Points]) -> dict[str, Any]:
        return {name: wanted[name](*pair) for name in here}

    measured: Iterator[dict[str, Any]]
    if there:
        # `tee` keeps no more pairs than are matched together.
        pairs, for_there = tee(pairs)
        arrays = ((a.points, b) for a, b in for_there)
        both = zip(in_parallel(measure_here, pairs), _emkd_on(device, arrays, cell), strict=True)
        measured = (errors | {"emkd": matched} for errors, matched in both)
    else:
        measured = in_parallel(measure_here, pairs)
    found: dict[str, list[Any]] = {name: [] for name in wanted}
    for done, errors in enumerate(measured, 1):
        for name, of_pair in errors.items():
            found[name].append(of_pair)
        monitor.update(stage, done, total, "clouds")
    return found


def _on_gpu(device: str) -> bool:
    if device == "cpu":
        return False
    # Here, not above: torch takes seconds to load.
    from pcqaad.devices import choose

    return choose(device).type != "cpu"


def _emkd_on(device: str, pairs: Iterable[tuple[Points, Points]], cell: int) -> Iterator[Errors]:
    """Yield the EM-kD of each pair, matched by torch."""
    from pcqaad.devices import choose
    from pcqaad.matching.gpu.auction import batched

    solver = batched(choose(device))
    originals, matched = tee((np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs)
    matchings = match_many(matched, cell, solver=solver, together=TOGETHER)
    for (a, b), matching in zip(originals, matchings, strict=True):
        yield Errors.matched(a, b, matching)


def summarise(errors: Sequence[Errors], names: Sequence[str], reference_diagonal: float) -> dict[str, Any]:
    """Return means over clouds, `mean_percent` of the diagonal, and the worst cloud, JSON-able."""
    worst = max(range(len(errors)), key=lambda i: errors[i].mean)
    summary = {key: float(np.mean([getattr(e, key) for e in errors])) for key in ("mean", "mean_squared", "sum")}
    summary["rms"] = summary["mean_squared"] ** 0.5
    summary["mean_percent"] = percent(summary["mean"], reference_diagonal)
    if bounds := [e.at_least for e in errors if e.at_least is not None]:
        summary["at_least"] = float(np.mean(bounds))
    return {**summary, "worst": {"name": names[worst], "mean": errors[worst].mean}}


def vertex_errors(distances: NDArray[np.floating], reference_diagonal: float) -> dict[str, float]:
    """Summarise the distances (N, M) between known pairs of points: `worst` is the largest of all, `p95` tops 95 %."""
    mean = float(distances.mean(dtype=np.float64))
    return {
        "mean": mean,
        "rms": float(np.mean([np.square(row, dtype=np.float64).mean() for row in distances])) ** 0.5,
        "p95": float(np.percentile(distances, 95)),
        "worst": float(distances.max()),
        "mean_percent": percent(mean, reference_diagonal),
    }


def percent(length: float, reference_diagonal: float) -> float:
    """Return a length in percent of the diagonal, or 0 where the diagonal is 0."""
    return 100 * length / reference_diagonal if reference_diagonal > 0 else 0.0
