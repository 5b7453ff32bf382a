"""The PointNet encoder whose embeddings start the latents in the paper (section 4.2); no file holds it."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn


class PointNet(nn.Module):
    """Maps a cloud, whatever the order of its points, to a latent (Qi et al., 2017a, as AtlasNetV2 has it).

    Layers 3-64-128-L for every point, each with batch norm, the first two with ReLU; the maximum over the points;
    a layer L-L with batch norm and ReLU. It trains with the decoder and is dropped with the stage it serves.
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.pointwise = nn.Sequential(
            *(nn.Linear(3, 64), nn.BatchNorm1d(64), nn.ReLU()),
            *(nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU()),
            *(nn.Linear(128, latent), nn.BatchNorm1d(latent)),
        )
        self.out = nn.Sequential(nn.Linear(latent, latent), nn.BatchNorm1d(latent), nn.ReLU())

    def forward(self, points: Tensor) -> Tensor:
        """Encode normalised points: (B, S, 3) -> (B, L). In training B is at least 2."""
        b, s, _ = points.shape
        features = self.pointwise(points.reshape(b * s, 3)).view(b, s, -1)
        return cast(Tensor, self.out(features.amax(1)))
