"""A population of skulls, made from nothing: `python examples/skulls.py --count 48 --points 8192 out/skulls`.

One template skull is carved from signed distances (smooth unions of ellipsoids and tubes, less the cavities) and meshed
once. An identity, one standard score for each of `parameters()`, deforms the template smoothly. Each cloud is then
sampled afresh, uniformly by area: no point of one cloud corresponds to a point of another.

Axes of the Frankfurt frame, in millimetres: x to the left, y forward, z up, from midway between the ears.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.clouds.ply import write_ply

Array = NDArray[np.float32]
Grid = tuple[Array, Array, Array]  # open x, y, z axes that broadcast to the grid
Field = Array  # signed distance in mm, negative inside bone

SPACING = 1.75  # mm between grid nodes: finer than the points of any usual cloud
TABLE = 6.5  # mm from the outer to the inner table of the vault
HINGE = np.array([0.0, 9.0, -3.0], np.float32)  # axis of the jaw joint, through both condyles
REST = 0.085  # rad the jaw stands open in the mean skull
ORBIT = (32.0, 70.0, 17.0)
NOSE = (0.0, 84.0, -11.0)
# Half widths along the arch, from the middle incisor to the second molar.
UPPER_TEETH = (4.3, 3.3, 3.9, 3.5, 3.4, 5.0, 4.8)
LOWER_TEETH = (2.8, 3.0, 3.5, 3.6, 3.7, 5.6, 5.4)


# Signed distances. Only the left half is evaluated: the right half is its mirror image.


def ellipsoid(grid: Grid, centre: Sequence[float], radii: Sequence[float]) -> Field:
    """Return the first-order distance to an ellipsoid: exact on the surface, within a few per cent near it."""
    scaled = [(axis - c) / r for axis, c, r in zip(grid, centre, radii, strict=True)]
    norm = np.sqrt(sum(s * s for s in scaled))
    slope = np.sqrt(sum((s / r) ** 2 for s, r in zip(scaled, radii, strict=True)))
    return norm * (norm - 1) / np.maximum(slope, 1e-6)


def tube(grid: Grid, knots: Sequence[Sequence[float]], squash: Sequence[float] = (1, 1, 1)) -> Field:
    """Return the distance to a tube through knots (x, y, z, radius); an axis squashed by s has s times the radius."""
    axes = [axis / s for axis, s in zip(grid, squash, strict=True)]
    ends = [np.array([*(k[i] / squash[i] for i in range(3)), k[3]], np.float32) for k in knots]
    field: Field | None = None
    for a, b in itertools.pairwise(ends):
        along = b[:3] - a[:3]
        t = sum((axis - a[i]) * along[i] for i, axis in enumerate(axes)) / (along @ along)
        t = np.clip(t, 0, 1)
        gap = np.sqrt(sum((axis - a[i] - t * along[i]) ** 2 for i, axis in enumerate(axes)))
        piece = gap - (a[3] + t * (b[3] - a[3]))
        field = piece if field is None else blend(field, piece, 2.0)
    assert field is not None
    return field


def blend(a: Field, b: Field, width: float) -> Field:
    """Return the smooth union of two solids: `width` mm of the crease between them are filled."""
    near = np.maximum(width - np.abs(a - b), 0)
    return np.minimum(a, b) - near * near / (4 * width)


def carve(solid: Field, hole: Field, width: float) -> Field:
    """Return `solid` less `hole`, with `width` mm of the rim rounded."""
    return -blend(-solid, hole, width)


def teeth(grid: Grid, widths: Sequence[float], z: float, height: float, depth: float) -> Field:
    """Return half a row of crowns side by side on the elliptic dental arch, each turned along it."""
    angles = np.linspace(0, np.pi / 2, 500)
    arch = np.stack([29.0 * np.sin(angles), 45.0 + 46.0 * np.cos(angles)], 1)
    length = np.r_[0, np.cumsum(np.hypot(*np.diff(arch, axis=0).T))]
    field: Field | None = None
    start = 0.0
    for half in widths:
        angle = np.interp(start + half, length, angles)
        start += 2 * half
        across = grid[0] - 29.0 * np.sin(angle), grid[1] - 45.0 - 46.0 * np.cos(angle)
        tangent = np.array([29.0 * np.cos(angle), -46.0 * np.sin(angle)])
        tx, ty = (tangent / np.hypot(*tangent)).astype(np.float32)
        thick = 3.2 + 0.45 * max(half - 3.4, 0) * 2
        u, v = (across[0] * tx + across[1] * ty) / (half * 0.93), (across[1] * tx - across[0] * ty) / thick
        crown = ((u**4 + v**4 + ((grid[2] - z) / height) ** 4) ** 0.25 - 1) * depth
        field = crown if field is None else np.minimum(field, crown)
    assert field is not None
    return field


def cranium(grid: Grid) -> Field:
    """Return the skull without its lower jaw, upper teeth included."""
    vault = blend(ellipsoid(grid, (0, -27, 48), (70, 63, 68)), ellipsoid(grid, (0, 25, 55), (55, 59, 58)), 30)
    bone = blend(vault, ellipsoid(grid, (0, 22, 0), (36, 44, 20)), 14)  # base
    bone = blend(bone, ellipsoid(grid, (51, -17, -13), (9, 13, 17)), 16)  # mastoid process
    bone = blend(bone, ellipsoid(grid, (0, -78, 14), (16, 8, 9)), 12)  # external occipital protuberance
    face = ellipsoid(grid, (0, 60, -14), (36, 28, 27))  # maxilla
    arch = [(0, 88, -37, 7), (13, 85, -37, 7), (22, 76, -37, 7.5), (27, 62, -36, 8), (28, 46, -35, 8)]
    face = blend(face, tube(grid, arch, (1, 1, 1.25)), 7)  # alveolar process
    face = blend(face, ellipsoid(grid, (44, 65, -6), (13, 12, 13)), 8)  # zygomatic bone
    face = blend(face, tube(grid, [(0, 86, 33, 8), (5, 92, 20, 5), (4.5, 97, 9, 3.5)]), 6)  # nasal bones
    face = blend(face, tube(grid, [(12, 83, 28, 6), (15, 80, 10, 6), (18, 78, -8, 8)]), 8)  # medial rim
    brow = [
        (5, 82, 36, 8),
        (21, 80, 41, 7),
        (37, 72, 41, 7),
        (49, 60, 31, 6.5),
        (50, 59, 12, 5.5),
        (46, 63, -4, 7),
    ]
    face = blend(face, tube(grid, brow), 8)  # supraorbital and lateral rim
    face = blend(face, ellipsoid(grid, (38, 49, 15), (9, 17, 24)), 10)  # greater wing of the sphenoid
    face = blend(face, tube(grid, [(20, 77, -6, 6), (34, 73, -5, 6), (46, 65, 0, 6)]), 6)  # lower rim
    bone = blend(bone, face, 16)
    bone = blend(bone, tube(grid, [(13, 40, 0, 6), (15, 41, -20, 4.5), (16, 38, -36, 3.5)], (1, 1.5, 1)), 6)

    sockets = tube(grid, [(35, 96, 15, 19), (32, 72, 17, 18), (24, 55, 18, 13), (15, 38, 19, 5)], (1.08, 1, 0.93))
    nose = tube(grid, [(0, 100, 4, 4.5), (5.5, 100, -17, 7)], (1, 8, 1))
    nose = np.maximum(nose, 44 - grid[1])
    # The brain case keeps a wall of bone towards both.
    brain = np.maximum(vault + TABLE, 3.5 - np.minimum(sockets, nose))
    bone = carve(bone, brain, 2.0)
    bone = carve(bone, sockets, 4.0)
    bone = carve(bone, nose, 3.0)
    bone = carve(bone, ellipsoid(grid, (0, 52, -46), (19, 34, 17)), 5)  # hollow of the palate
    bone = carve(bone, tube(grid, [(0, -14, -60, 15), (0, -14, 0, 14)], (1, 1.15, 1)), 3)  # foramen magnum
    bone = carve(bone, ellipsoid(grid, (63, -3, -3), (10, 4, 4)), 2)  # ear canal
    septum = np.maximum(np.maximum(np.abs(grid[0]) - 1.1, np.abs(grid[1] - 61) - 19), np.abs(grid[2] + 8) - 24)
    bone = np.minimum(bone, septum)
    zygoma = [
        (46, 63, -8, 6),
        (57, 52, -9, 4.2),
        (64, 38, -7, 3.4),
        (66, 24, -4, 3.4),
        (64, 10, 0, 4),
        (58, 0, 4, 6),
    ]
    bone = blend(bone, tube(grid, zygoma, (0.85, 1, 1.35)), 5)
    return np.minimum(bone, teeth(grid, UPPER_TEETH, -48, 7.5, 3.5))


def mandible(grid: Grid) -> Field:
    """Return the lower jaw with its teeth, closed."""
    body = [(0, 84, -86, 5.5), (13, 81, -86, 5.5), (25, 68, -84, 5.5), (36, 46, -79, 5.5), (43, 27, -71, 5)]
    bone = tube(grid, body, (1, 1, 2.4))
    arch = [(0, 87, -70, 4.5), (13, 84, -70, 4.5), (22, 75, -70, 5), (28, 60, -69, 6), (32, 42, -67, 5.5)]
    bone = blend(bone, tube(grid, arch, (1, 1, 1.3)), 6)  # alveolar part
    bone = blend(bone, ellipsoid(grid, (0, 87, -97), (15, 7, 8)), 7)  # mental protuberance
    ramus = [(44.5, 25, -68, 4.4), (47, 25, -46, 4.3), (48, 25, -27, 3.8)]
    bone = blend(bone, tube(grid, ramus, (1, 3.7, 1.5)), 8)
    bone = blend(bone, tube(grid, [(48, 14, -28, 4.5), (49, 10, -12, 4)], (1, 1.3, 1)), 6)  # neck
    bone = blend(bone, ellipsoid(grid, (49, 9, -6), (9.5, 4.5, 4.5)), 4)  # condyle
    bone = blend(bone, tube(grid, [(47, 35, -28, 4), (47, 40, -8, 2)], (1, 1.8, 1)), 5)  # coronoid process
    return np.minimum(bone, teeth(grid, LOWER_TEETH, -62, 6.5, 3.5))


# The template.


def mesh(
    solid: Callable[[Grid], Field], low: Sequence[float], high: Sequence[float]
) -> tuple[Array, NDArray[np.int64]]:
    """Mesh a mirror-symmetric solid by surface nets: vertices (v, 3) in mm and outward triangles (t, 3)."""
    axes = [np.arange(a + SPACING / 2, b, SPACING, dtype=np.float32) for a, b in zip((0, *low), high, strict=True)]
    half = solid((axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]))
    field = np.concatenate([half[::-1], half])
    origin = np.array([-axes[0][-1], axes[1][0], axes[2][0]], np.float32)
    inside = field < 0

    cells = tuple(n - 1 for n in field.shape)
    total, crossings = np.zeros((*cells, 3), np.float32), np.zeros(cells, np.int32)
    # Every lattice edge that changes sign pulls the vertices of the four cells around it to its crossing.
    outward_quads = []
    for axis in range(3):
        first = np.argwhere(np.diff(inside, axis=axis))
        keep = [a for a in range(3) if a != axis]
        first = first[np.all((first[:, keep] > 0) & (first[:, keep] < np.array(cells)[keep]), axis=1)]
        second = first + np.eye(3, dtype=np.int64)[axis]
        f0, f1 = field[tuple(first.T)], field[tuple(second.T)]
        point = first.astype(np.float32)
        point[:, axis] += f0 / (f0 - f1)
        around = []
        for du, dv in ((-1, -1), (0, -1), (0, 0), (-1, 0)):
            cell = first.copy()
            cell[:, keep] += (du, dv)
            around.append(np.ravel_multi_index(tuple(cell.T), cells))
            np.add.at(total.reshape(-1, 3), around[-1], point)
            np.add.at(crossings.reshape(-1), around[-1], 1)
        # (u, v, axis) is a left-handed triple for the y axis alone.
        outward = (f0 < 0) ^ (axis == 1)
        quads = np.stack(around, 1)
        outward_quads.append(np.where(outward[:, None], quads, quads[:, ::-1]))
    quads = np.concatenate(outward_quads)
    used, corner = np.unique(quads, return_inverse=True)
    corner = corner.reshape(quads.shape)
    vertices = total.reshape(-1, 3)[used] / crossings.reshape(-1)[used, None].astype(np.float32)
    return vertices * np.float32(SPACING) + origin, np.concatenate([corner[:, [0, 1, 2]], corner[:, [0, 2, 3]]])


@cache
def template() -> tuple[Array, NDArray[np.int64], int]:
    """Return the mean skull, jaw closed: vertices (v, 3), triangles (t, 3), and the vertex where the jaw begins."""
    upper, upper_faces = mesh(cranium, (-100, -66), (78, 108, 124))
    lower, lower_faces = mesh(mandible, (-10, -112), (64, 106, 6))
    return np.concatenate([upper, lower]), np.concatenate([upper_faces, lower_faces + len(upper)]), len(upper)


# Identity.


def ramp(values: Array, low: float, high: float) -> Array:
    """Return 0 below `low`, 1 above `high`, and a smooth rise between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def bump(vertices: Array, centre: Sequence[float], widths: Sequence[float]) -> Array:
    """Return a Gaussian of height 1 with standard deviations in mm; `centre` holds for both sides."""
    x, y, z = np.abs(vertices[:, 0]), vertices[:, 1], vertices[:, 2]
    return np.exp(-0.5 * sum(((a - c) / w) ** 2 for a, c, w in zip((x, y, z), centre, widths, strict=True)))


