"""Where a fit starts: the template, the first matching, the latents."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from pcqaad.decoder.module import Decoder
from pcqaad.matching import intermediates as intermediates
from pcqaad.matching.assign import TOGETHER, Assignment, greedy, match_cells, optimal
from pcqaad.matching.fan2017 import fan2017_auction
from pcqaad.matching.solvers import Solver
from pcqaad.monitor import SILENT, Monitor, Stage
from pcqaad.parallel import in_parallel
from pcqaad.points.collect import allocate
from pcqaad.points.fixed_point import Targets
from pcqaad.seeds import Use, generator, torch_seed
from pcqaad.settings import Settings

Assignments = NDArray[np.int32]

# The medoid is sought among this many clouds, by this many points of each: enough to avoid an outlier.
_CANDIDATES = 16
_CANDIDATE_POINTS = 256
# A distance to a relay takes as long as to match about as many points: together no longer than the matching does.
_POINTS_A_RELAY = 64
# Coordinates of all clouds that are decomposed at once: 128 MB in float64.
_TOGETHER = 1 << 24


def choose_template(clouds: Targets, settings: Settings) -> int:
    """Pick the cloud the template starts as: the medoid of a sample, or a random one.

    The medoid has the least total EM-kD to the other clouds of the sample. The paper takes a random cloud.
    """
    rng = generator(settings.seed, Use.TEMPLATE)
    candidates = rng.choice(len(clouds), min(_CANDIDATES, len(clouds)), replace=False)
    if settings.template == "random":
        return int(candidates[0])
    points = rng.permutation(clouds.points)[:_CANDIDATE_POINTS]
    sample = clouds.gather(candidates, points)

    def total(a: NDArray[np.float32]) -> float:
        matched = (b[match_cells(a, b, _CANDIDATE_POINTS, workers=1).assignment] for b in sample)
        return float(sum(np.linalg.norm(a - b, axis=1).mean() for b in matched))

    return int(candidates[np.argmin(list(in_parallel(total, sample)))])


def first_matching(
    template: NDArray[np.float32],
    clouds: Targets,
    settings: Settings,
    monitor: Monitor = SILENT,
    on_gpu: Solver | None = None,
) -> Assignments:
    """Assign every cloud to the template (M, 3), as the settings' `matching` says: (N, M).

    QAAD_GREEDY has its cells solved by `on_gpu`, many clouds' at once, where that is given.
    """
    count, points = len(clouds), clouds.points
    assignments: Assignments = allocate((count, points), np.int32)
    found: Iterator[Assignment]
    if settings.matching == "optimal":
        _match_by_relays(template, clouds, settings, assignments, monitor)
        return assignments
    if settings.matching == "random":
        found = (generator(settings.seed, Use.RANDOM_MATCHING, i).permutation(points) for i in range(count))
    elif settings.matching == "paper":
        found = greedy(template, clouds, settings.greedy_cell, solver=fan2017_auction)
    elif on_gpu is not None:
        found = greedy(template, clouds, settings.greedy_cell, solver=on_gpu, together=TOGETHER)
    else:
        found = greedy(template, clouds, settings.greedy_cell)
    for i, assignment in enumerate(found):
        assignments[i] = assignment
        monitor.update(Stage.MATCH, i + 1, count, "clouds")
    return assignments


def _match_by_relays(
    template: NDArray[np.float32],
    clouds: Targets,
    settings: Settings,
    assignments: Assignments,
    monitor: Monitor,
) -> None:
    """Match all points at once, the clouds far from the template by way of others; fills the assignments (N, M)."""
    rng = generator(settings.seed, Use.INTERMEDIATE_SAMPLES)
    size = max(min(intermediates.SAMPLE, clouds.points // 2), 1)
    rows = [rng.permutation(clouds.points)[: 2 * size] for _ in range(len(clouds))]
    drawn = np.stack([clouds.gather(np.array([i]), some)[0] for i, some in enumerate(rows)])
    sample = template[rng.permutation(clouds.points)[:size]]
    stations = min(settings.intermediates, clouds.points // _POINTS_A_RELAY)
    parents = intermediates.parents(sample, drawn[:, :size], drawn[:, -size:], stations, settings.seed, monitor)

    def pair(cloud: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        parent = int(parents[cloud])
        # A cloud in the order of the template stands in for it.
        return template if parent < 0 else clouds[parent][assignments[parent]], clouds[cloud]

    done = 0
    for together in intermediates.generations(parents):
        for cloud, found in zip(together, optimal(map(pair, together)), strict=True):
            assignments[cloud] = found
            done += 1
            monitor.update(Stage.MATCH, done, len(clouds), "clouds")


def principal_components(clouds: Targets) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Decompose the clouds' coordinates (N, 3 M), less their mean over the clouds.

    Returns left singular vectors (N, N) and singular values (N,), falling. By the Gram matrix, part by part:
    N is small beside 3 M. Signs are fixed so that equal data gives equal vectors.
    """
    count = len(clouds)
    gram = np.zeros((count, count))
    points = max(_TOGETHER // (3 * count), 1)
    for low in range(0, clouds.points, points):
        some = np.arange(low, min(low + points, clouds.points))
        part = clouds.gather(np.arange(count), some).reshape(count, -1).astype(np.float64)
        part -= part.mean(0)
        gram += part @ part.T
    values, vectors = np.linalg.eigh(gram)
    vectors = vectors[:, ::-1]
    vectors *= np.where(vectors[np.abs(vectors).argmax(0), np.arange(count)] < 0, -1, 1)
    return vectors, np.sqrt(np.maximum(values[::-1], 0))


def first_latents(basis: NDArray[np.float64], size: int, settings: Settings) -> NDArray[np.float32]:
    """Start the latents (N, size): the clouds' principal components at unit variance, or at random."""
    count = len(basis)
    rng = generator(settings.seed, Use.LATENTS)
    latents = rng.standard_normal((count, size)) * 0.1
    if settings.latent_init == "components":
        kept = min(size, count)
        latents[:, :kept] = basis[:, :kept] * np.sqrt(count)
    return latents.astype(np.float32)


def untrained(template: NDArray[np.float32], latents: NDArray[np.float32], settings: Settings) -> Decoder:
    """Return a decoder of resolved settings, its weights drawn by their seed."""
    assert settings.shared and settings.patch and settings.patches
    start = torch.from_numpy(template), torch.from_numpy(latents)
    drawn = torch.Generator().manual_seed(torch_seed(settings.seed, Use.WEIGHTS))
    return Decoder(*start, settings.shared, settings.patch, settings.patches, settings.residual, drawn)
