"""Networks that map partial clouds to whole ones: a PointNet encoder and, behind it, one of two decoders."""

from __future__ import annotations

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

# Numbers between encoder and decoder.
_LATENT = 128
# Widths of the patches' decoder: about those of a file for some dozen clouds.
_SHARED, _PATCH = (128, 64, 64), 32
# Of the folding networks: a step takes about as long as with the patches' decoder.
_WIDTH = 64


class FoldingNet(nn.Module):
    """Folds a square grid twice into a cloud (Yang, Feng, Shen and Tian, CVPR 2018, section 3.2).

    The latent and a grid point go through the first network, the latent and what came out through the second; both
    have two hidden layers with ReLU.

    Args:
        points: M, of the clouds; the grid is the smallest square one of as many, its last points left out.
        latent: L.
        width: of the hidden layers; 512 is the paper's.
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
        # A layer of both, in two parts: that of the latent is computed once a cloud, not once a point.
        self.of_latent = nn.Linear(latent, width)
        self.of_point = nn.Linear(inputs, width, bias=False)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))

    def forward(self, latents: Tensor, points: Tensor) -> Tensor:
        return cast(Tensor, self.rest(self.of_latent(latents)[:, None] + self.of_point(points)))


class CompletionNet(nn.Module):
    """An encoder of partial clouds (B, n, 3) and a decoder to whole ones (B, M, 3), all normalised.

    The encoder takes any n, but its batch norms know the maxima over as many points as it was trained on.

    Args:
        decoder: of `DECODERS`: `folding`, a `FoldingNet`, or `patches`, the decoder of NeuralQAAD, whose template is
            trained with it.
        template: (M, 3) normalised: a whole cloud for the template to start as; of `folding`, M alone counts.
    """

    def __init__(self, decoder: str, template: NDArray[np.float32]) -> None:
        super().__init__()
        self.encoder = PointNet(_LATENT)
        if decoder == "folding":
            self.decoder: nn.Module = FoldingNet(len(template), _LATENT, _WIDTH)
            return
        patches = choose_patches(len(template))
        start = torch.from_numpy(template[patch_order(template, patches)])
        # It decodes what the encoder says and has no latents of its own.
        self.decoder = Decoder(start, torch.empty(0, _LATENT), _SHARED, _PATCH, patches, residual=True)

    def forward(self, partial: Tensor) -> Tensor:
        """Complete partial clouds: (B, n, 3) -> (B, M, 3). In training B is at least 2."""
        return cast(Tensor, self.decoder(self.encoder(partial)))
