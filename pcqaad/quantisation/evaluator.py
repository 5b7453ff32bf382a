"""What a quantised model costs in error: decoded clouds against the clouds they were fitted to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.architecture import Architecture, Model
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.exact import IntegerDecoder
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.decoder.patches import draw_points, patch_sizes
from pcqaad.decoder.surface import Draw
from pcqaad.evaluation.metrics import CELL, Errors, measure, percent, summarise, vertex_errors
from pcqaad.monitor import Monitor, Stage
from pcqaad.points.collect import CloudSet, Points, allocate
from pcqaad.quantisation.clock import Clock, Step
from pcqaad.quantisation.quantise import Quantised
from pcqaad.seeds import Use, generator

# Clouds of a larger set that its recorded fidelity is measured on: one of 65,536 points takes a core a second or two.
RECORDED_CLOUDS = 128
# And where the time is over.
_LEAST_RECORDED = 8
# The part of the time left that the record may take: the file is still to be written.
_FOR_RECORD = 0.8
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
    by_pairs: bool = False  # whether candidates are judged by the distances of known pairs, and not by EM-kD
    clock: Clock = field(default_factory=Clock)  # what time there is

    @property
    def denormalisation(self) -> Denormalisation:
        """Where decoded points lie in the data's space."""
        return Denormalisation.of(self.clouds.normalisation.centre, self.clouds.normalisation.scale)

    def sample(self, most: int) -> list[int]:
        """Return at most `most` clouds, evenly spread."""
        count = len(self.clouds.targets)
        return [int(i) for i in np.unique(np.linspace(0, count - 1, min(count, most)).round())]

    def judged(self, architecture: Architecture) -> NDArray[np.int64]:
        """Return the points (m,) of a cloud that judge candidates: an equal number of each patch, or all."""
        points = self.clouds.targets.points
        wanted = max(round(points * _JUDGED_PART), _JUDGED_POINTS)
        if wanted >= points:
            return np.arange(points)
        rng = generator(self.seed, Use.JUDGED_POINTS)
        return draw_points(rng, patch_sizes(points, architecture.patches), wanted).ravel()

    def confirmed(self) -> list[int]:
        """Return the clouds that have the last word, whole: those that candidates are measured on, or a few large."""
        few = max(_CONFIRMED_POINTS // self.clouds.targets.points, _CONFIRMED_CLOUDS)
        return self.sample(self.measured if self.promised else min(self.measured, few))

    def floats(self, model: Model, draw: Draw | None = None) -> Decode:
        """Return what decodes a float model.

        Points become float32 in the data's unit first, as those of a file are: far from the origin that is an error
        of its own, and not one of quantisation. Of a surface's points those of a `draw` are decoded, where it is given.
        """
        decoder, normalisation = FloatDecoder(model, draw), self.clouds.normalisation

        def decode(i: int) -> Points:
            placed = decoder.decode(model.latents[i]) * normalisation.scale + normalisation.centre
            return normalisation.normalise(placed.astype(np.float32))

        return decode

    def integers(self, quantised: Quantised, draw: Draw | None = None) -> Decode:
        """Return what decodes a quantised model to the very points that a reader of the file gets, or to a `draw`."""
        decoder = IntegerDecoder(quantised.shared, self.denormalisation, draw)
        return lambda i: self.clouds.normalisation.normalise(decoder.decode_symbols(quantised.latents[i]))

    def errors(self, decode: Decode, sample: Sequence[int], stage: Stage) -> dict[int, Errors]:
        """Measure EM-kD, normalised, of some clouds."""
        pairs = ((self.clouds.targets[i], decode(i)) for i in sample)
        with self.clock.times(Step.RECORD, len(sample)):
            found = measure(pairs, monitor=self.monitor, stage=stage, total=len(sample))["emkd"]
        return dict(zip(sample, found, strict=True))

    def to_come(self) -> dict[Step, int]:
        """Return what is to be done in any case once a model is found: the clouds of the record that are left."""
        known = 0 if self.by_pairs else len(self.confirmed())
        return {Step.RECORD: len(self._record()) - known}

    def _record(self) -> list[int]:
        """Return the clouds that time is kept for: not many of large ones where minutes bound the fit."""
        most = self.clock.most_recorded
        if most is None or self.promised:
            return self.sample(RECORDED_CLOUDS)
        # Not fewer than have the last word, which are measured in any case.
        return sorted({*self.sample(min(max(most, _LEAST_RECORDED), RECORDED_CLOUDS)), *self.confirmed()})

    def error(self, model: Model | Quantised) -> float:
        """Return the mean EM-kD or vertex error, normalised, of the clouds that candidates are measured on.

        A part of their points decides.
        """
        architecture = model.architecture if isinstance(model, Model) else model.shared.architecture
        rows = self.judged(architecture)
        sample = self.sample(self.measured)
        decode = self._decode_part(model, rows)
        if self.by_pairs:
            self.monitor.update(Stage.QUANTISE)
            return float(np.mean([self._distances(decode(i), i, rows).mean() for i in sample]))
        pairs = ((self.clouds.targets[i][rows], decode(i)) for i in sample)
        found = measure(pairs, monitor=self.monitor, stage=Stage.QUANTISE, total=len(sample))["emkd"]
        return float(np.mean([e.mean for e in found]))

    def _decode_part(self, model: Model | Quantised, rows: NDArray[np.int64]) -> Decode:
        """Return what decodes some points alone, an equal number of each patch."""
        if isinstance(model, Model) and model.surface is not None:
            return self.floats(model, model.surface.draw[rows])
        if isinstance(model, Quantised) and model.shared.draw is not None:
            return self.integers(model, model.shared.draw[rows])
        if isinstance(model, Model):
            architecture = replace(model.architecture, points=len(rows))
            components = None if model.components is None else model.components[rows]
            template = model.template[rows]
            return self.floats(replace(model, architecture=architecture, template=template, components=components))
        shared = model.shared
        architecture = replace(shared.architecture, points=len(rows))
        linear = shared.components
        if linear is not None:
            linear = replace(linear, values=linear.values[rows])
        part = replace(shared, architecture=architecture, grid=shared.grid[rows], components=linear)
        return self.integers(replace(model, shared=part))

    def whole(self, decode: Decode) -> tuple[float, dict[int, Errors]]:
        """Return the mean error, normalised, of those that have the last word, and the EM-kD of each if it is that."""
        sample = self.confirmed()
        if self.by_pairs:
            return float(np.mean([self._distances(decode(i), i).mean() for i in sample])), {}
        found = self.errors(decode, sample, Stage.QUANTISE)
        return float(np.mean([e.mean for e in found.values()])), found

    def percent(self, error: float) -> float:
        """Return a normalised error in percent of the clouds' diagonal."""
        return percent(error * self.clouds.normalisation.scale, self.clouds.diagonal)

    def assigned_error(self, model: Model) -> float:
        """Return the mean distance, normalised, of a part of some clouds to its assigned targets: cheap to take."""
        sample, rows = self.sample(self.measured), self.judged(model.architecture)
        decode = self._decode_part(model, rows)
        few = sample[:: max(len(sample) // _ASSIGNED_CLOUDS, 1)]
        return float(np.mean([self._distances(decode(i), i, rows).mean() for i in few]))

    def assigned_square(self, model: Model) -> float:
        """Return the mean square, normalised, of the same distances, of all clouds that candidates are measured on."""
        rows = self.judged(model.architecture)
        decode = self._decode_part(model, rows)
        return float(
            np.mean([np.square(self._distances(decode(i), i, rows)).mean() for i in self.sample(self.measured)])
        )

    def _distances(self, decoded: Points, cloud: int, rows: NDArray[np.int64] | None = None) -> Points:
        """Return the distances (m,), normalised, of a cloud's decoded rows, or all, to their assigned targets."""
        target = self.clouds.targets[cloud]
        distances: Points = np.linalg.norm(decoded - (target if rows is None else target[rows]), axis=1)
        return distances

    def fidelity(self, quantised: Quantised, degradation: float, known: Mapping[int, Errors]) -> dict[str, Any]:
        """Return what the file records of its clouds, in the data's unit (SPEC.md, section 7.6).

        That is EM-kD and, where pairs are known, the errors per vertex. Errors of clouds that are `known`, normalised,
        are not measured again.
        """
        sample, scale = self._recorded({} if self.clouds.registered else known), self.clouds.normalisation.scale
        decode, per_vertex = self.integers(quantised), {}
        if self.clouds.registered:
            decode = self._noting(decode, distances := allocate((len(sample), self.clouds.targets.points), np.float32))
            known = {}
        left = [i for i in sample if i not in known]
        found = {**known, **self.errors(decode, left, Stage.MEASURE)}
        errors = [found[i].scaled(scale) for i in sample]
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

    def _recorded(self, known: Mapping[int, Errors]) -> list[int]:
        """Return the clouds to record: all of them, or as many as the time left holds, and those that are `known`."""
        sample = self.sample(RECORDED_CLOUDS)
        each, left = self.clock.takes({Step.RECORD: 1}), _FOR_RECORD * self.clock.left()
        if left < each * sum(i not in known for i in sample):
            sample = sorted({*self.sample(max(int(left / each), _LEAST_RECORDED)), *known})
        return sample

    def _noting(self, decode: Decode, distances: NDArray[np.float32]) -> Decode:
        """Return the same, which writes the distances (M,) of the clouds into rows (N, M) as it decodes them."""
        rows = iter(distances)

        def noting(i: int) -> Points:
            decoded = decode(i)
            next(rows)[:] = self._distances(decoded, i)
            return decoded

        return noting
