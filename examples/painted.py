"""Painted skulls: `python examples/painted.py --count 48 --points 8192 out/painted`.

The skulls of `skulls.py`, each point with a colour (`red`, `green`, `blue` of 8 bits), a float scalar `density` and an
integer `label`, the number of its bone. A skull's paint is the sum of four parts, in 8-bit levels:

- the bone's own: teeth, sutures, cavities, the same places in all skulls, each as strong as the skull has it;
- the skull's: how bright, how yellow, how red;
- stains: some ten blotches of the skull's own, wherever they fell, which no other skull foretells;
- grain: fine waves of the skull's own, and noise of every point, of `GRAIN` and `NOISE` levels (standard deviations).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement
from skulls import NOSE, ORBIT, bump, parameters, ramp, sample, skull, template

from pcqaad.formats.atomic import atomic_path

Array = NDArray[np.float32]

IVORY = (224, 206, 170)
GRAIN, NOISE = 3.0, 2.0  # levels
LABELS = ("mandible", "teeth", "face", "frontal bone", "temporal bone", "parietal bone", "occipital bone", "base")


class Painted(NamedTuple):
    """One skull: points (n, 3) in mm, colours (n, 3) of 8 bits, density (n,) in g/cm3, and labels (n,)."""

    points: Array
    colour: NDArray[np.uint8]
    density: Array
    label: NDArray[np.uint8]


def patterns(rest: Array, jaw: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return what all skulls have in common (5, n), 0 to 1, at places (n, 3) of the mean skull.

    They are the cavities' shade, the teeth, the sutures, the weathered vault, and the thin temples.
    """
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    shade = np.maximum(bump(rest, ORBIT, (15, 18, 14)), bump(rest, NOSE, (9, 16, 14)))
    crowns = ramp(y, 40, 50) * (ramp(z, -72, -68) - ramp(z, -43, -39))
    waves = 3 * np.sin(x / 2.5) + 1.5 * np.sin(x / 1.1)
    coronal = np.abs(y - 18 - 0.2 * x + waves)
    sagittal = np.abs(rest[:, 0] + 2 * np.sin(y / 2.2)) + 100 * (y > 18)
    sutures = np.exp(-((np.minimum(coronal, sagittal) / 1.8) ** 2)) * ramp(z, 40, 60) * ~jaw
    vault = ramp(z, 60, 110)
    temples = bump(rest, (66, 10, 30), (14, 22, 22))
    return np.stack([shade, crowns, sutures, vault, temples]).astype(np.float64)


def bones(rest: Array, jaw: NDArray[np.bool_], moved: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the number of the bone (n,) at places (n, 3) of the mean skull, its borders moved by some mm (3,)."""
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    label = np.full(len(rest), 5, np.uint8)
    label[z < 45 + moved[0] - 0.3 * (y + 40)] = 6
    label[(x > 46) & (z < 42 + moved[1]) & (y > -45)] = 4
    label[(y > 18 + 0.2 * x + moved[2]) & (z > 30)] = 3
    label[z < -2] = 7
    label[(y > 25) & (z <= 30 + moved[1] / 2)] = 2
    label[jaw] = 0
    label[(y > 45) & (z > -70) & (z < -41)] = 1
    return label


def paint(rest: Array, jaw: NDArray[np.bool_], rng: np.random.Generator) -> tuple[NDArray[np.uint8], Array, Array]:
    """Return colours (n, 3), density (n,) and labels (n,) of points at places (n, 3) of the mean skull."""
    shade, crowns, sutures, vault, temples = patterns(rest, jaw)
    strength = 1 + 0.3 * rng.standard_normal(5)
    bright, yellow, red = rng.standard_normal(3) * (10, 7, 4)
    dark = -55 * strength[0] * shade - 28 * strength[2] * sutures + 26 * strength[1] * crowns
    dark += -12 * strength[3] * vault + 8 * strength[4] * temples + bright
    blue = -yellow - 10 * strength[3] * vault + 18 * strength[1] * crowns
    for _ in range(10):
        centre = rest[rng.integers(len(rest))]
        blotch = np.exp(-0.5 * np.square(rest - centre).sum(1) / rng.uniform(6, 30) ** 2)
        amount = 14 * rng.standard_normal()
        dark, blue = dark + amount * blotch, blue + 0.4 * amount * blotch
    ways = rng.standard_normal((24, 3))
    ways *= (2 * np.pi / rng.uniform(4, 14, (24, 1))) / np.linalg.norm(ways, axis=1, keepdims=True)
    grain = np.cos(rest @ ways.T + rng.uniform(0, 2 * np.pi, 24)).sum(1) * GRAIN / np.sqrt(12)
    level = dark + grain
    exact = np.stack([level + red, level + 0.25 * yellow, level + blue], 1) + np.array(IVORY)
    exact += NOISE * rng.standard_normal((len(rest), 1)) + 0.5 * NOISE * rng.standard_normal((len(rest), 3))
    colour = np.rint(exact).clip(0, 255).astype(np.uint8)
    density = 1.6 + 0.5 * crowns + 0.12 * strength[3] * vault - 0.15 * strength[4] * temples + 0.06 * bright / 10
    density = density + 0.004 * grain + 0.005 * rng.standard_normal(len(rest))
    return colour, density.astype(np.float32), bones(rest, jaw, 2.5 * rng.standard_normal(3))


def population(count: int, points: int, seed: int, vertices: bool = False) -> Iterator[Painted]:
    """Yield painted skulls; number i depends on `seed` and i alone. With `vertices`, points are the mesh's, in order.

    Raises ValueError where the mesh has fewer vertices than `points`.
    """
    rest, faces, start = template()
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        identity = np.clip(rng.standard_normal(len(parameters())), -2.5, 2.5)
        shaped, _ = skull(identity)
        if vertices:
            if points > len(rest):
                raise ValueError(f"expected at most {len(rest)} points, the vertices of the mesh, found {points}")
            rows = np.sort(np.random.default_rng(0).choice(len(rest), points, replace=False))
            here, cloud, of_jaw = rest[rows], shaped[rows], rows >= start
        else:
            # The mean skull beside the shaped one: its places come along with the points that are drawn.
            where = np.concatenate([shaped, rest, (np.arange(len(rest)) >= start)[:, None]], 1, dtype=np.float32)
            drawn = sample(where, faces, points, rng)
            cloud, here, of_jaw = drawn[:, :3], drawn[:, 3:6], drawn[:, 6] > 0.5
        yield Painted(np.ascontiguousarray(cloud), *paint(here, of_jaw, rng))


def write(path: Path, skull: Painted) -> None:
    """Write a skull as binary PLY."""
    names = ("red", "green", "blue")
    layout = [(n, "<f4") for n in "xyz"] + [(n, "u1") for n in names] + [("density", "<f4"), ("label", "u1")]
    rows = np.empty(len(skull.points), layout)
    for axis, values in zip("xyz", skull.points.T, strict=True):
        rows[axis] = values
    for name, values in zip(names, skull.colour.T, strict=True):
        rows[name] = values
    rows["density"], rows["label"] = skull.density, skull.label
    with atomic_path(path) as temporary:
        PlyData([PlyElement.describe(rows, "vertex")], byte_order="<").write(str(temporary))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write skull_0000.ply and so on into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=48, help="skulls (48)")
    parser.add_argument("--points", type=int, default=8192, help="points of each (8192)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another population (0)")
    parser.add_argument("--vertices", action="store_true", help="the same vertices in every cloud, in order")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        for i, one in enumerate(population(options.count, options.points, options.seed, options.vertices)):
            write(options.folder / f"skull_{i:04d}.ply", one)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
