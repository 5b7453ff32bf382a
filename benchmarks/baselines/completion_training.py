"""Completion by a network (Algorithm 2 of Lin et al.), trained on pairs of partial and whole clouds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.baselines.completion_networks import DECODERS, CompletionNet
from pcqaad import devices
from pcqaad.errors import CloudError, SettingsError
from pcqaad.monitor import SILENT, Monitor, Stage
from pcqaad.points.collect import check_cloud
from pcqaad.seeds import Use, generator, torch_seed
from pcqaad.training.schedule import cosine

Floats = NDArray[np.float32]
# Maps predicted clouds (B, M, 3) and whole ones (B, M, 3) to a scalar: a criterion of pcqaad.losses is one.
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Training:
    """How a network is trained, by Adam."""

    steps: int
    batch: int = 8  # pairs a step; batch norm needs 2
    learning_rate: float = 1e-3  # at the first step
    last_rate: float = 0.01  # at the last one, as a part of the first

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 2)):
            if getattr(self, name) < least:
                raise SettingsError(f"{name} is {getattr(self, name)}, expected at least {least}")


class Completer:
    """A network h that completes clouds, and its training.

    Algorithm 2 draws one pair uniformly at random and descends the gradient of the loss between h(partial) and whole.
    Here a step draws a batch of pairs.

    Args:
        decoder: one of `benchmarks.baselines.completion_networks.DECODERS`.
        pairs: (partial (n_i, 3), whole (M, 3)), normalised, with the same M in all.
        given: the number of points that the network sees of a partial cloud. They are drawn at random, some of them
            twice where the cloud has fewer.
        seed: of the weights and of all that is drawn.
        device: "auto", "cpu" or "cuda".

    Raises:
        CloudError: a cloud is malformed, or whole ones differ in size.
        SettingsError: a choice cannot be trained.
    """

    def __init__(
        self, decoder: str, pairs: Sequence[tuple[Floats, Floats]], given: int, seed: int = 0, device: str = "auto"
    ) -> None:
        if decoder not in DECODERS:
            raise SettingsError(f"unknown decoder {decoder!r}, expected one of {', '.join(DECODERS)}")
        if given < 1:
            raise SettingsError(f"given is {given}, expected at least 1")
        if not pairs:
            raise CloudError("expected at least 1 pair of clouds to train on, found none")
        points = len(pairs[0][1])
        for i, (partial, whole) in enumerate(pairs):
            check_cloud(partial, f"partial cloud {i}")
            if len(check_cloud(whole, f"whole cloud {i}")) != points:
                raise CloudError(f"whole cloud {i}: expected {points} points as in the first, found {len(whole)}")
        self._pairs, self._given, self._seed = pairs, given, seed
        self._device = devices.choose(device)
        with devices.seeded(torch_seed(seed, Use.WEIGHTS)):
            self.network = CompletionNet(decoder, pairs[0][1]).to(self._device)

    def train(self, loss: Loss, training: Training, monitor: Monitor = SILENT) -> None:
        """Train the network. The monitor gets every step and its `loss`, and may use the network in between."""
        optimiser = torch.optim.Adam(self.network.parameters())
        for step in range(training.steps):
            self.network.train()
            rate = training.learning_rate * cosine(step / training.steps, training.last_rate)
            optimiser.param_groups[0]["lr"] = rate
            rng = generator(self._seed, Use.PAIRS, step)
            drawn = [self._pairs[i] for i in rng.integers(len(self._pairs), size=training.batch)]
            partial = self._stack([self._draw(partial, rng) for partial, _ in drawn])
            value = loss(self.network(partial), self._stack([whole for _, whole in drawn]))
            optimiser.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            monitor.update(Stage.FIT, step + 1, training.steps, "steps", {"loss": float(value.detach())})

    @torch.no_grad()
    def complete(self, partials: Sequence[Floats]) -> list[Floats]:
        """Return the whole clouds (M, 3) of partial ones (n_i, 3), normalised."""
        self.network.eval()
        drawn = [self._draw(x, generator(self._seed, Use.GIVEN_POINTS, i)) for i, x in enumerate(partials)]
        return list(self.network(self._stack(drawn)).cpu().numpy())

    def _draw(self, cloud: Floats, rng: np.random.Generator) -> Floats:
        return cloud[rng.choice(len(cloud), self._given, replace=len(cloud) < self._given)]

    def _stack(self, clouds: Sequence[Floats]) -> torch.Tensor:
        return torch.from_numpy(np.stack(clouds)).to(self._device, torch.float32)
