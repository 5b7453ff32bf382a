"""New clouds for a file that is there: their latents are fitted, all else stays as it is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from pcqaad import devices
from pcqaad.bitstream.collection import Collection
from pcqaad.bitstream.info import sampling
from pcqaad.decoder.integer_model import LARGEST_LATENT, Symbols, dequantise_latents, latent_reach
from pcqaad.errors import CloudError, DivergenceError, SettingsError
from pcqaad.evaluation.metrics import CELL, measure, percent, summarise
from pcqaad.formats.clouds.names import safe_name
from pcqaad.formats.container.container import Section, write_container
from pcqaad.latents.fit import Pace
from pcqaad.latents.whole import WholeClouds
from pcqaad.monitor import SILENT, Monitor, Stage, log
from pcqaad.points.collect import FARTHEST, Normalisation, Points, allocate, check_cloud, default_names, subsample
from pcqaad.points.fixed_point import Targets
from pcqaad.points.surface import Mesh, Surfaces

# Steps of a cloud's latent where nothing else is asked for: more gain less than a hundredth of its error.
_STEPS = 200
# A cloud whose middle is so far from the others', in coordinates of which a diagonal is 4, lies beside them; one whose
# error is so many times the fit's is worth a word.
_ELSEWHERE, _WORSE = 8.0, 2.0
# Clouds fitted together: few enough for the memory, enough to keep the cores busy.
_TOGETHER = 8


@dataclass(frozen=True)
class Appended:
    """A file with more clouds, to be saved.

    Attributes:
        sections: of the file: the old clouds and, behind them, the new ones.
        record: what the file's info says of the new clouds: how many, steps, EM-kD, versions.
    """

    sections: list[Section]
    record: dict[str, Any]

    def save(self, path: Path | str) -> None:
        """Write the file, whole or not at all; `path` may be the old one. Raises FormatError."""
        write_container(Path(path), self.sections)


def append(
    collection: Collection,
    clouds: Sequence[Points] | Sequence[Mesh],
    *,
    names: Sequence[str] | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device: str = "auto",
    monitor: Monitor = SILENT,
) -> Appended:
    """Fit latents for new clouds to the decoder of a file, and put them behind the file's own.

    The old clouds decode to the same bytes as before: weights and template stay as they are.

    Args:
        collection: the opened file; nothing of it changes before `Appended.save`.
        clouds: arrays (n_i, 3) in the data's unit, aligned as the file's clouds are, with at least as many points as
            these, M; of larger ones M random points stay, the same ones as in a fit of all. Each is asked for once.
            Meshes where the file's clouds were drawn from such: see `codec.fit`.
        names: one per cloud, new to the file.
        steps: of each cloud's latent; 200 where neither these nor `minutes` are given.
        minutes: wall clock until the fit ends; what was fitted is measured after that.
        seed: of random choices.
        device: "auto", "cpu" or "cuda".
        monitor: told of progress; may stop it.

    Raises:
        CloudError: a cloud is malformed or holds too few points, or a name is taken.
        FormatError: the file is damaged, or cannot hold more clouds.
        SettingsError: a choice cannot be fitted.
        Interrupted: stopped.
    """
    began = time.monotonic()
    if steps is not None and steps < 1:
        raise SettingsError(f"steps is {steps}, expected at least 1")
    if minutes is not None and not minutes > 0:
        raise SettingsError(f"minutes is {minutes}, expected more than 0")
    if seed < 0:
        raise SettingsError(f"seed is {seed}, expected 0 or more")
    chosen = devices.choose(device)
    if steps is None and minutes is None:
        steps = _STEPS
    first = len(collection)
    new = list(names) if names is not None else default_names(len(clouds), first)
    _check_names(new, len(clouds), collection)
    collection.check_room(len(clouds))

    fit_seed, surface = sampling(collection.info)
    if surface:
        clouds = Surfaces(cast(Sequence[Mesh], clouds), new, surface, fit_seed, first)
    targets, normalisation = _read(collection, cast(Sequence[Points], clouds), new, fit_seed, monitor)
    diagonal = reference_diagonal(collection)
    latents, made = _fit(collection, targets, chosen, seed, steps, minutes, began, monitor)
    for name, reach in zip(new, latent_reach(latents, collection.integers.latent_step_sizes), strict=True):
        if reach >= LARGEST_LATENT:
            raise DivergenceError(f"{name}: the fit went astray: the file cannot hold so large a latent")

    monitor.update(Stage.MEASURE, 0, len(new), "clouds")
    numbers = dequantise_latents(latents, collection.integers.latent_step_sizes)
    # Normalised, so that clouds of any unit are matched alike.
    pairs = ((targets[i], normalisation.normalise(collection.decode(numbers[i]))) for i in range(len(new)))
    measured = measure(pairs, monitor=monitor, total=len(new))["emkd"]
    errors = [e.scaled(normalisation.scale) for e in measured]
    record = {
        "first": first,
        "clouds": len(new),
        "steps": made,
        "seed": seed,
        "metric": "emkd",
        "cell": CELL,
        "diagonal": diagonal,
        **summarise(errors, new, diagonal),
        "encoder": devices.versions(chosen),
    }
    of_fit = collection.info["fidelity"].get("mean")
    if of_fit and record["mean"] > _WORSE * of_fit:
        text = "the new clouds' error is %.1f times that of the fit's: the file was not fitted to clouds like these"
        log.warning(text, record["mean"] / of_fit)
    return Appended(collection.appended_sections(latents, new, record), record)


def _check_names(new: Sequence[str], count: int, collection: Collection) -> None:
    if not count:
        raise CloudError("expected at least 1 cloud to append, found none")
    if len(new) != count:
        raise SettingsError(f"expected {count} names, found {len(new)}")
    file = collection.info["file"] or "the file"
    if taken := sorted(set(new) & set(collection.names)):
        others = f", and of {len(taken) - 1} others" if len(taken) > 1 else ""
        raise CloudError(f"{file}: holds a cloud of the name {taken[0]!r} already{others}")
    if twice := [name for name, times in Counter(new).items() if times > 1]:
        raise CloudError(f"name {twice[0]!r} is given to more than one of the new clouds")
    if unsafe := [name for name in new if not safe_name(name)]:
        raise CloudError(f"name {unsafe[0][:80]!r} is not safe as the name of a file")


def _read(
    collection: Collection, clouds: Sequence[Points], names: Sequence[str], seed: int, monitor: Monitor
) -> tuple[Targets, Normalisation]:
    """Read the clouds, bring them to the file's number of points and into its normalisation.

    By the seed of the fit, as `verify` does to the originals: it finds the same points.
    """
    info = collection.info
    centre, scale = collection.denormalisation.centre_and_scale
    normalisation, count = Normalisation(np.array(centre), scale), int(info["points"])
    targets = Targets(allocate((len(clouds), count, 3), np.uint16))
    larger = 0
    monitor.update(Stage.READ, 0, len(clouds), "clouds")
    for i, name in enumerate(names):
        cloud = check_cloud(clouds[i], name)
        if len(cloud) < count:
            raise CloudError(f"{name}: holds {len(cloud)} points, the clouds of the file {count}")
        larger += len(cloud) > count
        normalised = normalisation.normalise(subsample(cloud, count, seed, len(collection) + i))
        if not (np.abs(normalised).max() < FARTHEST and np.linalg.norm(np.median(normalised, 0)) < _ELSEWHERE):
            raise CloudError(f"{name}: lies too far from the clouds of the file to be fitted with them")
        targets.put(i, normalised)
        monitor.update(Stage.READ, i + 1, len(clouds), "clouds")
    if larger:
        text = "%d of %d clouds hold more points: brought to %s each by random subsampling"
        log.warning(text, larger, len(clouds), f"{count:,}")
    return targets, normalisation


def _fit(
    collection: Collection,
    targets: Targets,
    device: torch.device,
    seed: int,
    steps: int | None,
    minutes: float | None,
    began: float,
    monitor: Monitor,
) -> tuple[Symbols, int]:
    """Fit the latents (n, L), a few clouds at a time; returns them and the least number of steps of a cloud."""
    fit = WholeClouds(collection.module().to(device), collection.integers.latent_step_sizes, seed)
    count, points = len(targets), np.arange(targets.points)
    shown = percent(collection.denormalisation.centre_and_scale[1], reference_diagonal(collection))
    found: list[Symbols] = []
    least: int | None = None
    for low in range(0, count, _TOGETHER):
        some = np.arange(low, min(low + _TOGETHER, count))
        deadline = None
        if minutes is not None:
            # These clouds' share of what time is left.
            spent = time.monotonic() - began
            deadline = spent + max(60 * minutes - spent, 0) * len(some) / (count - low)
        pace = Pace(monitor, steps, len(some), low, count, deadline, began, minutes or 0.0, shown)
        latents, made = fit.fit(list(targets.gather(some, points)), len(collection) + low, pace)
        found.append(latents)
        least = made if least is None else min(least, made)
    return np.concatenate(found), least or 0


def reference_diagonal(collection: Collection) -> float:
    """Return the median diagonal of the fit's clouds: new and old errors are parts of the same length."""
    recorded = collection.info["fidelity"].get("diagonal")
    return float(recorded) if isinstance(recorded, (int, float)) else 4 * collection.denormalisation.centre_and_scale[1]
