"""The story: clouds -> fit -> quantise -> file. Back again leads `pcqaad.collection`, without torch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pcqaad.clouds import CloudError, CloudSet, Points, collect, default_names
from pcqaad.encoding import Budget, Encoded, Judge, encode
from pcqaad.formats.container import Section, pack, write_container
from pcqaad.matching.batched import batched
from pcqaad.matching.kd import patch_order
from pcqaad.metrics import CELL, summarise
from pcqaad.model import Model
from pcqaad.network import Decoder
from pcqaad.progress import Progress, Report, Stop, never, silent
from pcqaad.quantize import Quantised, Steps
from pcqaad.settings import Settings, choose_patches, resolve
from pcqaad.storage import to_sections
from pcqaad.surface import Mesh, Surfaces
from pcqaad.training import devices
from pcqaad.training.chamfer import pretrain
from pcqaad.training.checkpoint import Checkpoint
from pcqaad.training.loop import Trainer, network_state
from pcqaad.training.rounding import Rounding
from pcqaad.training.start import (
    choose_template,
    first_latents,
    first_matching,
    principal_components,
)

# Of a larger set this many clouds are measured for the record: one of 65,536 points takes a second or two of a core.
_RECORDED = 128
# Bytes of a budget that are kept for what the record of the fidelity may take more than its stand-in.
_ROOM = 64


class Interrupted(Exception):
    """The caller asked to stop. `resumable` says whether a checkpoint was left to go on from."""

    def __init__(self, resumable: bool) -> None:
        self.resumable = resumable
        super().__init__("interrupted" + ("" if resumable else " before there was anything to resume from"))


@dataclass(frozen=True)
class Fitted:
    """A fitted collection, in floats and as `save` will write it.

    Attributes:
        model: the decoder's numbers as trained, before any rounding.
        encoded: the integers that a file will hold.
        clouds: what was fitted, with the targets in assigned order, normalised.
        settings: as resolved.
        unit: of the coordinates, as the user named it.
        encoder: versions, steps and seconds, for the record.
    """

    model: Model
    encoded: Encoded
    clouds: CloudSet
    settings: Settings
    unit: str
    encoder: dict[str, Any]
    checkpoint: Path | None = None
    judge: Judge = field(repr=False, kw_only=True)

    def save(self, path: Path | str) -> None:
        """Measure what a reader will decode, and write the file.

        The checkpoint goes once the file stands. Raises FormatError where it cannot be written, and
        Interrupted when asked to stop.
        """
        fidelity = self._fidelity() | {"rise": self.encoded.rise}
        info = _info(self.unit, self.settings, fidelity, self.encoder)
        sections = _sections(self.encoded.quantised, self.judge, info)
        limit, size = self.settings.budget(len(self.clouds.names), self.clouds.targets.points), len(pack(sections))
        if limit is not None and size > limit:
            raise CloudError(f"{path}: expected at most {limit:,} bytes, found {size:,}: nothing was written")
        write_container(Path(path), sections)
        if self.checkpoint is not None:
            self.checkpoint.unlink(missing_ok=True)

    def _fidelity(self) -> dict[str, Any]:
        """Measure EM-kD between the originals and what the file decodes to, in the data's unit."""
        sample = self.judge.sample(_RECORDED)
        errors = self.judge.errors(self.judge.integers(self.encoded.quantised), sample, "measure")
        errors = [e.scaled(self.clouds.frame.scale) for e in errors]
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
    settings = settings or Settings()
    began = time.monotonic()
    resuming = resume and checkpoint is not None and checkpoint.exists()

    def on_read(stage: str, done: int) -> None:
        on_progress(Progress(stage, done, len(clouds), "clouds"))
        if should_stop():
            raise Interrupted(resuming)

    if settings.surface is not None:
        called = names if names is not None else default_names(len(clouds))
        clouds = Surfaces(cast(Sequence[Mesh], clouds), called, settings.surface, settings.seed)
    collected = collect(cast(Sequence[Points], clouds), names, points, settings.seed, on_read)
    count, sizes = collected.targets.points, collected.sizes
    if sizes.max() > count:
        between = f"{sizes.min():,} to {sizes.max():,}"
        text = f"clouds hold {between} points: brought to {count:,} each by random subsampling"
        on_progress(Progress("note", text=text))
    if (settings.patches or 1) > count:
        smallest = collected.names[int(np.argmin(sizes))]
        raise CloudError(f"{smallest}: {count} points cannot be cut into {settings.patches} patches")
    device = devices.choose(settings.device)
    asked = settings

    kept = None
    if checkpoint is not None and resuming:
        kept = Checkpoint.load(checkpoint, collected, asked)
        began -= kept.elapsed

    def elapsed() -> float:
        return time.monotonic() - began

    def save(state: Checkpoint) -> None:
        if checkpoint is not None:
            state.save(checkpoint, collected, asked)

    # The template, and what of each cloud belongs to which of its points.
    targets = collected.targets
    if kept is None:
        on_progress(Progress("match", 0, len(clouds), "clouds"))
    template = targets[choose_template(targets, settings)]
    template = template[patch_order(template, settings.patches or choose_patches(count))]
    if kept is None:

        def on_cloud(done: int) -> None:
            on_progress(Progress("match", done, len(clouds), "clouds"))
            if should_stop():
                raise Interrupted(resumable=False)

        reference, first, arrays = template, 0, dict[str, NDArray[Any]]()
        if settings.latents == "encoder":
            # Its latent size is given, not found in a spectrum.
            early = resolve(settings, len(clouds), count, np.zeros(1))
            latents = np.zeros((len(clouds), early.latent or 1), np.float32)
            network = Decoder.untrained(template, latents, early).to(device)
            steps = pretrain(network, targets, early, elapsed, on_progress, should_stop)
            if steps is None:
                raise Interrupted(resumable=False)
            reference, first, arrays = network.arrays().template, steps, network_state(network)
        solver = None if device.type == "cpu" else batched(device)
        assignments = first_matching(reference, targets, settings, on_cloud, solver)
        # What the encoder's steps took was training.
        kept = Checkpoint(assignments, first, elapsed(), 0.0 if first else elapsed(), arrays)
        save(kept)
    # In place: a collection can be as large as the memory.
    for i, assignment in enumerate(kept.assignments):
        targets.permute(i, assignment)

    # The network, started from the principal components of the matched coordinates.
    basis, spectrum = principal_components(targets)
    # A resumed fit keeps its latent size: its matching, and with it the spectrum, has moved on since.
    settings = replace(settings, latent=kept.latent or settings.latent)
    settings = resolve(settings, len(clouds), count, spectrum)
    assert settings.latent is not None
    network = Decoder.untrained(template, first_latents(basis, settings.latent, settings), settings).to(device)
    trainer, prepared = Trainer(network, targets, kept.assignments, settings), kept.prepared
    if kept.arrays:
        try:
            trainer.load_state(kept.arrays, kept.step)
        except (RuntimeError, KeyError, ValueError) as error:
            raise CloudError(f"{checkpoint}: holds another network than these settings make") from error

    def save_trainer() -> None:
        save(Checkpoint(trainer.assignments, trainer.step, elapsed(), prepared, trainer.state()))

    def in_percent(progress: Progress) -> None:
        # The assignment of the fit bounds the earth mover's distance from above: the estimate while it runs.
        matched = progress.figures["matched"] * collected.frame.scale
        share = 100 * matched / collected.diagonal if collected.diagonal else 0.0
        figures = {"loss": progress.figures["loss"], "emkd_percent": share}
        on_progress(replace(progress, figures=figures))

    if settings.minutes and elapsed() >= settings.minutes * 60 and not trainer.step:
        text = f"the {settings.minutes:g} minutes were over before training began: give it more"
        on_progress(Progress("note", text=text))
    if not trainer.run(elapsed, prepared, in_percent, should_stop, save_trainer):
        raise Interrupted(checkpoint is not None)
    save_trainer()
    encoder: dict[str, Any] = {**devices.versions(device), "steps": trainer.step}

    def check_stop() -> None:
        if should_stop():
            raise Interrupted(checkpoint is not None)

    def tune(steps: Steps, share: float) -> Model | None:
        rounding = Rounding(model.shape, steps, device)
        if not trainer.tune(rounding, share, elapsed, in_percent, should_stop):
            raise Interrupted(checkpoint is not None)
        changed = trainer.step > encoder["steps"]
        encoder["steps"] = trainer.step
        return network.arrays() if changed else None

    def size(quantised: Quantised) -> int:
        info = _info(unit, judge.settings, _stand_in(collected.names), encoder)
        return len(pack(_sections(quantised, judge, info))) + _ROOM

    model = network.arrays()
    if settings.max_emkd is not None:
        # What is promised of the file is measured on as many clouds as are recorded.
        settings = replace(settings, measure=_RECORDED)
    judge = Judge(collected, settings, on_progress, check_stop)
    limit = settings.budget(len(clouds), count)
    budget = None if limit is None else Budget(limit, size)
    encoded = encode(model, judge, tune if settings.tune else None, budget)
    return Fitted(model, encoded, collected, settings, unit, encoder, checkpoint, judge=judge)


def _info(unit: str, settings: Settings, fidelity: dict[str, Any], encoder: dict[str, Any]) -> dict[str, Any]:
    """Return what the file's `info` section says (SPEC.md, section 7.6)."""
    return {"unit": unit, "settings": settings.as_json(), "fidelity": fidelity, "encoder": encoder}


def _sections(quantised: Quantised, judge: Judge, info: dict[str, Any]) -> list[Section]:
    """Return the sections of the file."""
    return to_sections(quantised.shared, quantised.latents, judge.placement, judge.clouds.names, info)


def _stand_in(names: Sequence[str]) -> dict[str, Any]:
    """Return a record of fidelity as long as any: digits that nothing shortens, and the longest name."""
    digits = iter(np.random.default_rng(0).random(16).tolist())
    keys = ("diagonal", "mean", "mean_squared", "sum", "rms", "mean_percent", "at_least", "rise")
    worst = {"name": max(names, key=len), "mean": next(digits)}
    return {
        "metric": "emkd",
        "cell": CELL,
        "measured": _RECORDED,
        "worst": worst,
        **{key: next(digits) for key in keys},
    }
