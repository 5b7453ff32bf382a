"""New clouds for a file: their latents are fitted, all else stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pcqaad import devices
from pcqaad.attributes.section import Attributes, Originals
from pcqaad.attributes.wanted import Given
from pcqaad.bitstream.collection import Collection
from pcqaad.bitstream.info import registered, sampling
from pcqaad.bitstream.surface import most_points
from pcqaad.decoder.exact import IntegerDecoder
from pcqaad.decoder.integer_model import LARGEST_LATENT, Symbols, dequantise_latents, latent_reach
from pcqaad.errors import CloudError, DivergenceError
from pcqaad.evaluation.metrics import CELL, measure, summarise
from pcqaad.formats.container.container import Section, write_container
from pcqaad.latents.fit import FrozenDecoder, Pace
from pcqaad.latents.given import check_near, normalised, reference_diagonal
from pcqaad.latents.plan import AppendPlan
from pcqaad.latents.whole import LatentGrid, fit_whole
from pcqaad.monitor import SILENT, Monitor, Stage, log
from pcqaad.points.collect import Normalisation, Points, allocate, checked_clouds, name_clouds, subsample
from pcqaad.points.fixed_point import Targets
from pcqaad.points.surface import Mesh, Surfaces
from pcqaad.seeds import Use, generator

# New clouds whose error is this many times the fit's are worth a word.
_NOTED_ERROR_RATIO = 2.0


@dataclass(frozen=True)
class Appended:
    """A file with more clouds, to be saved.

    Attributes:
        sections: of the file: the old clouds and, behind them, the new ones.
        record: of the new clouds, in the file's info: their number, steps, EM-kD, versions.
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
    attributes: Sequence[Given] | None = None,
    monitor: Monitor = SILENT,
) -> Appended:
    """Fit latents of new clouds to the decoder of a file, and put them behind the file's own.

    The old clouds decode to the same bytes as before: weights and template stay as they are.

    Args:
        collection: the opened file. Nothing of it changes before `Appended.save`.
        clouds: arrays (n_i, 3) in the data's unit, aligned as the file's clouds are, with at least as many points, M.
            Of larger ones M random points stay, the same ones as in a fit of all. Each is asked for once. Where the
            file's clouds were drawn from meshes, these are meshes too: see `codec.fit`.
        names: one per cloud, new to the file.
        steps: of each cloud's latent; 200 where neither these nor `minutes` are given.
        minutes: wall clock until the fit ends. The new clouds are measured after that.
        seed: of random choices.
        device: "auto", "cpu" or "cuda".
        attributes: of each cloud's points, or of its mesh's vertices, as in a fit; those that the file has are kept.
        monitor: told of progress; may stop it.

    Raises:
        CloudError: a cloud is malformed or holds too few points, or a name is taken, or an attribute is missing.
        DivergenceError: a latent grows beyond what a file can hold.
        FormatError: the file is damaged, or cannot hold more clouds.
        SettingsError: a choice cannot be fitted.
        Interrupted: stopped.
    """
    if steps is None and minutes is None:
        steps = AppendPlan.steps
    plan = AppendPlan(steps=steps, minutes=minutes, seed=seed)
    pace = Pace(monitor, len(clouds), plan.steps, plan.minutes)
    chosen = devices.choose(device)
    first = len(collection)
    if not len(clouds):
        raise CloudError("expected at least 1 cloud to append, found none")
    names = name_clouds(names, len(clouds), first)
    if taken := sorted(set(names) & set(collection.names)):
        others = f", and of {len(taken) - 1} others" if len(taken) > 1 else ""
        file = collection.info["file"] or "the file"
        raise CloudError(f"{file}: holds a cloud of the name {taken[0]!r} already{others}")
    collection.check_room(len(clouds))
    if collection.attributes and (attributes is None or len(attributes) != len(clouds)):
        has = ", ".join(a.name for a in collection.attributes)
        raise CloudError(f"the file's clouds have attributes: expected those of all {len(clouds)} new ones, {has}")
    given = clouds

    fit_seed, surface = sampling(collection.info)
    if surface:
        clouds = Surfaces(cast(Sequence[Mesh], clouds), names, surface, fit_seed, first)
    targets, sizes = _read(collection, cast(Sequence[Points], clouds), names, plan, monitor)
    decoder = FrozenDecoder(collection.module().to(chosen), plan, generator(seed, Use.APPEND_TEMPLATE))
    latents, made = _fit(collection, targets, decoder, plan, pace)
    for name, reach in zip(names, latent_reach(latents, collection.integers.latent_step_sizes), strict=True):
        if reach >= LARGEST_LATENT:
            raise DivergenceError(f"{name}: the fit diverged: its latent is larger than the file can hold")

    monitor.update(Stage.MEASURE, 0, len(names), "clouds")
    numbers = dequantise_latents(latents, collection.integers.latent_step_sizes)
    # Normalised, so that clouds of any unit are matched alike.
    normalisation = Normalisation.of(collection.denormalisation)
    pairs = ((targets[i], normalisation.normalise(collection.decode(latent))) for i, latent in enumerate(numbers))
    measured = measure(pairs, monitor=monitor, total=len(names))["emkd"]
    diagonal = reference_diagonal(collection)
    record = {
        "first": first,
        "clouds": len(names),
        "steps": made,
        "seed": seed,
        "metric": "emkd",
        "cell": CELL,
        "diagonal": diagonal,
        **summarise([errors.scaled(normalisation.scale) for errors in measured], names, diagonal),
        "encoder": devices.versions(chosen),
    }
    of_fit = collection.info["fidelity"].get("mean")
    if of_fit and record["mean"] > _NOTED_ERROR_RATIO * of_fit:
        text = "the new clouds' error is %.1f times that of the fit's: the file was not fitted to clouds like these"
        log.warning(text, record["mean"] / of_fit)
    carried = None
    if attributes is not None and collection.attributes:

        def original(i: int) -> Points:
            cloud: Any = given[i]
            return np.asarray(cloud[0] if surface else cloud)

        originals = Originals(names, original, attributes)
        decode = IntegerDecoder(collection.integers, collection.denormalisation).decode_symbols
        reader = collection.attribute_reader
        of_points = (lambda i: decode(latents[i])), len(reader.cells), monitor
        carried = Attributes(originals, reader.attributes, *of_points).behind(reader)
    return Appended(collection.appended_sections(latents, names, record, sizes, carried), record)


