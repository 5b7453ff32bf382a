"""Completion by a fitted file: its decoder and its latents tell what its kind of shape looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pcqaad import devices
from pcqaad.bitstream.collection import Collection
from pcqaad.errors import CloudError
from pcqaad.evaluation.metrics import Errors, percent
from pcqaad.latents.fit import FrozenDecoder, Pace
from pcqaad.latents.given import check_near, normalised, reference_diagonal
from pcqaad.latents.partial import Cost, find_starts, fit_partial
from pcqaad.latents.plan import CompletePlan
from pcqaad.monitor import SILENT, Monitor, Stage
from pcqaad.points.collect import Normalisation, Points, check_cloud, checked_clouds, name_clouds
from pcqaad.seeds import Use, generator


@dataclass(frozen=True)
class Completion:
    """A whole cloud for a partial one.

    Attributes:
        name: of the partial cloud.
        points: (M, 3) float32, in the data's unit. The file decodes `latent` to them.
        latent: (L,).
        given: the number of points of the partial cloud.
        errors: distances from the given points to the nearest of `points`, in the data's unit.
        percent: their mean, in percent of the diagonal of the file's clouds.
        deviations: root mean square of the latent's standard scores among the file's own. It is about 1 for a shape
            of their kind, and more for one unlike all that the file has seen.
        start: the file's cloud whose latent the fit started from; empty for the mean of all.
    """

    name: str
    points: NDArray[np.float32]
    latent: NDArray[np.float64]
    given: int
    errors: Errors
    percent: float
    deviations: float
    start: str


def complete(
    collection: Collection,
    partials: Sequence[Points],
    *,
    names: Sequence[str] | None = None,
    criterion: str = CompletePlan.criterion,
    prior: float = CompletePlan.prior,
    starts: int = CompletePlan.starts,
    steps: int = CompletePlan.steps,
    seed: int = 0,
    device: str = "auto",
    monitor: Monitor = SILENT,
) -> list[Completion]:
    """Complete partial clouds: find the clouds of the file's kind that go through their points.

    A latent is fitted to each, as `append` does for whole clouds, but to the given points alone. A one-sided criterion
    compares them with the decoded cloud, and a Gaussian of the file's own latents decides on the rest.

    Args:
        collection: the opened file.
        partials: arrays (n_i, 3), n_i at least 1, in the data's unit and place: nothing is aligned. Each is asked
            for twice and not kept, so that a cloud that cannot be completed is refused before any is.
        names: one per cloud, all different.
        criterion: of `pcqaad.losses.names`, as `gamma` or `gamma:shape=2.5,rate=0.5`. It sees normalised
            coordinates, in which a cloud's diagonal is about 4.
        prior: weight of a latent's squared standard scores among the file's own; 0 for no prior. The criterion is
            measured in units of its value for points that all lie 1 % of a diagonal off.
        starts: latents that each fit starts from: the mean, and those of the nearest clouds of the file.
        steps: of each fit.
        seed: of random choices.
        device: "auto", "cpu" or "cuda".
        monitor: told of progress; may stop it.

    Raises:
        CloudError: a cloud is malformed, or lies nowhere near the file's.
        FormatError: the file is damaged.
        SettingsError: a choice cannot be fitted.
        Interrupted: stopped.
    """
    plan = CompletePlan(criterion=criterion, prior=prior, starts=starts, steps=steps, seed=seed)
    cost = Cost.of(plan)
    chosen = devices.choose(device)
    if not len(partials):
        raise CloudError("expected at least 1 cloud to complete, found none")
    names = name_clouds(names, len(partials))

    decoder = FrozenDecoder(collection.module().to(chosen), plan, generator(seed, Use.COMPLETE_TEMPLATE))
    normalisation = Normalisation.of(collection.denormalisation)
    begins = []
    for i, cloud in checked_clouds(partials, names, Stage.READ, monitor):
        points = normalised(cloud, names[i], normalisation).astype(np.float32)
        begin, distance = find_starts(decoder, points, plan)
        check_near(names[i], distance, plan.farthest_start)
        begins.append(begin)
    diagonal = reference_diagonal(collection)
    pace = Pace(monitor, len(names), steps)
    monitor.update(Stage.FIT, 0, len(names) * steps, "steps")
    completed = []
    for i, name in enumerate(names):
        cloud = check_cloud(partials[i], name)
        pace.begin(1)
        points = normalised(cloud, name, normalisation).astype(np.float32)
        scores, start = fit_partial(decoder, cost, points, begins[i], plan, pace)
        deviations = float(np.sqrt(np.square(scores).mean()))
        latent = decoder.prior.latents(scores[None])[0]
        whole = collection.decode(latent)
        errors = Errors.of(cKDTree(whole).query(cloud)[0])
        share = percent(errors.mean, diagonal)
        of = collection.names[decoder.kept[start - 1]] if start else ""
        completed.append(Completion(name, whole, latent, len(cloud), errors, share, deviations, of))
    return completed
