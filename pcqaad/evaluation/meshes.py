"""How well a file's own meshes stand for the originals: distances both ways, and triangles that are flipped or torn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from pcqaad.bitstream.collection import Collection
from pcqaad.evaluation.metrics import Errors, summarise
from pcqaad.evaluation.reference import Reference
from pcqaad.evaluation.surface import Surface
from pcqaad.monitor import Monitor, Stage
from pcqaad.parallel import in_parallel
from pcqaad.points.collect import Points
from pcqaad.points.surface import Mesh

Floats = NDArray[np.float64]
Triangles = NDArray[np.int64]

# A side that is stretched more than so many times as far as those beside it is torn.
TORN = 3.0


class Meshes(TypedDict, total=False):
    """What `verify` found of a file's meshes; both errors are summaries as those of a metric."""

    triangles: int  # of a cloud
    flipped: int  # of all clouds
    torn: int
    worst: dict[str, Any]  # the cloud with most of both: its name, flipped, torn
    per_cloud: list[dict[str, Any]]  # name, flipped, torn
    decoded: dict[str, Any]  # of points spread evenly on the decoded mesh, to the originals' faces; where all have some
    original: dict[str, Any]  # of the original's points, to the decoded mesh


@dataclass(frozen=True)
class MeshErrors:
    """Of one cloud."""

    flipped: int
    torn: int
    original: Errors  # of the original's points, to the decoded mesh
    decoded: Errors | None  # of points on that mesh, to the original's faces; None where it has none

    @property
    def worse(self) -> Errors:
        """The errors of the worse way, as codecs report D1 and D2."""
        ways = [self.original] if self.decoded is None else [self.decoded, self.original]
        return max(ways, key=lambda errors: errors.mean_squared)


def measure_meshes(file: Collection, originals: Sequence[Reference], monitor: Monitor) -> list[MeshErrors]:
    """Measure the meshes of a file whose template is a surface against the originals, one cloud after the other.

    Raises CloudError or FormatError for an original that cannot be read, and Interrupted.
    """
    template: Floats = file.integers.grid.astype(np.float64)
    mesh, evenly = file.meshes(), file.reader(even=True)

    def triples() -> Iterator[tuple[Reference, tuple[Points, Triangles], Points]]:
        # One at a time: a data set may be larger than memory.
        return ((original, mesh(i), evenly(i)) for i, original in enumerate(originals))

    def measure(given: tuple[Reference, tuple[Points, Triangles], Points]) -> MeshErrors:
        original, (vertices, triangles), points = given
        to_decoded = Errors.of(Surface((vertices, triangles)).nearest(original.points)[0])
        to_original = _to_faces(points, original.mesh)
        counts = int(flipped(template, vertices, triangles).sum()), int(torn(template, vertices, triangles).sum())
        return MeshErrors(*counts, to_decoded, to_original)

    return list(_counted(in_parallel(measure, triples()), monitor, len(file)))


def _counted(found: Iterable[MeshErrors], monitor: Monitor, total: int) -> Iterator[MeshErrors]:
    for done, errors in enumerate(found, 1):
        monitor.update(Stage.MEASURE, done, total, "clouds")
        yield errors


def _to_faces(points: Points, mesh: Mesh | None) -> Errors | None:
    return None if mesh is None or not len(mesh[1]) else Errors.of(Surface(mesh).nearest(points)[0])


def summarise_meshes(
    found: Sequence[MeshErrors], names: Sequence[str], triangles: int, reference_diagonal: float
) -> Meshes:
    """Return the sums over clouds, the worst cloud, and the errors of both ways."""
    per_cloud = [{"name": n, "flipped": e.flipped, "torn": e.torn} for n, e in zip(names, found, strict=True)]
    result: Meshes = {
        "triangles": triangles,
        "flipped": sum(errors.flipped for errors in found),
        "torn": sum(errors.torn for errors in found),
        "worst": per_cloud[int(np.argmax([errors.flipped + errors.torn for errors in found]))],
        "per_cloud": per_cloud,
        "original": summarise([errors.original for errors in found], names, reference_diagonal),
    }
    ways = [errors.decoded for errors in found if errors.decoded is not None]
    if len(ways) == len(found):
        result["decoded"] = summarise(ways, names, reference_diagonal)
    return result


def flipped(template: Floats, vertices: Points, triangles: Triangles) -> NDArray[np.bool_]:
    """Say of triangles (t, 3) whether they are flipped (t,): turned by more than 90 degrees against their surroundings.

    The surroundings are the sides at a triangle's three corners. They turn from the template (v, 3) to the cloud's
    vertices (v, 3) by the rotation that fits them best, least squares. A triangle is flipped where its normal lies more
    than 90 degrees from the template's under this rotation. One without an area in either is not.
    """
    before, after = template, vertices.astype(np.float64)
    a, b = _sides(triangles)
    moved = np.einsum("ei,ej->eij", after[b] - after[a], before[b] - before[a])
    of_vertex = np.zeros((len(template), 3, 3))
    np.add.at(of_vertex, a, moved)
    np.add.at(of_vertex, b, moved)
    u, _, v = np.linalg.svd(of_vertex[triangles].sum(1))
    u[:, :, 2] *= np.where(np.linalg.det(u @ v) < 0, -1.0, 1.0)[:, None]
    turned = np.einsum("tij,tj->ti", u @ v, _normals(before, triangles))
    found: NDArray[np.bool_] = np.einsum("ti,ti->t", turned, _normals(after, triangles)) < 0
    return found


def torn(template: Floats, vertices: Points, triangles: Triangles) -> NDArray[np.bool_]:
    """Say of triangles (t, 3) whether they are torn (t,): a side is stretched TORN times as far as those beside.

    A side is stretched by its length between the cloud's vertices (v, 3) over that in the template (v, 3). Beside it
    are all others at one of its ends, stretched by their lengths together: at the end where that is less. So a vertex
    pulled out is seen, though all sides at it are long. Sides without a length in the template are not torn.
    """
    a, b = _sides(triangles)
    before, after = (np.linalg.norm(p[b] - p[a], axis=1) for p in (template, vertices.astype(np.float64)))
    of_vertex = np.zeros((2, len(template)))
    for ends in (a, b):
        np.add.at(of_vertex[0], ends, before)
        np.add.at(of_vertex[1], ends, after)
    at_ends = []
    for ends in (a, b):
        beside_before, beside_after = of_vertex[0, ends] - before, of_vertex[1, ends] - after
        at_ends.append(after * beside_before > TORN * before * np.maximum(beside_after, 0))
    far = (before > 0) & np.any(at_ends, axis=0)
    keys = a * len(template) + b
    sides = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]], axis=2)
    found: NDArray[np.bool_] = far[np.searchsorted(keys, sides[..., 0] * len(template) + sides[..., 1])].any(1)
    return found


def _sides(triangles: Triangles) -> tuple[Triangles, Triangles]:
    """Return the ends (s,), (s,) of every side once, in order."""
    sides = np.unique(np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]], axis=2).reshape(-1, 2), axis=0)
    return sides[:, 0], sides[:, 1]


def _normals(vertices: Floats, triangles: Triangles) -> Floats:
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    normals: Floats = np.cross(b - a, c - a)
    return normals
