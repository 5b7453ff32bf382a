"""Points drawn from the surface of a mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.errors import CloudError
from pcqaad.points.collect import Points, check_cloud
from pcqaad.seeds import surface_generator

# Vertices (v, 3) and triangles (t, 3) of one mesh.
Mesh = tuple[Points, NDArray[np.integer]]


@dataclass(frozen=True, eq=False)
class Surfaces(Sequence[Points]):
    """Points drawn from the surfaces of meshes, each mesh asked for when its points are, and not kept.

    The draw depends on the seed and the mesh's number in its collection alone. So the originals of a file can be drawn
    again.
    """

    meshes: Sequence[Mesh]
    names: Sequence[str]  # one per mesh
    points: int  # to draw from each
    seed: int
    first: int = 0  # the number of the first mesh

    def __len__(self) -> int:
        return len(self.meshes)

    def __getitem__(self, index: Any) -> Any:
        """Return points (points, 3) in the type of the vertices; raises CloudError as `sample_surface` does."""
        number = range(len(self))[index]
        if isinstance(number, range):
            return [self[i] for i in number]
        return draw(self.meshes[number], self.names[number], self.points, self.seed, self.first + number)


def draw(mesh: Mesh, name: str, points: int, seed: int, number: int) -> Points:
    """Return the points (points, 3) of mesh number `number` of a collection; raises CloudError by its name."""
    vertices, triangles = check_mesh(mesh, name)
    try:
        drawn = sample_surface(vertices, triangles, points, surface_generator(seed, number))
    except CloudError as error:
        raise CloudError(f"{name}: {error}") from error
    return drawn.astype(np.result_type(np.float32, vertices.dtype))


def check_mesh(mesh: Mesh, name: str) -> Mesh:
    """Return the vertices (v, 3), finite, and triangles (t, 3) of a mesh as arrays; raises CloudError for another."""
    try:
        vertices, triangles = mesh
        vertices, triangles = np.asarray(vertices), np.asarray(triangles)
    except (TypeError, ValueError) as error:
        raise CloudError(f"{name}: expected a mesh, its vertices (v, 3) and triangles (t, 3)") from error
    if triangles.ndim != 2 or triangles.shape[1] != 3 or triangles.dtype.kind not in "iu":
        raise CloudError(f"{name}: expected triangles of integers (t, 3), found {triangles.dtype} {triangles.shape}")
    return check_cloud(vertices, name), triangles


def check_corners(triangles: NDArray[np.integer], vertices: int) -> None:
    """Raise CloudError where a triangle (t, 3) names none of the vertices 0 to `vertices` - 1."""
    if len(triangles) and not (triangles.min() >= 0 and triangles.max() < vertices):
        wrong = triangles.min() if triangles.min() < 0 else triangles.max()
        raise CloudError(f"expected faces of vertices 0 to {vertices - 1}, found vertex {wrong}")


def sample_surface(
    vertices: Points, triangles: NDArray[np.integer], count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw points (count, 3) independently and uniformly by area over the triangles of a mesh, in no order.

    A triangle is drawn by its area, never one without. A point in it is drawn by two uniform numbers, folded back where
    they leave it (Turk, "Generating random points in triangles", Graphics Gems, 1990).

    Raises CloudError where a triangle (t, 3) names none of the vertices (v, 3), or none has an area.
    """
    check_corners(triangles, len(vertices))
    a, b, c = (vertices[triangles[:, i]].astype(np.float64) for i in range(3))
    u, v = b - a, c - a
    total = np.cumsum(np.linalg.norm(np.cross(u, v), axis=1))
    if len(total) == 0 or not 0 < total[-1] < np.inf:
        raise CloudError(f"expected faces with an area to draw points from, found {len(triangles)} without")
    # Below the total even where a draw times the total rounds up to it: the last triangle with an area.
    drawn = np.minimum(rng.random(count) * total[-1], np.nextafter(total[-1], 0))
    chosen = np.searchsorted(total, drawn, side="right")
    weights = rng.random((count, 2))
    weights = np.where(weights.sum(1, keepdims=True) > 1, 1 - weights, weights)
    points: NDArray[np.float64] = a[chosen] + weights[:, :1] * u[chosen] + weights[:, 1:] * v[chosen]
    return points
