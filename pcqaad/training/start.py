"""Where a fit starts: the template, the first matching, its registration, the latents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pcqaad.matching.assign import greedy, match_cells, refine
from pcqaad.parallel import in_parallel
from pcqaad.settings import Settings

Clouds = NDArray[np.float32]
Assignments = NDArray[np.int32]

# The medoid is sought among this many clouds, by this many points of each: enough to avoid an outlier.
_CANDIDATES = 16
_CANDIDATE_POINTS = 256

_NEIGHBOURS = 24
# Registration goes from strongly smoothed and few components to not smoothed and many.
_SMOOTHING = 8
_FIRST_COMPONENTS, _MOST_COMPONENTS = 4, 24


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
    """Assign every cloud (of N, M, 3) to the template (M, 3): QAAD_GREEDY, or at random for the ablation."""
    count, points = clouds.shape[:2]
    if settings.matching == "random":
        return np.stack(
            [np.random.default_rng([settings.seed, 2, i]).permutation(points) for i in range(count)]
        ).astype(np.int32)
    assignments = np.empty((count, points), np.int32)
    for i, assignment in enumerate(greedy(template, clouds, settings.greedy_cell)):
        assignments[i] = assignment
        on_cloud(i + 1)
    return assignments


def register(
    template: NDArray[np.float32],
    targets: Clouds,
    round_index: int,
    rounds: int,
    settings: Settings,
) -> NDArray[np.intp]:
    """One round of straightening a matching: predict smoothly, re-match to the prediction.

    The displacements from the template to the matched points are smoothed over the template, and only their
    largest principal components are kept; what remains is how the shapes vary, less the noise of the
    matching. Each cloud is then re-matched to this prediction, never at a higher cost. Over the rounds the
    neighbourhood shrinks and more components are kept.

    Args:
        template: (M, 3).
        targets: (N, M, 3) in assigned order.
        round_index: 0 to rounds - 1.
        rounds: in all.
        settings: the fit's.

    Returns:
        The permutations (N, M) to apply to the targets.
    """
    count, points = targets.shape[:2]
    late = round_index / max(rounds - 1, 1)
    passes = round(_SMOOTHING * (1 - late) ** 2)
    most = max(min(_MOST_COMPONENTS, count // 2), 1)
    components = round(min(_FIRST_COMPONENTS, most) * (1 - late) + most * late)

    moves = (targets - template).transpose(1, 0, 2).reshape(points, -1)
    if passes:
        average = _neighbour_average(template)
        for _ in range(passes):
            moves = average @ moves
    moves = moves.reshape(points, count, 3).transpose(1, 0, 2).reshape(count, -1)
    mean = moves.mean(0)
    basis, _ = principal_components(moves - mean)
    basis = basis[:, :components].astype(np.float32)
    predicted = (basis @ (basis.T @ (moves - mean)) + mean).reshape(targets.shape) + template

    def rematch(i: int) -> NDArray[np.intp]:
        rng = np.random.default_rng([settings.seed, 3, round_index, i])
        return refine(predicted[i], targets[i], rng, settings.block, workers=1)

    return np.stack(list(in_parallel(rematch, range(count))))


def principal_components(rows: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Decompose centred rows (N, D): left singular vectors (N, N) and singular values (N,), falling.

    By the Gram matrix: N is small beside D. Signs are fixed so that equal data gives equal vectors.
    """
    gram = np.zeros((len(rows), len(rows)))
    for low in range(0, rows.shape[1], 1 << 16):
        part = rows[:, low : low + (1 << 16)].astype(np.float64)
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


def _neighbour_average(points: NDArray[np.float32]) -> scipy.sparse.csr_matrix:
    """Return the (M, M) average over nearest neighbours, weighted by a Gaussian of their mean reach."""
    neighbours = min(_NEIGHBOURS, len(points))
    distance, index = cKDTree(points).query(points, neighbours, workers=-1)
    distance, index = distance.reshape(len(points), -1), index.reshape(len(points), -1)
    reach = max(float(distance[:, -1].mean()), np.finfo(np.float32).tiny)
    weight = np.exp(-2 * (distance / reach) ** 2)
    weight /= weight.sum(1, keepdims=True)
    rows = np.repeat(np.arange(len(points)), neighbours)
    entries = (weight.ravel().astype(np.float32), (rows, index.ravel()))
    return scipy.sparse.csr_matrix(entries, (len(points), len(points)))