def displacements(v: Array, jaw: Array) -> dict[str, tuple[Array | float, Array | float, Array | float]]:
    """Return the displacement of the vertices (v, 3) by one standard deviation of each parameter: (dx, dy, dz) in mm.

    `jaw` (v,) is 1 on the mandible, 0 elsewhere.
    """
    x, y, z = v.T
    side = np.tanh(x / 8)
    front = ramp(y, 0, 50)
    vault = (1 - jaw) * (1 - front * (1 - ramp(z, 15, 55)))
    face = np.maximum(jaw, front * (1 - ramp(z, 20, 60)))
    low = np.maximum(jaw, front) * -np.clip(z, None, 0)  # depth below the orbits
    orbit = bump(v, ORBIT, (17, 26, 17))
    out = (np.abs(x) - ORBIT[0]) * np.sign(x) * ramp(np.abs(x), 0, 12)
    nose = bump(v, NOSE, (13, 30, 17)) * (1 - jaw)
    cheek = bump(v, (62, 34, -5), (14, 26, 14)) * (1 - jaw)
    dental = bump(v, (20, 66, -54), (26, 30, 13))
    upper, lower = np.clip(-43 - z, 0, 12) * (1 - jaw) * front, np.clip(z + 70, 0, 14) * jaw * front
    return {
        "size": (0.030 * x, 0.030 * y, 0.030 * z),
        "cranial length": (0.0, 0.055 * (y - 10) * vault, 0.0),
        "cranial breadth": (0.055 * x * vault, 0.0, 0.0),
        "cranial height": (0.0, 0.0, 0.060 * np.clip(z - 15, 0, None) * vault),
        "forehead slope": (0.0, -0.09 * np.clip(z - 35, 0, None) * ramp(y, 0, 70), 0.0),
        "occipital bun": (0.0, -6.0 * bump(v, (0, -88, 25), (30, 25, 22)), 0.0),
        "brow ridge": (0.0, 2.8 * bump(v, (22, 82, 39), (20, 14, 8)), 0.0),
        "orbit size": (0.10 * out * orbit, 0.0, 0.10 * (z - ORBIT[2]) * orbit),
        "orbit spacing": (1.8 * side * orbit, 0.0, 0.0),
        "orbit height": (0.0, 0.0, 2.2 * orbit),
        "nasal width": (0.15 * x * nose, 0.0, 0.0),
        "nasal height": (0.0, 0.0, 0.13 * (z - NOSE[2]) * nose),
        "zygomatic width": (4.0 * side * cheek, 0.0, 0.0),
        "face length": (0.0, 0.0, -0.055 * low),
        "prognathism": (0.0, 0.055 * low * ramp(y, 15, 80), 0.0),
        "jaw width": (0.065 * x * jaw, 0.0, 0.0),
        "jaw length": (0.0, 0.050 * (y - HINGE[1]) * jaw, 0.0),
        "jaw angle": (
            0.0,
            -2.0 * bump(v, (45, 22, -70), (20, 20, 16)) * jaw,
            -3.5 * bump(v, (45, 22, -74), (20, 22, 18)) * jaw,
        ),
        "chin prominence": (0.0, 3.0 * bump(v, (0, 92, -96), (18, 20, 10)) * jaw, 0.0),
        "tooth size": (0.0, 0.0, -0.09 * upper + 0.09 * lower),
        "arch width": (0.06 * x * dental, 0.0, 0.0),
        "asymmetry": (-0.020 * low * face, 0.025 * x * vault, 0.0),
    }


