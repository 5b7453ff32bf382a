"""What a quantised model costs in error: decoded clouds against the clouds they were fitted to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.architecture import Architecture, Model
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.exact import IntegerDecoder
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.decoder.patches import draw_points, patch_sizes
from pcqaad.evaluation.metrics import CELL, Errors, measure, percent, summarise
from pcqaad.monitor import Monitor, Stage
from pcqaad.points.collect import CloudSet, Points
from pcqaad.quantisation.quantise import Quantised
from pcqaad.seeds import Use, generator

# Clouds of a larger set that its recorded fidelity is measured on: one of 65,536 points takes a core a second or two.
RECORDED_CLOUDS = 128
# Clouds that the distances to assigned targets are measured on: these only lead the search.
_ASSIGNED_CLOUDS = 8
# The part of the points that candidates are judged by, and their least number: another part says the same.
_JUDGED_PART = 1 / 16
_JUDGED_POINTS = 2048
# Points of all clouds together on which whole clouds have the last word; of no fewer clouds than these.
_CONFIRMED_POINTS = 2**17
_CONFIRMED_CLOUDS = 2
# Returns the points (M, 3) of a cloud, normalised.
Decode = Callable[[int], Points]


@dataclass(frozen=True)
class Evaluator:
    """Measures what models decode to."""

    clouds: CloudSet  # the originals, with their targets in assigned order
    measured: int  # how many clouds a candidate is measured on, at most
    monitor: Monitor  # told of every cloud
    promised: bool = False  # whether all points of all these clouds have the last word, or fewer of large ones
    seed: int = 0  # of the points that candidates are judged by

    @property
    def denormalisation(self) -> Denormalisation:
        """Where decoded points lie in the data's space."""
        return Denormalisation.of(self.clouds.normalisation.centre, self.clouds.normalisation.scale)

    def sample(self, most: int) -> list[int]:
        """Return at most `most` clouds, evenly spread."""
        count = len(self.clouds.targets)
        return [int(i) for i in np.unique(np.linspace(0, count - 1, min(count, most)).round())]

    def judged(self, architecture: Architecture) -> NDArray[np.int64]:
        """Return the rows (m,) of the template by which candidates are judged, as many of each patch; or all."""
        points = architecture.points
        wanted = max(round(points * _JUDGED_PART), _JUDGED_POINTS)
        if wanted >= points:
            return np.arange(points)
        rng = generator(self.seed, Use.JUDGED_POINTS)
        return draw_points(rng, patch_sizes(points, architecture.patches), wanted).ravel()

    def confirmed(self) -> list[int]:
        """Return the clouds that have the last word, whole: those that candidates are measured on, or a few large."""
        few = max(_CONFIRMED_POINTS // self.clouds.targets.points, _CONFIRMED_CLOUDS)
        return self.sample(self.measured if self.promised else min(self.measured, few))

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

    def errors(self, decode: Decode, sample: Sequence[int], stage: Stage) -> dict[int, Errors]:
        """Measure EM-kD, normalised, of some clouds."""
        pairs = ((self.clouds.targets[i], decode(i)) for i in sample)
        found = measure(pairs, monitor=self.monitor, stage=stage, total=len(sample))["emkd"]
        return dict(zip(sample, found, strict=True))

    def error(self, model: Model | Quantised) -> float:
        """Return the mean EM-kD, normalised, of the clouds that candidates are measured on, by some of their points."""
        architecture = model.architecture if isinstance(model, Model) else model.shared.architecture
        rows = self.judged(architecture)
        sample = self.sample(self.measured)
        decode = self._decode_part(model, rows)
        pairs = ((self.clouds.targets[i][rows], decode(i)) for i in sample)
        found = measure(pairs, monitor=self.monitor, stage=Stage.QUANTISE, total=len(sample))["emkd"]
        return float(np.mean([e.mean for e in found]))

    def _decode_part(self, model: Model | Quantised, rows: NDArray[np.int64]) -> Decode:
        """Return what decodes the rows of the template alone, as many of each patch."""
        if isinstance(model, Model):
            architecture = replace(model.architecture, points=len(rows))
            return self.floats(replace(model, architecture=architecture, template=model.template[rows]))
        shared = model.shared
        architecture = replace(shared.architecture, points=len(rows))
        return self.integers(replace(model, shared=replace(shared, architecture=architecture, grid=shared.grid[rows])))

    def percent(self, error: float) -> float:
        """Return a normalised error in percent of the clouds' diagonal."""
        return percent(error * self.clouds.normalisation.scale, self.clouds.diagonal)

    def assigned_error(self, model: Model) -> float:
        """Return the mean distance, normalised, of a part of some clouds to its assigned targets: cheap to take."""
        sample, rows = self.sample(self.measured), self.judged(model.architecture)
        decode = self._decode_part(model, rows)
        moves = (decode(i) - self.clouds.targets[i][rows] for i in sample[:: max(len(sample) // _ASSIGNED_CLOUDS, 1)])
        return float(np.mean([np.linalg.norm(move, axis=1).mean() for move in moves]))

    def fidelity(self, quantised: Quantised, degradation: float, known: Mapping[int, Errors]) -> dict[str, Any]:
        """Return what the file records of its clouds: EM-kD in the data's unit (SPEC.md, section 7.6).

        Errors of clouds that are `known`, normalised, are not measured again.
        """
        sample = self.sample(RECORDED_CLOUDS)
        left = [i for i in sample if i not in known]
        found = {**known, **self.errors(self.integers(quantised), left, Stage.MEASURE)}
        errors = [found[i].scaled(self.clouds.normalisation.scale) for i in sample]
        return {
            "metric": "emkd",
            "cell": CELL,
            "measured": len(sample),
            "diagonal": self.clouds.diagonal,
            **summarise(errors, [self.clouds.names[i] for i in sample], self.clouds.diagonal),
            "rise": degradation,
        }
