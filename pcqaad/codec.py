"""The story: clouds -> fit -> quantise -> file. Back again leads `pcqaad.collection`, without torch."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pcqaad._version import __version__
from pcqaad.clouds import CloudError, CloudSet, Points, collect
from pcqaad.decoding import IntegerDecoder
from pcqaad.floating import FloatDecoder
from pcqaad.formats.container import write_container
from pcqaad.matching.batched import batched
from pcqaad.matching.kd import patch_order
from pcqaad.metrics import CELL, Errors, measure, summarise
from pcqaad.model import Model
from pcqaad.network import Decoder
from pcqaad.placement import Placement
from pcqaad.progress import Progress, Report, Stop, never, silent
from pcqaad.quantize import Quantised, probe, quantise, search_slope
from pcqaad.settings import Settings, choose_patches, resolve
from pcqaad.storage import to_sections
from pcqaad.targets import Targets
from pcqaad.training import devices
from pcqaad.training.checkpoint import Checkpoint
from pcqaad.training.loop import Trainer
from pcqaad.training.start import (
    choose_template,
    first_latents,
    first_matching,
    principal_components,
)

# Of a larger set this many clouds are measured for the record: one of 65,536 points takes a second or two of a core.
_RECORDED = 128

# Quantisations measured to get under the tolerance; the first or second one is, as a rule. A model exact to the
# last digits of float32 can meet no tolerance: then the finest one tried is kept, and the record says its cost.
_ATTEMPTS = 20

Decode = Callable[[int], Points]


class Interrupted(Exception):
    """The caller asked to stop. `resumable` says whether a checkpoint was left to go on from."""

    def __init__(self, resumable: bool) -> None:
        self.resumable = resumable
        super().__init__("interrupted" + ("" if resumable else " before there was anything to resume from"))


@dataclass
class Fitted:
    """A fitted collection, still in floats; `save` quantises it into a file.

    Attributes:
        model: the decoder's numbers.
        clouds: what was fitted.
        targets: the clouds in assigned order, normalised.
        settings: as resolved.
        unit: of the coordinates, as the user named it.
        encoder: versions, steps and seconds, for the record.
    """

    model: Model
    clouds: CloudSet
    targets: Targets
    settings: Settings
    unit: str
    encoder: dict[str, Any]
    checkpoint: Path | None = None
    on_progress: Report = field(default=silent, repr=False)
    should_stop: Stop = field(default=never, repr=False)

    def save(self, path: Path | str) -> None:
        """Quantise within the settings' tolerance, measure what a reader will decode, write the file.

        The checkpoint goes once the file stands. Raises FormatError where it cannot be written, and
        Interrupted when asked to stop.
        """
        quantised, rise = self._quantise()
        info = {
            "unit": self.unit,
            "settings": self.settings.as_json(),
            "fidelity": self._fidelity(quantised) | {"rise": rise},
            "encoder": self.encoder,
        }
        sections = to_sections(quantised.shared, quantised.latents, self._placement(), self.clouds.names, info)
        write_container(Path(path), sections)
        if self.checkpoint is not None:
            self.checkpoint.unlink(missing_ok=True)

    def _quantise(self) -> tuple[Quantised, float]:
        """Find the coarsest steps at which EM-kD rises by less than the tolerance; returns the rise too.

        The distances to the assigned targets, cheap to take, lead near it; EM-kD itself decides.
        """
        tolerance = self.settings.tolerance
        sensitivities = probe(self.model, self.settings.seed)
        sample = _spread(len(self.targets), self.settings.measure)
        few = sample[:: max(len(sample) // 8, 1)]
        base = self._assigned_error(self.model, few)

        def assigned_rise(slope: float) -> float:
            self._check_stop()
            self.on_progress(Progress("quantise"))
            return self._assigned_error(quantise(self.model, sensitivities, slope).model(), few) / base - 1

        slope = 0.8 * search_slope(assigned_rise, 1e-9 * base**2, tolerance) if base > 0 else 1e-18
        floats = _mean(self._measure(self._floats(), sample, "quantise"))
        for _ in range(_ATTEMPTS):
            quantised = quantise(self.model, sensitivities, slope)
            rise = _mean(self._measure(self._decoded(quantised), sample, "quantise")) / floats - 1 if floats else 0.0
            if rise < tolerance:
                break
            # The rise is close to linear in the slope; aim below the bound, and never at the same point.
            slope *= min(0.9 * tolerance / rise, 0.8)
        return quantised, rise

    def _fidelity(self, quantised: Quantised) -> dict[str, Any]:
        """Measure EM-kD between the originals and what the file decodes to, in the data's unit."""
        sample = _spread(len(self.targets), _RECORDED)
        errors = self._measure(self._decoded(quantised), sample, "measure")
        errors = [e.scaled(self.clouds.frame.scale) for e in errors]
        figures = summarise(errors, [self.clouds.names[i] for i in sample], self.clouds.diagonal)
        return {
            "metric": "emkd",
            "cell": CELL,
            "measured": len(sample),
            "diagonal": self.clouds.diagonal,
            **figures,
        }

    def _placement(self) -> Placement:
        return Placement.of(self.clouds.frame.centre, self.clouds.frame.scale)

    def _floats(self) -> Decode:
        """Return what decodes cloud i of the float model, normalised."""
        model = self.model
        decoder = FloatDecoder(model.shape, model.template, model.weights)
        return lambda i: decoder.decode(model.latents[i])

    def _decoded(self, quantised: Quantised) -> Decode:
        """Return what decodes cloud i to the very points that a reader of the file gets, normalised."""
        decoder, placement = IntegerDecoder(quantised.shared), self._placement()

        def decode(i: int) -> Points:
            part = quantised.shared.cloud_parts(quantised.latents[i : i + 1])[0]
            return self.clouds.frame.normalise(placement.points(decoder.decode(part)))

        return decode

    def _measure(self, decode: Decode, sample: list[int], stage: str) -> list[Errors]:
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            self.on_progress(Progress(stage, done, len(sample), "clouds"))
            self._check_stop()

        pairs = ((self.targets[i], decode(i)) for i in sample)
        return measure(pairs, on_cloud=step)["emkd"]

    def _assigned_error(self, model: Model, clouds: list[int]) -> float:
        """Return the mean distance of clouds to their assigned targets, normalised."""
        decoder = FloatDecoder(model.shape, model.template, model.weights)
        moves = (decoder.decode(model.latents[i]) - self.targets[i] for i in clouds)
        return float(np.mean([np.linalg.norm(move, axis=1).mean() for move in moves]))

    def _check_stop(self) -> None:
        if self.should_stop():
            raise Interrupted(self.checkpoint is not None)


