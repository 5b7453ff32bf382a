"""Non-rigid registration by repeated assignment: a template bent onto a cloud, first as a whole, then part by part.

The cheapest bijection between two poses of one shape tears: points of one leg go to the other. A bent template has no
such freedom. So match, let the template follow as far as pieces of some width may move, match again from there, with
narrower pieces from round to round. (Repeated assignment and a deformation that loosens: Chui and Rangarajan, 2003;
pieces that each move by a map of their own: Sumner et al., 2007.) Widths are measured along the template, from
neighbour to neighbour: two legs that touch are far apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from pcqaad.matching.assign import Assignment, match_all
from pcqaad.matching.solvers import Points
from pcqaad.matching.tears import neighbours

Shape = NDArray[np.float64]


@dataclass(frozen=True)
class Rounds:
    """How a template is bent onto a cloud."""

    pieces: int = 200  # at most
    piece_points: int = 16  # points for each piece, at least
    widths: tuple[float, ...] = (6.0, 3.0, 1.5)  # of the pieces round by round, in distances of their centres
    tolerance: float = 0.05  # of each matching
    fits: int = 3  # of the pieces in a round: points far from where their pieces are count less in the next
    # How strongly a piece prefers a rotation to another linear map, as a part of its own extent.
    stiffness: float = 0.2
    least_weight: float = 0.02  # at a piece's rim, as a part of that at its centre


_ROUNDS = Rounds()
# Lengths that count as none, normalised.
_NOTHING = 1e-9


class Bending:
    """A template (n, 3) and the shapes that it can take: a map for each of its pieces, blended between them."""

    def __init__(self, template: Points, rounds: Rounds = _ROUNDS) -> None:
        """Cut the template into pieces that overlap."""
        self.template = template.astype(np.float64)
        self._rounds = rounds
        along = self._along(max(min(rounds.pieces, len(template) // rounds.piece_points), 1))
        nearest = along.min(0)
        # Of two centres: as far as the points between them are from either, twice.
        apart = 2 * float(np.median(nearest[np.isfinite(nearest)]))
        self._weights = [self._of_width(along, max(width * apart, _NOTHING)) for width in rounds.widths]

    def _along(self, count: int) -> NDArray[np.float64]:
        """Return the distances (count, n) from centres along the template; each is farthest from those before it."""
        n = len(self.template)
        distances, near = neighbours(self.template)
        # Points that coincide are neighbours too, but a distance of 0 would be no edge.
        lengths = np.maximum(distances.ravel(), _NOTHING)
        graph = csr_array((lengths, (np.repeat(np.arange(n), near.shape[1]), near.ravel())), shape=(n, n))
        graph = graph.maximum(graph.T)
        found = np.empty((count, n))
        nearest = np.full(n, np.inf)
        for k in range(count):
            found[k] = dijkstra(graph, indices=int(nearest.argmax()))
            nearest = np.minimum(nearest, found[k])
        return found

    def _of_width(self, along: NDArray[np.float64], width: float) -> csr_array:
        """Return the weights (pieces, n) of pieces of a width; those of a point add to 1."""
        weights = np.exp(-2 * np.square(along / width))
        weights[weights < self._rounds.least_weight] = 0
        nearest = along.argmin(0), np.arange(along.shape[1])
        weights[nearest] = np.maximum(weights[nearest], self._rounds.least_weight)
        return csr_array(weights / weights.sum(0))

    def follow(self, matched: Points, round_: int) -> Shape:
        """Bend the template towards matched points (n, 3) as far as the pieces of a round can: (n, 3).

        A piece moves by the linear map of least squares, drawn towards the rotation of least squares.
        """
        weights, r = self._weights[round_], self._rounds
        back, t, z = weights.T.tocsr(), self.template, matched.astype(np.float64)
        trust = np.ones((len(t), 1))
        for _ in range(r.fits):
            mass = weights @ trust
            at, to = (weights @ (x * trust) / mass for x in (t, z))

            def products(x: Shape, mean: Shape, trust: Shape = trust, mass: Shape = mass, at: Shape = at) -> Shape:
                """Return each piece's covariances (pieces, 3, 3) of the template and x."""
                of_points = (t[:, :, None] * x[:, None, :]).reshape(-1, 9)
                found: Shape = (weights @ (of_points * trust) / mass).reshape(-1, 3, 3)
                return found - at[:, :, None] * mean[:, None, :]

            own, moved = products(t, at), products(z, to)
            u, _, v = np.linalg.svd(moved)
            # A rotation, no reflection.
            u[:, :, 2] *= np.where(np.linalg.det(u @ v) < 0, -1, 1)[:, None]
            stiff = (r.stiffness * np.trace(own, axis1=1, axis2=2) + _NOTHING)[:, None, None]
            maps = np.linalg.solve(own + stiff * np.eye(3), moved + stiff * (u @ v))
            shifts = to - (at[:, None, :] @ maps)[:, 0]
            blended = back @ np.concatenate([maps.reshape(-1, 9), shifts], 1)
            bent: Shape = (t[:, None, :] @ blended[:, :9].reshape(-1, 3, 3))[:, 0] + blended[:, 9:]
            off = np.linalg.norm(z - bent, axis=1)
            trust = 1 / (1 + np.square(off / (2 * np.median(off) + _NOTHING)))[:, None]
        return bent

    def register(self, start: Shape, cloud: Points) -> Shape:
        """Bend the template onto a cloud (n, 3), from a shape (n, 3) that is near to it: (n, 3)."""
        bent: Shape = start
        found: Assignment | None = None
        for k in range(len(self._rounds.widths)):
            found = match_all(bent.astype(np.float32), cloud, self._rounds.tolerance, 2, found).assignment
            bent = self.follow(cloud[found], k)
        return bent

    def settle(self, matched: Points) -> Shape:
        """Smooth points (n, 3) that are matched well already, by the narrowest pieces: (n, 3)."""
        return self.follow(matched, len(self._rounds.widths) - 1)


class Carrier:
    """What moves some points of a template, carried over to all of them."""

    def __init__(self, template: Points, some: NDArray[np.integer]) -> None:
        """Take the template (M, 3) and the rows (n,) of it that are moved."""
        self._template, self._some = template, some
        distances, near = cKDTree(template[some]).query(template, min(4, len(some)))
        weights = 1 / np.maximum(distances.reshape(len(template), -1), _NOTHING)
        self._near, self._weights = near.reshape(weights.shape), weights / weights.sum(1, keepdims=True)

    def __call__(self, moved: Shape) -> NDArray[np.float32]:
        """Return where all points (M, 3) lie when some are `moved` (n, 3)."""
        by = moved - self._template[self._some]
        placed = self._template + np.einsum("ij,ijk->ik", self._weights, by[self._near])
        return np.asarray(placed, np.float32)
