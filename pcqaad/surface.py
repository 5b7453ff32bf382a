"""Points on a surface: what a scanner, or a paper, would draw of a mesh."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pcqaad.clouds import CloudError

Points = NDArray[np.floating]


def sample_surface(
    vertices: Points, triangles: NDArray[np.integer], count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw points (count, 3) independently and uniformly by area over the triangles of a mesh, in no order.

    A triangle is drawn by its area, a point in it by two uniform numbers, folded back where they leave it
    (Turk, "Generating random points in triangles", Graphics Gems, 1990).

    Args:
        vertices: (v, 3), finite.
        triangles: (t, 3) rows of `vertices`; those without an area are never drawn.
        count: of the points.
        rng: draws them.

    Raises CloudError where a triangle names a vertex that is not there, or none has an area.
    """
    if len(triangles) and not (triangles.min() >= 0 and triangles.max() < len(vertices)):
        wrong = triangles.min() if triangles.min() < 0 else triangles.max()
        raise CloudError(f"expected faces of vertices 0 to {len(vertices) - 1}, found vertex {wrong}")
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
