"""Completion by a network (Algorithm 2 of Lin et al.): trained on pairs of partial and whole clouds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pcqaad import devices
from pcqaad.baselines.completion_networks import DECODERS, CompletionNet
from pcqaad.errors import CloudError, SettingsError
from pcqaad.points.collect import check_cloud
from pcqaad.seeds import Use, generator, torch_seed
from pcqaad.training.schedule import cosine

# What is left of the rate in the end.
_LAST_RATE = 0.01

Floats = NDArray[np.float32]
# Of predicted clouds (B, M, 3) and whole ones (B, M, 3) a scalar: a criterion of pcqaad.losses is one.
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# Told of every step: its number, from 1, and its loss. May raise to stop.
OnStep = Callable[[int, float], None]


class Completer:
    """A network h that completes clouds, and its training.

    Algorithm 2 picks a sample uniformly at random, and descends along the gradient of the loss between h(partial)
    and whole; here a step picks some, with Adam and a rate that falls to a hundredth.

    Args:
        decoder: of `pcqaad.baselines.completion_networks.DECODERS`.
        pairs: (partial (n_i, 3), whole (M, 3)), normalised; M the same in all.
        given: points of a partial cloud that the network sees: random ones of a larger one, some twice of a smaller.
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
        for i, (partial, whole) in enumerate(pairs):
            check_cloud(partial, f"partial cloud {i}")
            if len(check_cloud(whole, f"whole cloud {i}")) != len(pairs[0][1]):
                raise CloudError(
                    f"whole cloud {i}: expected {len(pairs[0][1])} points as in the first, found {len(whole)}"
                )
        self._pairs, self._given, self._seed = pairs, given, seed
        self._device = devices.choose(device)
        with devices.seeded(torch_seed(seed, Use.WEIGHTS)):
            self.network = CompletionNet(decoder, pairs[0][1]).to(self._device)

    def train(
        self, loss: Loss, steps: int, batch: int = 8, rate: float = 1e-3, on_step: OnStep = lambda s, x: None
    ) -> None:
        """Train for so many steps of `batch` samples, at least 2. Between steps the network may be evaluated."""
        if steps < 1 or batch < 2:
            raise SettingsError(f"found {steps} steps of {batch} samples, expected at least 1 of at least 2")
        optimiser = torch.optim.Adam(self.network.parameters(), lr=rate)
        for step in range(steps):
            self.network.train()
            optimiser.param_groups[0]["lr"] = rate * cosine(step / steps, _LAST_RATE)
            rng = generator(self._seed, Use.PAIRS, step)
            some = [self._pairs[i] for i in rng.integers(len(self._pairs), size=batch)]
            partial = self._stack([self._draw(partial, rng) for partial, _ in some])
            value = loss(self.network(partial), self._stack([whole for _, whole in some]))
            optimiser.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            on_step(step + 1, float(value.detach()))

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