def _read(
    collection: Collection, clouds: Sequence[Points], names: Sequence[str], plan: AppendPlan, monitor: Monitor
) -> tuple[Targets, NDArray[np.int64]]:
    """Read the clouds, and bring them to the file's number of points and into its normalisation.

    Returns them and the numbers of points that they came with (n,), within what a file of a surface holds.

    The seed of the file's fit draws the points that stay, so `verify` finds the same ones.
    """
    count, (fit_seed, _) = int(collection.info["points"]), sampling(collection.info)
    normalisation, alike = Normalisation.of(collection.denormalisation), registered(collection.info)
    targets = Targets(allocate((len(clouds), count, 3), np.uint16))
    sizes = np.zeros(len(clouds), np.int64)
    for i, cloud in checked_clouds(clouds, names, Stage.READ, monitor):
        if len(cloud) < count:
            raise CloudError(f"{names[i]}: holds {len(cloud)} points, the clouds of the file {count}")
        sizes[i] = len(cloud)
        points = normalised(subsample(cloud, count, fit_seed, len(collection) + i, alike), names[i], normalisation)
        check_near(names[i], float(np.linalg.norm(np.median(points, 0))), plan.farthest_middle)
        targets.put(i, points)
    if larger := int((sizes > count).sum()):
        text = "%d of %d clouds hold more points: %s of each, drawn at random, are fitted"
        log.warning(text, larger, len(clouds), f"{count:,}")
    own = collection.integers.surface
    return targets, sizes if own is None else np.minimum(sizes, most_points(len(own.coded)))


def _fit(
    collection: Collection, targets: Targets, decoder: FrozenDecoder, plan: AppendPlan, pace: Pace
) -> tuple[Symbols, int]:
    """Fit the latents (n, L), a few clouds at a time; returns them and the least number of steps of a cloud."""
    grid = LatentGrid(decoder, collection.integers.latent_step_sizes)
    found, steps = [], []
    for low in range(0, len(targets), plan.together):
        some = [targets[i] for i in range(low, min(low + plan.together, len(targets)))]
        pace.begin(len(some))
        latents, made = fit_whole(decoder, grid, some, len(collection) + low, plan, pace)
        found.append(latents)
        steps.append(made)
    return np.concatenate(found), min(steps)
