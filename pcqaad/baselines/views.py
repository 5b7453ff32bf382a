"""What of a cloud one view sees: hidden point removal (Katz, Tal and Basri, SIGGRAPH 2007)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from pcqaad.errors import CloudError, SettingsError
from pcqaad.points.collect import check_cloud

Points = NDArray[np.floating]
Rows = NDArray[np.int64]

# How far from the cloud's middle `cut_view` puts the eye, in half diagonals: near enough that a view is one, far enough
# that no point is nearer to the eye than a cloud's own size.
_AWAY = 4.0


def visible(points: Points, eye: Points, flip: float | None = None) -> Rows:
    """Return the rows, ascending, of the points that an eye sees: nothing of the surface hides them.

    Points are flipped across a sphere around the eye, so that the nearest become the farthest; those are visible that
    then lie on the convex hull of all of them and the eye. No surface is needed, nor any normals.

    Args:
        points: (n, 3), in any unit.
        eye: (3,), in the same unit.
        flip: the sphere's radius, in distances of the farthest point from the eye, at least 1; sqrt(n) if not given.

    Raises:
        CloudError: the points are malformed, the eye is one of them, or all lie in a plane with it.
    """
    points = np.asarray(check_cloud(points, "points"), np.float64)
    seen = points - np.asarray(eye, np.float64)
    distance = np.linalg.norm(seen, axis=1, keepdims=True)
    if not distance.min() > 0:
        raise CloudError("expected an eye apart from the points, found it among them")
    flip = len(points) ** 0.5 if flip is None else flip
    if not flip >= 1:
        raise SettingsError(f"expected a flip of at least 1, found {flip}")
    # In radii of the sphere: scale-free, and the eye at the origin.
    seen, distance = seen / (flip * distance.max()), distance / (flip * distance.max())
    flipped = seen * (2 / distance - 1)
    if len(points) < 4:
        return np.arange(len(points))
    try:
        corners = ConvexHull(np.concatenate([flipped, np.zeros((1, 3))])).vertices
    except QhullError as error:
        raise CloudError("expected points that lie in no plane with the eye") from error
    rows: Rows = np.sort(corners[corners < len(points)]).astype(np.int64)
    return rows


def cut_view(points: Points, rng: np.random.Generator) -> Rows:
    """Return the rows of what one view from a random direction sees of a cloud (n, 3), from two diagonals away."""
    direction = rng.standard_normal(3)
    low, high = points.min(0).astype(np.float64), points.max(0).astype(np.float64)
    middle, half = (low + high) / 2, np.linalg.norm(high - low) / 2
    return visible(points, middle + _AWAY * half * direction / np.linalg.norm(direction))
