"""AtlasNetV2 (Deprelle et al., 2019), as the authors of NeuralQAAD compare with it (paper, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import selu

from pcqaad.decoder.module import lecun
from pcqaad.decoder.patches import draw_points, even_share, padded_patches, patch_sizes

STRUCTURES = ("deformation", "translation")

# Width of the networks that learn the patches' elementary structures (Deprelle et al., 2019).
_STRUCTURE_WIDTH = 128
# Folding widths that `of_weights` chooses among.
_WIDTHS = range(4, 513)
# Steps of the lattice's second coordinate are parts of this: the number that fractions approach worst.
_GOLDEN_RATIO = (1 + 5**0.5) / 2


@dataclass(frozen=True)
class AtlasNetArchitecture:
    """The sizes of an AtlasNetV2 decoder.

    Attributes:
        latent: L, numbers of a cloud.
        patches: K; the paper has 16 for Skulls, 28 for D-FAUST and COMA.
        width: of the hidden layers of a patch's folding network, (L + 3)-width-width-width-3.
        structure: how a patch learns its elementary structure. With "deformation" a network bends the unit square, with
            "translation" points of the square are moved one by one.
    """

    latent: int
    patches: int = 16
    width: int = 128
    structure: str = "deformation"

    def weights(self) -> int:
        """Count the weights and biases of all folding networks: 563,248 for the paper's Skulls."""
        w = self.width
        return self.patches * ((self.latent + 3) * w + 2 * w * w + 3 * w + 3 * w + 3)

    def structure_weights(self, points: int) -> int:
        """Count the numbers of the elementary structures of clouds of `points`, which the paper does not count."""
        if self.structure == "translation":
            return 3 * points
        w = _STRUCTURE_WIDTH
        return self.patches * (2 * w + w * w + 3 * w + 2 * w + 3)

    @classmethod
    def of_weights(cls, weights: int, latent: int, patches: int) -> AtlasNetArchitecture:
        """Return the architecture of the width at which the folding networks' weights come nearest to a number."""
        return min((cls(latent, patches, width) for width in _WIDTHS), key=lambda a: abs(a.weights() - weights))


class AtlasNet(nn.Module):
    """Folds the elementary structure of each patch into a part of the cloud, by a network of its own.

    All patches run as batched products, where the released code runs one after another. SELU follows every layer but a
    network's last, as in the paper for both decoders. A deformation ends in tanh: it stays in the cube of side 2.

    B clouds, K patches, S points of each patch, L latent numbers. Coordinates are normalised. Torch's global generator
    draws the weights: `devices.seeded` makes them those of a seed.

    Args:
        architecture: the sizes.
        points: M, of the clouds that `forward` returns, and of the structures that are translated.

    Attributes:
        layers: weights (K, inputs, outputs) of the folding networks, the first with L + 3 inputs.
        biases: (K, 1, outputs).
        deformation: weights of the networks 2-128-128-3 that bend the unit square; empty for "translation".
        deformation_bias: their biases.
        translated: (M, 3) the learned points, patch after patch; (0, 3) for "deformation".
        squares: (M, 2) points of the unit square, patch after patch: `forward` bends them, `translated` starts as them.
        patch_index, in_patch: (K, S) as in `pcqaad.decoder.module.Decoder`.
    """

    patch_index: Tensor
    in_patch: Tensor
    squares: Tensor

    def __init__(self, architecture: AtlasNetArchitecture, points: int) -> None:
        super().__init__()
        k, w = architecture.patches, architecture.width
        self.architecture, self.points, self.patches = architecture, points, k
        self._sizes = patch_sizes(points, k)
        self.layers, self.biases = _networks(k, [architecture.latent + 3, w, w, w, 3])
        bends = architecture.structure == "deformation"
        widths = [2, _STRUCTURE_WIDTH, _STRUCTURE_WIDTH, 3] if bends else []
        self.deformation, self.deformation_bias = _networks(k, widths)
        squares = torch.cat([torch.from_numpy(_lattice(int(size))) for size in self._sizes])
        flat = torch.cat([squares, torch.zeros(len(squares), 1)], 1)
        self.translated = nn.Parameter(flat[: 0 if bends else None].clone())
        index, inside = padded_patches(points, k)
        self.register_buffer("patch_index", torch.from_numpy(index), persistent=False)
        self.register_buffer("in_patch", torch.from_numpy(inside), persistent=False)
        self.register_buffer("squares", squares, persistent=False)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.translated.device

    def draw(self, rng: np.random.Generator, count: int) -> Tensor:
        """Return about `count` random points of the structures, the same number of each: (K, S, 3).

        A deformed square gives any of its points, uniformly.
        """
        if self.architecture.structure == "translation":
            rows = draw_points(rng, self._sizes, count)
            return self.translated[torch.from_numpy(rows).to(self.device)]
        squares = rng.random((self.patches, even_share(self._sizes, count), 2), np.float32)
        return self.deform(torch.from_numpy(squares).to(self.device))

    def deform(self, squares: Tensor) -> Tensor:
        """Bend points of the unit square (K, S, 2) into the patches' elementary structures (K, S, 3)."""
        x = squares
        for weight, bias in zip(self.deformation[:-1], self.deformation_bias[:-1], strict=True):
            x = selu(torch.baddbmm(bias, x, weight))
        return torch.tanh(torch.baddbmm(self.deformation_bias[-1], x, self.deformation[-1]))

    def patch_points(self) -> Tensor:
        """Return the structures' M points by patches (K, S, 3), padded where `in_patch` is False.

        A deformed square gives a lattice, the same for every cloud: it covers the square more evenly than random
        points do.
        """
        if self.architecture.structure == "translation":
            return self.translated[self.patch_index]
        return self.deform(self.squares[self.patch_index])

    def fold(self, latents: Tensor, points: Tensor) -> Tensor:
        """Fold points of the structures: (B, L), (K, S, 3) -> (K, B, S, 3)."""
        size = latents.shape[1]
        # The first layer in two parts, one for each cloud and one for each point: neither is computed twice.
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
    """Return a Fibonacci lattice: any number of points (count, 2) that cover the unit square evenly."""
    i = np.arange(count)
    return np.stack([(i + 0.5) / count, (i / _GOLDEN_RATIO) % 1], 1).astype(np.float32)
