"""The linear part of a model: principal components of what its network leaves of matched clouds, or of all there is.

Components say in a few bytes what a network of few weights learns slowly: it may leave the rest to them. Where clouds
are few, or move as a few components do, or time was too short to train one, they do without a network altogether.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.architecture import Architecture, Array, Model
from pcqaad.decoder.components import Components
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.decoder.patches import draw_points, patch_sizes
from pcqaad.points.components import decomposed, mean_shape
from pcqaad.points.fixed_point import Targets
from pcqaad.quantisation.step_sizes import cells, component_step_sizes, price, template_step_size
from pcqaad.seeds import Use, generator


@dataclass(frozen=True)
class Plan:
    """How components are found."""

    most: int = 64  # components
    points: int = 2048  # of every cloud, by which latents are found
    clouds: int = 256  # evenly spread, from which components of all points then follow
    least: float = 1e-5  # the part of the first one's spread below which a direction is noise of the arithmetic


_PLAN = Plan()


@dataclass(frozen=True)
class Linear:
    """A model with all components that may be worth their bytes.

    Its first latents are the components', with a mean square of 1, ahead of those that its network had.
    """

    model: Model
    squares: NDArray[np.float64]  # (C,) mean squares of how far points move by each component, falling

    def at(self, lambda_: float) -> Model:
        """Return the model with as many of its components as earn their bits at a lambda."""
        return self.costed(lambda_)[0]

    def costed(self, lambda_: float) -> tuple[Model, float]:
        """Return the same, and its cost: the movement that it leaves, and what its components' bits are worth."""
        bit, clouds = price(lambda_), self.model.architecture.clouds
        # A component whose latents would be 0 is worth nothing.
        most = int((self.squares > bit * clouds).sum())
        if not most:
            return self.first(0), float(self.squares.sum())
        model = self.first(most)
        assert model.components is not None
        over = cells(model.template, template_step_size(model.template, lambda_))
        # Each is rounded on its own, so that all say what fewer would take.
        coded = Components.encode(model.components, component_step_sizes(model, lambda_), over)
        moved = np.square(coded.dequantise() - model.components).mean(0, np.float64).sum(1)
        # Of a number with this mean square, in the step size that lambda gives it.
        latents = 0.5 * np.log2(1 + 1.42 * self.squares[:most] / (lambda_ * clouds)) * clouds
        left = self.squares.sum() - np.cumsum(self.squares[:most])
        costs = [self.squares.sum(), *left + np.cumsum(moved) + bit * (coded.bits() + np.cumsum(latents))]
        best = int(np.argmin(costs))
        return self.first(best), float(costs[best])

    def first(self, count: int) -> Model:
        """Return the model with its first components alone."""
        model, found = self.model, len(self.squares)
        kept = [*range(count), *range(found, model.architecture.latent)]
        latents, weights = model.latents[:, kept], model.weights["latent"][kept]
        if not kept:
            # A model has a latent of one number at least.
            latents, weights = np.zeros((len(latents), 1), np.float32), np.zeros((1, weights.shape[1]), np.float32)
        return replace(
            model,
            architecture=replace(model.architecture, components=count, latent=len(weights)),
            latents=latents,
            weights={**model.weights, "latent": weights},
            components=None if not count or model.components is None else model.components[:, :count],
        )


def without_network(clouds: Targets, seed: int) -> Linear:
    """Return the mean of clouds in assigned order, and their principal components.

    One neuron a layer whose weights are all 0 stands in for no network: it takes a few bytes.
    """
    architecture = Architecture(len(clouds), clouds.points, 0, (1,), 1, 1, True)
    weights = {name: np.zeros(shape, np.float32) for name, shape in architecture.tensors().items()}
    nothing = Model(architecture, mean_shape(clouds), np.zeros((len(clouds), 0), np.float32), weights)
    return with_components(nothing, clouds, seed)


def with_components(model: Model, clouds: Targets, seed: int) -> Linear:
    """Add the principal components of what a model without any leaves of the clouds, in assigned order."""
    architecture, count = model.architecture, len(clouds)
    rows = draw_points(
        generator(seed, Use.COMPONENT_POINTS), patch_sizes(architecture.points, architecture.patches), _PLAN.points
    ).ravel()
    part = replace(model, architecture=replace(architecture, points=len(rows)), template=model.template[rows])
    left = np.stack([cloud.ravel() for cloud in _left(part, clouds, np.arange(count), rows)]).astype(np.float64)
    left -= left.mean(0)
    values, vectors = decomposed(left @ left.T)
    squares = values / (count * len(rows))
    kept = kept_components(squares)
    latents = vectors[:, :kept] * np.sqrt(count)

    few = np.unique(np.linspace(0, count - 1, min(count, _PLAN.clouds)).round().astype(np.int64))
    design = np.column_stack([np.ones(len(few)), latents[few]])  # (n, 1 + C)
    sums = np.zeros((1 + kept, 3 * architecture.points))
    for row, cloud in zip(design, _left(model, clouds, few, None), strict=True):
        sums += row[:, None] * cloud.ravel()
    solved = np.linalg.lstsq(design.T @ design, sums, rcond=1e-9)[0].reshape(1 + kept, -1, 3)
    template = model.template + solved[0].astype(np.float32) if architecture.residual else model.template
    components = np.ascontiguousarray(solved[1:].transpose(1, 0, 2), np.float32)
    weights = model.weights["latent"]
    return Linear(
        Model(
            replace(architecture, latent=kept + architecture.latent, components=kept),
            template,
            np.concatenate([latents.astype(np.float32), model.latents], 1),
            {**model.weights, "latent": np.concatenate([np.zeros((kept, weights.shape[1]), np.float32), weights])},
            components,
        ),
        squares[:kept],
    )


def kept_components(squares: NDArray[np.float64]) -> int:
    """Return how many components of N clouds are kept, by the mean squares (N,) of how far points move by each."""
    return int((squares[: min(_PLAN.most, len(squares) - 1)] > _PLAN.least**2 * squares[0]).sum())


def _left(model: Model, clouds: Targets, some: NDArray[np.int64], rows: NDArray[np.int64] | None) -> Iterator[Array]:
    """Yield what a model leaves (m, 3) of some clouds: of these rows, which are all that it has, or of all."""
    decoder = FloatDecoder(model)
    for i in some:
        target = clouds[i] if rows is None else clouds.gather(np.array([i]), rows)[0]
        yield target - decoder.decode(model.latents[i])
