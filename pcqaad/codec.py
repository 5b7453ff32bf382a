"""The story: clouds -> fit -> quantise -> file. Back again leads `pcqaad.bitstream.collection`, without torch."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from pcqaad import devices
from pcqaad.bitstream.sections import to_sections
from pcqaad.decoder.architecture import Model
from pcqaad.errors import GoalError, Interrupted, SettingsError
from pcqaad.evaluation.metrics import CELL, percent, summarise
from pcqaad.formats.container.container import Section, pack, write_container
from pcqaad.points.collect import CloudSet, Points, collect, default_names
from pcqaad.points.surface import Mesh, Surfaces
from pcqaad.progress import Progress, Report, Stop, never, silent
from pcqaad.quantisation.rate_control import Budget, Encoded, Evaluator, encode
from pcqaad.quantisation.step_sizes import Quantised, StepSizes
from pcqaad.settings import Settings
from pcqaad.training.quantisation_aware import FakeQuantisation
from pcqaad.training.run import Run

# A user is told where float32 tells points apart by more than this part of the diagonal only.
_COARSE = 1e-4
# Of a larger set this many clouds are measured for the record: one of 65,536 points takes a second or two of a core.
_RECORDED = 128
# No file takes less: its table of sections, its head, and what it was made with.
_SMALLEST = 300
# Bytes of a budget that are kept for what the record of the fidelity may take more than its stand-in.
_ROOM = 64


@dataclass(frozen=True)
class Fitted:
    """A fitted collection, in floats and as `save` will write it.

    Attributes:
        model: the decoder's numbers as trained, before any rounding.
        encoded: the integers that a file will hold.
        clouds: what was fitted, with the targets in assigned order, normalised.
        settings: as resolved.
        unit: of the coordinates, as the user named it.
        encoder: versions, device and steps, for the record.
    """

    model: Model
    encoded: Encoded
    clouds: CloudSet
    settings: Settings
    unit: str
    encoder: dict[str, Any]
    checkpoint: Path | None = None
    evaluator: Evaluator = field(repr=False, kw_only=True)

    def save(self, path: Path | str) -> None:
        """Measure what a reader will decode, and write the file.

        The checkpoint goes once the file stands. Raises FormatError where it cannot be written, CloudError where
        no reader would take it or it exceeds its budget, and Interrupted when asked to stop.
        """
        fidelity = self._fidelity() | {"rise": self.encoded.degradation}
        info = _info(self.unit, self.settings, fidelity, self.encoder)
        sections = _sections(self.encoded.quantised, self.evaluator, info)
        limit, size = self.settings.budget(len(self.clouds.names), self.clouds.targets.points), len(pack(sections))
        if limit is not None and size > limit:
            raise GoalError(f"{path}: expected at most {limit:,} bytes, found {size:,}: nothing was written")
        write_container(Path(path), sections)
        if self.checkpoint is not None:
            self.checkpoint.unlink(missing_ok=True)

    def _fidelity(self) -> dict[str, Any]:
        """Measure EM-kD between the originals and what the file decodes to, in the data's unit."""
        sample = self.evaluator.sample(_RECORDED)
        errors = self.evaluator.errors(self.evaluator.integers(self.encoded.quantised), sample, "measure")
        errors = [e.scaled(self.clouds.normalisation.scale) for e in errors]
        figures = summarise(errors, [self.clouds.names[i] for i in sample], self.clouds.diagonal)
        return {
            "metric": "emkd",
            "cell": CELL,
            "measured": len(sample),
            "diagonal": self.clouds.diagonal,
            **figures,
        }


