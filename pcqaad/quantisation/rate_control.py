"""From a fitted model to integers: the coarsest step sizes that a goal allows.

A goal is a tolerance (how much quantisation may raise the error), an error in percent, or a budget of bytes. Each is
reached by a search over lambda, the one number that all step sizes follow from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property

from pcqaad.decoder.architecture import Model
from pcqaad.errors import GoalError
from pcqaad.evaluation.metrics import Errors
from pcqaad.monitor import Stage, log
from pcqaad.quantisation.calibration import Calibration
from pcqaad.quantisation.clock import Step
from pcqaad.quantisation.evaluator import Evaluator
from pcqaad.quantisation.probe import activation_reach, probe
from pcqaad.quantisation.quantise import Quantised, quantise
from pcqaad.quantisation.step_sizes import StepSizes, choose_step_sizes, price
from pcqaad.settings import Settings

# Trains the model on for the time left for that; None where that holds no step.
Tune = Callable[[], "Model | None"]
# Returns the bytes of a file with a quantised model in it.
Size = Callable[[Quantised], int]


@dataclass(frozen=True)
class ToleranceSearch:
    """How step sizes are sought that raise the error by less than a tolerance."""

    first: float = 5e-7  # first lambda tried, in squared errors of the model: about that of a hundredth
    largest: float = 4.0  # taken for any above: an error five times the float model's is that of no model any more
    smallest: float = 0.001  # a smaller degradation is noise
    wide: float = 0.5  # where an error asked for leaves more, the network is larger than it has to be
    # A model exact to the last digits of float32 can meet no tolerance: then the finest tried is kept, and the record
    # says what it costs.
    most: int = 20
    longest: float = 4.0  # largest factor between one lambda tried and the next
    shortest: float = 1.05  # least factor
    apart: float = 1.1  # least factor between two that tell how degradation grows
    flattest: float = 0.05  # least growth of the degradation that is reckoned with, as lambda grows by a factor of e


@dataclass(frozen=True)
class Approach:
    """How near to the tolerance candidates of one kind get."""

    tried: int  # candidates, where one of them keeps the tolerance
    filled: float  # part of the tolerance that is enough
    aimed: float  # part that each next candidate aims at


@dataclass(frozen=True)
class BudgetSearch:
    """How step sizes are sought that fill a budget of bytes."""

    filled: float = 0.985  # part of the budget that a file has to take
    sizes: int = 12  # tried for that
    nearest: float = 0.03  # least difference of two logarithms of lambda: step sizes leap by more
    stride: float = 1.0  # of the first ones, in natural logarithms of lambda
    finest: float = -32.0  # below this logarithm a larger file is no better


_TOLERANCE = ToleranceSearch()
# The distances to the assigned targets, cheap to take, lead near; a part of the points says what a model will come to.
_LEADING = Approach(tried=5, filled=0.6, aimed=0.8)
_DRAFTING = Approach(tried=3, filled=0.8, aimed=0.93)
_WHOLE = Approach(tried=4, filled=0.8, aimed=0.93)
_BUDGET = BudgetSearch()


@dataclass(frozen=True)
class Encoded:
    """A quantised model."""

    model: Model  # in floats, as it was tuned
    lambda_: float  # that its step sizes follow from
    quantised: Quantised
    degradation: float  # the part by which it raises the EM-kD of the model that was fitted
    errors: dict[int, Errors] = field(default_factory=dict)  # of the clouds that were measured whole, normalised


@dataclass(frozen=True)
class _Source:
    """A float model, and what quantising it takes."""

    model: Model
    calibration: Calibration
    reach: tuple[float, ...]

    @classmethod
    def of(cls, model: Model, seed: int) -> _Source:
        return cls(model, Calibration(model, seed), activation_reach(model, seed))


class _Fitted:
    """The model that was fitted, in floats: its errors, which those of candidates are compared with."""

    def __init__(self, model: Model, evaluator: Evaluator) -> None:
        self.model, self._evaluator = model, evaluator

    @cached_property
    def error(self) -> float:
        """By a part of the points."""
        return self._evaluator.error(self.model)

    @cached_property
    def whole(self) -> float:
        """On whole clouds."""
        with self._evaluator.clock.times(Step.WHOLE):
            return self._evaluator.whole(self._evaluator.floats(self.model))[0]

    @cached_property
    def assigned(self) -> float:
        """By distances to assigned targets."""
        return self._evaluator.assigned_error(self.model)


class Search:
    """The search for the step sizes of one model, each candidate compared with the model in floats.

    `draft` comes near the goal by a part of the points. `finish` takes a draft to the goal, by whole clouds.
    """

    def __init__(self, model: Model, evaluator: Evaluator, settings: Settings, tune: Tune, smooth: bool) -> None:
        self._model, self._evaluator, self._settings = model, evaluator, settings
        self._tune, self._smooth = tune, smooth
        # First of all: it tells a model that is none.
        self._source = _Source.of(model, settings.seed)
        self._sensitivities = probe(model, settings.seed, self._source.calibration)
        self._fitted = _Fitted(model, evaluator)
        self.lambda_ = _TOLERANCE.first * self._fitted.error**2
        self._follows = False  # another's search, and starts at its lambda
        self._led: float | None = None
        self._free_degradation: float | None = None
        self._slope: float | None = None  # of the degradation over the logarithm of lambda, as measured last

    @property
    def model(self) -> Model:
        """The model in floats, as its tuning left it."""
        return self._model

    def of_another(self, model: Model, lambda_: float, evaluator: Evaluator, led: bool = False) -> Search:
        """Return the search of a model that is trained no more, from a lambda on, to which it may have been led.

        Its candidates are compared with this one's model as it was fitted. Its evaluator has the targets in its order.
        """
        search = copy(self)
        search._model, search._tune, search.lambda_ = model, lambda: None, lambda_
        search._follows, search._led = True, lambda_ if led else None
        search._free_degradation = search._slope = None
        search._evaluator = evaluator
        search._source = _Source.of(model, self._settings.seed)
        # Of one with the same network, nothing but what drives it is new.
        known = self._sensitivities if model.weights["out"] is self._model.weights["out"] else None
        search._sensitivities = probe(model, self._settings.seed, search._source.calibration, known)
        return search

    def draft(self, budget: int | None, size: Size) -> Encoded:
        """Quantise near a budget of bytes or the settings' goal, judged by a part of the points.

        Raises GoalError where no step sizes keep to the budget.
        """
        model = self._tuned()
        if budget is not None:
            if not self._follows:
                self.lead()
            self.lambda_ = self._filling_lambda(model, self.lambda_, budget, size)
            return self.candidate(model, self.lambda_)
        tolerance, led = self._tolerance(), self.lead()
        if tolerance <= _TOLERANCE.smallest:
            # The model may have been trained on to below an error that it did not reach before.
            found = self.candidate(model, led)
            if found.degradation >= tolerance:
                return found
        return self._approach(lambda value: self.candidate(model, value), led, tolerance, _DRAFTING, Step.PART)

    def finish(self, draft: Encoded, budget: int | None) -> Encoded:
        """Quantise for the goal, from a draft on: whole clouds have the last word."""
        found, tolerance = draft if draft.errors else self._measured_whole(draft), self._tolerance()
        if budget is not None or draft.degradation >= tolerance:
            return found

        def whole(lambda_: float) -> Encoded:
            return self._measured_whole(Encoded(draft.model, lambda_, self._quantised(draft.model, lambda_), 0.0))

        return self._approach(whole, found, tolerance, _WHOLE, Step.WHOLE)

    def lead(self) -> float:
        """Return about the lambda at which quantisation uses up the tolerance, by distances to assigned targets."""
        if self._led is None:
            self._led = self.lambda_ = self._leading_lambda()
        return self._led

    def _leading_lambda(self) -> float:
        model, base = self._model, self._fitted.assigned
        if base == 0:
            return 1e-18

        def of(model: Model) -> float:
            return self._evaluator.assigned_error(model) / base - 1

        def candidate(lambda_: float) -> Encoded:
            self._evaluator.monitor.update(Stage.QUANTISE)
            quantised = self._quantised(model, lambda_)
            return Encoded(model, lambda_, quantised, of(quantised.model()))

        tolerance = self._tolerance()
        if tolerance <= _TOLERANCE.smallest:
            tolerance = self._settings.tolerance
        free = 0.0 if model is self._fitted.model else of(model)
        if free >= tolerance:
            return self.lambda_
        return self._approach(candidate, self.lambda_, tolerance, _LEADING, Step.PART, free).lambda_

    @property
    def reachable(self) -> bool:
        """Whether the model keeps the tolerance as it is in floats, so that fine step sizes would do so too."""
        return self._free() <= self._tolerance()

    def kept_by(self, found: Encoded) -> bool:
        """Whether a candidate keeps the tolerance."""
        return found.degradation <= self._tolerance()

    def cost(self, found: Encoded, lambda_: float, size: Size) -> float:
        """Return the mean square of how far a candidate's points lie off, and what its bytes are worth at a lambda."""
        return self._evaluator.assigned_square(found.quantised.model()) + price(lambda_) * 8 * size(found.quantised)

    def least_cost(self, lambda_: float, size: Size) -> float:
        """Return what the bytes of the model are worth at a lambda: no model that holds more costs less."""
        return price(lambda_) * 8 * size(self.rounded(lambda_).quantised)

    def missed(self, found: Encoded) -> GoalError:
        """Return what to tell where not even this keeps to the largest error that was asked for."""
        whole, percent = self._fitted.whole, self._evaluator.percent
        reached = min(percent(whole), percent(whole * (1 + found.degradation)))
        text = f"an EM-kD of {self._settings.max_emkd:g} % was not reached: the fit ended at {reached:.4g} %"
        return GoalError(f"{text}; continue it with --resume and more --minutes or --epochs")

    def doubt_size(self) -> None:
        """Tell where the largest error that was asked for leaves more than step sizes can use."""
        wanted = self._settings.max_emkd
        if wanted is not None and self._tolerance() > _TOLERANCE.wide:
            text = "the fit reaches %.3g %%, far below %g %%: a smaller network, as max_bytes makes one, might do"
            log.warning(text, self._evaluator.percent(self._fitted.whole), wanted)

    def _tolerance(self) -> float:
        """Return the part by which the error may rise."""
        wanted = self._settings.max_emkd
        if wanted is None:
            return self._settings.tolerance
        reached = self._evaluator.percent(self._fitted.whole)
        return min(wanted / reached - 1, _TOLERANCE.largest) if reached else _TOLERANCE.largest

    def _free(self) -> float:
        """Return the degradation of the model in floats: not 0 where it is another than was fitted."""
        if self._free_degradation is None:
            same = self._model is self._fitted.model
            self._free_degradation = 0.0 if same else self._degradation(self._model)[0]
        return self._free_degradation

    def _degradation(self, model: Model | Quantised) -> tuple[float, dict[int, Errors]]:
        """Return the degradation of a model by a part of its points; of one over a surface by whole clouds.

        A part of a surface's points does not stand for the part of a cloud's that it was matched with: between the two
        there is more to go than between all and all. The errors of whole clouds are returned too.
        """
        if (model if isinstance(model, Model) else model.shared).surface is None:
            base, error, errors = self._fitted.error, self._evaluator.error(model), dict[int, Errors]()
        else:
            base, evaluator = self._fitted.whole, self._evaluator
            decode = evaluator.floats(model) if isinstance(model, Model) else evaluator.integers(model)
            error, errors = evaluator.whole(decode)
        return error / base - 1 if base else 0.0, errors

    def _tuned(self) -> Model:
        """Train on, and return the better model."""
        tuned, fitted = self._tune(), self._fitted
        # What errors are compared with stays the model as it was fitted.
        if tuned is not None and self._evaluator.error(tuned) <= fitted.error:
            self._model, self._source = tuned, _Source.of(tuned, self._settings.seed)
        return self._model

    def _approach(
        self,
        measure: Callable[[float], Encoded],
        start: float | Encoded,
        tolerance: float,
        plan: Approach,
        step: Step,
        free: float | None = None,
    ) -> Encoded:
        """Return the candidate of the largest lambda that is found to keep the tolerance; the finest where none does.

        `free` is the degradation of the model in floats, worked out where it is not given.
        """
        clock, unit = self._evaluator.clock, max(abs(tolerance), _TOLERANCE.smallest)
        aimed, enough = (tolerance - (1 - part) * unit for part in (plan.aimed, plan.filled))
        within, beyond, before = None, None, None
        found = start if isinstance(start, Encoded) else measure(start)
        for tried in range(1, _TOLERANCE.most):
            self._slope = _slope(before, found, self._slope)
            if found.degradation < tolerance:
                within = found
                near = beyond is not None and beyond.lambda_ < _TOLERANCE.shortest * found.lambda_
                if found.degradation >= enough or near:
                    break
            else:
                beyond = found
            if within is not None and (tried >= plan.tried or not clock.holds({step: 1, **self._evaluator.to_come()})):
                break
            if self._slope is None:
                # Errors add up as squares do, and that of rounding grows with lambda.
                self._slope = max(_squared_rise(self._free() if free is None else free, found), _TOLERANCE.flattest)
            with clock.times(step):
                before, found = found, measure(_next_lambda(within, beyond, aimed, self._slope, tried))
        return within or found

    def _filling_lambda(self, model: Model, guess: float, budget: int, size: Size) -> float:
        """Return the lambda at which the file takes nearly all of the budget, from a guess."""
        # Logarithms: of the two lambdas between which it lies, and how far their files are off the budget.
        too_fine, within = -math.inf, math.inf
        too_large, too_small = math.inf, 0.0
        # Sizes leap and turn: the last one within the budget need not be the largest.
        largest, best = 0, math.inf
        tried = math.log(guess)
        for _ in range(_BUDGET.sizes):
            self._evaluator.monitor.update(Stage.QUANTISE)
            found = size(self._quantised(model, math.exp(tried)))
            over = math.log(found / (_BUDGET.filled**0.5 * budget))
            if found > budget:
                too_fine, too_large = tried, over
            else:
                within, too_small = tried, -over
                largest, best = max((largest, best), (found, tried))
                if found >= _BUDGET.filled * budget or tried < _BUDGET.finest:
                    break
            if within - too_fine < _BUDGET.nearest:
                break
            if math.isinf(within):
                tried = too_fine + _BUDGET.stride
            elif math.isinf(too_fine):
                tried = within - _BUDGET.stride
            else:
                # Sizes fall nearly evenly, but in leaps: between the two, and never at one of them again.
                part = min(max(too_large / (too_large + too_small), 0.2), 0.8)
                tried = too_fine + part * (within - too_fine)
        if math.isinf(within):
            text = f"a file of {budget:,} bytes cannot be made: the coarsest step sizes take {found:,}"
            raise GoalError(f"{text}; fewer --points, --latent or --patches make a smaller one")
        return math.exp(best)

    def _step_sizes(self, model: Model, lambda_: float) -> StepSizes:
        return choose_step_sizes(model, self._sensitivities, lambda_, self._smooth)

    def _quantised(self, model: Model, lambda_: float) -> Quantised:
        if self._source.model is not model:
            self._source = _Source.of(model, self._settings.seed)
        source, step_sizes = self._source, self._step_sizes(model, lambda_)
        return quantise(model, step_sizes, self._settings.seed, source.reach, source.calibration)

    def candidate(self, model: Model, lambda_: float) -> Encoded:
        """Quantise a model, and measure it as a draft."""
        return self._measured(Encoded(model, lambda_, self._quantised(model, lambda_), 0.0))

    def rounded(self, lambda_: float) -> Encoded:
        """Quantise the model, and measure nothing."""
        return Encoded(self._model, lambda_, self._quantised(self._model, lambda_), 0.0)

    def _measured(self, found: Encoded) -> Encoded:
        degradation, errors = self._degradation(found.quantised)
        return replace(found, degradation=degradation, errors=errors)

    def _measured_whole(self, found: Encoded) -> Encoded:
        base = self._fitted.whole
        error, errors = self._evaluator.whole(self._evaluator.integers(found.quantised))
        return replace(found, errors=errors, degradation=error / base - 1 if base else 0.0)


