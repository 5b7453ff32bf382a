"""A step of the fit, by assigned points or by nearest ones, and its re-matching."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pcqaad.decoder.module import Decoder
from pcqaad.decoder.patches import draw_points, patch_sizes
from pcqaad.errors import DivergenceError
from pcqaad.losses.criteria import criterion
from pcqaad.losses.names import parse
from pcqaad.matching.assign import refine_many, rematch
from pcqaad.matching.gpu.auction import batched
from pcqaad.matching.reassignment import reassign
from pcqaad.parallel import in_parallel
from pcqaad.points.fixed_point import Targets, permute_some
from pcqaad.seeds import Use, generator
from pcqaad.settings import Settings
from pcqaad.training.quantisation_aware import FakeQuantisation, straight_through
from pcqaad.training.schedule import Schedule

# Steps whose distance is averaged for the reader.
_AVERAGED_STEPS = 50
# Clouds re-matched at once, so that cores can share them; the result must not depend on the cores.
_TOGETHER = 4
# Pairs of a block that a GPU re-matches; whole clouds would leave it idle.
_GPU_BLOCK = 1024


class Trainer:
    """A network, its optimiser and its matching, one step after another.

    Attributes:
        network: being fitted.
        targets: the clouds in assigned order: row j of a cloud is the target of template point j.
        assignments: (N, M) where that row stood in the cloud as given.
        step: the number of the step that comes next.
    """

    def __init__(
        self,
        network: Decoder,
        targets: Targets,
        assignments: NDArray[np.int32],
        settings: Settings,
        percent: float = 25.0,
    ) -> None:
        """Take resolved settings, and what a normalised length of 1 is in percent of the clouds' diagonal."""
        self.network = network
        self.targets = targets
        self.assignments = assignments
        self.settings = settings
        self.step = 0
        self.device = network.template.device
        self.solver = None if self.device.type == "cpu" else batched(self.device)
        self.optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        self.quantisation: FakeQuantisation | None = None
        self._percent = percent
        self._distances: deque[float] = deque(maxlen=_AVERAGED_STEPS)
        self._criterion = None
        if settings.criterion != "matched":
            name, parameters = parse(settings.criterion)
            self._criterion = criterion(name, **parameters)
        self._schedule = Schedule(settings, len(targets))
        self._sizes = patch_sizes(targets.points, network.patches)

    def descend(self, rate: float) -> dict[str, float]:
        """Make one step at a rate, re-match, and return the loss and what bounds the EM-kD from above.

        The mean distance to the assigned targets over the last steps is one, in percent of the clouds' diagonal.
        """
        loss, distance = self._train_step(rate)
        self._rematch()
        self._distances.append(distance)
        return {"loss": loss, "emkd_percent": self._percent * float(np.mean(self._distances))}

    def quantisation_aware(self, steps: FakeQuantisation) -> None:
        """From the next step on, train the network as a file of these step sizes would hold it."""
        self.optimiser = torch.optim.Adam(self.network.parameters())
        self.quantisation = steps

    def _train_step(self, rate: float) -> tuple[float, float]:
        """Draw clouds and points, decode, swap, descend. Returns the loss and the mean distance to the targets."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        clouds, points = self._draw()
        latents = self.network.latents[torch.from_numpy(clouds).to(self.device)]
        template = self.network.template[torch.from_numpy(points).to(self.device)]
        weights = None
        if self.quantisation is not None:
            latents = straight_through(latents, self.quantisation.latents)
            template = straight_through(template, self.quantisation.template)
            weights = self.quantisation.weights(self.network)
        predicted = self.network.fold(latents, template, weights)  # (K, B, S, 3)
        target = self.targets.gather(clouds, points.ravel())  # (B, K * S, 3)
        if self.settings.reassign:
            must_be_finite(float(predicted.detach().abs().max()), self.step)
            swapped = self._swaps(predicted.detach().transpose(0, 1).reshape(target.shape), target)
            target = np.take_along_axis(target, swapped[..., None], 1)
            self.targets.permute_some(clouds, points.ravel(), swapped)
            permute_some(self.assignments, clouds, points.ravel(), swapped)
        k, b, s, _ = predicted.shape
        wanted = torch.from_numpy(target).to(self.device).view(b, k, s, 3).transpose(0, 1)
        squared = (predicted - wanted).square().sum(-1)
        loss = squared.mean() if self._criterion is None else self._nearest_loss(clouds, predicted)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        figure = float(loss.detach())
        must_be_finite(figure, self.step)
        return figure, float(squared.detach().sqrt().mean())

    def _nearest_loss(self, clouds: NDArray[np.int64], predicted: torch.Tensor) -> torch.Tensor:
        """Compare decoded points (K, B, S, 3) with as many of the clouds (B,) themselves, drawn at random."""
        assert self._criterion is not None
        must_be_finite(float(predicted.detach().abs().max()), self.step)
        k, b, s, _ = predicted.shape
        rng = generator(self.settings.seed, Use.COMPARED_POINTS, self.step)
        rows = rng.choice(self.targets.points, k * s, replace=False)
        drawn = torch.from_numpy(self.targets.gather(clouds, rows)).to(self.device)
        return self._criterion(predicted.transpose(0, 1).reshape(b, k * s, 3), drawn)

    def _swaps(self, predicted: torch.Tensor, targets: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the swaps (B, S) of QAAD_REASSIGNMENT, found on the device of the predictions (B, S, 3)."""
        return reassign(predicted, torch.from_numpy(targets).to(self.device)).cpu().numpy()

    def _draw(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw the step's clouds (B,) and, the same for all of them, its template points (K, S)."""
        epoch, position = divmod(self.step, self._schedule.steps_per_epoch)
        order = generator(self.settings.seed, Use.CLOUDS, epoch).permutation(len(self.targets))
        batch = self.settings.batch
        clouds = order[position * batch : (position + 1) * batch]
        rng = generator(self.settings.seed, Use.POINTS, self.step)
        each = min(max(self.settings.sample // self.network.patches, 1), int(self._sizes.min()))
        return clouds, draw_points(rng, self._sizes, each)

    def _rematch(self) -> None:
        """Re-match the next clouds in turn, as many as the settings' pairs a step make, a few together."""
        count, points = len(self.targets), self.targets.points
        group = points * min(_TOGETHER, count)
        first, end = (step * self.settings.rematch // group for step in (self.step, self.step + 1))
        # So many turns reach every cloud.
        turns = range(first, min(end, first + -(-count // _TOGETHER)))
        due = [i % count for turn in turns for i in range(turn * _TOGETHER, (turn + 1) * _TOGETHER)]
        due = list(dict.fromkeys(due))

        def pair(i: int, decoded: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            must_be_finite(float(np.abs(decoded).max()), self.step)
            return decoded, self.targets[i]

        pairs = map(pair, due, decode(self.network, due))
        for i, permutation in zip(due, self._rematched(due, pairs), strict=True):
            self.targets.permute(i, permutation)
            self.assignments[i] = self.assignments[i][permutation]

    def _rematched(
        self, due: list[int], pairs: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]]
    ) -> Iterable[NDArray[np.int64]]:
        """Return better permutations of clouds' targets: from all points at once, or by blocks on a GPU."""
        if self.solver is None:
            return in_parallel(lambda pair: rematch(*pair), pairs)
        if not due:
            return []
        rngs = [generator(self.settings.seed, Use.BLOCK_ROTATION, self.step, i) for i in due]
        return refine_many(list(pairs), rngs, _GPU_BLOCK, self.solver)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all arrays a resumed fit needs."""
        arrays = network_state(self.network)
        for i, slots in self.optimiser.state_dict()["state"].items():
            arrays |= {f"adam {i} {name}": value.cpu().numpy() for name, value in slots.items()}
        return arrays

    def load_state(self, arrays: dict[str, NDArray[Any]], step: int) -> None:
        """Go on from `state` at a step; raises KeyError, RuntimeError or ValueError for that of another network."""
        network = {n.removeprefix("network "): v for n, v in arrays.items() if n.startswith("network ")}
        self.network.load_state_dict({n: torch.from_numpy(v) for n, v in network.items()})
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in arrays.items():
            if name.startswith("adam "):
                _, index, slot = name.split(" ")
                slots.setdefault(int(index), {})[slot] = torch.from_numpy(value)
        for i, parameter in enumerate(self.network.parameters()):
            own = slots.get(i, {})
            if slots and {n: v.shape for n, v in own.items()} != {
                "step": torch.Size(),
                "exp_avg": parameter.shape,
                "exp_avg_sq": parameter.shape,
            }:
                raise ValueError(f"expected Adam's averages of parameter {i}")
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": slots})
        self.step = step


def must_be_finite(figure: float, step: int) -> None:
    """Raise CloudError where a figure of a step is none: what comes of it is no model any more."""
    if not math.isfinite(figure):
        raise DivergenceError(
            f"the fit went astray: step {step} makes numbers beyond all bounds; a lower rate may help"
        )


def network_state(network: Decoder) -> dict[str, NDArray[Any]]:
    """Return a decoder's arrays as `Trainer.state` names them."""
    return {f"network {n}": t.detach().cpu().numpy() for n, t in network.state_dict().items()}


@torch.no_grad()
def decode(network: Decoder, clouds: list[int]) -> Iterator[NDArray[np.float32]]:
    """Yield the normalised points (M, 3) of clouds of a network."""
    for i in clouds:
        yield network(network.latents[i : i + 1])[0].cpu().numpy()
