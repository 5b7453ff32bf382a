"""A population of human bodies, drawn by a body model: `python examples/bodies.py --count 48 --points 8192 out/bodies`.

The model is Anny (Brégier et al., "Human Mesh Modeling for Anny Body", arXiv:2511.03589): Apache-2.0 code on
MakeHuman's CC0 meshes. The package `anny` holds both and needs no network (`pip install 'pcqaad[bodies]'`). Its first
run builds blend shapes for some minutes and keeps them, 0.8 GB, in `ANNY_CACHE_DIR` or ~/.cache/anny.

Every body is an adult with a shape and a pose of its own. Each cloud is sampled afresh from the skin, uniformly by
area: no point of one cloud corresponds to a point of another.

With `--motion` the bodies are few people who move, frame after frame. With `--registered` the
points are the vertices of the skin, the same ones in the same order in every file, and the files hold its faces:

    python examples/bodies.py --motion --registered --count 300 out/motion

In metres: x to the body's left, y backward, z up. The lowest point stands on z = 0.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.transform import Rotation

from pcqaad.formats.atomic import atomic_path
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

# Angles that a motion has beside those of a pose, for either side: least and greatest.
FINE = {
    "shrug": (-4, 14),  # of the shoulder, upward
    "roll": (-35, 35),  # of the forearm
    "wrist": (-30, 30),  # flexion
    "fist": (0, 65),  # flexion of every finger's joints
}
# Axes of the left side in the reference pose: of the forearm, and across the hand.
FOREARM, KNUCKLES = (0.51, -0.68, -0.52), (0.10, 0.83, -0.55)

# Of a motion: somebody walks as on a treadmill, slows down, turns, crouches and reaches for things.
RATE = 15  # frames a second
STRIDE = (0.7, 0.95)  # strides per second: a stride is a step of either leg
UNREST = 2.0  # degrees that any joint moves by itself
SLOW = (0.06, 0.25)  # rhythms of what is no stride, per second
HANGING = {"raise": -38.0, "reach": 2.0, "elbow": -8.0}  # an arm at rest: angles in degrees
REACHES = {"raise": (-30, 60), "reach": (20, 70), "elbow": (-25, 50)}  # least and greatest of an arm that reaches

SPINE = ("spine05", "spine04", "spine03", "spine02", "spine01")
NECK = ("neck01", "neck02", "neck03")


def limits() -> dict[str, tuple[float, float, float, float]]:
    """Return mean, standard deviation, least and greatest of every angle of a pose."""
    return JOINTS | {f"{joint}.{side}": limit for joint, limit in LIMBS.items() for side in "LR"}


def angles(rng: np.random.Generator) -> dict[str, float]:
    """Draw the angles of a pose in degrees, by the names of `JOINTS`, and of `LIMBS` with `.L` or `.R` behind."""
    return {
        name: float(np.clip(mean + sd * rng.standard_normal(), least, most))
        for name, (mean, sd, least, most) in limits().items()
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
        if f"fist.{side}" in a:
            bones[f"shoulder01.{side}"] = turned(y=-sign * a[f"shrug.{side}"])
            bones[f"lowerarm02.{side}"] = about(FOREARM, sign, a[f"roll.{side}"])
            bones[f"wrist.{side}"] = about(KNUCKLES, sign, a[f"wrist.{side}"])
            fist = about(KNUCKLES, sign, a[f"fist.{side}"])
            bones |= {f"finger{i}-{j}.{side}": fist for i in (2, 3, 4, 5) for j in (1, 2, 3)}
    return bones


def about(axis: tuple[float, float, float], sign: int, degrees: float) -> NDArray[np.float64]:
    """Return the rotation (3, 3) about an axis of the left side, or mirrored to the right where `sign` is -1."""
    vector = np.radians(degrees) * np.array(axis) / np.linalg.norm(axis) * (1, sign, sign)
    matrix: NDArray[np.float64] = Rotation.from_rotvec(vector).as_matrix()
    return matrix


def turned(x: float = 0, y: float = 0, z: float = 0) -> NDArray[np.float64]:
    """Return the rotation (3, 3) about x, then y, then z, in degrees."""
    matrix: NDArray[np.float64] = Rotation.from_euler("xyz", (x, y, z), degrees=True).as_matrix()
    return matrix


class Wave:
    """A smooth function of time in seconds, from -1 to 1: the mean of two slow sines drawn once."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rhythms = 2 * np.pi * rng.uniform(*SLOW, 2)
        self.phases = rng.uniform(0, 2 * np.pi, 2)

    def __call__(self, time: float) -> float:
        """Return the value at a time."""
        return float(np.sin(self.rhythms * time + self.phases).mean())

    def share(self, time: float) -> float:
        """Return how far something is done, from 0 to 1. Most of the time it is hardly, or nearly done."""
        return float((1 + np.tanh(3 * self(time) - 0.5)) / 2)