def fit(
    clouds: Sequence[Points] | Sequence[Mesh],
    settings: Settings | None = None,
    *,
    names: Sequence[str] | None = None,
    unit: str = "",
    points: int | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_progress: Report = silent,
    should_stop: Stop = never,
) -> Fitted:
    """Fit one model to clouds of the same kind of thing (paper, section 3.4).

    Args:
        clouds: at least two arrays (n_i, 3) in the data's unit. Different sizes are brought to one by random
            subsampling, to the smallest or to `points`. Each is asked for twice and not kept: any sequence
            will do that reads them from a disk, and all of them may be larger than memory. With
            `settings.surface` meshes, pairs of vertices (v, 3) and triangles (t, 3), that points are drawn from.
        settings: what to fit and how; what is left open is chosen from the data.
        names: one per cloud.
        unit: of the coordinates, for the record.
        points: M.
        checkpoint: a file to save the fit's state to, at intervals and when stopped.
        resume: go on from that file, if it is there; with the same epochs the result is the same as that of
            an unbroken fit.
        on_progress: told what goes on.
        should_stop: asked often; when true the fit saves its checkpoint and raises Interrupted.

    Raises:
        CloudError: the clouds, or the checkpoint, are not what a fit can start from.
        SettingsError: a choice cannot be fitted.
        Interrupted: stopped.
    """
    asked = settings or Settings()
    began = time.monotonic()
    resuming = resume and checkpoint is not None and checkpoint.exists()

    def on_read(stage: str, done: int) -> None:
        on_progress(Progress(stage, done, len(clouds), "clouds"))
        if should_stop():
            raise Interrupted(resuming)

    device = devices.choose(asked.device)
    collected = _collect(clouds, asked, names, points, on_read, on_progress)
    limit = asked.budget(len(clouds), collected.targets.points)
    if limit is not None and limit < _SMALLEST:
        raise GoalError(f"a file of {limit:,} bytes cannot be made: expected {_SMALLEST:,} at least")
    course = Run(collected, asked, device, checkpoint, on_progress, should_stop, began, resuming)
    trainer = course.trained()
    model, settings = trainer.network.arrays(), trainer.settings
    encoder: dict[str, Any] = {**devices.versions(device), "steps": trainer.step}

    def tune(steps: StepSizes, share: float) -> Model | None:
        rounding = FakeQuantisation(model.architecture, steps, device)
        if not trainer.tune(rounding, share, course.elapsed, course.in_percent, should_stop):
            raise Interrupted(course.resumable)
        changed = trainer.step > encoder["steps"]
        encoder["steps"] = trainer.step
        return trainer.network.arrays() if changed else None

    def size(quantised: Quantised) -> int:
        info = _info(unit, evaluator.settings, _stand_in(collected.names), encoder)
        return len(pack(_sections(quantised, evaluator, info))) + _ROOM

    if settings.max_emkd is not None:
        # What is promised of the file is measured on as many clouds as are recorded.
        settings = replace(settings, measure=_RECORDED)
    evaluator = Evaluator(collected, settings, on_progress, course.check)
    budget = None if limit is None else Budget(limit, size)
    encoded = encode(model, evaluator, tune if settings.tune else None, budget)
    return Fitted(model, encoded, collected, settings, unit, encoder, checkpoint, evaluator=evaluator)


def _collect(
    clouds: Sequence[Points] | Sequence[Mesh],
    settings: Settings,
    names: Sequence[str] | None,
    points: int | None,
    on_read: Callable[[str, int], None],
    on_progress: Report,
) -> CloudSet:
    """Read the clouds, or draw points from meshes, and bring all to one number of points."""
    if settings.surface is not None:
        called = names if names is not None else default_names(len(clouds))
        clouds = Surfaces(cast(Sequence[Mesh], clouds), called, settings.surface, settings.seed)
    collected = collect(cast(Sequence[Points], clouds), names, points, settings.seed, on_read)
    count, sizes = collected.targets.points, collected.sizes
    if sizes.max() > count:
        between = f"{sizes.min():,} to {sizes.max():,}"
        text = f"clouds hold {between} points: brought to {count:,} each by random subsampling"
        on_progress(Progress("note", text=text))
    if collected.diagonal == 0:
        text = "most clouds are one point, repeated: their diagonal is 0, and so is every error in percent of it"
        on_progress(Progress("note", text=text))
        if settings.max_emkd is not None:
            raise GoalError("expected clouds with a diagonal, of which max_emkd is a part, found one point each")
    apart = float(np.spacing(np.float32(np.abs(collected.normalisation.centre).max())))
    if apart > _COARSE * collected.diagonal > 0:
        part = f"{apart:.2g}, {percent(apart, collected.diagonal):.2g} % of the diagonal"
        text = f"so far from the origin float32, which decoded points are, is {part} coarse: shift the clouds nearer"
        on_progress(Progress("note", text=text))
    if (settings.patches or 1) > count:
        smallest = collected.names[int(np.argmin(sizes))]
        raise SettingsError(f"{smallest}: {count} points cannot be cut into {settings.patches} patches")
    return collected


def _info(unit: str, settings: Settings, fidelity: dict[str, Any], encoder: dict[str, Any]) -> dict[str, Any]:
    """Return what the file's `info` section says (SPEC.md, section 7.6)."""
    return {"unit": unit, "settings": settings.as_json(), "fidelity": fidelity, "encoder": encoder}


def _sections(quantised: Quantised, evaluator: Evaluator, info: dict[str, Any]) -> list[Section]:
    """Return the sections of the file."""
    return to_sections(quantised.shared, quantised.latents, evaluator.denormalisation, evaluator.clouds.names, info)


def _stand_in(names: Sequence[str]) -> dict[str, Any]:
    """Return a record of fidelity as long as any: digits that nothing shortens, and the name that takes most bytes."""
    digits = iter(np.random.default_rng(0).random(16).tolist())
    keys = ("diagonal", "mean", "mean_squared", "sum", "rms", "mean_percent", "at_least", "rise")
    longest = max(names, key=lambda name: len(zlib.compress(json.dumps(name).encode())))
    worst = {"name": longest, "mean": next(digits)}
    return {
        "metric": "emkd",
        "cell": CELL,
        "measured": _RECORDED,
        "worst": worst,
        **{key: next(digits) for key in keys},
    }
