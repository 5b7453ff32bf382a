"""What a quantised model costs in error: decoded clouds against the clouds they were fitted to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.architecture import Model
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.exact import IntegerDecoder
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.evaluation.metrics import CELL, Errors, measure, percent, summarise, vertex_errors
from pcqaad.monitor import Monitor, Stage
from pcqaad.points.collect import CloudSet, Points, allocate
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
    by_pairs: bool = False  # whether candidates are judged by the distances of known pairs, and not by EM-kD

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
        """Return the mean EM-kD or vertex error, normalised, of the clouds that candidates are measured on."""
        sample = self.sample(self.measured)
        if self.by_pairs:
            means: list[float] = []
            for i in sample:
                means.append(float(self._distances(decode(i), i).mean()))
                self.monitor.update(Stage.QUANTISE, len(means), len(sample), "clouds")
            return float(np.mean(means))
        errors = self.errors(decode, sample, Stage.QUANTISE)
        return float(np.mean([e.mean for e in errors]))

    def percent(self, error: float) -> float:
        """Return a normalised error in percent of the clouds' diagonal."""
        return percent(error * self.clouds.normalisation.scale, self.clouds.diagonal)

    def assigned_error(self, model: Model) -> float:
        """Return the mean distance, normalised, of some clouds to their assigned targets: cheap to take."""
        sample = self.sample(self.measured)
        decode = self.floats(model)
        few = sample[:: max(len(sample) // _ASSIGNED_CLOUDS, 1)]
        return float(np.mean([self._distances(decode(i), i).mean() for i in few]))

    def _distances(self, decoded: Points, cloud: int) -> Points:
        """Return the distances (M,), normalised, of a cloud's decoded points to their assigned targets."""
        distances: Points = np.linalg.norm(decoded - self.clouds.targets[cloud], axis=1)
        return distances

    def fidelity(self, quantised: Quantised, degradation: float) -> dict[str, Any]:
        """Return what the file records of its clouds, in the data's unit (SPEC.md, section 7.6).

        That is EM-kD and, where pairs are known, the errors per vertex.
        """
        sample, scale = self.sample(RECORDED_CLOUDS), self.clouds.normalisation.scale
        decode, per_vertex = self.integers(quantised), {}
        if self.clouds.registered:
            decode = self._noting(decode, distances := allocate((len(sample), self.clouds.targets.points), np.float32))
        errors = [e.scaled(scale) for e in self.errors(decode, sample, Stage.MEASURE)]
        if self.clouds.registered:
            distances *= np.float32(scale)
            per_vertex = {"per_vertex": vertex_errors(distances, self.clouds.diagonal)}
        return {
            "metric": "emkd",
            "cell": CELL,
            "measured": len(sample),
            "diagonal": self.clouds.diagonal,
            **summarise(errors, [self.clouds.names[i] for i in sample], self.clouds.diagonal),
            **per_vertex,
            "rise": degradation,
        }

    def _noting(self, decode: Decode, distances: NDArray[np.float32]) -> Decode:
        """Return the same, which writes the distances (M,) of the clouds into rows (N, M) as it decodes them."""
        rows = iter(distances)

        def noting(i: int) -> Points:
            decoded = decode(i)
            next(rows)[:] = self._distances(decoded, i)
            return decoded

        return noting
