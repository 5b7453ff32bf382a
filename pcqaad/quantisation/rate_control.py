"""From a fitted model to integers: the coarsest step sizes that a goal allows.

A goal is a tolerance (how much quantisation may raise the error), an error in percent, or a budget of bytes. Each is
reached by a search over lambda, the one number that all step sizes follow from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pcqaad.decoder.architecture import Model
from pcqaad.errors import GoalError
from pcqaad.monitor import Stage, log
from pcqaad.quantisation.evaluator import Evaluator
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

# Trains a model on, quantisation-aware, for a share of the time left for that; None where that holds no step.
Tune = Callable[[StepSizes, float], "Model | None"]


@dataclass(frozen=True)
class ToleranceSearch:
    """How step sizes are sought that raise the error by less than a tolerance."""

    # Rounding alone, ever finer. The first or second is fine enough, as a rule. A model exact to the last digits of
    # float32 can meet no tolerance: then the finest tried is kept, and the record says what it costs.
    roundings: int = 20
    # Quantisation-aware training aims at a larger lambda than rounding alone allows: at 4, a bit less a number. Where
    # that comes out within the tolerance it aims further, otherwise less far.
    aim: float = 4.0
    aim_further: float = 1.6
    aim_less: float = 2.0
    # The shares of that training for the first aim and for the second.
    shares: tuple[float, float] = (0.65, 0.35)
    # Coarser step sizes tried in the end, until the error is within this part of the tolerance.
    coarser: int = 8
    near: float = 0.8
    # The largest and the least factor between two lambdas of these.
    longest: float = 4.0
    shortest: float = 1.1


@dataclass(frozen=True)
class BudgetSearch:
    """How step sizes are sought that fill a budget of bytes."""

    # The part of the budget that a file has to take.
    filled: float = 0.985
    # Sizes that are tried for that.
    sizes: int = 24
    # The first strides, in natural logarithms of lambda.
    stride: float = 1.0
    # Below this logarithm a larger file is no better.
    finest: float = -32.0


_TOLERANCE, _BUDGET = ToleranceSearch(), BudgetSearch()
# An error five times the float model's is that of no model any more.
_MOST_TOLERANCE = 4.0
# A smaller degradation is noise.
_LEAST_TOLERANCE = 0.001
# Where an error that was asked for leaves more room than this, the network is larger than it has to be.
_WIDE_TOLERANCE = 0.5


@dataclass(frozen=True)
class Encoded:
    """A quantised model, and the part by which it raised the EM-kD of the float model."""

    quantised: Quantised
    degradation: float


@dataclass(frozen=True)
class Budget:
    """The bytes that a file may take, and how many it takes with a quantised model in it."""

    limit: int
    size: Callable[[Quantised], int]


def encode(
    model: Model, evaluator: Evaluator, settings: Settings, tune: Tune | None = None, budget: Budget | None = None
) -> Encoded:
    """Quantise a model for the settings' goal: a tolerance, the largest error, or a budget of bytes.

    Raises:
        DivergenceError: the model's numbers are those of no cloud.
        GoalError: the model does not reach the error, even in floats, or no step sizes keep to the budget.
        Interrupted: stopped.
    """
    # First of all: it tells a model that is none.
    sensitivities = probe(model, settings.seed)
    floats = evaluator.error(evaluator.floats(model))
    # Who asks for a size, or for the smallest file, gets it.
    smooth = budget is None and settings.max_emkd is None
    search = _Search(sensitivities, floats, evaluator, settings, smooth)
    if budget is not None:
        return _within_budget(model, search, tune, budget)
    if settings.max_emkd is not None:
        return _within_error(model, search, tune, settings.max_emkd)
    return _within_tolerance(model, search, tune, settings.tolerance)


@dataclass(frozen=True)
class _Candidate:
    """A model, the lambda of its step sizes, and what it was encoded to."""

    model: Model
    lambda_: float
    encoded: Encoded

    @property
    def degradation(self) -> float:
        return self.encoded.degradation


@dataclass(frozen=True)
class _Search:
    """What all candidates have in common: how step sizes are chosen for them, and what they are compared with."""

    sensitivities: Sensitivities
    floats: float
    evaluator: Evaluator
    settings: Settings
    smooth: bool

    def step_sizes(self, model: Model, lambda_: float) -> StepSizes:
        return choose_step_sizes(model, self.sensitivities, lambda_, self.smooth)

    def candidate(self, model: Model, lambda_: float) -> _Candidate:
        quantised = quantise(model, self.step_sizes(model, lambda_), self.settings.seed)
        error = self.evaluator.error(self.evaluator.integers(quantised))
        return _Candidate(model, lambda_, Encoded(quantised, error / self.floats - 1 if self.floats else 0.0))

    def rounding_lambda(self, model: Model, tolerance: float) -> float:
        """Return the lambda at which rounding raises the distances to assigned targets by nearly the tolerance."""
        base = self.evaluator.assigned_error(model)
        if base == 0:
            return 1e-18

        def degradation(lambda_: float) -> float:
            self.evaluator.monitor.update(Stage.QUANTISE)
            return self.evaluator.assigned_error(rounded(model, self.step_sizes(model, lambda_))) / base - 1

        return 0.8 * search_lambda(degradation, 1e-9 * base**2, tolerance)


def _within_error(model: Model, search: _Search, tune: Tune | None, wanted: float) -> Encoded:
    """Find the coarsest step sizes whose EM-kD is at most `wanted` percent of the diagonal."""
    reached = search.evaluator.percent(search.floats)
    tolerance = min(wanted / reached - 1, _MOST_TOLERANCE) if reached else _MOST_TOLERANCE
    if tolerance > _WIDE_TOLERANCE:
        text = "the fit reaches %.3g %%, far below %g %%: a smaller network, as max_bytes makes one, might do"
        log.warning(text, reached, wanted)
    if tolerance > _LEAST_TOLERANCE:
        encoded = _within_tolerance(model, search, tune, tolerance)
        if encoded.degradation <= tolerance:
            return encoded
    elif tune is not None and (below := _below(model, search, tune, tolerance)) is not None:
        if below.degradation <= tolerance:
            return below
        reached = min(reached, search.evaluator.percent(search.floats * (1 + below.degradation)))
    raise GoalError(
        f"an EM-kD of {wanted:g} % was not reached: the fit ended at {reached:.4g} %; "
        "continue it with --resume and more --minutes or --epochs"
    )


def _within_tolerance(model: Model, search: _Search, tune: Tune | None, tolerance: float) -> Encoded:
    """Find the coarsest step sizes that raise EM-kD by less than the tolerance.

    The distances to the assigned targets, cheap to take, lead near the lambda at which rounding alone does so; EM-kD
    itself decides. Where the model can be trained for its rounding, larger lambdas are tried first.
    """
    lambda_ = search.rounding_lambda(model, tolerance)
    best = None if tune is None else _by_tuning(model, lambda_, search, tune, tolerance)
    best = best or _by_rounding(model, lambda_, search, tolerance)
    return _coarsened(best, search, tolerance).encoded


def _below(model: Model, search: _Search, tune: Tune, tolerance: float) -> Encoded | None:
    """Train on with fine step sizes: the model may end below an error that it does not reach yet."""
    lambda_ = search.rounding_lambda(model, search.settings.tolerance)
    tuned = tune(search.step_sizes(model, lambda_), 1.0)
    if tuned is None:
        return None
    found = search.candidate(tuned, lambda_)
    return (_coarsened(found, search, tolerance) if found.degradation < tolerance else found).encoded


def _coarsened(best: _Candidate, search: _Search, tolerance: float) -> _Candidate:
    """Go on to coarser step sizes as far as the tolerance reaches.

    Distances to assigned targets say more of a degradation than comes of it, and quantisation-aware training can end
    well below the float model's error: the first step sizes found are seldom the coarsest.
    """
    longest, unit = _TOLERANCE.longest, max(abs(tolerance), _LEAST_TOLERANCE)
    for _ in range(_TOLERANCE.coarser):
        room = (tolerance - best.degradation) / unit
        if room < 1 - _TOLERANCE.near or longest < _TOLERANCE.shortest:
            break
        stride = min(1 + room / 2, longest)
        coarser = search.candidate(best.model, best.lambda_ * stride)
        if coarser.degradation < tolerance:
            best = coarser
        else:
            longest = stride**0.4
    return best


def _by_tuning(model: Model, lambda_: float, search: _Search, tune: Tune, tolerance: float) -> _Candidate | None:
    """Train for coarse step sizes, then for coarser or finer ones as it comes out; None without success."""
    best = None
    aim = _TOLERANCE.aim

    def square(degradation: float) -> float:
        return (1 + degradation) ** 2

    for share in _TOLERANCE.shares:
        tuned = tune(search.step_sizes(model, aim * lambda_), share)
        if tuned is None:
            break
        found = search.candidate(tuned, aim * lambda_)
        within = found.degradation < tolerance
        best = found if within else best
        # A rounded number adds to the squared error by its lambda; rounding alone takes up the tolerance at 1. What is
        # trained for it adds less, and by the less the farther there is to go.
        room = (square(tolerance) - square(found.degradation)) / (square(tolerance) - 1)
        aim = aim * (1 + room / aim) ** _TOLERANCE.aim_further if within else _TOLERANCE.aim_less
    return best


def _by_rounding(model: Model, lambda_: float, search: _Search, tolerance: float) -> _Candidate:
    """Round the model as it is, ever finer; the nearest where nothing is within the tolerance."""
    for _ in range(_TOLERANCE.roundings):
        found = search.candidate(model, lambda_)
        if found.degradation < tolerance:
            break
        # The degradation is close to linear in lambda; aim below the bound, and never at the same point.
        lambda_ *= min(0.9 * tolerance / found.degradation, 0.8)
    return found


def _within_budget(model: Model, search: _Search, tune: Tune | None, budget: Budget) -> Encoded:
    """Find the finest step sizes at which the file keeps to its budget, and train the model for them."""
    lambda_ = _fill(model, search.rounding_lambda(model, search.settings.tolerance), search, budget)
    tuned = tune(search.step_sizes(model, lambda_), 1.0) if tune is not None else None
    if tuned is not None:
        model, lambda_ = tuned, _fill(tuned, lambda_, search, budget)
    return search.candidate(model, lambda_).encoded


def _fill(model: Model, guess: float, search: _Search, budget: Budget) -> float:
    """Return the lambda at which the file takes nearly all of the budget, from a guess."""
    too_fine, within = -math.inf, math.inf
    too_large, small = math.inf, 0.0  # how far the two are above and below the budget, in logarithms
    seed = search.settings.seed
    reach = activation_reach(model, seed)
    tried = math.log(guess)
    for _ in range(_BUDGET.sizes):
        search.evaluator.monitor.update(Stage.QUANTISE)
        size = budget.size(quantise(model, search.step_sizes(model, math.exp(tried)), seed, reach))
        over = math.log(size / (_BUDGET.filled**0.5 * budget.limit))
        if size > budget.limit:
            too_fine, too_large = tried, over
        else:
            within, small = tried, -over
            if size >= _BUDGET.filled * budget.limit or tried < _BUDGET.finest:
                break
        if math.isinf(within):
            tried = too_fine + _BUDGET.stride
        elif math.isinf(too_fine):
            tried = within - _BUDGET.stride
        else:
            # Sizes fall nearly evenly, but in leaps: between the two, and never at one of them again.
            part = min(max(too_large / (too_large + small), 0.2), 0.8)
            tried = too_fine + part * (within - too_fine)
    if math.isinf(within):
        text = f"a file of {budget.limit:,} bytes cannot be made: the coarsest step sizes take {size:,}"
        raise GoalError(f"{text}; fewer --points, --latent or --patches make a smaller one")
    return math.exp(within)
