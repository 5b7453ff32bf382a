"""Where a fit starts: the template, the first matching, the latents, the network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pcqaad.decoder.module import Decoder
from pcqaad.matching import intermediates
from pcqaad.matching.assign import TOGETHER, Assignment, greedy, match_cells, optimal
from pcqaad.matching.fan2017 import fan2017_auction
from pcqaad.matching.kd import patch_order
from pcqaad.matching.nonrigid import match_nonrigid
from pcqaad.matching.solvers import Solver, certified
from pcqaad.monitor import SILENT, Monitor, Stage
from pcqaad.parallel import in_parallel
from pcqaad.points.collect import allocate
from pcqaad.points.fixed_point import Targets
from pcqaad.seeds import Use, generator, torch_seed
from pcqaad.settings import Settings
from pcqaad.training.sizing import choose_patches

Points32 = NDArray[np.float32]


@dataclass(frozen=True)
class Start:
    """How a fit starts."""

    medoid_clouds: int = 16  # among which the medoid is sought: enough to avoid an outlier
    medoid_points: int = 256  # of each, by which distances are taken
    # Points for each intermediate cloud: a distance takes as long as to match about as many, so all of them together
    # take no longer than the matching does.
    intermediate_points: int = 64
    random_latents: float = 0.1  # standard deviation of latents that start at random


_START = Start()
# Coordinates that are decomposed at once, of all clouds together: 128 MB in float64.
_COORDINATES_AT_ONCE = 1 << 24


def choose_template(clouds: Targets, settings: Settings) -> int:
    """Choose the cloud that the template starts as: the medoid of a sample, or a random one, the paper's choice.

    The medoid has the least total EM-kD to the other clouds of the sample.
    """
    rng = generator(settings.seed, Use.TEMPLATE)
    candidates = rng.choice(len(clouds), min(_START.medoid_clouds, len(clouds)), replace=False)
    if settings.template == "random":
        return int(candidates[0])
    sample = clouds.gather(candidates, rng.permutation(clouds.points)[: _START.medoid_points])

    def total(a: Points32) -> float:
        matched = (b[match_cells(a, b, _START.medoid_points, workers=1).assignment] for b in sample)
        return float(sum(np.linalg.norm(a - b, axis=1).mean() for b in matched))

    return int(candidates[np.argmin(list(in_parallel(total, sample)))])


def first_template(clouds: Targets, settings: Settings) -> Points32:
    """Return the cloud (M, 3) that the template starts as, patch after patch."""
    template = clouds[choose_template(clouds, settings)]
    return template[patch_order(template, settings.patches or choose_patches(clouds.points))]


def first_matching(
    template: Points32, clouds: Targets, settings: Settings, monitor: Monitor = SILENT, on_gpu: Solver | None = None
) -> NDArray[np.int32]:
    """Assign every cloud to the template (M, 3), as the settings' `matching` says: (N, M).

    QAAD_GREEDY has its cells solved by `on_gpu`, those of many clouds at once, where that is given.
    """
    count, points = len(clouds), clouds.points
    assignments: NDArray[np.int32] = allocate((count, points), np.int32)
    if settings.matching == "nonrigid":
        _nonrigid(template, clouds, settings, assignments, monitor)
        return assignments
    found: Iterator[tuple[int, Assignment]]
    if settings.matching == "optimal":
        found = _by_intermediates(template, clouds, settings, assignments, monitor)
    elif settings.matching == "random":
        rngs = (generator(settings.seed, Use.RANDOM_MATCHING, i) for i in range(count))
        found = enumerate(rng.permutation(points) for rng in rngs)
    elif settings.matching == "paper":
        found = enumerate(greedy(template, clouds, settings.greedy_cell, solver=fan2017_auction))
    else:
        solver, together = (certified, 1) if on_gpu is None else (on_gpu, TOGETHER)
        found = enumerate(greedy(template, clouds, settings.greedy_cell, solver=solver, together=together))
    for done, (cloud, assignment) in enumerate(found, 1):
        assignments[cloud] = assignment
        monitor.update(Stage.MATCH, done, count, "clouds")
    return assignments


def _nonrigid(
    template: Points32, clouds: Targets, settings: Settings, assignments: NDArray[np.int32], monitor: Monitor
) -> None:
    """Match clouds, checked for tears and mended, into `assignments` (N, M)."""
    count = len(clouds)

    def told(part: float) -> None:
        monitor.update(Stage.MATCH, int(part * count), count, "clouds")

    seconds = math.inf if settings.minutes is None else 60 * settings.minutes
    match_nonrigid(template, clouds, assignments, settings.intermediates, settings.seed, seconds, told)


def _by_intermediates(
    template: Points32, clouds: Targets, settings: Settings, assignments: NDArray[np.int32], monitor: Monitor
) -> Iterator[tuple[int, Assignment]]:
    """Yield clouds, matched all points at once; those far from the template by way of others.

    What was yielded before has to stand in `assignments` (N, M) by then.
    """
    cells = np.stack(list(in_parallel(intermediates.cells, clouds)))
    of_template = intermediates.cells(template)
    most = min(settings.intermediates, clouds.points // _START.intermediate_points)
    parents = intermediates.parents(of_template, cells, most, settings.seed, monitor.check)

    def pair(cloud: int) -> tuple[Points32, Points32]:
        parent = int(parents[cloud])
        # A cloud in the order of the template stands in for it.
        return template if parent < 0 else clouds[parent][assignments[parent]], clouds[cloud]

    for together in intermediates.generations(parents):
        yield from zip(together, optimal(map(pair, together)), strict=True)


def principal_components(clouds: Targets) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Decompose the clouds' coordinates (N, 3 M), less their mean over the clouds.

    Returns left singular vectors (N, N) and singular values (N,), falling. The Gram matrix leads to them, part by part,
    as N is small beside 3 M. Signs are fixed: equal data gives equal vectors.
    """
    count = len(clouds)
    gram = np.zeros((count, count))
    points = max(_COORDINATES_AT_ONCE // (3 * count), 1)
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
    latents = generator(settings.seed, Use.LATENTS).standard_normal((count, size)) * _START.random_latents
    if settings.latent_init == "components":
        kept = min(size, count)
        latents[:, :kept] = basis[:, :kept] * np.sqrt(count)
    return latents.astype(np.float32)


def untrained(template: Points32, latents: NDArray[np.float32], settings: Settings) -> Decoder:
    """Return a decoder of resolved settings, its weights drawn by their seed."""
    assert settings.shared and settings.patch and settings.patches
    start = torch.from_numpy(template), torch.from_numpy(latents)
    drawn = torch.Generator().manual_seed(torch_seed(settings.seed, Use.WEIGHTS))
    return Decoder(*start, settings.shared, settings.patch, settings.patches, settings.residual, drawn)
