"""From a fitted model to integers: the coarsest steps that keep what decodes within the tolerance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pcqaad.decoder.architecture import Model
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.exact import IntegerDecoder
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.errors import GoalError
from pcqaad.evaluation.metrics import Errors, measure, percent
from pcqaad.points.collect import CloudSet, Points
from pcqaad.progress import Progress, Report
from pcqaad.quantisation.step_sizes import (
    Quantised,
    Sensitivities,
    StepSizes,
    activation_reach,
    choose_step_sizes,
    probe,
    quantise,
    rounded,
    search_lambda,
)
from pcqaad.settings import Settings

# Quantisations measured to get under the tolerance; the first or second one is, as a rule. A model exact to the
# last digits of float32 can meet no tolerance: then the finest one tried is kept, and the record says its cost.
_ATTEMPTS = 20

# How much larger a lambda_ tuning aims at than rounding alone allows: a bit less for every number. Where that comes
# out within the tolerance, a larger one is tried in the rest of the tuning's time, otherwise the second.
_TUNED_LAMBDA, _TUNED_FURTHER, _TUNED_LESS = 4.0, 1.6, 2.0
# The share of the tuning that the first lambda_ gets, and the second.
_FIRST_SHARE, _SECOND_SHARE = 0.65, 0.35

# An error five times the float model's is that of no model any more; a smaller degradation than a thousandth is noise.
_MOST_TOLERANCE, _LEAST_TOLERANCE = 4.0, 0.001
# Where an error that was asked for leaves more room than this, the network is larger than it has to be.
_WIDE_TOLERANCE = 0.5
# Within the tolerance, so many coarser steps are tried until the error is this near to it, of lambdas at most so many
# times as large as the one before, or so little larger.
_COARSENED, _NEAR, _LONGEST, _SHORTEST = 8, 0.8, 4.0, 1.1

# How much of its budget a file has to take, the sizes that are tried for that, and the strides of the search, in
# logarithms of the lambda_. Finer than the finest lambda_, a larger file is no better.
_FILLED, _SIZES_TRIED, _STRIDE, _FINEST_LAMBDA = 0.985, 24, 1.0, -32.0

Decode = Callable[[int], Points]
# Train a model on while it is rounded to steps, for a share of the tuning; None where that holds no step.
Tune = Callable[[StepSizes, float], "Model | None"]


@dataclass(frozen=True)
class Evaluator:
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
    def denormalisation(self) -> Denormalisation:
        """Where decoded points lie in the data's space."""
        return Denormalisation.of(self.clouds.normalisation.centre, self.clouds.normalisation.scale)

    def sample(self, most: int) -> list[int]:
        """Return at most `most` clouds, evenly spread."""
        count = len(self.clouds.targets)
        return [int(i) for i in np.unique(np.linspace(0, count - 1, min(count, most)).round())]

    def floats(self, model: Model) -> Decode:
        """Return what decodes cloud i of a float model, normalised.

        To float32 in the data's unit first, as a file's clouds are: far from the origin that is an error of its own,
        and not one of quantisation.
        """
        decoder, normalisation = FloatDecoder(model), self.clouds.normalisation

        def decode(i: int) -> Points:
            placed = decoder.decode(model.latents[i]) * normalisation.scale + normalisation.centre
            return normalisation.normalise(placed.astype(np.float32))

        return decode

    def integers(self, quantised: Quantised) -> Decode:
        """Return what decodes cloud i to the very points that a reader of the file gets, normalised."""
        decoder = IntegerDecoder(quantised.shared, self.denormalisation)

        def decode(i: int) -> Points:
            return self.clouds.normalisation.normalise(decoder.decode_symbols(quantised.latents[i]))

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
        return percent(error * self.clouds.normalisation.scale, self.clouds.diagonal)

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
    degradation: float


@dataclass(frozen=True)
class Budget:
    """What the file may take: so many bytes, never more, and how many it takes with a quantised model in it."""

    limit: int
    size: Callable[[Quantised], int]


