"""From a fitted model to integers: the coarsest step sizes that a goal allows.

A goal is a tolerance (how much quantisation may raise the error), an error in percent, or a budget of bytes. Each is
reached by a search over lambda, the one number that all step sizes follow from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pcqaad.decoder.architecture import Model
from pcqaad.errors import GoalError
from pcqaad.evaluation.metrics import Errors
from pcqaad.monitor import Stage, log
from pcqaad.quantisation.calibration import Calibration
from pcqaad.quantisation.evaluator import Evaluator
from pcqaad.quantisation.probe import activation_reach, probe
from pcqaad.quantisation.quantise import Quantised, quantise
from pcqaad.quantisation.step_sizes import StepSizes, choose_step_sizes, price, search_lambda
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
    # Rounding alone, ever finer. The first or second is fine enough, as a rule. A model exact to the last digits of
    # float32 can meet no tolerance: then the finest tried is kept, and the record says what it costs.
    roundings: int = 20
    coarser: int = 8  # coarser step sizes tried in the end
    coarser_whole: int = 3  # and on whole clouds
    longest_whole: float = 2.0  # largest factor between two lambdas there
    nearest: float = 1.1  # factor between two lambdas at which the leading search ends
    led: bool = False  # whether the lambda that it starts at is near already, and what to tell a user was told
    near: float = 0.8  # part of the tolerance that ends that
    longest: float = 4.0  # largest factor between two lambdas there
    shortest: float = 1.1  # least factor there


@dataclass(frozen=True)
class BudgetSearch:
    """How step sizes are sought that fill a budget of bytes."""

    filled: float = 0.985  # part of the budget that a file has to take
    sizes: int = 24  # tried for that
    stride: float = 1.0  # of the first ones, in natural logarithms of lambda
    finest: float = -32.0  # below this logarithm a larger file is no better


_TOLERANCE = ToleranceSearch()
# Of a model that starts at another's lambda, and is one of several.
_QUICK = ToleranceSearch(coarser=5, coarser_whole=2, nearest=1.4, led=True)
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


class Search:
    """The search for the step sizes of one model, each candidate compared with the model in floats."""

    def __init__(
        self,
        model: Model,
        evaluator: Evaluator,
        settings: Settings,
        tune: Tune,
        smooth: bool,
        plan: ToleranceSearch = _TOLERANCE,
    ) -> None:
        self._model, self._evaluator, self._settings = model, evaluator, settings
        self._tune, self._smooth, self._plan = tune, smooth, plan
        # First of all: it tells a model that is none.
        self._source = _Source.of(model, settings.seed)
        self._sensitivities = probe(model, settings.seed, self._source.calibration)
        self._float_error = evaluator.error(model)
        self._whole_float_error: float | None = None
        self._assigned_error: float | None = None
        self.lambda_ = _TOLERANCE.first * self._float_error**2

    @property
    def model(self) -> Model:
        """The model in floats, as its tuning left it."""
        return self._model

    def of_another(self, model: Model, lambda_: float, evaluator: Evaluator | None = None) -> Search:
        """Return the search of a model that is trained no more, from a lambda on.

        Its candidates are compared with this one's model as it was fitted. An `evaluator` of its own has the targets in
        another order.
        """
        search = Search(model, evaluator or self._evaluator, self._settings, lambda: None, self._smooth, _QUICK)
        search._float_error, search._whole_float_error = self._float_error, self._whole_error()
        search._assigned_error, search.lambda_ = self._base() if evaluator is None else None, lambda_
        return search

    def reach(self, budget: int | None, size: Size) -> Encoded:
        """Quantise for a budget of bytes or for the settings' goal; raises GoalError where that is not reached."""
        if budget is not None:
            return self.within_budget(budget, size)
        if self._settings.max_emkd is not None:
            return self.within_error(self._settings.max_emkd)
        return self.within_tolerance(self._settings.tolerance)

    def lead(self, budget: int | None, size: Size) -> float:
        """Return about the lambda that `reach` will end at, without measuring EM-kD; raises GoalError as it does."""
        if budget is not None:
            self.lambda_ = self._filling_lambda(self._model, self.lambda_, budget, size)
        else:
            self.lambda_ = self._leading_lambda(self._model, self._tolerance())
        return self.lambda_

    @property
    def reachable(self) -> bool:
        """Whether the model keeps the tolerance as it is in floats, so that fine step sizes would do so too."""
        return self._evaluator.error(self._model) <= (1 + self._tolerance()) * self._float_error

    def kept_by(self, found: Encoded) -> bool:
        """Whether a candidate, measured on whole clouds, keeps the tolerance."""
        return found.degradation <= self._tolerance()

    def _tolerance(self) -> float:
        """Return the part by which the error may rise."""
        wanted = self._settings.max_emkd
        if wanted is None:
            return self._settings.tolerance
        reached = self._evaluator.percent(self._whole_error())
        return min(wanted / reached - 1, _TOLERANCE.largest) if reached else _TOLERANCE.largest

    def cost(self, found: Encoded, lambda_: float, size: Size) -> float:
        """Return the mean square of how far a candidate's points lie off, and what its bytes are worth at a lambda."""
        return self._evaluator.assigned_square(found.quantised.model()) + price(lambda_) * 8 * size(found.quantised)

    def within_budget(self, budget: int, size: Size) -> Encoded:
        """Find the finest step sizes at which the file keeps to its budget."""
        model, lambda_ = self._tuned(), self.lambda_
        if not self._plan.led:
            lambda_ = self._leading_lambda(model, self._settings.tolerance)
        return self._whole_candidate(model, self._filling_lambda(model, lambda_, budget, size))

    def within_error(self, wanted: float) -> Encoded:
        """Find the coarsest step sizes whose EM-kD is at most `wanted` percent of the diagonal."""
        whole, tolerance = self._whole_error(), self._tolerance()
        reached = self._evaluator.percent(whole)
        if tolerance > _TOLERANCE.wide and not self._plan.led:
            text = "the fit reaches %.3g %%, far below %g %%: a smaller network, as max_bytes makes one, might do"
            log.warning(text, reached, wanted)
        if tolerance > _TOLERANCE.smallest:
            encoded = self.within_tolerance(tolerance)
        else:
            encoded = self._measured_whole(self._below(tolerance))
            reached = min(reached, self._evaluator.percent(whole * (1 + encoded.degradation)))
        if encoded.degradation <= tolerance:
            return encoded
        text = f"an EM-kD of {wanted:g} % was not reached: the fit ended at {reached:.4g} %"
        raise GoalError(f"{text}; continue it with --resume and more --minutes or --epochs")

    def within_tolerance(self, tolerance: float) -> Encoded:
        """Find the coarsest step sizes that raise EM-kD by less than the tolerance.

        The distances to the assigned targets, cheap to take, lead near the lambda at which quantisation does so. EM-kD
        on a part of the points decides between candidates. Whole clouds have the last word.
        """
        model = self._tuned()
        found = self._by_rounding(model, self._leading_lambda(model, tolerance), tolerance)
        found = self._measured_whole(self._coarsened(found, tolerance))
        for _ in range(_TOLERANCE.roundings):
            if found.degradation < tolerance:
                break
            lambda_ = found.lambda_ * min(0.9 * tolerance / found.degradation, 0.8)
            found = self._whole_candidate(model, lambda_)
        return self._coarsened_whole(found, tolerance) if found.degradation < tolerance else found

    def _below(self, tolerance: float) -> Encoded:
        """Train on, and quantise finely: the model may end below an error that it does not reach yet."""
        model = self._tuned()
        found = self.candidate(model, self._leading_lambda(model, self._settings.tolerance))
        return self._coarsened(found, tolerance) if found.degradation < tolerance else found

    def _tuned(self) -> Model:
        """Train on, and return the better model."""
        tuned = self._tune()
        if tuned is not None and self._evaluator.error(tuned) <= self._float_error:
            # What errors are compared with stays the model as it was fitted.
            self._base(), self._whole_error()
            self._model = tuned
        return self._model

    def _leading_lambda(self, model: Model, tolerance: float) -> float:
        """Return the lambda at which quantisation raises the distances to assigned targets by nearly the tolerance."""
        base = self._base()
        if base == 0:
            return 1e-18

        def degradation(lambda_: float) -> float:
            self._evaluator.monitor.update(Stage.QUANTISE)
            return self._evaluator.assigned_error(self._quantised(model, lambda_).model()) / base - 1

        return 0.8 * search_lambda(degradation, self.lambda_, tolerance, nearest=self._plan.nearest)

    def _base(self) -> float:
        """Return the mean distance to assigned targets that candidates are compared with."""
        if self._assigned_error is None:
            self._assigned_error = self._evaluator.assigned_error(self._model)
        return self._assigned_error

    def _by_rounding(self, model: Model, lambda_: float, tolerance: float) -> Encoded:
        """Round a model as it is, ever finer; the nearest where nothing is within the tolerance."""
        for _ in range(_TOLERANCE.roundings):
            found = self.candidate(model, lambda_)
            if found.degradation < tolerance:
                break
            # The degradation is close to linear in lambda; aim below the bound, and never at the same point.
            lambda_ *= min(0.9 * tolerance / found.degradation, 0.8)
        return found

    def _coarsened(self, best: Encoded, tolerance: float) -> Encoded:
        """Go on to coarser step sizes as far as the tolerance reaches.

        Distances to assigned targets say more of a degradation than comes of it, and tuning can end well below the
        float model's error: the first step sizes found are seldom the coarsest.
        """
        longest, unit = _TOLERANCE.longest, max(abs(tolerance), _TOLERANCE.smallest)
        for _ in range(self._plan.coarser):
            room = (tolerance - best.degradation) / unit
            if room < 1 - _TOLERANCE.near or longest < _TOLERANCE.shortest:
                break
            stride = min(1 + room / 2, longest)
            coarser = self.candidate(best.model, best.lambda_ * stride)
            if coarser.degradation < tolerance:
                best = coarser
            else:
                longest = stride**0.4
        return best

    def _coarsened_whole(self, best: Encoded, tolerance: float) -> Encoded:
        """Go on to coarser step sizes by whole clouds: a part of their points errs by tenths of a percent."""
        stride = _TOLERANCE.longest_whole
        for _ in range(self._plan.coarser_whole):
            coarser = self._whole_candidate(best.model, best.lambda_ * stride)
            if coarser.degradation < tolerance:
                best = coarser
            else:
                stride **= 0.4
        return best

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
        """Quantise a model, and measure what it decodes to."""
        quantised = self._quantised(model, lambda_)
        error = self._evaluator.error(quantised)
        degradation = error / self._float_error - 1 if self._float_error else 0.0
        return Encoded(model, lambda_, quantised, degradation)

    def _whole_error(self) -> float:
        """Return the error of the model as fitted, in floats, on whole clouds."""
        if self._whole_float_error is None:
            self._whole_float_error, _ = self._evaluator.whole(self._evaluator.floats(self._model))
        return self._whole_float_error

    def _measured_whole(self, found: Encoded) -> Encoded:
        """Measure a candidate on whole clouds."""
        error, errors = self._evaluator.whole(self._evaluator.integers(found.quantised))
        base = self._whole_error()
        return replace(found, errors=errors, degradation=error / base - 1 if base else 0.0)

    def _whole_candidate(self, model: Model, lambda_: float) -> Encoded:
        return self._measured_whole(Encoded(model, lambda_, self._quantised(model, lambda_), 0.0))
