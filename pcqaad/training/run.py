"""A fit under way: from clouds to a trained network, phase by phase, with what each leaves to go on from."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pcqaad.decoder.architecture import Model
from pcqaad.errors import CheckpointError, Interrupted
from pcqaad.evaluation.metrics import percent
from pcqaad.matching.gpu.auction import batched
from pcqaad.matching.kd import patch_order
from pcqaad.monitor import Monitor, Stage, log
from pcqaad.points.collect import CloudSet, Points
from pcqaad.quantisation.step_sizes import StepSizes
from pcqaad.settings import Settings
from pcqaad.training.checkpoint import Checkpoint
from pcqaad.training.loop import Clock, train
from pcqaad.training.pretrain import ChamferTrainer
from pcqaad.training.quantisation_aware import FakeQuantisation
from pcqaad.training.schedule import Schedule, fitting, pretraining, tuning
from pcqaad.training.sizing import choose_patches, resolve
from pcqaad.training.start import (
    choose_template,
    first_latents,
    first_matching,
    principal_components,
    untrained,
)
from pcqaad.training.trainer import Trainer, network_state


class Run:
    """A fit of clouds, from the matching to quantisation-aware training.

    Attributes:
        resumable: whether there is a checkpoint of this fit.
        clock: returns the seconds that the fit has taken.
    """

    def __init__(
        self, asked: Settings, device: torch.device, checkpoint: Path | None, resume: bool, monitor: Monitor
    ) -> None:
        """Take the settings as given, and the file to keep the state in; None keeps none."""
        self.clock = Clock(time.monotonic())
        self.resumable = resume and checkpoint is not None and checkpoint.exists()
        self._asked, self._device, self._checkpoint, self._monitor = asked, device, checkpoint, monitor

    def train(self, clouds: CloudSet) -> Trainer:
        """Match the clouds, or go on from the checkpoint, and train until quantisation-aware training is left.

        Brings the clouds' targets into assigned order.

        Raises:
            CheckpointError: the checkpoint is not one of this fit.
            DivergenceError: the fit makes numbers beyond all bounds.
            Interrupted: stopped.
        """
        targets = clouds.targets
        kept = self._kept(clouds)
        if kept is None and self._asked.latent_init != "encoder":
            # Before the template is chosen, which may have a matcher to compile.
            self._monitor.update(Stage.MATCH, 0, len(targets), "clouds")
        template = targets[choose_template(targets, self._asked)]
        template = template[patch_order(template, self._asked.patches or choose_patches(targets.points))]
        if kept is None:
            kept = self._match(clouds, template)
            self._save(clouds, kept)
        # In place: a collection can be as large as the memory.
        for i, assignment in enumerate(kept.assignments):
            targets.permute(i, assignment)
        trainer = self._start(clouds, template, kept)
        self._fit(clouds, trainer, kept.prepared)
        return trainer

    def tune(self, trainer: Trainer, steps: StepSizes, share: float) -> Model | None:
        """Train on, quantisation-aware, for a share of what the settings leave for that.

        An interrupted fit begins this phase anew: its last checkpoint is from before. Returns None where the share
        holds no step.
        """
        first = trainer.step
        trainer.quantisation_aware(FakeQuantisation(trainer.network.arrays().architecture, steps, self._device))
        schedule = Schedule(trainer.settings, len(trainer.targets))
        train(trainer, tuning(schedule, share, first, self.clock()), self.clock, self._monitor)
        return trainer.network.arrays() if trainer.step > first else None

    def _kept(self, clouds: CloudSet) -> Checkpoint | None:
        """Return what there is to go on from, and take on the seconds it took; None where all begins."""
        if self._checkpoint is None or not self.resumable:
            return None
        found = Checkpoint.load(self._checkpoint, clouds, self._asked)
        self.clock.began -= found.elapsed
        return found

    def _save(self, clouds: CloudSet, state: Checkpoint) -> None:
        """Write a checkpoint, where one is wanted."""
        if self._checkpoint is not None:
            state.save(self._checkpoint, clouds, self._asked)
            self.resumable = True

    def _match(self, clouds: CloudSet, template: Points) -> Checkpoint:
        """Return a fit before its first step: every cloud matched to the template, normalised and patch by patch.

        After pretraining, to what that made of the template.
        """
        targets, settings = clouds.targets, self._asked
        reference, first, arrays = template, 0, dict[str, NDArray[Any]]()
        if settings.latent_init == "encoder":
            # Its latent size is given, not found in a spectrum.
            early = resolve(settings, len(targets), targets.points, np.zeros(1))
            latents = np.zeros((len(targets), early.latent or 1), np.float32)
            network = untrained(template, latents, early).to(self._device)
            learner = ChamferTrainer(network, targets, early, self._device)
            train(learner, pretraining(Schedule(early, len(targets))), self.clock, self._monitor)
            network.latents.data.copy_(learner.embed())
            reference, first, arrays = network.arrays().template, learner.step, network_state(network)
        solver = None if self._device.type == "cpu" else batched(self._device)
        assignments = first_matching(reference, targets, settings, self._monitor, solver)
        elapsed = self.clock()
        # Pretraining was training, not preparation.
        return Checkpoint(assignments, first, elapsed, 0.0 if first else elapsed, arrays)

    def _start(self, clouds: CloudSet, template: Points, kept: Checkpoint) -> Trainer:
        """Return the network, started from the principal components of the matched coordinates or as it was kept."""
        targets = clouds.targets
        basis, spectrum = principal_components(targets)
        # A resumed fit keeps its latent size: its matching, and with it the spectrum, has moved on since.
        settings = replace(self._asked, latent=kept.latent or self._asked.latent)
        settings = resolve(settings, len(targets), targets.points, spectrum)
        assert settings.latent is not None
        schedule = Schedule(settings, len(targets))
        if kept.step > schedule.steps:
            least = -(-kept.step // schedule.steps_per_epoch)
            made = f"{kept.step:,} steps were made already, more than {settings.epochs} epochs have"
            raise CheckpointError(f"{self._checkpoint}: {made}; expected at least {least} epochs")
        latents = first_latents(basis, settings.latent, settings)
        network = untrained(template, latents, settings).to(self._device)
        scale = percent(clouds.normalisation.scale, clouds.diagonal)
        trainer = Trainer(network, targets, kept.assignments, settings, scale)
        if kept.arrays:
            try:
                trainer.load_state(kept.arrays, kept.step)
            except (RuntimeError, KeyError, ValueError, TypeError) as error:
                raise CheckpointError(f"{self._checkpoint}: holds another network than these settings make") from error
        return trainer

    def _fit(self, clouds: CloudSet, trainer: Trainer, prepared: float) -> None:
        """Train through the main phase, `prepared` seconds of the fit having passed before its first step."""
        minutes = trainer.settings.minutes
        if minutes and self.clock() >= minutes * 60 and not trainer.step:
            log.warning("the %g minutes were over before training began: give it more", minutes)

        def save() -> None:
            state = Checkpoint(trainer.assignments, trainer.step, self.clock(), prepared, trainer.state())
            self._save(clouds, state)

        phase = fitting(Schedule(trainer.settings, len(clouds.targets)), prepared)
        try:
            train(trainer, phase, self.clock, self._monitor, save)
        except Interrupted:
            save()
            raise
        save()
