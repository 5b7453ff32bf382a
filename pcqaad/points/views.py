"""The points of a cloud that one view sees: hidden point removal (Katz, Tal and Basri, SIGGRAPH 2007)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from pcqaad.errors import CloudError, SettingsError
from pcqaad.points.collect import check_cloud

Points = NDArray[np.floating]
Rows = NDArray[np.int64]

# From the middle of the cloud to the eye of `cut_view`, in half diagonals: an ordinary perspective.
_EYE_DISTANCE = 4.0


def visible(points: Points, eye: Points, radius: float | None = None) -> Rows:
    """Return the rows, ascending, of the points that an eye sees: no surface through the points hides them.

    Each point is flipped across a sphere around the eye, so the nearest becomes the farthest. It is visible if it then
    lies on the convex hull of all points and the eye. This needs neither a surface nor normals.

    Args:
        points: (n, 3), in any unit.
        eye: (3,), in the same unit.
        radius: of the sphere, at least 1, in units of the distance from the eye to the farthest point; sqrt(n) if None.

    Raises:
        CloudError: the points are malformed, the eye is one of them, or all lie in a plane with it.
        SettingsError: the radius is less than 1.
    """
    points = np.asarray(check_cloud(points, "points"), np.float64)
    seen = points - np.asarray(eye, np.float64)
    distance = np.linalg.norm(seen, axis=1, keepdims=True)
    if not distance.min() > 0:
        raise CloudError("expected an eye apart from the points, found it among them")
    radius = len(points) ** 0.5 if radius is None else radius
    if not radius >= 1:
        raise SettingsError(f"radius is {radius}, expected at least 1")
    # In radii of the sphere, around the eye: the unit does not matter.
    seen, distance = seen / (radius * distance.max()), distance / (radius * distance.max())
    flipped = seen * (2 / distance - 1)
    if len(points) < 4:
        return np.arange(len(points))
    try:
        corners = ConvexHull(np.concatenate([flipped, np.zeros((1, 3))])).vertices
    except QhullError as error:
        raise CloudError("expected points around a volume, found all in one plane with the eye") from error
    rows: Rows = np.sort(corners[corners < len(points)]).astype(np.int64)
    return rows


def cut_view(points: Points, rng: np.random.Generator) -> Rows:
    """Return the rows of the points of a cloud (n, 3) that an eye two diagonals away in a random direction sees."""
    direction = rng.standard_normal(3)
    low, high = points.min(0).astype(np.float64), points.max(0).astype(np.float64)
    middle, half = (low + high) / 2, np.linalg.norm(high - low) / 2
    return visible(points, middle + _EYE_DISTANCE * half * direction / np.linalg.norm(direction))
