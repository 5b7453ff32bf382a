"""The story: clouds -> fit -> quantise -> file. Back again leads `pcqaad.bitstream.collection`, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pcqaad import devices
from pcqaad.attributes.section import OfFit, Originals
from pcqaad.attributes.wanted import AttributeSettings, Given
from pcqaad.bitstream.collection import Collection
from pcqaad.bitstream.sections import to_sections
from pcqaad.bitstream.surface import most_points
from pcqaad.decoder.architecture import Model
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.errors import GoalError, Interrupted, SettingsError
from pcqaad.evaluation.metrics import percent
from pcqaad.formats.container.container import Section, pack, write_container
from pcqaad.monitor import SILENT, Monitor, log
from pcqaad.points.collect import CloudSet, Points, collect, default_names
from pcqaad.points.surface import Mesh, Surfaces
from pcqaad.quantisation.choice import encode
from pcqaad.quantisation.clock import Clock
from pcqaad.quantisation.duration import seconds_to_encode
from pcqaad.quantisation.evaluator import RECORDED_CLOUDS, Evaluator
from pcqaad.quantisation.quantise import Quantised
from pcqaad.quantisation.rate_control import Encoded
from pcqaad.settings import Settings
from pcqaad.training.run import Run

# Of one collection: points, or meshes that points are drawn from.
Clouds = Sequence[Points] | Sequence[Mesh]
# The part of the diagonal that float32 may be coarse by, at the clouds' place, before the user is told.
_COARSE_FLOAT32 = 1e-4
# Bytes of the smallest file: its table of sections, its header, and its provenance.
_SMALLEST_FILE = 300
# Bytes of a budget that are kept for the fidelity, which is measured last, but for a name in it; and for the errors
# per vertex.
_FIDELITY_BYTES, _PER_VERTEX_BYTES = 256, 128


@dataclass(frozen=True)
class Fitted:
    """A fitted collection, in floats and as `save` will write it."""

    model: Model  # the decoder's numbers as trained, before any rounding
    encoded: Encoded  # the integers that a file will hold
    names: list[str]  # of the clouds
    denormalisation: Denormalisation  # from decoded integers to the data's unit
    settings: Settings  # as resolved
    info: dict[str, Any]  # what the file says of itself: unit, settings, fidelity as measured, provenance
    limit: int | None = None  # bytes that the file may take; None where nothing limits them
    sizes: NDArray[np.int64] | None = None  # (N,) points of the clouds that came with different numbers of them
    checkpoint: Path | None = None  # goes once the file stands
    attributes: Section | None = None  # of the clouds' points

    def save(self, path: Path | str) -> None:
        """Write the file, whole or not at all.

        Raises FormatError where it cannot be written, and GoalError where it exceeds its budget.
        """
        quantised = self.encoded.quantised
        numbers = quantised.shared, quantised.latents
        own = _own(quantised, self.sizes), self.attributes
        sections = to_sections(*numbers, self.denormalisation, self.names, self.info, *own)
        if self.limit is not None and (size := len(pack(sections))) > self.limit:
            raise GoalError(f"{path}: expected at most {self.limit:,} bytes, found {size:,}: nothing was written")
        write_container(Path(path), sections)
        if self.checkpoint is not None:
            self.checkpoint.unlink(missing_ok=True)


def fit(
    clouds: Clouds,
    settings: Settings | None = None,
    *,
    names: Sequence[str] | None = None,
    unit: str = "",
    points: int | None = None,
    registered: bool | None = None,
    attributes: Sequence[Given] | None = None,
    keep: AttributeSettings | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    monitor: Monitor = SILENT,
) -> Fitted:
    """Fit one model to clouds of the same kind of thing (paper, section 3.4).

    Notes that a user should read go to the logger "pcqaad".

    Args:
        clouds: at least two arrays (n_i, 3) in the data's unit; with `settings.surface` meshes, pairs of vertices
            (v, 3) and triangles (t, 3). Each is asked for twice and not kept: they may be read from a disk.
        settings: what to fit and how; open choices are made from the data.
        names: one per cloud.
        unit: of the coordinates, for the record.
        points: M, so many of each cloud, drawn at random, are fitted; None takes the smallest cloud's. Then a file
            whose template is a surface gives every cloud its own number.
        registered: whether point j of every cloud is the same point; None leaves it to the settings.
        attributes: of each cloud's points, or of its mesh's vertices: (n_i,) or (n_i, channels) by their names. None
            keeps none. They are asked for as clouds are.
        keep: which of them, and how well; None keeps all by its defaults.
        checkpoint: a file to save the fit's state to, at intervals and when stopped.
        resume: go on from that file, if it is there: to the result of an unbroken fit, where the epochs are the same.
        monitor: told of progress; when it stops the fit, its checkpoint stays.

    Raises:
        CheckpointError: the checkpoint is not one of this fit.
        CloudError: the clouds are not what a fit can start from.
        DivergenceError: the fit makes numbers beyond all bounds.
        GoalError: the size or the error that was asked for is not reached.
        SettingsError: a choice cannot be fitted.
        Interrupted: stopped.
    """
    asked = settings or Settings()
    if registered is not None:
        asked = replace(asked, registered=registered)
    device = devices.choose(asked.device)
    run = Run(asked, device, checkpoint, resume, monitor)
    try:
        collected = _collect(clouds, asked, names, points, monitor)
        limit = asked.budget(len(clouds), collected.targets.points)
        of_points = None
        if attributes is not None:
            originals = _originals(clouds, attributes, collected, asked)
            of_points = OfFit(originals, keep or AttributeSettings(), limit, monitor)
        if limit is not None and limit < _SMALLEST_FILE:
            raise GoalError(f"a file of {limit:,} bytes cannot be made: expected {_SMALLEST_FILE:,} at least")
        # A promise of the file is measured on all clouds of its record.
        promised = asked.max_emkd is not None
        measured = RECORDED_CLOUDS if promised else asked.measure
        by_pairs = asked.registered and not promised
        evaluator = Evaluator(collected, measured, run.timed(), promised, asked.seed, by_pairs, Clock(run.left))
        kept = partial(seconds_to_encode, evaluator=evaluator, components=asked.components, minutes=asked.minutes or 0)
        carrying = 0.0 if of_points is None else of_points.seconds(collected.targets.points)
        trainer = run.train(collected, lambda model: kept(model) + carrying)
        model = trainer.network.arrays()
        provenance: dict[str, Any] = {**devices.versions(device), "steps": trainer.step}
        info = {"unit": unit, "settings": trainer.settings.as_json(), "fidelity": {}, "encoder": provenance}
        # Who names a number of points gets it.
        sizes = collected.sizes if points is None else None
        size = partial(_size_before_fidelity, evaluator=evaluator, info=info, sizes=sizes)
        left = limit
        if of_points is not None and limit is not None:
            left = _left(limit, of_points, model, evaluator)
        encoded = encode(model, evaluator, trainer.settings, partial(run.tune, trainer), left, size)
        info["fidelity"] = evaluator.fidelity(encoded.quantised, encoded.degradation, encoded.errors)
        provenance["steps"] = trainer.step
        carried = None if of_points is None else _carried(of_points, encoded, evaluator, info)
        run.ended()
    except Interrupted as stopped:
        raise Interrupted(run.resumable) from stopped
    numbers = model, encoded, collected.names, evaluator.denormalisation
    return Fitted(*numbers, trainer.settings, info, limit, sizes, checkpoint, carried)


def _originals(clouds: Clouds, attributes: Sequence[Given], collected: CloudSet, settings: Settings) -> Originals:
    """Return where attributes come from: the clouds as they were given."""
    if len(attributes) != len(clouds):
        raise SettingsError(f"expected the attributes of {len(clouds)} clouds, found those of {len(attributes)}")

    def points(i: int) -> Points:
        cloud: Any = clouds[i]
        return np.asarray(cloud[0] if settings.surface is not None else cloud)

    return Originals(collected.names, points, attributes, settings.registered)


def _left(limit: int, attributes: OfFit, model: Model, evaluator: Evaluator) -> int:
    """Return the bytes that attributes leave of a budget; raises GoalError where that is too little."""
    decode, normalisation = evaluator.floats(model), evaluator.clouds.normalisation
    left = limit - attributes.reserve(model.template, lambda i: decode(i) * normalisation.scale + normalisation.centre)
    if left < _SMALLEST_FILE:
        raise GoalError(f"attributes leave {left:,} of {limit:,} bytes: expected {_SMALLEST_FILE:,} at least")
    return left


def _carried(attributes: OfFit, encoded: Encoded, evaluator: Evaluator, info: dict[str, Any]) -> Section | None:
    """Return the attributes on the points that a file of a model decodes to."""
    numbers = encoded.quantised.shared, encoded.quantised.latents
    data = pack(to_sections(*numbers, evaluator.denormalisation, evaluator.clouds.names, info))
    with Collection(data, trust=True) as decoded:
        return attributes.section(decoded.reader(decoded.points), decoded.cells, len(data))


def _collect(
    clouds: Clouds, settings: Settings, names: Sequence[str] | None, points: int | None, monitor: Monitor
) -> CloudSet:
    """Read the clouds, or draw points from meshes, and bring all to one number of points."""
    # Only files of points may have faces beside them.
    mesh = getattr(clouds, "mesh", None)
    if settings.surface is not None:
        mesh = cast(Sequence[Mesh], clouds).__getitem__
        called = names if names is not None else default_names(len(clouds))
        clouds = Surfaces(cast(Sequence[Mesh], clouds), called, settings.surface, settings.seed)
    collected = collect(cast(Sequence[Points], clouds), names, points, settings.seed, monitor, settings.registered)
    collected = replace(collected, mesh=mesh)
    count, sizes = collected.targets.points, collected.sizes
    if sizes.max() > count:
        between = f"{sizes.min():,} to {sizes.max():,}"
        if settings.registered:
            between = f"{sizes.max():,}"
        log.warning("clouds hold %s points: %s of each, drawn at random, are fitted", between, f"{count:,}")
    if collected.diagonal == 0:
        log.warning("most clouds are one point, repeated: their diagonal is 0, and so is every error in percent of it")
        if settings.max_emkd is not None:
            raise GoalError(
                "max_emkd is a part of the diagonal: expected clouds that have one, found one point each; leave it out"
            )
    apart = float(np.spacing(np.float32(np.abs(collected.normalisation.centre).max())))
    if apart > _COARSE_FLOAT32 * collected.diagonal > 0:
        part = f"{apart:.2g}, {percent(apart, collected.diagonal):.2g} % of the diagonal"
        log.warning("decoded points are float32, and so far from the origin it is %s coarse: shift them nearer", part)
    if (settings.patches or 1) > count:
        smallest = collected.names[int(np.argmin(sizes))]
        raise SettingsError(f"{smallest}: {count} points cannot be cut into {settings.patches} patches; give fewer")
    return collected


def _own(quantised: Quantised, sizes: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    """Return the clouds' own numbers of points (N,), as far as a file can hold them."""
    surface = quantised.shared.surface
    return None if sizes is None or surface is None else np.minimum(sizes, most_points(len(surface.coded)))


def _size_before_fidelity(
    quantised: Quantised, evaluator: Evaluator, info: dict[str, Any], sizes: NDArray[np.int64] | None = None
) -> int:
    """Return the bytes that a file takes at most once its fidelity is in it."""
    names = evaluator.clouds.names
    numbers = quantised.shared, quantised.latents
    sections = to_sections(*numbers, evaluator.denormalisation, names, info, _own(quantised, sizes))
    kept = _FIDELITY_BYTES + _PER_VERTEX_BYTES * evaluator.clouds.registered
    return len(pack(sections)) + kept + max(len(name.encode()) for name in names)
