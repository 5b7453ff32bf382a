"""The linear model of matched clouds: their mean, their principal components, and no network to speak of.

It is what a file holds where a network does not earn its bytes: where time was too short to train one, where clouds
are few, or move as a few components do.
"""

from __future__ import annotations

import numpy as np

from pcqaad.decoder.architecture import Architecture, Array, Model
from pcqaad.points.components import COORDINATES_AT_ONCE, principal_components
from pcqaad.points.fixed_point import Targets

# Directions with less than this part of the first one's spread are noise of the arithmetic.
_LEAST_SPREAD = 1e-5


def linear_model(clouds: Targets, most: int) -> Model:
    """Return the mean and at most `most` principal components of clouds in assigned order.

    Latents have a mean square of 1. A network of one neuron a layer, whose weights are all 0, stands in for none: it
    takes a few bytes.
    """
    count, points = len(clouds), clouds.points
    basis, spread = principal_components(clouds)
    kept = max(int((spread[: min(most, count - 1)] > _LEAST_SPREAD * spread[0]).sum()), 1)
    latents = basis[:, :kept] * np.sqrt(count)
    mean, components = np.empty((points, 3), np.float32), np.empty((points, kept, 3), np.float32)
    for some in np.array_split(np.arange(points), -(-3 * count * points // COORDINATES_AT_ONCE)):
        part = clouds.gather(np.arange(count), some).astype(np.float64)
        mean[some] = part.mean(0)
        # Latents are orthogonal, and to the mean.
        components[some] = np.tensordot(part - part.mean(0), latents, (0, 0)).transpose(0, 2, 1) / count
    return of_components(mean, latents.astype(np.float32), components)


def of_components(template: Array, latents: Array, components: Array) -> Model:
    """Return the model of a template (M, 3) that latents (N, C) move by components (M, C, 3) alone."""
    count, number = latents.shape
    architecture = Architecture(count, len(template), number, (1,), 1, 1, True, number)
    weights = {name: np.zeros(shape, np.float32) for name, shape in architecture.tensors().items()}
    return Model(architecture, template, latents, weights, components)


def first_components(model: Model, number: int) -> Model:
    """Return a linear model with its first components alone."""
    assert model.components is not None
    return of_components(model.template, model.latents[:, :number], model.components[:, :number])
