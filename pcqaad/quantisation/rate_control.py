"""From a fitted model to integers: the coarsest steps that keep what decodes within the tolerance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pcqaad.decoder.architecture import Model
from pcqaad.decoder.coordinates import Placement
from pcqaad.decoder.exact import IntegerDecoder
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.errors import GoalError
from pcqaad.evaluation.metrics import Errors, measure, percent
from pcqaad.points.collect import CloudSet, Points
from pcqaad.progress import Progress, Report
from pcqaad.quantisation.step_sizes import (
    Quantised,
    Sensitivities,
    Steps,
    activation_reach,
    choose_steps,
    probe,
    quantise,
    rounded,
    search_slope,
)
from pcqaad.settings import Settings

# Quantisations measured to get under the tolerance; the first or second one is, as a rule. A model exact to the
# last digits of float32 can meet no tolerance: then the finest one tried is kept, and the record says its cost.
_ATTEMPTS = 20

# How much larger a slope tuning aims at than rounding alone allows: a bit less for every number. Where that comes
# out within the tolerance, a larger one is tried in the rest of the tuning's time, otherwise the second.
_TUNED_SLOPE, _TUNED_FURTHER, _TUNED_LESS = 4.0, 1.6, 2.0
# The share of the tuning that the first slope gets, and the second.
_FIRST_SHARE, _SECOND_SHARE = 0.65, 0.35

# An error five times the float model's is that of no model any more; a smaller rise than a thousandth is noise.
_MOST_TOLERANCE, _LEAST_TOLERANCE = 4.0, 0.001
# Where an error that was asked for leaves more room than this, the network is larger than it has to be.
_WIDE_TOLERANCE = 0.5
# Within the tolerance, so many coarser steps are tried until the error is this near to it, of slopes at most so many
# times as large as the one before, or so little larger.
_COARSENED, _NEAR, _LONGEST, _SHORTEST = 8, 0.8, 4.0, 1.1

# How much of its budget a file has to take, the sizes that are tried for that, and the strides of the search, in
# logarithms of the slope. Finer than the finest slope, a larger file is no better.
_FILLED, _SIZES_TRIED, _STRIDE, _FINEST_SLOPE = 0.985, 24, 1.0, -32.0

Decode = Callable[[int], Points]
# Train a model on while it is rounded to steps, for a share of the tuning; None where that holds no step.
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
        """Return what decodes cloud i of a float model, normalised.

        To float32 in the data's unit first, as a file's clouds are: far from the origin that is an error of its own,
        and not one of quantisation.
        """
        decoder, frame = FloatDecoder(model.shape, model.template, model.weights), self.clouds.frame

        def decode(i: int) -> Points:
            placed = decoder.decode(model.latents[i]) * frame.scale + frame.centre
            return frame.normalise(placed.astype(np.float32))

        return decode

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

    def percent(self, error: float) -> float:
        """Return a normalised error in percent of the clouds' diagonal."""
        return percent(error * self.clouds.frame.scale, self.clouds.diagonal)

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


@dataclass(frozen=True)
class Budget:
    """What the file may take: so many bytes, never more, and how many it takes with a quantised model in it."""

    limit: int
    size: Callable[[Quantised], int]