def encode(model: Model, evaluator: Evaluator, tune: Tune | None = None, budget: Budget | None = None) -> Encoded:
    """Quantise a model for the settings' goal: a tolerance, the largest error, or a budget of bytes.

    Raises:
        CloudError: the model does not reach the error, even in floats.
        SettingsError: no steps make the file as small as the budget.
    """
    wanted = evaluator.settings.max_emkd
    # First of all: it tells a model that is none.
    sensitivities = probe(model, evaluator.settings.seed)
    floats = evaluator.error(evaluator.floats(model))
    # Who asks for a size, or for the smallest file, gets it.
    search = _Search(sensitivities, floats, evaluator, budget is None and wanted is None)
    if budget is not None:
        return _within_budget(model, search, tune, budget)
    if wanted is None:
        return _within_tolerance(model, search, tune, evaluator.settings.tolerance)
    reached = evaluator.percent(floats)
    tolerance = min(wanted / reached - 1, _MOST_TOLERANCE) if reached else _MOST_TOLERANCE
    if tolerance > _WIDE_TOLERANCE:
        text = f"the fit reaches {reached:.3g} %, far below {wanted:g} %"
        text += ": a smaller network, as max_bytes makes one, might do"
        evaluator.report(Progress("note", text=text))
    if tolerance > _LEAST_TOLERANCE:
        encoded = _within_tolerance(model, search, tune, tolerance)
        if encoded.degradation <= tolerance:
            return encoded
    elif tune is not None and (below := _below(model, search, tune, tolerance)) is not None:
        if below.degradation <= tolerance:
            return below
        reached = min(reached, evaluator.percent(floats * (1 + below.degradation)))
    raise GoalError(f"an EM-kD of {wanted:g} % was not reached: the fit ended at {reached:.4g} %")


@dataclass(frozen=True)
class _Candidate:
    """A model, the lambda_ of its steps, and what it was encoded to."""

    model: Model
    lambda_: float
    encoded: Encoded


@dataclass(frozen=True)
class _Search:
    """What all candidates have in common: how steps are chosen for them, and what they are compared with."""

    sensitivities: Sensitivities
    floats: float
    evaluator: Evaluator
    smooth: bool

    def steps(self, model: Model, lambda_: float) -> StepSizes:
        return choose_step_sizes(model, self.sensitivities, lambda_, self.smooth)

    def candidate(self, model: Model, lambda_: float) -> _Candidate:
        quantised = quantise(model, self.steps(model, lambda_), self.evaluator.settings.seed)
        error = self.evaluator.error(self.evaluator.integers(quantised))
        return _Candidate(model, lambda_, Encoded(quantised, error / self.floats - 1 if self.floats else 0.0))


def _within_tolerance(model: Model, search: _Search, tune: Tune | None, tolerance: float) -> Encoded:
    """Find the coarsest steps that raise EM-kD by less than the tolerance.

    The distances to the assigned targets, cheap to take, lead near the lambda_ at which rounding alone does so; EM-kD
    itself decides. Where the model can be tuned to its rounding, lambdas some times as large are tried first.
    """
    lambda_ = _rounding_lambda(model, search, tolerance)
    best = None if tune is None else _by_tuning(model, lambda_, search, tune, tolerance)
    best = best or _by_rounding(model, lambda_, search, tolerance)
    return _coarsened(best, search, tolerance).encoded


def _below(model: Model, search: _Search, tune: Tune, tolerance: float) -> Encoded | None:
    """Tune the model to fine steps, which are training too: it may end below an error that it does not reach yet."""
    lambda_ = _rounding_lambda(model, search, search.evaluator.settings.tolerance)
    tuned = tune(search.steps(model, lambda_), 1.0)
    if tuned is None:
        return None
    found = search.candidate(tuned, lambda_)
    return (_coarsened(found, search, tolerance) if found.encoded.degradation < tolerance else found).encoded


