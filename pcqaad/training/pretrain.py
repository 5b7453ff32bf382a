"""The paper's first stage, and AtlasNetV2's only one: an autoencoder trained on the augmented Chamfer distance."""

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
from pcqaad.training.pointnet import PointNet
from pcqaad.training.schedule import Schedule
from pcqaad.training.trainer import must_be_finite

_LOSS = criterion("augmented")
# Points in flight while all clouds are encoded.
_TOGETHER = 1 << 18


class Foldable(Protocol):
    """What a decoder has to offer to be trained here: `network.Decoder` and `baselines.atlasnet.AtlasNet` do.

    B clouds, K patches, S points of each patch, L latent numbers.
    """

    def draw(self, rng: np.random.Generator, count: int) -> Tensor:
        """Return about `count` random points of what is folded, the same number of each patch: (K, S, 3)."""

    def fold(self, latents: Tensor, points: Tensor) -> Tensor:
        """Fold these: (B, L), (K, S, 3) -> (K, B, S, 3)."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return all that is trained."""


class ChamferTrainer:
    """A decoder and a PointNet encoder, trained together on samples of the clouds.

    Every step encodes a sample of some clouds and folds as many points; the loss is the augmented Chamfer distance
    between the two (equation 11). No point is assigned to another.

    Attributes:
        decoder: being fitted; where it has latents of its own, they stay as they are.
        encoder: being fitted.
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
        self._schedule = Schedule(settings, len(targets))
        parameters = [*decoder.parameters(), *self.encoder.parameters()]
        self._optimiser = torch.optim.Adam(parameters, lr=settings.learning_rate)

    def descend(self, rate: float) -> dict[str, float]:
        """Make one step at a rate, and return its loss."""
        return {"loss": self._train_step(rate)}

    def _train_step(self, rate: float) -> float:
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        rng = generator(self._settings.seed, Use.PRETRAIN_POINTS, self.step)
        points = self.decoder.draw(rng, self._settings.sample)
        wanted = self._sample(self._draw_clouds(), rng.permutation(self._targets.points)[: self._settings.sample])
        predicted = self.decoder.fold(self.encoder(wanted), points)  # (K, B, S, 3)
        must_be_finite(float(predicted.detach().abs().max()), self.step)
        loss = _LOSS(predicted.transpose(0, 1).flatten(1, 2), wanted)
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        figure = float(loss.detach())
        must_be_finite(figure, self.step)
        return figure

    def _draw_clouds(self) -> NDArray[np.int64]:
        """Draw the step's clouds (B,): the next of a random order, from its beginning again where it ends.

        So that all steps have as many, and batch norm never a single one.
        """
        epoch, position = divmod(self.step, self._schedule.steps_per_epoch)
        order = generator(self._settings.seed, Use.PRETRAIN_CLOUDS, epoch).permutation(len(self._targets))
        batch = self._settings.batch
        return order.take(range(position * batch, (position + 1) * batch), mode="wrap")

    def _sample(self, clouds: NDArray[np.int64], points: NDArray[np.int64]) -> Tensor:
        """Return the same rows (S,) of clouds (B,), in whatever order their points lie: (B, S, 3)."""
        return torch.from_numpy(self._targets.gather(clouds, points)).to(self._device)

    @torch.no_grad()
    def embed(self) -> Tensor:
        """Return the clouds' embeddings (N, L), with the batch norm's running statistics.

        The mean over random parts, as many as the cloud has without a rest, each as large as a step's sample: the
        maximum over more points would be larger than any that the decoder has learnt to read.
        """
        self.encoder.eval()
        count, sample = self._targets.points, min(self._settings.sample, self._targets.points)
        order = generator(self._settings.seed, Use.EMBEDDED_POINTS).permutation(count)
        parts = order[: count // sample * sample].reshape(-1, sample)
        clouds = np.arange(len(self._targets))
        few = max(_TOGETHER // sample, 1)
        means = []
        for low in range(0, len(clouds), few):
            some = clouds[low : low + few]
            means.append(torch.stack([self.encoder(self._sample(some, part)) for part in parts]).mean(0))
        self.encoder.train()
        return torch.cat(means)
