"""Networks that map partial clouds to whole ones: a PointNet encoder and one of two decoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pcqaad.decoder.module import Decoder
from pcqaad.matching.kd import patch_order
from pcqaad.training.pointnet import PointNet
from pcqaad.training.sizing import choose_patches

DECODERS = ("folding", "patches")


@dataclass(frozen=True)
class Sizes:
    """The sizes of a completion network."""

    latent: int = 128  # numbers between encoder and decoder
    shared: tuple[int, ...] = (128, 64, 64)  # widths of the shared layers of `patches`, as in files of a few clouds
    patch: int = 32  # width of a patch's own layer
    folding: int = 64  # width of the layers of `folding`: a step takes about as long as with `patches`


class FoldingNet(nn.Module):
    """Folds a square grid twice into a cloud (Yang, Feng, Shen and Tian, CVPR 2018, section 3.2).

    The first network folds the latent and a grid point, the second the latent and the result. Both have two hidden
    layers with ReLU.

    Args:
        points: M, of the clouds. The grid is the smallest square of at least M points, less its last ones.
        latent: L.
        width: of the hidden layers; 512 in the paper.
    """

    grid: Tensor

    def __init__(self, points: int, latent: int, width: int = 512) -> None:
        super().__init__()
        side = int(np.ceil(points**0.5))
        axis = torch.linspace(-1, 1, side)
        grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)[:points]
        self.register_buffer("grid", grid, persistent=False)
        self.folds = nn.ModuleList(_Fold(latent, inputs, width) for inputs in (2, 3))

    def forward(self, latents: Tensor) -> Tensor:
        """Decode latents (B, L) to normalised points (B, M, 3)."""
        points = self.grid.expand(len(latents), -1, -1)
        for fold in self.folds:
            points = fold(latents, points)
        return points


class _Fold(nn.Module):
    """One folding network: latents (B, L) and points (B, M, C) to points (B, M, 3)."""

    def __init__(self, latent: int, inputs: int, width: int) -> None:
        super().__init__()
        # One layer in two parts: the latent's part is computed once a cloud, the point's once a point.
        self.of_latent = nn.Linear(latent, width)
        self.of_point = nn.Linear(inputs, width, bias=False)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))

    def forward(self, latents: Tensor, points: Tensor) -> Tensor:
        return cast(Tensor, self.rest(self.of_latent(latents)[:, None] + self.of_point(points)))


class CompletionNet(nn.Module):
    """An encoder of partial clouds (B, n, 3) and a decoder to whole ones (B, M, 3), all normalised.

    Give it as many points n as it was trained on: the encoder takes any n, but its batch norms are fitted to the
    maxima over that number.

    Args:
        decoder: `folding`, a `FoldingNet`, or `patches`, the decoder of NeuralQAAD, whose template is trained too.
        template: (M, 3) normalised, a whole cloud. The template starts as it; `folding` takes its M alone.
        sizes: of the layers.
    """

    def __init__(self, decoder: str, template: NDArray[np.float32], sizes: Sizes | None = None) -> None:
        super().__init__()
        sizes = sizes or Sizes()
        self.encoder = PointNet(sizes.latent)
        if decoder == "folding":
            self.decoder: nn.Module = FoldingNet(len(template), sizes.latent, sizes.folding)
            return
        patches = choose_patches(len(template))
        start = torch.from_numpy(template[patch_order(template, patches)])
        # It decodes the encoder's latents and has none of its own.
        own = torch.empty(0, sizes.latent)
        self.decoder = Decoder(start, own, sizes.shared, sizes.patch, patches, residual=True)

    def forward(self, partial: Tensor) -> Tensor:
        """Complete partial clouds: (B, n, 3) -> (B, M, 3). In training B is at least 2."""
        return cast(Tensor, self.decoder(self.encoder(partial)))
