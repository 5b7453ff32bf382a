"""Which model a file holds: the network as it was fitted, with components, or components alone: on a list or a surface.

A list of points is any template; a surface has few vertices, between which a cloud's points are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from pcqaad.decoder.architecture import Model
from pcqaad.decoder.surface import MAX_TRIANGLES
from pcqaad.errors import CloudError, GoalError
from pcqaad.quantisation import principal
from pcqaad.quantisation.clock import Step
from pcqaad.quantisation.evaluator import Evaluator
from pcqaad.quantisation.on_surface import Laid, OverSurface, drawn_targets, over_surface
from pcqaad.quantisation.principal import Linear
from pcqaad.quantisation.quantise import Quantised
from pcqaad.quantisation.rate_control import Encoded, Search, Size, Tune
from pcqaad.quantisation.step_sizes import forget_cells
from pcqaad.settings import Settings

# A lambda this much larger or smaller may ask for another number.
_NEAR = 2.0
# What a model may cost more than another at one lambda, and still come out ahead of it at its own.
_MARGIN = 1.05
# How much smaller each lambda is at which a surface is tried again that missed the tolerance on its grid; and how many.
_FINER, _FINER_GRIDS = 8.0, 3
# Of a template that is a surface, points of a cloud to a vertex: tried first, and at least. And the fewest vertices.
_POINTS_OF_VERTEX = 16
_FEWEST_POINTS = 4
_FEWEST_VERTICES = 64
# Vertices that the dense surface is laid for, at most: one for more takes long.
_FINE = 4096


def encode(
    model: Model, evaluator: Evaluator, settings: Settings, tune: Tune, budget: int | None, size: Size
) -> Encoded:
    """Quantise a model for the settings' goal: a tolerance, the largest error, or a budget of bytes.

    A tolerance and an error are of the network as it was fitted, and the smallest file that keeps them is taken; of a
    budget, the file with the least error. Every model is drafted, by a part of the points. The best draft is finished,
    by whole clouds. Where the evaluator's clock ends, there are fewer drafts.

    Raises:
        DivergenceError: the model's numbers are those of no cloud.
        GoalError: no model reaches the error, even in floats, or no step sizes keep to the budget.
        Interrupted: stopped.
    """
    try:
        return _encode(model, evaluator, settings, tune, budget, _remembered(size, estimated=budget is None))
    finally:
        forget_cells()


def _encode(
    model: Model, evaluator: Evaluator, settings: Settings, tune: Tune, budget: int | None, size: Size
) -> Encoded:
    clock = evaluator.clock
    # Who asks for a size, or for the smallest file, gets it.
    smooth = budget is None and settings.max_emkd is None
    drafts: list[Draft] = []
    refused = None
    with clock.times(Step.MODEL):
        network = Search(model, evaluator, settings, tune, smooth)
        try:
            drafts.append(Draft(network, network.draft(budget, size)))
        except GoalError as error:
            refused = error
    network.doubt_size()
    for kind in _kinds(network, evaluator, settings, size, drafts):
        if not clock.holds({Step.MODEL: 1, kind.step: 1, Step.WHOLE: 2, **evaluator.to_come()}):
            continue
        best = drafts[-1] if drafts else None
        with clock.times(Step.MODEL):
            found = _drafted(kind, network, best, budget, size)
        if found is not None and (best is None or found.better(best, budget, size)):
            drafts.append(replace(found, kind=kind))
    if refused is not None and not drafts:
        raise refused
    # Each is better than the one before, and the network is the first.
    for draft in reversed(drafts):
        encoded = draft.search.finish(draft.encoded, budget)
        if budget is not None or network.kept_by(encoded):
            return encoded
    if settings.max_emkd is not None:
        raise network.missed(encoded)
    # Nothing keeps the tolerance: this is the network, as fine as it gets.
    return encoded


@dataclass(frozen=True)
class Draft:
    """A model quantised near the goal, and the search that can finish it."""

    search: Search
    encoded: Encoded
    kind: _Kind | None = None  # None of the network alone

    def better(self, other: Draft, budget: int | None, size: Size) -> bool:
        """Whether it is nearer to the goal: of less error within a budget, else of fewer bytes within a tolerance."""
        if budget is not None:
            return self.encoded.degradation < other.encoded.degradation
        if not self.kept:
            return False
        return not other.kept or size(self.encoded.quantised) < size(other.encoded.quantised)

    @property
    def kept(self) -> bool:
        """Whether it keeps the tolerance."""
        return self.search.kept_by(self.encoded)


@dataclass(frozen=True)
class _Kind:
    """A kind of model that may do better than the network alone."""

    find: Callable[[float], Linear | OverSurface | None]  # given a lambda; None where there is no such model
    judge: Callable[[Model], Evaluator]  # of a model of this kind
    least_cost: Callable[[float], float] = lambda _: 0.0  # of any model of this kind at a lambda: cheap to tell
    step: Step = Step.MODEL  # what it takes beside being drafted


def _kinds(
    network: Search, evaluator: Evaluator, settings: Settings, size: Size, drafts: Sequence[Draft]
) -> Iterator[_Kind]:
    """Yield the kinds of models to try: first the one that takes least time, which may leave nothing to win.

    Which comes next depends on the best drafts so far.
    """
    targets, model, seed = evaluator.clouds.targets, network.model, settings.seed
    if not settings.components:
        return
    alone = principal.without_network(targets, seed)
    yield _Kind(lambda _: alone, lambda _: evaluator)
    if not settings.registered:
        yield from _surfaces(alone, evaluator, seed, drafts)
    yield _Kind(
        lambda _: principal.with_components(model, targets, seed),
        lambda _: evaluator,
        lambda lambda_: network.least_cost(lambda_, size),
    )


def _surfaces(alone: Linear, evaluator: Evaluator, seed: int, drafts: Sequence[Draft]) -> Iterator[_Kind]:
    """Yield models whose template is a surface: of ever more vertices as long as that is better, else of fewer."""
    points = evaluator.clouds.targets.points
    # About two triangles go to a vertex, and a few more where sheets branch.
    most = min(points // _FEWEST_POINTS, int(0.45 * MAX_TRIANGLES))

    @lru_cache(1)
    def laid() -> Laid:
        sample, fine = evaluator.sample(evaluator.measured), min(2 * points // _POINTS_OF_VERTEX, _FINE)
        return Laid.through(alone.model, evaluator.clouds, sample, fine, seed)

    def tried(vertices: int, factor: float) -> Iterator[_Kind]:
        """Yield surfaces of vertices that grow by a factor, until one is not the best."""
        while _FEWEST_VERTICES <= vertices <= most:
            yield (kind := _over_surface(alone, evaluator, laid, vertices))
            if not drafts or drafts[-1].kind is not kind:
                return
            vertices = int(vertices * factor)

    first, before = min(points // _POINTS_OF_VERTEX, most), len(drafts)
    if first < _FEWEST_VERTICES:
        return
    yield _over_surface(alone, evaluator, laid, first)
    better = len(drafts)
    yield from tried(2 * first, 2.0)
    if before < better == len(drafts):
        yield from tried(first // 2, 0.5)


def _over_surface(alone: Linear, evaluator: Evaluator, laid: Callable[[], Laid], vertices: int) -> _Kind:
    """Return a kind of model: its template is a surface of a number of vertices."""
    clouds = evaluator.clouds

    def find(lambda_: float) -> OverSurface | None:
        if alone.model.components is None:
            return None
        with evaluator.clock.times(Step.SURFACE):
            try:
                found = over_surface(alone, clouds.targets, laid(), vertices, lambda_, evaluator.monitor)
            except CloudError:
                # The points lie on no surface.
                return None
        return found if len(found.surface.triangles) <= MAX_TRIANGLES else None

    def judge(model: Model) -> Evaluator:
        sample = evaluator.sample(evaluator.measured)
        return replace(evaluator, clouds=replace(clouds, targets=drawn_targets(clouds.targets, model, sample)))

    return _Kind(find, judge, step=Step.SURFACE)


def _drafted(kind: _Kind, network: Search, best: Draft | None, budget: int | None, size: Size) -> Draft | None:
    """Return the best model of a kind, drafted for the goal; None where it cannot be better than the best so far."""
    lambda_ = network.lambda_ if best is None else best.encoded.lambda_
    # What costs far more than the best at its lambda will not be better at another.
    most = math.inf if best is None else _MARGIN * best.search.cost(best.encoded, lambda_, size)
    least = kind.least_cost(lambda_)
    if least > most:
        return None
    if kind.step is Step.SURFACE:
        # Where a list of points has room to spare at a lambda, few vertices may have none.
        lambda_ = min(lambda_, network.lambda_)
    linear = kind.find(lambda_)
    if linear is None:
        return None
    if isinstance(linear, OverSurface):
        search = _reachable(linear, kind, network, lambda_, budget)
    else:
        model, cost = linear.costed(lambda_)
        if not model.architecture.components or least + cost > most:
            return None
        search = network.of_another(model, lambda_, kind.judge(model))
        if best is not None and search.cost(search.rounded(lambda_), lambda_, size) > most:
            return None
        if budget is None and not search.reachable:
            return None
    if search is None:
        return None
    try:
        began, model = search.lambda_, search.model
        led = search.lead() if budget is None else search.draft(budget, size).lambda_
        if not 1 / _NEAR < led / began < _NEAR:
            other = linear.at(led)
            same = other.architecture == model.architecture and other.surface is None
            if other.architecture.components and not same:
                search = network.of_another(other, led, kind.judge(other), led=True)
        return Draft(search, search.draft(budget, size))
    except GoalError:
        return None


def _reachable(linear: OverSurface, kind: _Kind, network: Search, lambda_: float, budget: int | None) -> Search | None:
    """Return the search of a model over a surface that keeps the tolerance on its grid, at a lambda or a finer one.

    Points on a surface have their places whatever they were matched to: distances to these say little, EM-kD decides.
    """
    for _ in range(_FINER_GRIDS):
        model = linear.at(lambda_)
        if model.architecture.components:
            search = network.of_another(model, lambda_, kind.judge(model))
            if budget is not None or search.reachable:
                return search
        lambda_ /= _FINER
    return None


def _remembered(size: Size, estimated: bool) -> Size:
    """Return the same, which measures no model twice; where an estimate will do, components are not coded for it."""
    sizes: dict[int, tuple[Quantised, int]] = {}

    def remembered(quantised: Quantised) -> int:
        # Kept beside its size, so that no other gets its number.
        if id(quantised) not in sizes:
            shared = quantised.shared
            if estimated and shared.components is not None:
                estimate = replace(quantised, shared=replace(shared, components=shared.components.estimated()))
                sizes[id(quantised)] = quantised, size(estimate)
            else:
                sizes[id(quantised)] = quantised, size(quantised)
        return sizes[id(quantised)][1]

    return remembered