@cache
def modes() -> tuple[tuple[str, ...], Array]:
    """Return the names of the linear parameters, and their displacements of the template's vertices (k, v, 3)."""
    vertices, _, start = template()
    jaw = (np.arange(len(vertices)) >= start).astype(np.float32)
    table = displacements(vertices, jaw)
    fields = np.zeros((len(table), *vertices.shape), np.float32)
    for field, columns in zip(fields, table.values(), strict=True):
        for axis, column in enumerate(columns):
            field[:, axis] = column
    return tuple(table), fields


def parameters() -> tuple[str, ...]:
    """Return the names of an identity's entries, in order."""
    return (*modes()[0], "jaw opening")


def skull(identity: NDArray[np.floating]) -> tuple[Array, NDArray[np.int64]]:
    """Return the surface of one skull: vertices (v, 3) in mm and triangles (t, 3).

    `identity` holds one standard score for each of `parameters()`. Raises ValueError where it has another shape.
    """
    names = parameters()
    scores = np.asarray(identity, np.float32)
    if scores.shape != (len(names),):
        raise ValueError(f"identity: expected shape ({len(names)},), found {scores.shape}")
    vertices, faces, start = template()
    shaped = vertices + np.tensordot(scores[:-1], modes()[1], 1)
    # Opening turns the jaw about its joint: no linear model holds this parameter exactly.
    angle = max(REST + 0.03 * float(scores[-1]), 0.0)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]], np.float32)
    shaped[start:] = (shaped[start:] - HINGE) @ turn + HINGE
    return shaped, faces