def encode(model: Model, judge: Judge, tune: Tune | None = None, budget: Budget | None = None) -> Encoded:
    """Quantise a model for the settings' goal: a tolerance, the largest error, or a budget of bytes.

    Raises:
        CloudError: the model does not reach the error, even in floats.
        SettingsError: no steps make the file as small as the budget.
    """
    wanted = judge.settings.max_emkd
    # First of all: it tells a model that is none.
    sensitivities = probe(model, judge.settings.seed)
    floats = judge.error(judge.floats(model))
    # Who asks for a size, or for the smallest file, gets it.
    search = _Search(sensitivities, floats, judge, budget is None and wanted is None)
    if budget is not None:
        return _within_budget(model, search, tune, budget)
    if wanted is None:
        return _within_tolerance(model, search, tune, judge.settings.tolerance)
    reached = judge.percent(floats)
    tolerance = min(wanted / reached - 1, _MOST_TOLERANCE) if reached else _MOST_TOLERANCE
    if tolerance > _WIDE_TOLERANCE:
        text = f"the fit reaches {reached:.3g} %, far below {wanted:g} %"
        text += ": a smaller network, as max_bytes makes one, might do"
        judge.report(Progress("note", text=text))
    if tolerance > _LEAST_TOLERANCE:
        encoded = _within_tolerance(model, search, tune, tolerance)
        if encoded.rise <= tolerance:
            return encoded
    elif tune is not None and (below := _below(model, search, tune, tolerance)) is not None:
        if below.rise <= tolerance:
            return below
        reached = min(reached, judge.percent(floats * (1 + below.rise)))
    raise GoalError(f"an EM-kD of {wanted:g} % was not reached: the fit ended at {reached:.4g} %")


@dataclass(frozen=True)
class _Candidate:
    """A model, the slope of its steps, and what it was encoded to."""

    model: Model
    slope: float
    encoded: Encoded


@dataclass(frozen=True)
class _Search:
    """What all candidates have in common: how steps are chosen for them, and what they are compared with."""

    sensitivities: Sensitivities
    floats: float
    judge: Judge
    smooth: bool

    def steps(self, model: Model, slope: float) -> Steps:
        return choose_steps(model, self.sensitivities, slope, self.smooth)

    def candidate(self, model: Model, slope: float) -> _Candidate:
        quantised = quantise(model, self.steps(model, slope), self.judge.settings.seed)
        error = self.judge.error(self.judge.integers(quantised))
        return _Candidate(model, slope, Encoded(quantised, error / self.floats - 1 if self.floats else 0.0))


def _within_tolerance(model: Model, search: _Search, tune: Tune | None, tolerance: float) -> Encoded:
    """Find the coarsest steps that raise EM-kD by less than the tolerance.

    The distances to the assigned targets, cheap to take, lead near the slope at which rounding alone does so; EM-kD
    itself decides. Where the model can be tuned to its rounding, slopes some times as large are tried first.
    """
    slope = _rounding_slope(model, search, tolerance)
    best = None if tune is None else _by_tuning(model, slope, search, tune, tolerance)
    best = best or _by_rounding(model, slope, search, tolerance)
    return _coarsened(best, search, tolerance).encoded


def _below(model: Model, search: _Search, tune: Tune, tolerance: float) -> Encoded | None:
    """Tune the model to fine steps, which are training too: it may end below an error that it does not reach yet."""
    slope = _rounding_slope(model, search, search.judge.settings.tolerance)
    tuned = tune(search.steps(model, slope), 1.0)
    if tuned is None:
        return None
    found = search.candidate(tuned, slope)
    return (_coarsened(found, search, tolerance) if found.encoded.rise < tolerance else found).encoded


def _coarsened(best: _Candidate, search: _Search, tolerance: float) -> _Candidate:
    """Go on to coarser steps as far as the tolerance reaches.

    Distances to assigned targets say more of a rise than comes of it, and tuning can end well below the float
    model's error: the first steps found are seldom the coarsest.
    """
    longest, unit = _LONGEST, max(abs(tolerance), _LEAST_TOLERANCE)
    for _ in range(_COARSENED):
        room = (tolerance - best.encoded.rise) / unit
        if room < 1 - _NEAR or longest < _SHORTEST:
            break
        stride = min(1 + room / 2, longest)
        coarser = search.candidate(best.model, best.slope * stride)
        if coarser.encoded.rise < tolerance:
            best = coarser
        else:
            longest = stride**0.4
    return best


