"""Small trees of made-up meshes, laid out as the owners of public data sets lay theirs out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement

SUBJECTS = ("FaceTalk_170725_00137_TA", "FaceTalk_170728_03272_TA")
EXPRESSIONS = ("bareteeth", "mouth_open")
# Three frames: as many as coordinates.
SEQUENCES = {"50004_jumping_jacks": 4, "50020_knees": 3}


def globe(across: int = 8) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return a sphere without its poles, of quadrilaterals: vertices (v, 3) and faces (f, 4)."""
    u, v = np.meshgrid(np.arange(across) / across * 2 * np.pi, np.linspace(0.2, np.pi - 0.2, across))
    points = np.stack([np.cos(u) * np.sin(v), np.sin(u) * np.sin(v), np.cos(v)], -1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(across), np.arange(across - 1))
    right = (i + 1) % across
    faces = np.stack([j * across + i, j * across + right, (j + 1) * across + right, (j + 1) * across + i], -1)
    return points.astype(np.float32), faces.reshape(-1, 4)


def halves(quads: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cut quadrilaterals (f, 4) into triangles (2 f, 3)."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def write_mesh(path: Path, points: NDArray[np.float32], faces: NDArray[np.int64]) -> None:
    """Write a binary PLY file, as meshes come: vertices, and faces as lists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.ascontiguousarray(points, "<f4").view([(axis, "<f4") for axis in "xyz"]).reshape(-1)
    lists = np.zeros(len(faces), [("vertex_indices", "<i4", (faces.shape[1],))])
    lists["vertex_indices"] = faces
    PlyData([PlyElement.describe(rows, "vertex"), PlyElement.describe(lists, "face")], byte_order="<").write(str(path))


def coma(root: Path, frames: int = 3, subjects: Sequence[str] = SUBJECTS) -> dict[str, NDArray[np.float32]]:
    """Write CoMA's layout, subject/expression/expression.000001.ply; return the vertices by the clouds' names."""
    rng, (points, faces) = np.random.default_rng(4), globe()
    written = {}
    for subject in subjects:
        face = points * rng.uniform(0.7, 1.3, 3).astype(np.float32)
        for expression in EXPRESSIONS:
            for frame in range(1, frames + 1):
                name = f"{subject}/{expression}/{expression}.{frame:06d}"
                written[name] = face * np.float32(1 + 0.05 * frame)
                write_mesh(root / f"{name}.ply", written[name], halves(faces))
    return written


def registrations(path: Path) -> dict[str, NDArray[np.float32]]:
    """Write D-FAUST's registrations, one (points, 3, frames) a sequence, and `faces`; return the frames by name."""
    rng, (points, faces) = np.random.default_rng(5), globe()
    written = {}
    with h5py.File(path, "w") as file:
        for sequence, frames in SEQUENCES.items():
            bodies = [points * rng.uniform(0.7, 1.3, 3).astype(np.float32) for _ in range(frames)]
            file[sequence] = np.stack(bodies, -1)
            written |= {f"{sequence}/{i:05d}": body for i, body in enumerate(bodies)}
        file["faces"] = halves(faces).astype(np.uint32)
    return written


def scans(root: Path) -> dict[str, NDArray[np.float32]]:
    """Write D-FAUST's scans, subject/sequence/sequence.000001.ply, of as many points as each frame happened to catch.

    Returns the points by the clouds' names.
    """
    rng, (points, _) = np.random.default_rng(6), globe(16)
    written = {}
    for sequence, frames in SEQUENCES.items():
        subject, motion = sequence.split("_", 1)
        for frame in range(1, frames + 1):
            name = f"{subject}/{motion}/{motion}.{frame:06d}"
            caught = rng.permutation(len(points))[: 200 + 10 * frame]
            written[name] = points[caught] * rng.uniform(0.7, 1.3, 3).astype(np.float32)
            write_mesh(root / f"{name}.ply", written[name], np.array([[0, 1, 2]]))
    return written


def skulls(root: Path, count: int = 5) -> dict[str, NDArray[np.float32]]:
    """Write Skulls as they are taken to lie, a folder of files; return the points by the clouds' names."""
    rng, (points, _) = np.random.default_rng(7), globe()
    written = {}
    for i in range(count):
        name = f"skull{i + 8}"
        written[name] = rng.permutation(points) * rng.uniform(0.7, 1.3, 3).astype(np.float32)
        write_mesh(root / f"{name}.ply", written[name], np.zeros((0, 3), np.int64))
    return written
