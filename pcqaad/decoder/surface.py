"""A template that is a surface: any number of points, drawn from its triangles by a rule in integers (SPEC.md, 7.10).

What a model decodes to are then the surface's vertices. A point is a sum of three of them with weights that follow
from the template alone, so that all clouds have the same points. Every triangle gets its share of the points by its
mass, and is cut into as many parts of equal area. A point is the centre of such a part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.step_sizes import StepSize

Ints = NDArray[np.int64]

MAX_VERTICES = 2**15
MAX_TRIANGLES = 2**15  # to read so many takes some seconds
MAX_LEVEL = 8  # of subdivision: a triangle into 65,536
WEIGHT_BITS = 20  # of barycentric weights
ONE = 1 << WEIGHT_BITS
LARGEST_VERTEX = 1 << 41  # units of a decoded coordinate; clipped there, so that sums stay within 64 bits
_AREA_DIGITS = 25  # of a triangle's area: its square is exact in double precision
_MASS_BITS = 38  # of all masses together: times 2^24 points, and a half, they stay within 64 bits
_PLACE_SHIFT = 8  # by which places on the grid lose digits, so that squares of lengths stay within 64 bits


@dataclass(frozen=True)
class Draw:
    """Points on a surface: each is a sum of the three corners (M, 3) of a triangle with weights (M, 3) of 2**-20."""

    corners: Ints
    weights: Ints

    def __len__(self) -> int:
        return len(self.corners)

    def __getitem__(self, rows: NDArray[np.integer]) -> Draw:
        return Draw(self.corners[rows], self.weights[rows])

    def decoded(self, vertices: Ints) -> Ints:
        """Return the points (M, 3) of decoded vertices (V, 3), whole numbers both."""
        vertices = vertices.clip(-LARGEST_VERTEX, LARGEST_VERTEX)
        points = np.full(self.corners.shape, ONE // 2, np.int64)
        for corner, weight in zip(self.corners.T, self.weights.T, strict=True):
            points += weight[:, None] * vertices[corner]
        points >>= WEIGHT_BITS
        return points

    def between(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return what the points (M, ...) have of values (V, ...) that the vertices have, in float32."""
        total = np.zeros((len(self), *values.shape[1:]), np.float32)
        for corner, weight in zip(self.corners.T, self.weights.T, strict=True):
            part = np.ldexp(weight.astype(np.float32), -WEIGHT_BITS).reshape(-1, *[1] * (values.ndim - 1))
            total += part * values[corner]
        return total


@dataclass(frozen=True)
class Surface:
    """The triangles of a template, and how many points lie on each."""

    triangles: Ints  # (T, 3) rows of the template
    counts: Ints  # (T,) of a cloud's points, unless another number of them is asked for
    coded: bytes = b""  # the triangles as a file holds them

    @property
    def points(self) -> int:
        """The number of a cloud's points, M."""
        return int(self.counts.sum())

    def draw(self, grid: NDArray[np.integer], points: int | None = None, even: bool = False) -> Draw:
        """Draw points from the template's grid points (V, 3): M of them, or another number.

        With `even` they are as many as a triangle's area says, however many the file has there.
        """
        vertices: Ints = grid.astype(np.int64)
        counts = self.counts
        if even:
            counts = shares(areas(vertices, self.triangles), self.points if points is None else points)
        elif points is not None and points != self.points:
            counts = shares(counts, points)
        return _centres(vertices, self.triangles, counts)


def expected_counts(sizes: Ints, points: int) -> Ints:
    """Return how many of M points triangles of these areas (T,) would have each, were they spread evenly; rounded."""
    total = max(int(sizes.sum()), 1)
    expected: Ints = (2 * points * sizes + total) // (2 * total)
    return expected