def _coarsened(best: _Candidate, search: _Search, tolerance: float) -> _Candidate:
    """Go on to coarser steps as far as the tolerance reaches.

    Distances to assigned targets say more of a degradation than comes of it, and tuning can end well below the float
    model's error: the first steps found are seldom the coarsest.
    """
    longest, unit = _LONGEST, max(abs(tolerance), _LEAST_TOLERANCE)
    for _ in range(_COARSENED):
        room = (tolerance - best.encoded.degradation) / unit
        if room < 1 - _NEAR or longest < _SHORTEST:
            break
        stride = min(1 + room / 2, longest)
        coarser = search.candidate(best.model, best.lambda_ * stride)
        if coarser.encoded.degradation < tolerance:
            best = coarser
        else:
            longest = stride**0.4
    return best


def _by_tuning(model: Model, lambda_: float, search: _Search, tune: Tune, tolerance: float) -> _Candidate | None:
    """Tune the model to coarse steps, and then to coarser or finer ones as it comes out; None without success."""
    best = None
    times, share = _TUNED_LAMBDA, _FIRST_SHARE

    def square(degradation: float) -> float:
        return (1 + degradation) ** 2

    for _ in range(2):
        tuned = tune(search.steps(model, times * lambda_), share)
        if tuned is None:
            break
        found = search.candidate(tuned, times * lambda_)
        within = found.encoded.degradation < tolerance
        best = found if within else best
        # A rounded number adds to the squared error by its lambda_; rounding alone takes up the tolerance at 1. What is
        # trained for it adds less, and by the less the farther there is to go.
        room = (square(tolerance) - square(found.encoded.degradation)) / (square(tolerance) - 1)
        times = times * (1 + room / times) ** _TUNED_FURTHER if within else _TUNED_LESS
        share = _SECOND_SHARE
    return best


def _by_rounding(model: Model, lambda_: float, search: _Search, tolerance: float) -> _Candidate:
    """Round the model as it is, ever finer; what comes nearest where nothing is within the tolerance."""
    for _ in range(_ATTEMPTS):
        found = search.candidate(model, lambda_)
        if found.encoded.degradation < tolerance:
            break
        # The degradation is close to linear in the lambda_; aim below the bound, and never at the same point.
        lambda_ *= min(0.9 * tolerance / found.encoded.degradation, 0.8)
    return found


def _within_budget(model: Model, search: _Search, tune: Tune | None, budget: Budget) -> Encoded:
    """Find the finest steps at which the file keeps to its budget, and tune the model to them."""
    evaluator = search.evaluator

    def fill(model: Model, guess: float) -> float:
        """Return the lambda_ at which the file takes nearly all of the budget, from a guess."""
        too_fine, within = -math.inf, math.inf
        too_large, small = math.inf, 0.0  # how far the two are above and below the budget, in logarithms
        reach = activation_reach(model, evaluator.settings.seed)
        tried = math.log(guess)
        for _ in range(_SIZES_TRIED):
            evaluator.check_stop()
            evaluator.report(Progress("quantise"))
            steps = search.steps(model, math.exp(tried))
            size = budget.size(quantise(model, steps, evaluator.settings.seed, reach))
            over = math.log(size / (_FILLED**0.5 * budget.limit))
            if size > budget.limit:
                too_fine, too_large = tried, over
            else:
                within, small = tried, -over
                if size >= _FILLED * budget.limit or tried < _FINEST_LAMBDA:
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

    lambda_ = fill(model, _rounding_lambda(model, search, evaluator.settings.tolerance))
    tuned = tune(search.steps(model, lambda_), 1.0) if tune is not None else None
    if tuned is not None:
        model, lambda_ = tuned, fill(tuned, lambda_)
    return search.candidate(model, lambda_).encoded


def _rounding_lambda(model: Model, search: _Search, tolerance: float) -> float:
    """Return the lambda_ at which rounding raises the distances to the assigned targets by nearly the tolerance."""
    evaluator = search.evaluator
    base = evaluator.assigned_error(model)
    if base == 0:
        return 1e-18

    def degradation(lambda_: float) -> float:
        evaluator.check_stop()
        evaluator.report(Progress("quantise"))
        return evaluator.assigned_error(rounded(model, search.steps(model, lambda_))) / base - 1

    return 0.8 * search_lambda(degradation, 1e-9 * base**2, tolerance)
