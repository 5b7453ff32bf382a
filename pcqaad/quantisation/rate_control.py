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
from pcqaad.quantisation.probe import activation_reach, probe
from pcqaad.quantisation.quantise import Quantised, quantise
from pcqaad.quantisation.step_sizes import StepSizes, choose_step_sizes, search_lambda
from pcqaad.settings import Settings

# Trains the model on, quantisation-aware, for a share of the time left for that; None where that holds no step.
Tune = Callable[[StepSizes, float], "Model | None"]
# Returns the bytes of a file with a quantised model in it.
Size = Callable[[Quantised], int]


@dataclass(frozen=True)
class ToleranceSearch:
    """How step sizes are sought that raise the error by less than a tolerance."""

    largest: float = 4.0  # taken for any above: an error five times the float model's is that of no model any more
    smallest: float = 0.001  # a smaller degradation is noise
    wide: float = 0.5  # where an error asked for leaves more, the network is larger than it has to be
    # Rounding alone, ever finer. The first or second is fine enough, as a rule. A model exact to the last digits of
    # float32 can meet no tolerance: then the finest tried is kept, and the record says what it costs.
    roundings: int = 20
    aim: float = 4.0  # first aim of quantisation-aware training, in lambdas of rounding alone: a bit less a number
    aim_further: float = 1.6  # exponent of the next aim's growth, where that comes out within the tolerance
    aim_less: float = 2.0  # the next aim where it does not
    shares: tuple[float, float] = (0.65, 0.35)  # of the training, for the first aim and for the second
    coarser: int = 8  # coarser step sizes tried in the end
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
_BUDGET = BudgetSearch()


@dataclass(frozen=True)
class Encoded:
    """A quantised model."""

    model: Model  # in floats, as quantisation-aware training left it
    lambda_: float  # that its step sizes follow from
    quantised: Quantised
    degradation: float  # the part by which it raises the EM-kD of the model that was fitted


def encode(
    model: Model, evaluator: Evaluator, settings: Settings, tune: Tune, budget: int | None, size: Size
) -> Encoded:
    """Quantise a model for the settings' goal: a tolerance, the largest error, or a budget of bytes.

    Raises:
        DivergenceError: the model's numbers are those of no cloud.
        GoalError: the model does not reach the error, even in floats, or no step sizes keep to the budget.
        Interrupted: stopped.
    """
    # Who asks for a size, or for the smallest file, gets it.
    search = _Search(model, evaluator, settings, tune, smooth=budget is None and settings.max_emkd is None)
    if budget is not None:
        return search.within_budget(budget, size)
    if settings.max_emkd is not None:
        return search.within_error(settings.max_emkd)
    return search.within_tolerance(settings.tolerance)


