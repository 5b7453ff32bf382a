"""Which model a file holds: the network as it was fitted, with components for what it leaves, or components alone."""

from __future__ import annotations

from collections.abc import Iterator

from pcqaad.decoder.architecture import Model
from pcqaad.errors import GoalError
from pcqaad.quantisation import principal
from pcqaad.quantisation.evaluator import Evaluator
from pcqaad.quantisation.principal import Linear
from pcqaad.quantisation.quantise import Quantised
from pcqaad.quantisation.rate_control import Encoded, Search, Size, Tune
from pcqaad.settings import Settings

# A lambda this much larger or smaller may ask for another number.
_NEAR = 2.0
# What a model may cost more than another at one lambda, and still come out ahead of it at its own.
_MARGIN = 1.05


def encode(
    model: Model, evaluator: Evaluator, settings: Settings, tune: Tune, budget: int | None, size: Size
) -> Encoded:
    """Quantise a model for the settings' goal: a tolerance, the largest error, or a budget of bytes.

    A tolerance and an error are of the network as it was fitted, and the smallest file that keeps them is taken; of a
    budget, the file with the least error.

    Raises:
        DivergenceError: the model's numbers are those of no cloud.
        GoalError: no model reaches the error, even in floats, or no step sizes keep to the budget.
        Interrupted: stopped.
    """
    size = _remembered(size)
    # Who asks for a size, or for the smallest file, gets it.
    smooth = budget is None and settings.max_emkd is None
    network = Search(model, evaluator, settings, tune, smooth)
    best, refused = None, None
    try:
        best = network.reach(budget, size)
    except GoalError as error:
        refused = error
    lambda_ = network.lambda_ if best is None else best.lambda_
    for linear in _linear_models(network.model, evaluator, settings):
        found = _with(linear, network, lambda_, best, budget, size)
        if found is not None and (best is None or _better(found, best, budget, size)):
            best = found
    if best is None:
        assert refused is not None
        raise refused
    return best


def _linear_models(model: Model, evaluator: Evaluator, settings: Settings) -> Iterator[Linear]:
    targets = evaluator.clouds.targets
    if settings.components:
        # First the one that takes no time: what it reaches may leave nothing for the other to win.
        yield principal.without_network(targets, settings.seed)
        yield principal.with_components(model, targets, settings.seed)


def _with(
    linear: Linear, network: Search, lambda_: float, best: Encoded | None, budget: int | None, size: Size
) -> Encoded | None:
    """Return a linear model quantised for the goal, its number of components chosen; None where it is no better."""
    model = linear.at(lambda_)
    if not model.architecture.components:
        return None
    search = network.of_another(model, lambda_)
    # Far from the best at its lambda, it will not be better at another.
    if best is not None:
        cost = search.cost(search.candidate(model, lambda_), lambda_, size)
        if cost > _MARGIN * network.cost(best, lambda_, size):
            return None
    if budget is None and not search.reachable:
        return None
    try:
        led = search.lead(budget, size)
        if not 1 / _NEAR < led / lambda_ < _NEAR:
            other = linear.at(led)
            if other.architecture.components not in (0, model.architecture.components):
                search = network.of_another(other, led)
        found = search.reach(budget, size)
    except GoalError:
        return None
    return found if budget is not None or search.kept_by(found) else None


def _remembered(size: Size) -> Size:
    """Return the same, which measures no model twice."""
    sizes: dict[int, tuple[Quantised, int]] = {}

    def remembered(quantised: Quantised) -> int:
        # Kept beside its size, so that no other gets its number.
        if id(quantised) not in sizes:
            sizes[id(quantised)] = quantised, size(quantised)
        return sizes[id(quantised)][1]

    return remembered


def _better(one: Encoded, other: Encoded, budget: int | None, size: Size) -> bool:
    if budget is not None:
        return one.degradation < other.degradation
    return size(one.quantised) < size(other.quantised)
