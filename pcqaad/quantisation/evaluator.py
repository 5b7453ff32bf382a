"""What a quantised model costs in error: decoded clouds against the clouds they were fitted to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pcqaad.decoder.architecture import Model
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.exact import IntegerDecoder
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.evaluation.metrics import CELL, Errors, measure, percent, summarise
from pcqaad.monitor import Monitor, Stage
from pcqaad.points.collect import CloudSet, Points
from pcqaad.quantisation.quantise import Quantised

# Clouds of a larger set that its recorded fidelity is measured on: one of 65,536 points takes a core a second or two.
RECORDED_CLOUDS = 128
# Clouds that the distances to assigned targets are measured on: these only lead the search.
_ASSIGNED_CLOUDS = 8
# Returns the points (M, 3) of a cloud, normalised.
Decode = Callable[[int], Points]


@dataclass(frozen=True)
class Evaluator:
    """Measures what models decode to."""

    clouds: CloudSet  # the originals, with their targets in assigned order
    measured: int  # how many clouds a candidate is measured on, at most
    monitor: Monitor  # told of every cloud

    @property
    def denormalisation(self) -> Denormalisation:
        """Where decoded points lie in the data's space."""
        return Denormalisation.of(self.clouds.normalisation.centre, self.clouds.normalisation.scale)

    def sample(self, most: int) -> list[int]:
        """Return at most `most` clouds, evenly spread."""
        count = len(self.clouds.targets)
        return [int(i) for i in np.unique(np.linspace(0, count - 1, min(count, most)).round())]

    def floats(self, model: Model) -> Decode:
        """Return what decodes a float model.

        Points become float32 in the data's unit first, as those of a file are: far from the origin that is an error
        of its own, and not one of quantisation.
        """
        decoder, normalisation = FloatDecoder(model), self.clouds.normalisation

        def decode(i: int) -> Points:
            placed = decoder.decode(model.latents[i]) * normalisation.scale + normalisation.centre
            return normalisation.normalise(placed.astype(np.float32))

        return decode

    def integers(self, quantised: Quantised) -> Decode:
        """Return what decodes a quantised model to the very points that a reader of the file gets."""
        decoder = IntegerDecoder(quantised.shared, self.denormalisation)
        return lambda i: self.clouds.normalisation.normalise(decoder.decode_symbols(quantised.latents[i]))

    def errors(self, decode: Decode, sample: Sequence[int], stage: Stage) -> list[Errors]:
        """Measure EM-kD, normalised, of some clouds."""
        pairs = ((self.clouds.targets[i], decode(i)) for i in sample)
        return measure(pairs, monitor=self.monitor, stage=stage, total=len(sample))["emkd"]

    def error(self, decode: Decode) -> float:
        """Return the mean EM-kD, normalised, of the clouds that candidates are measured on."""
        errors = self.errors(decode, self.sample(self.measured), Stage.QUANTISE)
        return float(np.mean([e.mean for e in errors]))

    def percent(self, error: float) -> float:
        """Return a normalised error in percent of the clouds' diagonal."""
        return percent(error * self.clouds.normalisation.scale, self.clouds.diagonal)

    def assigned_error(self, model: Model) -> float:
        """Return the mean distance, normalised, of some clouds to their assigned targets: cheap to take."""
        sample = self.sample(self.measured)
        decode = self.floats(model)
        moves = (decode(i) - self.clouds.targets[i] for i in sample[:: max(len(sample) // _ASSIGNED_CLOUDS, 1)])
        return float(np.mean([np.linalg.norm(move, axis=1).mean() for move in moves]))

    def fidelity(self, quantised: Quantised, degradation: float) -> dict[str, Any]:
        """Return what the file records of its clouds: EM-kD in the data's unit (SPEC.md, section 7.6)."""
        sample = self.sample(RECORDED_CLOUDS)
        errors = self.errors(self.integers(quantised), sample, Stage.MEASURE)
        errors = [e.scaled(self.clouds.normalisation.scale) for e in errors]
        return {
            "metric": "emkd",
            "cell": CELL,
            "measured": len(sample),
            "diagonal": self.clouds.diagonal,
            **summarise(errors, [self.clouds.names[i] for i in sample], self.clouds.diagonal),
            "rise": degradation,
        }