class _Search:
    """The search for the step sizes of one model, each candidate compared with the model in floats."""

    def __init__(self, model: Model, evaluator: Evaluator, settings: Settings, tune: Tune, smooth: bool) -> None:
        self._model, self._evaluator, self._settings = model, evaluator, settings
        self._tune, self._smooth = tune, smooth
        # First of all: it tells a model that is none.
        self._sensitivities = probe(model, settings.seed)
        self._float_error = evaluator.error(evaluator.floats(model))

    def within_budget(self, budget: int, size: Size) -> Encoded:
        """Find the finest step sizes at which the file keeps to its budget, and train the model for them."""
        model, lambda_ = self._model, self._rounding_lambda(self._settings.tolerance)
        lambda_ = self._filling_lambda(model, lambda_, budget, size)
        tuned = self._tune(self._step_sizes(model, lambda_), 1.0)
        if tuned is not None:
            model, lambda_ = tuned, self._filling_lambda(tuned, lambda_, budget, size)
        return self._candidate(model, lambda_)

    def within_error(self, wanted: float) -> Encoded:
        """Find the coarsest step sizes whose EM-kD is at most `wanted` percent of the diagonal."""
        reached = self._evaluator.percent(self._float_error)
        tolerance = min(wanted / reached - 1, _TOLERANCE.largest) if reached else _TOLERANCE.largest
        if tolerance > _TOLERANCE.wide:
            text = "the fit reaches %.3g %%, far below %g %%: a smaller network, as max_bytes makes one, might do"
            log.warning(text, reached, wanted)
        if tolerance > _TOLERANCE.smallest:
            encoded = self.within_tolerance(tolerance)
        else:
            encoded = self._below(tolerance)
            reached = min(reached, self._evaluator.percent(self._float_error * (1 + encoded.degradation)))
        if encoded.degradation <= tolerance:
            return encoded
        text = f"an EM-kD of {wanted:g} % was not reached: the fit ended at {reached:.4g} %"
        raise GoalError(f"{text}; continue it with --resume and more --minutes or --epochs")

    def within_tolerance(self, tolerance: float) -> Encoded:
        """Find the coarsest step sizes that raise EM-kD by less than the tolerance.

        The distances to the assigned targets, cheap to take, lead near the lambda at which rounding alone does so.
        EM-kD itself decides. Quantisation-aware training allows larger lambdas, which are tried first.
        """
        lambda_ = self._rounding_lambda(tolerance)
        found = self._by_tuning(lambda_, tolerance) or self._by_rounding(lambda_, tolerance)
        return self._coarsened(found, tolerance)

    def _below(self, tolerance: float) -> Encoded:
        """Train on with fine step sizes: the model may end below an error that it does not reach yet."""
        lambda_ = self._rounding_lambda(self._settings.tolerance)
        tuned = self._tune(self._step_sizes(self._model, lambda_), 1.0)
        found = self._candidate(tuned or self._model, lambda_)
        return self._coarsened(found, tolerance) if found.degradation < tolerance else found

    def _rounding_lambda(self, tolerance: float) -> float:
        """Return the lambda at which rounding raises the distances to assigned targets by nearly the tolerance."""
        base = self._evaluator.assigned_error(self._model)
        if base == 0:
            return 1e-18

        def degradation(lambda_: float) -> float:
            self._evaluator.monitor.update(Stage.QUANTISE)
            near = self._step_sizes(self._model, lambda_).round(self._model)
            return self._evaluator.assigned_error(near) / base - 1

        return 0.8 * search_lambda(degradation, 1e-9 * base**2, tolerance)

    def _by_tuning(self, lambda_: float, tolerance: float) -> Encoded | None:
        """Train for coarse step sizes, then for coarser or finer ones as it comes out; None without success."""
        best, aim = None, _TOLERANCE.aim
        for share in _TOLERANCE.shares:
            tuned = self._tune(self._step_sizes(self._model, aim * lambda_), share)
            if tuned is None:
                break
            found = self._candidate(tuned, aim * lambda_)
            if found.degradation >= tolerance:
                aim = _TOLERANCE.aim_less
                continue
            best = found
            # A rounded number adds to the squared error by its lambda; rounding alone takes up the tolerance at 1.
            # A number that is trained for it adds less, by the less the farther there is to go.
            room = ((1 + tolerance) ** 2 - (1 + found.degradation) ** 2) / ((1 + tolerance) ** 2 - 1)
            aim *= (1 + room / aim) ** _TOLERANCE.aim_further
        return best

    def _by_rounding(self, lambda_: float, tolerance: float) -> Encoded:
        """Round the model as it is, ever finer; the nearest where nothing is within the tolerance."""
        for _ in range(_TOLERANCE.roundings):
            found = self._candidate(self._model, lambda_)
            if found.degradation < tolerance:
                break
            # The degradation is close to linear in lambda; aim below the bound, and never at the same point.
            lambda_ *= min(0.9 * tolerance / found.degradation, 0.8)
        return found

    def _coarsened(self, best: Encoded, tolerance: float) -> Encoded:
        """Go on to coarser step sizes as far as the tolerance reaches.

        Distances to assigned targets say more of a degradation than comes of it, and quantisation-aware training can
        end well below the float model's error: the first step sizes found are seldom the coarsest.
        """
        longest, unit = _TOLERANCE.longest, max(abs(tolerance), _TOLERANCE.smallest)
        for _ in range(_TOLERANCE.coarser):
            room = (tolerance - best.degradation) / unit
            if room < 1 - _TOLERANCE.near or longest < _TOLERANCE.shortest:
                break
            stride = min(1 + room / 2, longest)
            coarser = self._candidate(best.model, best.lambda_ * stride)
            if coarser.degradation < tolerance:
                best = coarser
            else:
                longest = stride**0.4
        return best

    def _filling_lambda(self, model: Model, guess: float, budget: int, size: Size) -> float:
        """Return the lambda at which the file takes nearly all of the budget, from a guess."""
        # Logarithms: of the two lambdas between which it lies, and how far their files are off the budget.
        too_fine, within = -math.inf, math.inf
        too_large, too_small = math.inf, 0.0
        seed = self._settings.seed
        reach = activation_reach(model, seed)
        tried = math.log(guess)
        for _ in range(_BUDGET.sizes):
            self._evaluator.monitor.update(Stage.QUANTISE)
            found = size(quantise(model, self._step_sizes(model, math.exp(tried)), seed, reach))
            over = math.log(found / (_BUDGET.filled**0.5 * budget))
            if found > budget:
                too_fine, too_large = tried, over
            else:
                within, too_small = tried, -over
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
        return math.exp(within)

    def _step_sizes(self, model: Model, lambda_: float) -> StepSizes:
        return choose_step_sizes(model, self._sensitivities, lambda_, self._smooth)

    def _candidate(self, model: Model, lambda_: float) -> Encoded:
        """Quantise a model, and measure what it decodes to."""
        quantised = quantise(model, self._step_sizes(model, lambda_), self._settings.seed)
        error = self._evaluator.error(self._evaluator.integers(quantised))
        degradation = error / self._float_error - 1 if self._float_error else 0.0
        return Encoded(model, lambda_, quantised, degradation)
