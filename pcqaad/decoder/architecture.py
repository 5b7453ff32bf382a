"""The network: its sizes, its tensors, and a fitted model as plain arrays. Every other decoder file builds on this."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.surface import DrawnSurface

Array = NDArray[np.float32]

# The activation function of all hidden layers, SELU (Klambauer et al., 2017): lambda and alpha of their equation 2.
SELU_LAMBDA = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772

# Sizes that no real model has: a file that claims more is refused before anything is allocated for it.
MAX_CLOUDS = 2**24
MAX_POINTS = 2**24  # of a cloud
MAX_PATCHES = 2**16 - 1  # two bytes of the header
MAX_LATENT = 2**16 - 1  # numbers of a cloud; two bytes of the header
MAX_LAYERS = 16  # shared ones
MAX_WIDTH = 2**14  # neurons of a layer
MAX_WEIGHTS = 2**26  # numbers of all tensors together, and likewise of all latents
MAX_BITS = 16  # of a coordinate of the template's grid


@dataclass(frozen=True)
class Architecture:
    """The sizes of a model."""

    clouds: int  # N
    points: int  # M, of the template; of every cloud too, but where the template is a surface of so many vertices
    latent: int  # L, numbers of a cloud's latent
    shared: tuple[int, ...]  # W, widths of the layers that all patches share, at least one
    patch: int  # H, width of a patch's hidden layer
    patches: int  # K, at most M
    residual: bool  # whether the network's output is added to the template point
    components: int = 0  # C, displacement components of the template, driven by the first C latent numbers

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every weight tensor, in the order they are stored.

        The first layer's weights come in two parts, for the latent and for the template point. So do the patches'
        first ones, for the shared features and for the template point again. The parts differ in scale, so each is
        quantised and coded by itself.
        """
        w, k, hidden = self.shared, self.patches, self.patch
        shapes: dict[str, tuple[int, ...]] = {"latent": (self.latent, w[0]), "point": (3, w[0]), "bias 0": (w[0],)}
        for i in range(1, len(w)):
            shapes |= {f"shared {i}": (w[i - 1], w[i]), f"bias {i}": (w[i],)}
        return shapes | {
            "patch": (k, w[-1], hidden),
            "patch point": (k, 3, hidden),
            "patch bias": (k, hidden),
            "out": (k, hidden, 3),
            "out bias": (k, 3),
        }

    def weights(self) -> int:
        """Count the numbers in all weight tensors, biases included. Components are no weights."""
        return sum(math.prod(shape) for shape in self.tensors().values())

    def component_numbers(self) -> int:
        """Count the numbers of all components."""
        return 3 * self.points * self.components

    def paper_ratio(self, points: int | None = None) -> float:
        """Return the paper's ratio: floats of the data set, of `points` a cloud (None: M), to weights and latents.

        As the paper counts: no template, no biases, and no weights of the three input coordinates
        (its 3311 : 1 for Skulls comes out of no other count). Components, which the paper has not, are counted.
        """
        counted = ("latent", "patch", "out", *(f"shared {i}" for i in range(1, len(self.shared))))
        weights = sum(math.prod(self.tensors()[name]) for name in counted)
        weights += self.component_numbers()
        return self.clouds * (points or self.points) * 3 / (weights + self.clouds * self.latent)


@dataclass(frozen=True)
class Model:
    """A model's numbers: `template` (M, 3), patch after patch; `latents` (N, L); `weights` by tensor name.

    A cloud is the network's output, and the template where it is residual, plus the sum over its first C latent
    numbers of each times its component (M, 3): the linear part.
    """

    architecture: Architecture
    template: Array
    latents: Array
    weights: dict[str, Array]
    components: Array | None = None  # (M, C, 3) displacements of the template's points; None where C is 0
    surface: DrawnSurface | None = None  # of which the template's points are the vertices, and clouds drawn points

    def of_points(self) -> Model:
        """Return a model whose template is the points of a surface, where this one's is its vertices.

        The linear part is that of the surface. The network is asked for the points and not for the vertices, which is
        the same up to how it bends within a triangle.
        """
        if self.surface is None:
            return self
        draw = self.surface.draw
        return replace(
            self,
            architecture=replace(self.architecture, points=len(draw)),
            template=draw.between(self.template),
            components=None if self.components is None else draw.between(self.components),
            surface=None,
        )


def too_large(architecture: Architecture) -> str:
    """Return which numbers of a model of these sizes are more than a file holds; nothing where it holds them."""
    weights, latents = architecture.weights(), architecture.clouds * architecture.latent
    if weights > MAX_WEIGHTS:
        return f"expected at most {MAX_WEIGHTS} weights, found {weights}"
    return f"expected at most {MAX_WEIGHTS} latent numbers, found {latents}" if latents > MAX_WEIGHTS else ""
