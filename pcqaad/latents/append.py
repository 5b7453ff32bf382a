"""Growth: new clouds for a file that is there. Their latents are fitted, all else stays as it is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from pcqaad import devices
from pcqaad.bitstream.collection import Collection
from pcqaad.bitstream.info import sampling
from pcqaad.decoder.integer_model import LARGEST_LATENT, Symbols, dequantise_latents, latent_reach
from pcqaad.errors import CloudError, DivergenceError, Interrupted, SettingsError
from pcqaad.evaluation.metrics import CELL, measure, percent, summarise
from pcqaad.formats.clouds.names import safe_name
from pcqaad.formats.container.container import Section, write_container
from pcqaad.latents.whole import LatentFit
from pcqaad.points.collect import FARTHEST, Normalisation, Points, allocate, check_cloud, default_names, subsample
from pcqaad.points.fixed_point import Targets
from pcqaad.points.surface import Mesh, Surfaces
from pcqaad.progress import Progress, Report, Stop, never, silent

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
    on_progress: Report = silent,
    should_stop: Stop = never,
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
        on_progress: told what goes on.
        should_stop: asked often; when true, Interrupted is raised.

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

    def tell(progress: Progress) -> None:
        on_progress(progress)
        if should_stop():
            raise Interrupted(resumable=False)

    fit_seed, surface = sampling(collection.info)
    if surface:
        clouds = Surfaces(cast(Sequence[Mesh], clouds), new, surface, fit_seed, first)
    targets, normalisation = _read(collection, cast(Sequence[Points], clouds), new, fit_seed, tell)
    diagonal = reference_diagonal(collection)
    latents, made = _fit(
        collection, targets, chosen, seed, steps, minutes, began, _in_percent(tell, normalisation, diagonal)
    )
    for name, reach in zip(new, latent_reach(latents, collection.integers.latent_step_sizes), strict=True):
        if reach >= LARGEST_LATENT:
            raise DivergenceError(f"{name}: the fit went astray: the file cannot hold so large a latent")

    tell(Progress("measure", 0, len(new), "clouds"))
    numbers = dequantise_latents(latents, collection.integers.latent_step_sizes)
    # Normalised, so that clouds of any unit are matched alike.
    pairs = ((targets[i], normalisation.normalise(collection.decode(numbers[i]))) for i in range(len(new)))
    done = 0

    def measured() -> None:
        nonlocal done
        done += 1
        tell(Progress("measure", done, len(new), "clouds"))

    errors = [e.scaled(normalisation.scale) for e in measure(pairs, on_cloud=measured)["emkd"]]
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
        times = f"{record['mean'] / of_fit:.1f} times"
        text = f"the new clouds' error is {times} that of the fit's: the file was not fitted to clouds like these"
        tell(Progress("note", text=text))
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
    collection: Collection, clouds: Sequence[Points], names: Sequence[str], seed: int, tell: Report
) -> tuple[Targets, Normalisation]:
    """Read the clouds, bring them to the file's number of points and into its normalisation.

    By the seed of the fit, as `verify` does to the originals: it finds the same points.
    """
    info = collection.info
    centre, scale = collection.denormalisation.centre_and_scale
    normalisation, count = Normalisation(np.array(centre), scale), int(info["points"])
    targets = Targets(allocate((len(clouds), count, 3), np.uint16))
    larger = 0
    tell(Progress("read", 0, len(clouds), "clouds"))
    for i, name in enumerate(names):
        cloud = check_cloud(clouds[i], name)
        if len(cloud) < count:
            raise CloudError(f"{name}: holds {len(cloud)} points, the clouds of the file {count}")
        larger += len(cloud) > count
        normalised = normalisation.normalise(subsample(cloud, count, seed, len(collection) + i))
        if not (np.abs(normalised).max() < FARTHEST and np.linalg.norm(np.median(normalised, 0)) < _ELSEWHERE):
            raise CloudError(f"{name}: lies too far from the clouds of the file to be fitted with them")
        targets.put(i, normalised)
        tell(Progress("read", i + 1, len(clouds), "clouds"))
    if larger:
        text = f"{larger} of {len(clouds)} clouds hold more points: brought to {count:,} each by random subsampling"
        tell(Progress("note", text=text))
    return targets, normalisation


def _fit(
    collection: Collection,
    targets: Targets,
    device: torch.device,
    seed: int,
    steps: int | None,
    minutes: float | None,
    began: float,
    tell: Report,
) -> tuple[Symbols, int]:
    """Fit the latents (n, L), a few clouds at a time; returns them and the least number of steps of a cloud."""
    fit = LatentFit(collection.module().to(device), collection.integers.latent_step_sizes, seed)
    count, points = len(targets), np.arange(targets.points)
    found: list[Symbols] = []
    least = 0
    for low in range(0, count, _TOGETHER):
        some = np.arange(low, min(low + _TOGETHER, count))
        start = time.monotonic() - began
        # These clouds' share of what time is left.
        end = start + max(60 * (minutes or 0) - start, 0) * len(some) / (count - low)

        def share(step: int, start: float = start, end: float = end) -> float:
            part = step / steps if steps is not None else 0.0
            if not minutes:
                return part
            return max(part, (time.monotonic() - began - start) / (end - start)) if end > start else 1.0

        def on_step(step: int, distance: float, low: int = low, some: int = len(some)) -> None:
            figures = {"matched": distance}
            if minutes:
                tell(Progress("fit", time.monotonic() - began, 60 * minutes, "seconds", figures))
            elif steps:
                # Steps of each cloud, made for some of them at once.
                tell(Progress("fit", low * steps + some * step, count * steps, "steps", figures))

        latents, made = fit.fit(list(targets.gather(some, points)), len(collection) + low, share, on_step)
        found.append(latents)
        least = min(least, made) if low else made
    return np.concatenate(found), least


def _in_percent(tell: Report, normalisation: Normalisation, diagonal: float) -> Report:
    """Show the mean distance to the assigned targets as what it bounds, the earth mover's distance."""

    def report(progress: Progress) -> None:
        share = percent(progress.figures["matched"] * normalisation.scale, diagonal)
        tell(replace(progress, figures={"emkd_percent": share}))

    return report


def reference_diagonal(collection: Collection) -> float:
    """Return the median diagonal of the fit's clouds: new and old errors are parts of the same length."""
    recorded = collection.info["fidelity"].get("diagonal")
    return float(recorded) if isinstance(recorded, (int, float)) else 4 * collection.denormalisation.centre_and_scale[1]