# Clouds.


def sample(vertices: Array, faces: NDArray[np.int64], points: int, rng: np.random.Generator) -> Array:
    """Draw points (points, 3), independent and uniform by area over the triangles, in no order.

    What the vertices have beside x, y and z, in further columns, the points have too, in between.
    """
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    u, v = b - a, c - a
    (ux, uy, uz), (vx, vy, vz) = u.T[:3], v.T[:3]
    area = np.sqrt((uy * vz - uz * vy) ** 2 + (uz * vx - ux * vz) ** 2 + (ux * vy - uy * vx) ** 2)
    total = np.cumsum(area, dtype=np.float64)
    # A draw times the total may round up to the total itself.
    pick = np.minimum(np.searchsorted(total, rng.random(points) * total[-1], side="right"), len(faces) - 1)
    weights = rng.random((points, 2), dtype=np.float32)
    weights = np.where(weights.sum(1, keepdims=True) > 1, 1 - weights, weights)
    return (a[pick] + weights[:, :1] * u[pick] + weights[:, 1:] * v[pick]).astype(np.float32)


def make_skull(identity: NDArray[np.floating], points: int, rng: np.random.Generator) -> Array:
    """Sample a cloud (points, 3) in mm from the skull of `identity`; equal rng states give equal clouds."""
    return sample(*skull(identity), points, rng)


