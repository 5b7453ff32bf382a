"""A fit under way: from clouds to a trained network, stage by stage, with what each leaves to go on from."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pcqaad.errors import CheckpointError, Interrupted
from pcqaad.evaluation.metrics import percent
from pcqaad.matching.gpu.auction import batched
from pcqaad.matching.kd import patch_order
from pcqaad.points.collect import CloudSet, Points
from pcqaad.progress import Progress, Report, Stop
from pcqaad.settings import Settings
from pcqaad.training.checkpoint import Checkpoint
from pcqaad.training.pretrain import pretrain
from pcqaad.training.schedule import Schedule
from pcqaad.training.sizing import choose_patches, resolve
from pcqaad.training.start import (
    choose_template,
    first_latents,
    first_matching,
    principal_components,
    untrained,
)
from pcqaad.training.trainer import Trainer, network_state


@dataclass
class Run:
    """The clock of a fit, whom it tells, whether it is to stop, and its stages.

    Attributes:
        clouds: what is fitted.
        asked: the settings as given, before anything was chosen from the data.
        device: where it trains.
        checkpoint: the file to save its state to; None saves nothing.
        report: told what goes on.
        should_stop: asked often.
        began: when, on the clock of `time.monotonic`; as much earlier as a fit that is gone on with took.
        resumable: whether there is a checkpoint of this fit.
    """

    clouds: CloudSet
    asked: Settings
    device: torch.device
    checkpoint: Path | None
    report: Report
    should_stop: Stop
    began: float
    resumable: bool

    def elapsed(self) -> float:
        """Return the seconds spent, those before an interruption included."""
        return time.monotonic() - self.began

    def check(self) -> None:
        """Raise Interrupted when asked to stop."""
        if self.should_stop():
            raise Interrupted(self.resumable)

    def trained(self) -> Trainer:
        """Match the clouds, or go on from the checkpoint, and train until the settings' tuning is left.

        Raises:
            CloudError: the checkpoint is not one of this fit.
            Interrupted: stopped.
        """
        targets = self.clouds.targets
        kept = self._kept()
        if kept is None and self.asked.latents != "encoder":
            # Before the template is chosen, which may have a matcher to compile.
            self.report(Progress("match", 0, len(targets), "clouds"))
        template = targets[choose_template(targets, self.asked)]
        template = template[patch_order(template, self.asked.patches or choose_patches(targets.points))]
        if kept is None:
            kept = self._match(template)
            self._save(kept)
        # In place: a collection can be as large as the memory.
        for i, assignment in enumerate(kept.assignments):
            targets.permute(i, assignment)
        trainer = self._start(template, kept)
        self._train(trainer, kept.prepared)
        return trainer

    def in_percent(self, progress: Progress) -> None:
        """Report the mean distance to the assigned targets in percent of the diagonal.

        The assignment of the fit bounds the earth mover's distance from above: the estimate while it runs.
        """
        matched = progress.figures["matched"] * self.clouds.normalisation.scale
        figures = {"loss": progress.figures["loss"], "emkd_percent": percent(matched, self.clouds.diagonal)}
        self.report(replace(progress, figures=figures))

    def _kept(self) -> Checkpoint | None:
        """Return what there is to go on from, and take on the seconds it took; None where all begins."""
        if self.checkpoint is None or not self.resumable:
            return None
        found = Checkpoint.load(self.checkpoint, self.clouds, self.asked)
        self.began -= found.elapsed
        return found

    def _save(self, state: Checkpoint) -> None:
        """Write a checkpoint, where one is wanted."""
        if self.checkpoint is not None:
            state.save(self.checkpoint, self.clouds, self.asked)
            self.resumable = True

    def _match(self, template: Points) -> Checkpoint:
        """Return a fit before its first step: every cloud matched to the template, normalised and patch by patch.

        After an encoder's training, to what that made of the template.
        """
        targets, settings = self.clouds.targets, self.asked
        reference, first, arrays = template, 0, dict[str, NDArray[Any]]()
        if settings.latents == "encoder":
            # Its latent size is given, not found in a spectrum.
            early = resolve(settings, len(targets), targets.points, np.zeros(1))
            latents = np.zeros((len(targets), early.latent or 1), np.float32)
            network = untrained(template, latents, early).to(self.device)
            steps = pretrain(network, targets, early, self.elapsed, self.report, self.should_stop)
            if steps is None:
                raise Interrupted(self.resumable)
            reference, first, arrays = network.arrays().template, steps, network_state(network)

        def on_cloud(done: int) -> None:
            self.report(Progress("match", done, len(targets), "clouds"))
            self.check()

        solver = None if self.device.type == "cpu" else batched(self.device)
        assignments = first_matching(reference, targets, settings, on_cloud, solver)
        elapsed = self.elapsed()
        # What the encoder's steps took was training.
        return Checkpoint(assignments, first, elapsed, 0.0 if first else elapsed, arrays)

    def _start(self, template: Points, kept: Checkpoint) -> Trainer:
        """Return the network, started from the principal components of the matched coordinates or as it was kept."""
        targets = self.clouds.targets
        basis, spectrum = principal_components(targets)
        # A resumed fit keeps its latent size: its matching, and with it the spectrum, has moved on since.
        settings = replace(self.asked, latent=kept.latent or self.asked.latent)
        settings = resolve(settings, len(targets), targets.points, spectrum)
        assert settings.latent is not None
        schedule = Schedule(settings, len(targets))
        if kept.step > schedule.steps:
            least = -(-kept.step // schedule.steps_per_epoch)
            made = f"{kept.step:,} steps were made already, more than {settings.epochs} epochs have"
            raise CheckpointError(f"{self.checkpoint}: {made}; expected at least {least} epochs")
        latents = first_latents(basis, settings.latent, settings)
        network = untrained(template, latents, settings).to(self.device)
        trainer = Trainer(network, targets, kept.assignments, settings)
        if kept.arrays:
            try:
                trainer.load_state(kept.arrays, kept.step)
            except (RuntimeError, KeyError, ValueError) as error:
                raise CheckpointError(f"{self.checkpoint}: holds another network than these settings make") from error
        return trainer

    def _train(self, trainer: Trainer, prepared: float) -> None:
        """Train to the end, `prepared` seconds of the fit having passed before its first step."""

        def save() -> None:
            arrays = trainer.state()
            self._save(Checkpoint(trainer.assignments, trainer.step, self.elapsed(), prepared, arrays))

        minutes = trainer.settings.minutes
        if minutes and self.elapsed() >= minutes * 60 and not trainer.step:
            text = f"the {minutes:g} minutes were over before training began: give it more"
            self.report(Progress("note", text=text))
        if not trainer.run(self.elapsed, prepared, self.in_percent, self.should_stop, save):
            raise Interrupted(self.resumable)
        save()
