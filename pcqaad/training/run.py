"""A fit under way: from clouds to a trained network, phase by phase, with what each leaves to go on from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pcqaad.decoder.architecture import Model
from pcqaad.decoder.module import Decoder
from pcqaad.errors import CheckpointError, Interrupted
from pcqaad.evaluation.metrics import percent
from pcqaad.matching.gpu.auction import batched
from pcqaad.monitor import Monitor, Progress, Stage, log
from pcqaad.parallel import slowdown
from pcqaad.points.collect import CloudSet, Points
from pcqaad.points.components import principal_components
from pcqaad.points.fixed_point import Targets
from pcqaad.settings import Settings
from pcqaad.training.checkpoint import Checkpoint
from pcqaad.training.loop import train
from pcqaad.training.pretrain import ChamferTrainer
from pcqaad.training.schedule import NEARLY, Schedule, fitting, pretraining, tuning
from pcqaad.training.sizing import resolve
from pcqaad.training.start import (
    doubt_pairs,
    first_latents,
    first_matching,
    known_matching,
    ordered_template,
    untrained,
)
from pcqaad.training.trainer import Trainer, network_state

# The part of the time left, when training begins, that may be kept for what comes after it.
_MOST_RESERVED = 0.5
# The parts of training after which it is reckoned anew: others may come to use the machine, or leave it.
_RECKONED = (0.5, 0.8, 0.95, 1.0)
# The part of a fit's minutes that telling how busy the machine is may take each time, and seconds that suffice for it.
_TOLD, _TOLD_ENOUGH = 0.002, 0.1


class Run:
    """A fit of clouds, from the matching to its tuning; `resumable` once it has a checkpoint."""

    def __init__(
        self, asked: Settings, device: torch.device, checkpoint: Path | None, resume: bool, monitor: Monitor
    ) -> None:
        """Take the settings as given, and the file to keep the state in; None keeps none."""
        self._began = time.monotonic()
        self.resumable = resume and checkpoint is not None and checkpoint.exists()
        self._reserved = self._most_reserved = 0.0  # seconds for what comes after training
        self._asked, self._device, self._checkpoint, self._monitor = asked, device, checkpoint, monitor

    def train(self, clouds: CloudSet, reserve: Callable[[Model], float] = lambda _: 0.0) -> Trainer:
        """Match the clouds, or go on from the checkpoint, and train until tuning is left.

        `reserve` returns the seconds that a model takes after its training where nothing else uses the machine: they
        are the minutes' too.
        Brings the clouds' targets into assigned order. Raises CheckpointError where the checkpoint is not one of this
        fit, DivergenceError where the fit makes numbers beyond all bounds, and Interrupted.
        """
        targets = clouds.targets
        kept = self._load(clouds)
        if kept is None and self._asked.latent_init != "encoder" and not self._asked.registered:
            # Before the template is chosen, which may have a matcher to compile.
            self._monitor.update(Stage.MATCH, 0, len(targets), "clouds")
        template, order = ordered_template(targets, self._asked)
        if kept is None and self._asked.registered:
            doubt_pairs(targets, self._asked)
            elapsed = self._clock()
            kept = Checkpoint(known_matching(order, len(targets)), 0, elapsed, elapsed, {})
        if kept is None:
            kept = self._match(targets, template)
            self._save(clouds, kept)
        # In place: a collection can be as large as the memory.
        for i, assignment in enumerate(kept.assignments):
            targets.permute(i, assignment)
        trainer = self._start(clouds, template, kept)
        if self._asked.minutes:
            self._reserved = reserve(trainer.network.arrays())
            # However long the rest takes, some of the time is for training.
            self._most_reserved = max(self.left(), 0.0) * _MOST_RESERVED
        self._fit(clouds, trainer, kept.prepared)
        return trainer

    def _load(self, clouds: CloudSet) -> Checkpoint | None:
        """Return what there is to go on from, and take on the seconds it took; None where all begins."""
        if self._checkpoint is None or not self.resumable:
            return None
        kept = Checkpoint.load(self._checkpoint, clouds, self._asked)
        self._began -= kept.elapsed
        return kept

    def _match(self, targets: Targets, template: Points) -> Checkpoint:
        """Match every cloud to the template, or to what pretraining made of it: a fit before its first step."""
        reference, step, arrays = template, 0, dict[str, NDArray[Any]]()
        if self._asked.latent_init == "encoder":
            network, step = self._pretrain(targets, template)
            reference, arrays = network.arrays().template, network_state(network)
        solver = None if self._device.type == "cpu" else batched(self._device)
        assignments = first_matching(reference, targets, self._asked, self._monitor, solver)
        elapsed = self._clock()
        # Pretraining was training, not preparation.
        return Checkpoint(assignments, step, elapsed, 0.0 if step else elapsed, arrays)

    def _pretrain(self, targets: Targets, template: Points) -> tuple[Decoder, int]:
        """Train with an encoder; returns the network, its latents the encoder's embeddings, and the next step."""
        # The latent size is given, not found in a spectrum.
        settings = resolve(self._asked, len(targets), targets.points, np.zeros(1))
        latents = np.zeros((len(targets), settings.latent or 1), np.float32)
        network = untrained(template, latents, settings).to(self._device)
        trainer = ChamferTrainer(network, targets, settings, self._device)
        train(trainer, pretraining(trainer.schedule), self._clock, self._monitor)
        network.latents.data.copy_(trainer.embed())
        return network, trainer.step

    def _save(self, clouds: CloudSet, kept: Checkpoint) -> None:
        """Write a checkpoint, where one is wanted."""
        if self._checkpoint is not None:
            kept.save(self._checkpoint, clouds, self._asked)
            self.resumable = True

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
        network = untrained(template, first_latents(basis, settings.latent, settings), settings).to(self._device)
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
        if minutes and self._clock() >= minutes * 60 and not trainer.step:
            log.warning("the %g minutes were over before training began: give it more", minutes)

        def save() -> None:
            kept = Checkpoint(trainer.assignments, trainer.step, self._clock(), prepared, trainer.state())
            self._save(clouds, kept)

        try:
            for until in _RECKONED if self._reserved else (1.0,):
                trainer.schedule = replace(trainer.schedule, reserved=self._reserve())
                phase = replace(fitting(trainer.schedule, prepared), until=until)
                train(trainer, phase, self._clock, self._monitor, save)
        except Interrupted:
            save()
            raise
        save()

    def _reserve(self) -> float:
        """Return the seconds to leave for what comes after training, by how busy the machine is now."""
        minutes = self._asked.minutes
        if not minutes or not self._reserved:
            return 0.0
        busy = slowdown(min(_TOLD * 60 * minutes, _TOLD_ENOUGH))
        return min(self._reserved * busy, self._most_reserved)

    def timed(self) -> Monitor:
        """Return a monitor that is told the seconds of the whole fit where its minutes end it, whatever it is doing."""
        show, minutes = self._monitor.show, self._asked.minutes
        if show is None or minutes is None or self._asked.epochs is not None:
            return self._monitor

        def told(progress: Progress) -> None:
            done = min(self._clock(), NEARLY * 60 * minutes)
            show(replace(progress, done=done, total=60 * minutes, unit="seconds"))

        return Monitor(told, self._monitor.should_stop)

    def ended(self) -> None:
        """Tell that all is done, where minutes end the fit."""
        if self._asked.minutes is not None and self._asked.epochs is None:
            whole = 60 * self._asked.minutes
            self._monitor.update(Stage.MEASURE, whole, whole, "seconds")

    def left(self) -> float:
        """Return the seconds that the minutes leave; infinitely many where none are given."""
        minutes = self._asked.minutes
        return 60 * minutes - self._clock() if minutes else math.inf

    def _clock(self) -> float:
        """Return the seconds that the fit has taken, those before an interruption included."""
        return time.monotonic() - self._began

    def tune(self, trainer: Trainer) -> Model | None:
        """Train on, at a low rate that falls, for what the settings leave for that.

        An interrupted fit begins this phase anew: its last checkpoint is from before. Returns None where there is no
        time for a step.
        """
        first = trainer.step
        train(trainer, tuning(trainer.schedule, first, self._clock()), self._clock, self._monitor)
        return trainer.network.arrays() if trainer.step > first else None
