"""Completion by a fitted file: its decoder and its latents are what is known of the shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pcqaad import devices
from pcqaad.bitstream.collection import Collection
from pcqaad.errors import CloudError, SettingsError
from pcqaad.evaluation.metrics import Errors, percent
from pcqaad.latents.append import reference_diagonal
from pcqaad.latents.defaults import CRITERION, PRIOR, STARTS, STEPS
from pcqaad.latents.fit import Pace
from pcqaad.latents.partial import PartialClouds
from pcqaad.losses.criteria import criterion as find_criterion
from pcqaad.losses.names import parse
from pcqaad.monitor import SILENT, Monitor, Stage
from pcqaad.points.collect import FARTHEST, Normalisation, Points, check_cloud

# What a partial cloud's points may lie from the nearest start, in the median: a fifth of the diagonal. Clouds in wrong
# units or places are farther off, shapes that are merely unusual are not.
_NOWHERE_NEAR = 0.8
_ASTRAY = "lies nowhere near the clouds of the file, expected a part of such a cloud in its unit and place"


@dataclass(frozen=True)
class Completion:
    """A whole cloud for a partial one.

    Attributes:
        name: of the partial cloud.
        points: (M, 3) float32, in the data's unit; what the file decodes `latent` to.
        latent: (L,).
        given: how many points there were.
        errors: of the given points: distances to the nearest of the completion, in the data's unit.
        percent: their mean, in percent of the diagonal of the file's clouds.
        deviations: root mean square of the latent's standard scores among the file's own: about 1 for a shape of
            their kind, more for a shape that the file has not seen the like of.
        start: the file's cloud that the search came from; empty for the mean of all.
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
    criterion: str = CRITERION,
    prior: float = PRIOR,
    starts: int = STARTS,
    steps: int = STEPS,
    seed: int = 0,
    device: str = "auto",
    monitor: Monitor = SILENT,
) -> list[Completion]:
    """Complete partial clouds: the clouds of the file's kind that go through their points.

    For each a latent is fitted, as `append` does for whole clouds, but to what is there alone: a one-sided
    criterion from the given points to the decoded cloud, and a Gaussian of the file's own latents for the rest.

    Args:
        collection: the opened file.
        partials: arrays (n_i, 3), n_i at least 1, in the data's unit and place: nothing is aligned. Each is asked
            for twice and not kept: what cannot be completed is refused before anything is.
        names: one per cloud.
        criterion: of `pcqaad.losses.names`, as `gamma` or `gamma:shape=2.5,rate=0.5`; it sees normalised
            coordinates, in which a cloud's diagonal is about 4.
        prior: weight of a latent's squared standard scores among the file's own, beside the criterion in units of
            what it makes of points that all lie 1 % of a diagonal off; 0 for no prior.
        starts: of each search: the mean latent, and those of the nearest clouds of the file.
        steps: of each search.
        seed: of random choices.
        device: "auto", "cpu" or "cuda".
        monitor: told of progress; may stop it.

    Raises:
        CloudError: a cloud is malformed, or lies nowhere near the file's.
        FormatError: the file is damaged.
        SettingsError: a choice cannot be fitted.
        Interrupted: stopped.
    """
    _check(prior, starts, steps, seed)
    loss_name, parameters = parse(criterion)
    loss = find_criterion(loss_name, **parameters)
    chosen = devices.choose(device)
    names = list(names) if names is not None else [f"cloud_{i:04d}" for i in range(len(partials))]
    if not len(partials):
        raise CloudError("expected at least 1 cloud to complete, found none")
    if len(names) != len(partials):
        raise SettingsError(f"expected {len(partials)} names, found {len(names)}")

    monitor.update(Stage.READ, 0, len(names), "clouds")
    search = PartialClouds(collection.module().to(chosen), loss, prior, starts, seed)
    centre, scale = collection.denormalisation.centre_and_scale
    normalisation = Normalisation(np.array(centre), scale)
    begins = []
    for i, name in enumerate(names):
        begins.append(_starts(search, _normalised(partials[i], name, normalisation), name))
        monitor.update(Stage.READ, i + 1, len(names), "clouds")
    diagonal = reference_diagonal(collection)
    monitor.update(Stage.FIT, 0, len(names) * steps, "steps")
    completed = []
    for i, name in enumerate(names):
        cloud = partials[i]
        pace = Pace(monitor, steps, before=i, total=len(names))
        found = search.find(_normalised(cloud, name, normalisation), begins[i], pace)
        points = collection.decode(found.latent)
        errors = Errors.of(cKDTree(points).query(cloud)[0])
        start = "" if found.start is None else collection.names[found.start]
        share = percent(errors.mean, diagonal)
        completed.append(Completion(name, points, found.latent, len(cloud), errors, share, found.deviations, start))
    return completed


def _normalised(cloud: Points, name: str, normalisation: Normalisation) -> NDArray[np.float32]:
    """Return a partial cloud (n, 3) normalised; raises CloudError where it is malformed or far out."""
    normalised = normalisation.normalise(check_cloud(cloud, name))
    if not np.abs(normalised).max() < FARTHEST:
        raise CloudError(f"{name}: {_ASTRAY}")
    return normalised.astype(np.float32)


def _starts(search: PartialClouds, normalised: NDArray[np.float32], name: str) -> list[int | None]:
    """Return what to start the search for a cloud from; raises CloudError where it is near nothing of the file."""
    starts, distance = search.nearest(normalised)
    if distance > _NOWHERE_NEAR:
        raise CloudError(f"{name}: {_ASTRAY}: found it {percent(distance, 4):.0f} % of a diagonal away")
    return starts


def _check(prior: float, starts: int, steps: int, seed: int) -> None:
    if not (prior >= 0 and np.isfinite(prior)):
        raise SettingsError(f"prior is {prior}, expected a weight of 0 or more")
    for name, value, least in (("starts", starts, 1), ("steps", steps, 1), ("seed", seed, 0)):
        if value < least:
            raise SettingsError(f"{name} is {value}, expected at least {least}")