def _by_tuning(model: Model, slope: float, search: _Search, tune: Tune, tolerance: float) -> _Candidate | None:
    """Tune the model to coarse steps, and then to coarser or finer ones as it comes out; None without success."""
    best = None
    times, share = _TUNED_SLOPE, _FIRST_SHARE

    def square(rise: float) -> float:
        return (1 + rise) ** 2

    for _ in range(2):
        tuned = tune(search.steps(model, times * slope), share)
        if tuned is None:
            break
        found = search.candidate(tuned, times * slope)
        within = found.encoded.rise < tolerance
        best = found if within else best
        # A rounded number adds to the squared error by its slope; rounding alone takes up the tolerance at 1. What is
        # trained for it adds less, and by the less the farther there is to go.
        room = (square(tolerance) - square(found.encoded.rise)) / (square(tolerance) - 1)
        times = times * (1 + room / times) ** _TUNED_FURTHER if within else _TUNED_LESS
        share = _SECOND_SHARE
    return best


def _by_rounding(model: Model, slope: float, search: _Search, tolerance: float) -> _Candidate:
    """Round the model as it is, ever finer; what comes nearest where nothing is within the tolerance."""
    for _ in range(_ATTEMPTS):
        found = search.candidate(model, slope)
        if found.encoded.rise < tolerance:
            break
        # The rise is close to linear in the slope; aim below the bound, and never at the same point.
        slope *= min(0.9 * tolerance / found.encoded.rise, 0.8)
    return found


def _within_budget(model: Model, search: _Search, tune: Tune | None, budget: Budget) -> Encoded:
    """Find the finest steps at which the file keeps to its budget, and tune the model to them."""
    judge = search.judge

    def fill(model: Model, guess: float) -> float:
        """Return the slope at which the file takes nearly all of the budget, from a guess."""
        too_fine, within = -math.inf, math.inf
        too_large, small = math.inf, 0.0  # how far the two are above and below the budget, in logarithms
        reach = activation_reach(model, judge.settings.seed)
        tried = math.log(guess)
        for _ in range(_SIZES_TRIED):
            judge.check_stop()
            judge.report(Progress("quantise"))
            steps = search.steps(model, math.exp(tried))
            size = budget.size(quantise(model, steps, judge.settings.seed, reach))
            over = math.log(size / (_FILLED**0.5 * budget.limit))
            if size > budget.limit:
                too_fine, too_large = tried, over
            else:
                within, small = tried, -over
                if size >= _FILLED * budget.limit or tried < _FINEST_SLOPE:
                    break
            if math.isinf(within):
                tried = too_fine + _STRIDE
            elif math.isinf(too_fine):
                tried = within - _STRIDE
            else:
                # Sizes fall nearly evenly, but in leaps: between the two, and never at one of them again.
                part = min(max(too_large / (too_large + small), 0.2), 0.8)
                tried = too_fine + part * (within - too_fine)
        if math.isinf(within):
            text = f"a file of {budget.limit:,} bytes cannot be made: the coarsest steps take {size:,}"
            raise GoalError(f"{text}; fewer --points, --latent or --patches make a smaller one")
        return math.exp(within)

    slope = fill(model, _rounding_slope(model, search, judge.settings.tolerance))
    tuned = tune(search.steps(model, slope), 1.0) if tune is not None else None
    if tuned is not None:
        model, slope = tuned, fill(tuned, slope)
    return search.candidate(model, slope).encoded


def _rounding_slope(model: Model, search: _Search, tolerance: float) -> float:
    """Return the slope at which rounding raises the distances to the assigned targets by nearly the tolerance."""
    judge = search.judge
    base = judge.assigned_error(model)
    if base == 0:
        return 1e-18

    def rise(slope: float) -> float:
        judge.check_stop()
        judge.report(Progress("quantise"))
        return judge.assigned_error(rounded(model, search.steps(model, slope))) / base - 1

    return 0.8 * search_slope(rise, 1e-9 * base**2, tolerance)