class Motion:
    """The way one person moves, drawn once: sines with rhythms of their own, so that it goes on without repeating."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.stride = 2 * np.pi * rng.uniform(*STRIDE)
        self.phase = rng.uniform(0, 2 * np.pi)
        self.vigour = rng.uniform(0.8, 1.15)  # of the gait
        self.still, self.crouch = Wave(rng), Wave(rng)
        self.waves = {name: Wave(rng) for name in ("turn", "bend", "lean", "twist", "nod", "look")}
        self.reaching = {side: Wave(rng) for side in "LR"}
        self.unrest = {name: Wave(rng) for name in limits()}
        self.fine = {f"{joint}.{side}": Wave(rng) for joint in FINE for side in "LR"}
        # What an arm reaches for moves too.
        self.aims = {(joint, side): Wave(rng) for joint in REACHES for side in "LR"}

    def at(self, time: float) -> dict[str, float]:
        """Return the angles of the pose at a time in seconds, named as by `angles`."""
        wave = {name: of(time) for name, of in self.waves.items()}
        walk = self.vigour * (1 - 0.8 * self.still.share(time))
        crouch = self.crouch.share(time) * (1 - 0.6 * walk)
        phase = self.stride * time + self.phase
        reach = {side: of.share(time) for side, of in self.reaching.items()}
        found = {
            "turn": 26 * wave["turn"],
            "bend": 3 + 8 * wave["bend"] + 14 * crouch + 8 * max(reach.values()),
            "lean": 2.5 * walk * np.sin(phase) + 8 * wave["lean"] + 5 * (reach["R"] - reach["L"]),
            # Shoulders turn against the hips.
            "twist": 7 * walk * np.sin(phase) + 10 * wave["twist"] + 6 * (reach["R"] - reach["L"]),
            "nod": 18 * wave["nod"],
            "look": 38 * wave["look"],
        }
        for side, own in (("L", phase), ("R", phase + np.pi)):
            swing = ((1 + np.cos(own - 0.35)) / 2) ** 3  # 1 in the middle of the leg's way forward
            hip = 6 + 21 * walk * np.sin(own) + 42 * crouch
            knee = 6 + walk * (44 * swing + 5 * (1 + np.sin(own - 0.5))) + 62 * crouch * (1 - 0.5 * swing * walk)
            found[f"hip.{side}"], found[f"knee.{side}"] = hip, knee
            found[f"spread.{side}"] = 3 + 10 * crouch + 1.5 * walk * np.sin(own + 1)
            found[f"ankle.{side}"] = 17 * np.tanh(0.8 * (hip - knee) / 17)  # towards a level foot
            swung = {"raise": 0.0, "reach": -20 * walk * np.sin(own), "elbow": 8 * walk * (1 - np.sin(own))}
            for joint, (least, most) in REACHES.items():
                aim = least + (most - least) * (1 + self.aims[joint, side](time)) / 2
                hanging = HANGING[joint] + swung[joint]
                found[f"{joint}.{side}"] = hanging + reach[side] * (aim - hanging)
        moved = {name: float(angle) + UNREST * self.unrest[name](time) for name, angle in found.items()}
        for name, wave_of in self.fine.items():
            least, most = FINE[name[:-2]]
            moved[name] = least + (most - least) * (1 + wave_of(time)) / 2
        return moved


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


def shape(rng: np.random.Generator) -> dict[str, float]:
    """Draw the phenotypes of an adult."""
    drawn = {name: float(np.clip(rng.normal(*given), 0, 1)) for name, given in SHAPE.items()}
    return drawn | {"age": max(drawn["age"], YOUNGEST)}


def posed(phenotypes: Mapping[str, float], a: dict[str, float]) -> NDArray[np.float64]:
    """Return all vertices (v, 3) in metres of a body of some phenotypes in the pose of some angles."""
    import torch

    model = load_model()
    given = {name: torch.tensor([phenotypes[name]]) for name in model.phenotype_labels}
    pose = {}
    for bone, rotation in rotations(a).items():
        pose[bone] = torch.eye(4)[None]
        pose[bone][0, :3, :3] = torch.from_numpy(rotation)
    with torch.no_grad():
        vertices: Array = model(pose_parameters=pose, phenotype_kwargs=given)["vertices"][0].numpy()
    return vertices - [0, 0, vertices[skin(), 2].min()]


def body(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw the surface of one body: vertices (v, 3) in metres and triangles (t, 3)."""
    phenotypes = shape(rng)
    return posed(phenotypes, angles(rng)), skin()


