"""Where a fit starts: the template, the first matching, the latents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pcqaad.matching.assign import greedy, match_cells, optimal
from pcqaad.matching.paper import paper_auction
from pcqaad.matching.solvers import certified
from pcqaad.parallel import in_parallel
from pcqaad.settings import Settings

Clouds = NDArray[np.float32]
Assignments = NDArray[np.int32]

# The medoid is sought among this many clouds, by this many points of each: enough to avoid an outlier.
_CANDIDATES = 16
_CANDIDATE_POINTS = 256


def choose_template(clouds: Clouds, settings: Settings) -> int:
    """Pick the cloud (of N, M, 3) the template starts as: the medoid of a sample, or a random one.

    The medoid has the least total EM-kD to the other clouds of the sample. The paper takes a random cloud.
    """
    rng = np.random.default_rng([settings.seed, 1])
    candidates = rng.choice(len(clouds), min(_CANDIDATES, len(clouds)), replace=False)
    if settings.template == "random":
        return int(candidates[0])
    points = rng.permutation(clouds.shape[1])[:_CANDIDATE_POINTS]
    sample = clouds[candidates][:, points]

    def total(a: NDArray[np.float32]) -> float:
        matched = (b[match_cells(a, b, _CANDIDATE_POINTS, workers=1).assignment] for b in sample)
        return float(sum(np.linalg.norm(a - b, axis=1).mean() for b in matched))

    return int(candidates[np.argmin(list(in_parallel(total, sample)))])


def first_matching(
    template: NDArray[np.float32], clouds: Clouds, settings: Settings, on_cloud: Callable[[int], None]
) -> Assignments:
    """Assign every cloud (of N, M, 3) to the template (M, 3), as the settings' `matching` says."""
    count, points = clouds.shape[:2]
    if settings.matching == "random":
        return np.stack(
            [np.random.default_rng([settings.seed, 2, i]).permutation(points) for i in range(count)]
        ).astype(np.int32)
    assignments = np.empty((count, points), np.int32)
    if settings.matching == "optimal":
        found = optimal(template, clouds)
    else:
        solver = paper_auction if settings.matching == "paper" else certified
        found = greedy(template, clouds, settings.greedy_cell, solver=solver)
    for i, assignment in enumerate(found):
        assignments[i] = assignment
        on_cloud(i + 1)
    return assignments


def principal_components(rows: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Decompose rows (N, D), less their mean: left singular vectors (N, N) and singular values (N,), falling.

    By the Gram matrix, part by part: N is small beside D. Signs are fixed so that equal data gives equal
    vectors.
    """
    gram = np.zeros((len(rows), len(rows)))
    for low in range(0, rows.shape[1], 1 << 16):
        part = rows[:, low : low + (1 << 16)].astype(np.float64)
        part -= part.mean(0)
        gram += part @ part.T
    values, vectors = np.linalg.eigh(gram)
    vectors = vectors[:, ::-1]
    vectors *= np.where(vectors[np.abs(vectors).argmax(0), np.arange(len(rows))] < 0, -1, 1)
    return vectors, np.sqrt(np.maximum(values[::-1], 0))


def first_latents(basis: NDArray[np.float64], size: int, settings: Settings) -> NDArray[np.float32]:
    """Start the latents (N, size): the clouds' principal components at unit variance, or at random."""
    count = len(basis)
    rng = np.random.default_rng([settings.seed, 4])
    latents = rng.standard_normal((count, size)) * 0.1
    if settings.latents == "components":
        kept = min(size, count)
        latents[:, :kept] = basis[:, :kept] * np.sqrt(count)
    return latents.astype(np.float32)