def fit(
    clouds: Sequence[Points],
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
            will do that reads them from a disk, and all of them may be larger than memory.
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

    collected = collect(clouds, names, points, settings.seed, on_read)
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
    template = targets[choose_template(targets, settings)]
    template = template[patch_order(template, settings.patches or choose_patches(count))]
    if kept is None:

        def on_cloud(done: int) -> None:
            on_progress(Progress("match", done, len(clouds), "clouds"))
            if should_stop():
                raise Interrupted(resumable=False)

        solver = None if device.type == "cpu" else batched(device)
        assignments = first_matching(template, targets, settings, on_cloud, solver)
        kept = Checkpoint(assignments, 0, elapsed(), {})
        save(kept)
    # In place: a collection can be as large as the memory.
    for i, assignment in enumerate(kept.assignments):
        targets.permute(i, assignment)

    # The network, started from the principal components of the matched coordinates.
    basis, spectrum = principal_components(targets)
    # A resumed fit keeps its latent size: its matching, and with it the spectrum, has moved on since.
    settings = replace(settings, latent=kept.latent or settings.latent)
    settings = resolve(settings, len(clouds), count, spectrum)
    assert settings.shared and settings.patch and settings.patches and settings.latent
    torch.manual_seed(settings.seed)
    network = Decoder(
        torch.from_numpy(template),
        torch.from_numpy(first_latents(basis, settings.latent, settings)),
        settings.shared,
        settings.patch,
        settings.patches,
        settings.residual,
    ).to(device)
    trainer = Trainer(network, targets, kept.assignments, settings)
    if kept.arrays:
        try:
            trainer.load_state(kept.arrays, kept.step)
        except (RuntimeError, KeyError, ValueError) as error:
            raise CloudError(f"{checkpoint}: holds another network than these settings make") from error

    def save_trainer() -> None:
        save(Checkpoint(trainer.assignments, trainer.step, elapsed(), trainer.state()))

    def in_percent(progress: Progress) -> None:
        # The assignment of the fit bounds the earth mover's distance from above: the estimate while it runs.
        matched = progress.figures["matched"] * collected.frame.scale
        share = 100 * matched / collected.diagonal if collected.diagonal else 0.0
        figures = {"loss": progress.figures["loss"], "emkd_percent": share}
        on_progress(replace(progress, figures=figures))

    if settings.minutes and elapsed() >= settings.minutes * 60 and not trainer.step:
        text = f"the {settings.minutes:g} minutes were over before training began: give it more"
        on_progress(Progress("note", text=text))
    finished = trainer.run(elapsed, in_percent, should_stop, save_trainer)
    if not finished:
        raise Interrupted(checkpoint is not None)
    save_trainer()
    encoder = {
        "pcqaad": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": devices.describe(device),
        "steps": trainer.step,
    }
    return Fitted(
        network.arrays(),
        collected,
        trainer.targets,
        settings,
        unit,
        encoder,
        checkpoint,
        on_progress,
        should_stop,
    )


def _spread(count: int, most: int) -> list[int]:
    """Return at most `most` of `count` indices, evenly spread."""
    return [int(i) for i in np.unique(np.linspace(0, count - 1, min(count, most)).round())]


def _mean(errors: Sequence[Errors]) -> float:
    return float(np.mean([e.mean for e in errors]))