def bodies(
    count: int, seed: int, people: int | None = None
) -> Iterator[tuple[NDArray[np.float64], np.random.Generator]]:
    """Yield the vertices (v, 3) of `count` bodies, and the generator that goes on to draw from each.

    Every body is of another person and depends on `seed` and its number alone. Or it is a frame of one of some
    `people`. Each moves through an equal share of the frames, and its motion depends on that share.
    """
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        if people is None:
            yield body(rng)[0], rng
        else:
            person = i * people // count
            first = -(-person * count // people)
            own = np.random.default_rng([seed, person, 1])
            phenotypes = shape(own)
            yield posed(phenotypes, Motion(own).at((i - first) / RATE)), rng


def common_vertices(points: int | None) -> NDArray[np.int64]:
    """Return which vertices are the points of every cloud: some of the skin's, ascending, or all where None.

    Raises ValueError where the skin has fewer than `points`.
    """
    used = np.unique(skin())
    if points is None:
        return used
    if points > len(used):
        raise ValueError(f"expected at most {len(used)} points, the vertices of the skin, found {points}")
    return np.random.default_rng(0).choice(used, points, replace=False)


def population(
    count: int, points: int, seed: int, vertices: bool = False, people: int | None = None
) -> Iterator[Array]:
    """Yield `count` clouds (points, 3) of the bodies of `bodies`, sampled from the skin.

    With `vertices` every cloud holds the same vertices of the skin instead, in an order of its own. So a perfect
    assignment exists, and the error of a fit has no floor. Raises ValueError where the skin has fewer than `points`.
    """
    chosen = common_vertices(points) if vertices else None
    for mesh, rng in bodies(count, seed, people):
        cloud = sample_surface(mesh, skin(), points, rng) if chosen is None else mesh[rng.permutation(chosen)]
        yield cloud.astype(np.float32)


def registered(
    count: int, points: int | None, seed: int, people: int | None = None
) -> Iterator[tuple[Array, NDArray[np.int64]]]:
    """Yield the same vertices (points, 3) of the skin for `count` bodies, in one order, and their triangles (t, 3).

    There are triangles only where all vertices are taken, `points` None. Raises ValueError as `common_vertices` does.
    """
    chosen = np.sort(common_vertices(points))
    triangles = np.searchsorted(chosen, skin()) if points is None else np.empty((0, 3), np.int64)
    for mesh, _ in bodies(count, seed, people):
        yield mesh[chosen].astype(np.float32), triangles


def write_mesh(path: Path, vertices: Array, triangles: NDArray[np.int64]) -> None:
    """Write vertices (v, 3) and triangles (t, 3) as a binary PLY file."""
    rows = vertices.astype("<f4").view([("x", "<f4"), ("y", "<f4"), ("z", "<f4")]).reshape(-1)
    faces = np.empty(len(triangles), [("vertex_indices", "<i4", (3,))])
    faces["vertex_indices"] = triangles
    elements = [PlyElement.describe(rows, "vertex"), PlyElement.describe(faces, "face")]
    with atomic_path(path) as temporary:
        PlyData(elements, byte_order="<").write(str(temporary))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write body_0000.ply and so on into a folder."""
    parser = argparse.ArgumentParser(description="Write a population of human bodies as PLY files of points.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=48, help="bodies, or frames (48)")
    parser.add_argument("--points", type=int, help="points of each (8192; with --registered all vertices of the skin)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another population (0)")
    parser.add_argument("--motion", action="store_true", help=f"frames of people who move, {RATE} a second")
    parser.add_argument("--people", type=int, default=3, help="who move, one after the other (3)")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--vertices", action="store_true", help="the same vertices in every cloud, shuffled")
    ways.add_argument("--registered", action="store_true", help="the same vertices in the same order, with faces")
    options = parser.parse_args(arguments)
    if options.motion and not 1 <= options.people <= options.count:
        parser.error(f"expected 1 to {options.count} people, one for each frame at most, found {options.people}")
    load_model()
    options.folder.mkdir(parents=True, exist_ok=True)
    people = options.people if options.motion else None
    files = (options.folder / f"body_{i:04d}.ply" for i in range(options.count))
    try:
        if options.registered:
            meshes = registered(options.count, options.points, options.seed, people)
            for file, (vertices, triangles) in zip(files, meshes, strict=False):
                write_mesh(file, vertices, triangles) if len(triangles) else write_ply(file, vertices)
        else:
            clouds = population(options.count, options.points or 8192, options.seed, options.vertices, people)
            for file, cloud in zip(files, clouds, strict=False):
                write_ply(file, cloud)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
