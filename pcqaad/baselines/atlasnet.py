"""AtlasNetV2 as NeuralQAAD's authors compare with it (Deprelle et al., 2019; paper, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import selu

from pcqaad.decoder.module import lecun
from pcqaad.decoder.patches import draw_points, padded_patches, patch_sizes

# Width of the networks that learn the patches' elementary structures (Deprelle et al., 2019).
_STRUCTURE = 128
# Of the lattice's second coordinate: the golden ratio, the number that fractions approach worst.
_GOLDEN = (1 + 5**0.5) / 2
# Widths that `matching` chooses among.
_WIDTHS = range(4, 513)

STRUCTURES = ("deformation", "translation")


@dataclass(frozen=True)
class AtlasNetShape:
    """The sizes of an AtlasNetV2 decoder.

    Attributes:
        latent: L, numbers per cloud.
        patches: K; the paper has 16 for Skulls and 28 for D-FAUST and COMA.
        width: of the hidden layers of a patch's folding network, (L + 3)-width-width-width-3.
        structure: how a patch learns what it folds: "deformation", a network that bends the unit square, or
            "translation", points of it that are moved one by one.
    """

    latent: int
    patches: int = 16
    width: int = 128
    structure: str = "deformation"

    def weights(self) -> int:
        """Count the numbers of all patches' folding networks, biases included: 563,248 for the paper's Skulls."""
        w = self.width
        return self.patches * ((self.latent + 3) * w + 2 * w * w + 3 * w + 3 * w + 3)

    def structure_weights(self, points: int) -> int:
        """Count what the elementary structures add, for clouds of `points`: the paper does not count it."""
        if self.structure == "translation":
            return 3 * points
        w = _STRUCTURE
        return self.patches * (2 * w + w * w + 3 * w + 2 * w + 3)

    @classmethod
    def matching(cls, weights: int, latent: int, patches: int, structure: str = "deformation") -> AtlasNetShape:
        """Return the shape whose folding networks come nearest to so many weights, by their width."""
        shapes = [cls(latent, patches, width, structure) for width in _WIDTHS]
        return min(shapes, key=lambda shape: abs(shape.weights() - weights))


class AtlasNet(nn.Module):
    """Folds each patch's elementary structure into its part of a cloud, by a network of its own.

    All patches run as batched products, where the released code runs one after another. SELU after every layer
    but a network's last, as the paper has it for both decoders; a deformed patch ends in tanh, so that its
    structure lies within the cube of side 2.

    B clouds, K patches, S points of each patch, L latent numbers. Coordinates are normalised.

    Args:
        shape: the sizes.
        points: M, of the clouds that `forward` returns, and of the structure where points are learned.

    Attributes:
        layers: weights (K, inputs, outputs) of the folding networks, the first with L + 3 inputs.
        biases: (K, 1, outputs).
        bend, bend_bias: the same of the networks 2-128-128-3 that deform the unit square; empty for "translation".
        moved: (M, 3) the learned points, patch after patch; empty (0, 3) for "deformation".
        squares: (M, 2) points of the unit square, patch after patch, that `forward` bends or that `moved` starts as.
        patch_index, in_patch: (K, S) as in `network.Decoder`.
    """

    patch_index: Tensor
    in_patch: Tensor
    squares: Tensor

    def __init__(self, shape: AtlasNetShape, points: int) -> None:
        super().__init__()
        k, w = shape.patches, shape.width
        self.shape, self.points, self.patches = shape, points, k
        self._sizes = patch_sizes(points, k)
        self.layers, self.biases = _networks(k, [shape.latent + 3, w, w, w, 3])
        bends = shape.structure == "deformation"
        self.bend, self.bend_bias = _networks(k, [2, _STRUCTURE, _STRUCTURE, 3] if bends else [])
        squares = torch.cat([torch.from_numpy(_lattice(int(size))) for size in self._sizes])
        flat = torch.cat([squares, torch.zeros(len(squares), 1)], 1)
        self.moved = nn.Parameter(flat[: 0 if bends else None].clone())
        index, inside = padded_patches(points, k)
        self.register_buffer("patch_index", torch.from_numpy(index), persistent=False)
        self.register_buffer("in_patch", torch.from_numpy(inside), persistent=False)
        self.register_buffer("squares", squares, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the decoder lies."""
        return self.moved.device

    def draw(self, rng: np.random.Generator, count: int) -> Tensor:
        """Return about `count` random points of the structures, the same number of each: (K, S, 3).

        A deformed square is drawn from uniformly, anew for every step.
        """
        each = min(max(count // self.patches, 1), int(self._sizes.min()))
        if self.shape.structure == "translation":
            rows = draw_points(rng, self._sizes, each)
            return self.moved[torch.from_numpy(rows).to(self.device)]
        squares = rng.random((self.patches, each, 2), np.float32)
        return self.deform(torch.from_numpy(squares).to(self.device))

    def deform(self, squares: Tensor) -> Tensor:
        """Bend points of the unit square (K, S, 2) into the patches' elementary structures (K, S, 3)."""
        x = squares
        for weight, bias in zip(self.bend[:-1], self.bend_bias[:-1], strict=True):
            x = selu(torch.baddbmm(bias, x, weight))
        return torch.tanh(torch.baddbmm(self.bend_bias[-1], x, self.bend[-1]))

    def patch_points(self) -> Tensor:
        """Return the structures' M points by patches (K, S, 3), the smaller ones padded; `in_patch` tells.

        Of a deformed square a lattice, the same for every cloud: it covers the square more evenly than random
        points would.
        """
        if self.shape.structure == "translation":
            return self.moved[self.patch_index]
        return self.deform(self.squares[self.patch_index])

    def fold(self, latents: Tensor, points: Tensor) -> Tensor:
        """Fold points of the structures: (B, L), (K, S, 3) -> (K, B, S, 3)."""
        size = latents.shape[1]
        # The sum of a part per cloud and a part per point: neither is computed twice.
        of_cloud = latents @ self.layers[0][:, :size] + self.biases[0]  # (K, B, width)
        x = selu(of_cloud[:, :, None] + torch.bmm(points, self.layers[0][:, size:])[:, None])
        k, b, s, width = x.shape
        x = x.reshape(k, b * s, width)
        for weight, bias in zip(self.layers[1:-1], self.biases[1:-1], strict=True):
            x = selu(torch.baddbmm(bias, x, weight))
        return torch.baddbmm(self.biases[-1], x, self.layers[-1]).view(k, b, s, 3)

    def forward(self, latents: Tensor) -> Tensor:
        """Decode whole clouds: latents (B, L) -> normalised points (B, M, 3), patch after patch."""
        return self.fold(latents, self.patch_points()).transpose(0, 1)[:, self.in_patch]


def _networks(patches: int, widths: list[int]) -> tuple[nn.ParameterList, nn.ParameterList]:
    """Return weights (K, inputs, outputs) and biases (K, 1, outputs) of K networks."""
    pairs = list(zip(widths[:-1], widths[1:], strict=True))
    weights = nn.ParameterList(lecun(patches, i, o, fan_in=i) for i, o in pairs)
    return weights, nn.ParameterList(torch.zeros(patches, 1, o) for _, o in pairs)


def _lattice(count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return `count` points (count, 2) that cover the unit square evenly: a Fibonacci lattice, for any count."""
    i = np.arange(count)
    return np.stack([(i + 0.5) / count, (i / _GOLDEN) % 1], 1).astype(np.float32)