def subdivided(triangles: Ints, vertices: int, level: int) -> tuple[Draw, Ints]:
    """Return the mesh of triangles (T, 3), each cut into 4**level alike: its vertices, and its triangles.

    Its first vertices are those of level 0. The middles of sides that triangles share are one vertex.
    """
    every = np.arange(vertices)
    corners = np.tile(every[:, None], (1, 3))
    weights = np.tile(np.array([ONE, 0, 0]), (vertices, 1))
    owners = triangles
    local = np.tile(np.eye(3, dtype=np.int64) << WEIGHT_BITS, (len(triangles), 1, 1))
    for _ in range(level):
        sides = np.sort(triangles[:, [[1, 2], [2, 0], [0, 1]]], axis=2).reshape(-1, 2)
        _, first, which = np.unique(sides, axis=0, return_index=True, return_inverse=True)
        middle = (local[:, [1, 2, 0]] + local[:, [2, 0, 1]]) // 2
        new = len(corners) + which.reshape(-1, 3)
        corners = np.concatenate([corners, np.repeat(owners, 3, axis=0)[first]])
        weights = np.concatenate([weights, middle.reshape(-1, 3)[first]])
        a, b, c = triangles.T
        x, y, z = new.T
        triangles = np.stack([(a, z, y), (z, b, x), (y, x, c), (x, y, z)]).transpose(2, 0, 1).reshape(-1, 3)
        (a, b, c), (x, y, z) = local.transpose(1, 0, 2), middle.transpose(1, 0, 2)
        parts = np.stack([np.stack(p, 1) for p in ((a, z, y), (z, b, x), (y, x, c), (x, y, z))], 1)
        local, owners = parts.reshape(-1, 3, 3), np.repeat(owners, 4, axis=0)
    return Draw(corners, weights), triangles


@dataclass(frozen=True)
class DrawnSurface:
    """A surface whose vertices lie on a grid already, and the points drawn from it."""

    surface: Surface
    step_size: StepSize  # of the grid
    draw: Draw


def areas(grid: Ints, triangles: Ints) -> Ints:
    """Return twice the areas (T,) of triangles (T, 3) between grid points (V, 3), to about 25 digits.

    The square root of a whole number below 2**52 is exact in double precision once it is rounded down.
    """
    a, b, c = (grid[triangles[:, i]] for i in range(3))
    sides = np.abs(np.cross(b - a, c - a))
    # Of whole numbers below 2^53 frexp tells the number of binary digits.
    excess = np.maximum(np.frexp(sides.max(1, initial=0).astype(np.float64))[1] - _AREA_DIGITS, 0)
    squares = np.square(sides >> excess[:, None]).sum(1)
    roots: Ints = np.sqrt(squares.astype(np.float64)).astype(np.int64) << excess
    return roots


def shares(masses: Ints, points: int) -> Ints:
    """Return how many points each triangle gets (T,), by its mass: sums along the triangles are rounded."""
    masses = masses >> max(int(masses.sum()).bit_length() - _MASS_BITS, 0)
    if not masses.any():
        masses = np.ones_like(masses)
    sums = np.cumsum(masses)
    ends: Ints = (points * sums + sums[-1] // 2) // sums[-1]
    return np.diff(ends, prepend=0)


def _centres(grid: Ints, triangles: Ints, count: Ints) -> Draw:
    """Cut triangles into `count` (T,) parts of equal area each, and return the parts' centres, a triangle's together.

    A part that is to hold n points is cut in two from a point of its longest side, which divides it as n // 2 and the
    rest of them.
    """
    owner = np.flatnonzero(count)
    count = count[owner]
    parts = np.tile(np.eye(3, dtype=np.int64) << WEIGHT_BITS, (len(owner), 1, 1))  # (n, 3 corners, 3 weights)
    while (split := np.flatnonzero(count > 1)).size:
        first, second, opposite = _by_longest_side(parts[split], grid[triangles[owner[split]]])
        whole = count[split]
        half = whole // 2
        # Rounded down, so that what is left for the third weight is not negative.
        at = first + (second - first) * half[:, None] // whole[:, None]
        at[:, 2] = ONE - at[:, 0] - at[:, 1]
        pieces = np.where(count > 1, 2, 1)
        place = (np.cumsum(pieces) - pieces)[split]
        parts, count, owner = (np.repeat(array, pieces, axis=0) for array in (parts, count, owner))
        parts[place], parts[place + 1] = np.stack([first, at, opposite], 1), np.stack([at, second, opposite], 1)
        count[place], count[place + 1] = half, whole - half
    weights = parts.sum(1) // 3
    weights[:, 2] = ONE - weights[:, 0] - weights[:, 1]
    return Draw(triangles[owner], weights)


def _by_longest_side(parts: Ints, corners: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the ends (n, 3) of the longest side of each part (n, 3, 3), and the corner opposite, all as weights.

    Of sides of one length the first counts, opposite to the first corner. `corners` (n, 3, 3) are the triangles'.
    """
    places = (parts @ corners) >> _PLACE_SHIFT
    lengths = np.stack([np.square(places[:, (i + 1) % 3] - places[:, (i + 2) % 3]).sum(1) for i in range(3)], axis=1)
    longest, rows = lengths.argmax(1), np.arange(len(parts))
    return parts[rows, (longest + 1) % 3], parts[rows, (longest + 2) % 3], parts[rows, longest]