def _slope(one: Encoded | None, other: Encoded, known: float | None) -> float | None:
    """Return how much degradation grows with the logarithm of lambda, by two candidates, or as it was known."""
    stride = math.log(other.lambda_ / one.lambda_) if one is not None else 0.0
    # Those close together may have the same grid, or by chance another.
    if one is None or abs(stride) < math.log(_TOLERANCE.apart):
        return known
    return max((other.degradation - one.degradation) / stride, _TOLERANCE.flattest)


def _squared_rise(free: float, found: Encoded) -> float:
    """Return the same of squared errors that grow linearly with lambda, from a degradation without any rounding on."""
    reached = 1 + found.degradation
    return (reached * reached - (1 + free) * (1 + free)) / (2 * reached)


def _next_lambda(within: Encoded | None, beyond: Encoded | None, aimed: float, slope: float, tried: int) -> float:
    """Return the lambda to try next: above a candidate that keeps the tolerance, below one that does not.

    The more were `tried` on one side, the farther it goes at least.
    """
    if within is not None and beyond is not None:
        part = (aimed - within.degradation) / (beyond.degradation - within.degradation)
        # Never at one of the two again.
        part = min(max(part, 0.15), 0.85)
        return within.lambda_ * math.pow(beyond.lambda_ / within.lambda_, part)
    found = within or beyond
    assert found is not None
    longest, shortest = math.log(_TOLERANCE.longest), math.log(_TOLERANCE.apart) * 3 ** (tried - 1)
    stride = min(max(abs(aimed - found.degradation) / slope, shortest), longest)
    return found.lambda_ * math.exp(stride if beyond is None else -stride)
