"""The paper's first phase, and AtlasNetV2's only one: an autoencoder trained on the augmented Chamfer distance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pcqaad import devices
from pcqaad.losses.criteria import criterion
from pcqaad.points.fixed_point import Targets
from pcqaad.seeds import Use, generator, torch_seed
from pcqaad.settings import Settings
from pcqaad.training.descent import Descent, must_be_finite
from pcqaad.training.pointnet import PointNet
from pcqaad.training.schedule import Schedule

_LOSS = criterion("augmented")
# Points that are encoded at once, of all clouds together.
_POINTS_AT_ONCE = 1 << 18


class Foldable(Protocol):
    """A decoder that can be trained here, as `decoder.module.Decoder` and `baselines.atlasnet.AtlasNet` can."""

    def draw(self, rng: np.random.Generator, count: int) -> Tensor:
        """Return about `count` random points to fold, S of each of K patches: (K, S, 3)."""

    def fold(self, latents: Tensor, points: Tensor) -> Tensor:
        """Fold points into the clouds of B latents: (B, L), (K, S, 3) -> (K, B, S, 3)."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return all that is trained."""


class ChamferTrainer:
    """A decoder and a PointNet encoder, trained together on samples of the clouds.

    Every step encodes a sample of some clouds and folds as many points. The loss is the augmented Chamfer distance
    between the two (equation 11). No point is assigned to another.

    Attributes:
        decoder: being fitted; where it has latents of its own, they stay as they are.
        encoder: being fitted.
        schedule: of the fit.
        step: the number of the step that comes next.
    """

    def __init__(self, decoder: Foldable, targets: Targets, settings: Settings, device: torch.device) -> None:
        """Take the clouds, normalised, in any order, and resolved settings."""
        assert settings.latent is not None
        self.decoder = decoder
        with devices.seeded(torch_seed(settings.seed, Use.ENCODER_WEIGHTS)):
            self.encoder = PointNet(settings.latent).to(device)
        self.step = 0
        self._targets, self._settings, self._device = targets, settings, device
        self.schedule = Schedule(settings, len(targets))
        parameters = [*decoder.parameters(), *self.encoder.parameters()]
        self._descent = Descent(parameters)

    def descend(self, rate: float) -> dict[str, float]:
        """Make one step at a rate, and return its loss."""
        rng = generator(self._settings.seed, Use.PRETRAIN_POINTS, self.step)
        points = self.decoder.draw(rng, self._settings.sample)
        rows = rng.permutation(self._targets.points)[: self._settings.sample]
        wanted = self._sample(self.schedule.clouds_of(self.step, Use.PRETRAIN_CLOUDS, wrapped=True), rows)
        predicted = self.decoder.fold(self.encoder(wanted), points).transpose(0, 1).flatten(1, 2)  # (B, K * S, 3)
        must_be_finite(float(predicted.detach().abs().max()), self.step)
        return {"loss": self._descent.follow(_LOSS(predicted, wanted), rate, self.step)}

    def _sample(self, clouds: NDArray[np.int64], points: NDArray[np.int64]) -> Tensor:
        """Return the same rows (S,) of clouds (B,), in whatever order their points lie: (B, S, 3)."""
        return torch.from_numpy(self._targets.gather(clouds, points)).to(self._device)

    @torch.no_grad()
    def embed(self) -> Tensor:
        """Return the clouds' embeddings (N, L), with the batch norm's running statistics.

        An embedding is the mean over random parts of a cloud, each as large as a step's sample. The maximum over more
        points would be larger than any that the decoder has learnt to read.
        """
        self.encoder.eval()
        count, sample = self._targets.points, min(self._settings.sample, self._targets.points)
        order = generator(self._settings.seed, Use.EMBEDDED_POINTS).permutation(count)
        parts = order[: count // sample * sample].reshape(-1, sample)
        clouds, together = np.arange(len(self._targets)), max(_POINTS_AT_ONCE // sample, 1)
        groups = (clouds[low : low + together] for low in range(0, len(clouds), together))
        means = [torch.stack([self.encoder(self._sample(some, part)) for part in parts]).mean(0) for some in groups]
        self.encoder.train()
        return torch.cat(means)
