"""One judge for all codecs: bytes, and how far what they decode lies from the clouds that they were given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks import common
from pcqaad.evaluation.metrics import beyond, measure, percent
from pcqaad.evaluation.reference import Reference

FAR = 0.01  # part of a cloud's diagonal
# What an error is of, by its key.
ERRORS = {
    "emkd_percent": "EM-kD",
    "vertex_percent": "vertex",
    "d1_percent": "D1",
    "d2_percent": "D2",
    "surface_percent": "surface",
}
COLUMNS = {
    "codec": "codec",
    "asked for": "asked",
    "bytes": "bytes:,",
    "ratio": "ratio:.1f",
    "bits a point": "bits_per_point:.3f",
    "EM-kD, %": "emkd_percent:.3f",
    "vertex, %": "vertex_percent:.3f",
    "D1, %": "d1_percent:.3f",
    "D2, %": "d2_percent:.3f",
    "surface, %": "surface_percent:.3f",
    "D1, dB": "d1_psnr:.2f",
    "far off, %": "far_percent:.2f",
    "seconds": "seconds:.0f",
    "unbeaten": "unbeaten",
}


def judge(
    references: Sequence[Reference],
    decoded: Sequence[NDArray[np.floating]],
    size: int,
    across: float,
    coded: int | None = None,
    paired: bool = False,
) -> common.Figures:
    """Return the figures of a codec.

    Args:
        references: the originals that are judged.
        decoded: what became of them.
        size: bytes of all clouds, judged or not.
        across: the diagonal that lengths are given in percent of.
        coded: points of all clouds; None where all are judged.
        paired: whether point j of a decoded cloud is point j of its original, so that distances of pairs are known.

    EM-kD is None where numbers of points differ. `surface_percent` is there where all originals have faces.
    `far_percent` is the share of points that lie farther than 1 % of the diagonal from the other cloud, in the worse
    direction.
    """
    pairs = list(zip(references, decoded, strict=True))
    bijective = all(len(a.points) == len(b) for a, b in pairs)
    meshes = all(a.mesh is not None for a in references)
    metrics = [*(["emkd"] if bijective else []), "d1", "d2", *(["surface"] if meshes else [])]
    found = measure(pairs, metrics)
    points = coded or sum(len(a.points) for a in references)
    squared = float(np.mean([e.mean_squared for e in found["d1"]]))
    vertex = [np.linalg.norm(a.points - b, axis=1).mean() for a, b in pairs] if paired else None
    return {
        "bytes": size,
        "ratio": 12 * points / size,
        "bits_per_point": 8 * size / points,
        **{f"{name}_percent": percent(common.mean(errors), across) for name, errors in found.items()},
        **({} if bijective else {"emkd_percent": None}),
        **({} if vertex is None else {"vertex_percent": percent(float(np.mean(vertex)), across)}),
        "d1_psnr": float(10 * np.log10(across**2 / squared)) if squared > 0 else None,
        "far_percent": 100 * float(np.mean([max(beyond(a, b, FAR)) for a, b in pairs])),
    }


def mark(rows: Sequence[common.Figures]) -> None:
    """Write into each row by which errors no row of as few bytes is better: the Pareto frontier of each error."""
    for row in rows:
        if "refused" in row:
            continue
        kept = [
            name
            for key, name in ERRORS.items()
            if row.get(key) is not None
            and not any(
                other.get(key) is not None
                and other["bytes"] <= row["bytes"]
                and (other[key], other["bytes"]) < (row[key], row["bytes"])
                for other in rows
            )
        ]
        row["unbeaten"] = ", ".join(kept)
