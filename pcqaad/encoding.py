"""From a fitted model to integers: the coarsest steps that keep what decodes within the tolerance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pcqaad.clouds import CloudSet, Points
from pcqaad.decoding import IntegerDecoder
from pcqaad.floating import FloatDecoder
from pcqaad.metrics import Errors, measure
from pcqaad.model import Model
from pcqaad.placement import Placement
from pcqaad.progress import Progress, Report
from pcqaad.quantize import Quantised, Sensitivities, Steps, choose_steps, probe, quantise, rounded, search_slope
from pcqaad.settings import Settings

# Quantisations measured to get under the tolerance; the first or second one is, as a rule. A model exact to the
# last digits of float32 can meet no tolerance: then the finest one tried is kept, and the record says its cost.
_ATTEMPTS = 20

# How much larger a slope tuning aims at than rounding alone allows: a bit less for every number. Where that comes
# out within the tolerance, the next is tried in the time that is left, otherwise the last.
_TUNED_SLOPE, _TUNED_FURTHER, _TUNED_LESS = 4.0, 6.0, 2.0
# The share of the tuning that the first slope gets.
_FIRST_SHARE = 0.65

Decode = Callable[[int], Points]
# Train a model on while it is rounded to steps, for a share of the time that is left; None when there is none.
Tune = Callable[[Steps, float], "Model | None"]


@dataclass(frozen=True)
class Judge:
    """Measures what models decode to against the clouds they were fitted to.

    Attributes:
        clouds: with their targets in assigned order.
        settings: of the fit.
        report: told of every cloud that was measured.
        check_stop: called as often; raises to stop.
    """

    clouds: CloudSet
    settings: Settings
    report: Report
    check_stop: Callable[[], None]

    @property
    def placement(self) -> Placement:
        """Where decoded points lie in the data's space."""
        return Placement.of(self.clouds.frame.centre, self.clouds.frame.scale)

    def sample(self, most: int) -> list[int]:
        """Return at most `most` clouds, evenly spread."""
        count = len(self.clouds.targets)
        return [int(i) for i in np.unique(np.linspace(0, count - 1, min(count, most)).round())]

    def floats(self, model: Model) -> Decode:
        """Return what decodes cloud i of a float model, normalised."""
        decoder = FloatDecoder(model.shape, model.template, model.weights)
        return lambda i: decoder.decode(model.latents[i])

    def integers(self, quantised: Quantised) -> Decode:
        """Return what decodes cloud i to the very points that a reader of the file gets, normalised."""
        decoder, placement = IntegerDecoder(quantised.shared), self.placement

        def decode(i: int) -> Points:
            part = quantised.shared.cloud_parts(quantised.latents[i : i + 1])[0]
            return self.clouds.frame.normalise(placement.points(decoder.decode(part)))

        return decode

    def errors(self, decode: Decode, sample: Sequence[int], stage: str) -> list[Errors]:
        """Measure EM-kD, normalised, of some clouds."""
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            self.report(Progress(stage, done, len(sample), "clouds"))
            self.check_stop()

        pairs = ((self.clouds.targets[i], decode(i)) for i in sample)
        return measure(pairs, on_cloud=step)["emkd"]

    def error(self, decode: Decode) -> float:
        """Return the mean EM-kD of the settings' sample."""
        errors = self.errors(decode, self.sample(self.settings.measure), "quantise")
        return float(np.mean([e.mean for e in errors]))

    def assigned_error(self, model: Model) -> float:
        """Return the mean distance of a few clouds to their assigned targets: cheap to take."""
        sample = self.sample(self.settings.measure)
        decode = self.floats(model)
        moves = (decode(i) - self.clouds.targets[i] for i in sample[:: max(len(sample) // 8, 1)])
        return float(np.mean([np.linalg.norm(move, axis=1).mean() for move in moves]))


@dataclass(frozen=True)
class Encoded:
    """A quantised model, and the part by which it raised the EM-kD of the float model."""

    quantised: Quantised
    rise: float


def encode(model: Model, judge: Judge, tune: Tune | None = None) -> Encoded:
    """Quantise a model so that EM-kD rises by less than the settings' tolerance.

    The distances to the assigned targets, cheap to take, lead near the slope at which rounding alone does so; EM-kD
    itself decides. Where the model can be tuned to its rounding, slopes some times as large are tried first.
    """
    tolerance, seed = judge.settings.tolerance, judge.settings.seed
    sensitivities = probe(model, seed)
    floats = judge.error(judge.floats(model))
    slope = _rounding_slope(model, sensitivities, judge, tolerance)

    def encoded(model: Model, steps: Steps) -> Encoded:
        quantised = quantise(model, steps, seed)
        error = judge.error(judge.integers(quantised))
        return Encoded(quantised, error / floats - 1 if floats else 0.0)

    best: Encoded | None = None
    times, share = _TUNED_SLOPE, _FIRST_SHARE
    while tune is not None and times:
        steps = choose_steps(model, sensitivities, slope * times)
        tuned = tune(steps, share)
        if tuned is None:
            break
        found = encoded(tuned, steps)
        within = found.rise < tolerance
        best = found if within else best
        following = {(_TUNED_SLOPE, True): _TUNED_FURTHER, (_TUNED_SLOPE, False): _TUNED_LESS}
        times, share = following.get((times, within), 0.0), 1.0
    if best is not None:
        return best
    for _ in range(_ATTEMPTS):
        found = encoded(model, choose_steps(model, sensitivities, slope))
        if found.rise < tolerance:
            break
        # The rise is close to linear in the slope; aim below the bound, and never at the same point.
        slope *= min(0.9 * tolerance / found.rise, 0.8)
    return found


def _rounding_slope(model: Model, sensitivities: Sensitivities, judge: Judge, tolerance: float) -> float:
    """Return the slope at which rounding raises the distances to the assigned targets by nearly the tolerance."""
    base = judge.assigned_error(model)
    if base == 0:
        return 1e-18

    def rise(slope: float) -> float:
        judge.check_stop()
        judge.report(Progress("quantise"))
        return judge.assigned_error(rounded(model, choose_steps(model, sensitivities, slope))) / base - 1

    return 0.8 * search_slope(rise, 1e-9 * base**2, tolerance)