def population(count: int, points: int, seed: int, vertices: bool = False) -> Iterator[Array]:
    """Yield `count` clouds (points, 3), each of another person; cloud i depends on `seed` and i alone.

    With `vertices` every cloud holds the same vertices of the mesh instead, in an order of its own. So a perfect
    assignment exists, as in the paper's Skulls, and the error of a fit has no floor. Raises ValueError where the mesh
    has fewer than `points`.
    """
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        identity = np.clip(rng.standard_normal(len(parameters())), -2.5, 2.5)
        if vertices:
            mesh, _ = skull(identity)
            if points > len(mesh):
                raise ValueError(f"expected at most {len(mesh)} points, the vertices of the mesh, found {points}")
            chosen = np.random.default_rng(0).choice(len(mesh), points, replace=False)
            yield mesh[rng.permutation(chosen)].astype(np.float32)
        else:
            yield make_skull(identity, points, rng)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write skull_0000.ply and so on into a folder."""
    parser = argparse.ArgumentParser(description="Write a population of skull-like point clouds as PLY files.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=48, help="skulls (48)")
    parser.add_argument("--points", type=int, default=8192, help="points of each (8192)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another population (0)")
    parser.add_argument("--vertices", action="store_true", help="the same vertices in every cloud, shuffled")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    clouds = population(options.count, options.points, options.seed, options.vertices)
    try:
        for i, cloud in enumerate(clouds):
            write_ply(options.folder / f"skull_{i:04d}.ply", cloud)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
