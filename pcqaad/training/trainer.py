"""A step of the fit, by assigned points or by nearest ones, and its re-matching."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pcqaad.decoder.module import Decoder
from pcqaad.decoder.patches import draw_points, patch_sizes
from pcqaad.losses.criteria import criterion
from pcqaad.losses.names import parse
from pcqaad.matching.assign import refine_many, rematch
from pcqaad.matching.gpu.auction import batched
from pcqaad.matching.reassignment import reassign
from pcqaad.parallel import in_parallel
from pcqaad.points.fixed_point import Targets, permute_some
from pcqaad.seeds import Use, generator
from pcqaad.settings import Settings
from pcqaad.training.descent import Descent, must_be_finite
from pcqaad.training.schedule import Schedule

Assignments = NDArray[np.int32]
Pair = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Rematching:
    """How clouds are re-matched while they are trained towards."""

    together: int = 4  # clouds re-matched at once, which cores share: of no other number, so that cores change nothing
    from_rate: float = 0.5  # of the learning rate: of a cosine, the second half
    gpu_block: int = 1024  # pairs that a GPU re-matches together: whole clouds would leave it idle


_REMATCHING = Rematching()
# Steps whose distance is averaged for the reader.
_AVERAGED_STEPS = 50


class Trainer:
    """A network, its descent and its matching, one step after another.

    Attributes:
        network: being fitted.
        descent: what moves it.
        targets: the clouds in assigned order: row j of a cloud is the target of template point j.
        assignments: (N, M) where that row stood in the cloud as given.
        schedule: of the fit.
        step: the number of the step that comes next.
        solver: re-matches blocks on a GPU; None on a CPU.
    """

    def __init__(
        self, network: Decoder, targets: Targets, assignments: Assignments, settings: Settings, percent: float = 25.0
    ) -> None:
        """Take resolved settings, and what a normalised length of 1 is in percent of the clouds' diagonal."""
        self.network, self.targets, self.assignments, self.settings = network, targets, assignments, settings
        self.step, self.device = 0, network.template.device
        self.solver = None if self.device.type == "cpu" else batched(self.device)
        self.descent = self._new_descent()
        self._percent = percent
        self._distances: deque[float] = deque(maxlen=_AVERAGED_STEPS)
        self._criterion = None
        if settings.criterion != "matched":
            name, parameters = parse(settings.criterion)
            self._criterion = criterion(name, **parameters)
        self.schedule = Schedule(settings, len(targets))
        self._sizes = patch_sizes(targets.points, network.patches)

    def _new_descent(self) -> Descent:
        network = self.network
        # The last layer's outputs are coordinates, whose sizes differ: Muon would move all alike, and loses by it.
        matrices = [*network.shared, network.patch[0]] if self.settings.optimiser == "muon" else []
        return Descent(list(network.parameters()), matrices)

    def descend(self, rate: float) -> dict[str, float]:
        """Make one step at a rate, re-match, and return the loss and a bound of the EM-kD from above.

        It is the mean distance to the assigned targets over the last steps, in percent of the clouds' diagonal. Of
        known pairs it is the error per vertex, and called so.
        """
        loss, distance = self._train_step(rate)
        if self._may_rematch(rate):
            self._rematch()
        self._distances.append(distance)
        name = "vertex_error_percent" if self.settings.registered else "emkd_percent"
        return {"loss": loss, name: self._percent * float(np.mean(self._distances))}

    def _train_step(self, rate: float) -> tuple[float, float]:
        """Draw clouds and points, decode, swap, descend. Returns the loss and the mean distance to the targets."""
        clouds = self.schedule.clouds_of(self.step, Use.CLOUDS)
        points = self._draw_points()
        predicted = self._decode(clouds, points)
        if self.settings.reassign or self._criterion is not None:
            must_be_finite(float(predicted.detach().abs().max()), self.step)
        targets = self._gather(clouds, points.ravel())
        if self.settings.reassign:
            swaps = reassign(predicted.detach(), targets)
            targets = targets.gather(1, swaps[..., None].expand(targets.shape))
            self.targets.permute_some(clouds, points.ravel(), swaps.cpu().numpy())
            permute_some(self.assignments, clouds, points.ravel(), swaps.cpu().numpy())
        squared = (predicted - targets).square().sum(-1)
        loss = squared.mean()
        if self._criterion is not None:
            # An equal number of the clouds' own points, drawn at random.
            rng = generator(self.settings.seed, Use.COMPARED_POINTS, self.step)
            drawn = self._gather(clouds, rng.choice(self.targets.points, points.size, replace=False))
            loss = self._criterion(predicted, drawn)
        return self.descent.follow(loss, rate, self.step), float(squared.detach().sqrt().mean())

    def _draw_points(self) -> NDArray[np.int64]:
        """Draw the step's template points (K, S), the same for all of its clouds."""
        rng = generator(self.settings.seed, Use.POINTS, self.step)
        return draw_points(rng, self._sizes, self.settings.sample)

    def _decode(self, clouds: NDArray[np.int64], points: NDArray[np.int64]) -> Tensor:
        """Decode clouds (B,) at template points (K, S): (B, K * S, 3)."""
        latents = self.network.latents[torch.from_numpy(clouds).to(self.device)]
        rows = torch.from_numpy(points).to(self.device)
        return self.network.fold_rows(latents, rows).transpose(0, 1).flatten(1, 2)

    def _gather(self, clouds: NDArray[np.int64], rows: NDArray[np.int64]) -> Tensor:
        """Return targets (B, S, 3) of clouds (B,): the rows (S,) of each."""
        return torch.from_numpy(self.targets.gather(clouds, rows)).to(self.device)

    def _may_rematch(self, rate: float) -> bool:
        """Return whether what is decoded at a rate says more of the pairs than a non-rigid matching does.

        An early fit is far off, and pairs that fit it are worse than those it started from.
        """
        s = self.settings
        if s.matching != "nonrigid" or s.schedule == "constant":
            return True
        return self.step >= s.warmup and rate <= _REMATCHING.from_rate * s.learning_rate

    def _rematch(self) -> None:
        """Re-match the next clouds in turn, as many as the settings' pairs a step make, a few together."""
        count, together = len(self.targets), _REMATCHING.together
        group = self.targets.points * min(together, count)
        first, end = (step * self.settings.rematch // group for step in (self.step, self.step + 1))
        # This many turns reach every cloud.
        turns = range(first, min(end, first + -(-count // together)))
        due = list(dict.fromkeys(i % count for turn in turns for i in range(turn * together, (turn + 1) * together)))

        def pair(i: int, decoded: NDArray[np.float32]) -> Pair:
            must_be_finite(float(np.abs(decoded).max()), self.step)
            return decoded, self.targets[i]

        pairs = map(pair, due, decode(self.network, due))
        for i, permutation in zip(due, self._better(due, pairs), strict=True):
            self.targets.permute(i, permutation)
            self.assignments[i] = self.assignments[i][permutation]

    def _better(self, due: list[int], pairs: Iterable[Pair]) -> Iterable[NDArray[np.int64]]:
        """Return better permutations of clouds' targets: from all points at once, or by blocks on a GPU."""
        if self.solver is None:
            return in_parallel(lambda pair: rematch(*pair), pairs)
        if not due:
            return []
        rngs = [generator(self.settings.seed, Use.BLOCK_ROTATION, self.step, i) for i in due]
        return refine_many(list(pairs), rngs, _REMATCHING.gpu_block, self.solver)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all arrays that a resumed fit needs."""
        return network_state(self.network) | self.descent.state()

    def load_state(self, arrays: dict[str, NDArray[Any]], step: int) -> None:
        """Go on from `state` at a step; raises KeyError, RuntimeError or ValueError for that of another network."""
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        of_network = {n.removeprefix("network "): t for n, t in tensors.items() if n.startswith("network ")}
        self.network.load_state_dict(of_network)
        self.descent.load_state(arrays)
        self.step = step


def network_state(network: Decoder) -> dict[str, NDArray[Any]]:
    """Return a decoder's arrays as `Trainer.state` names them."""
    return {f"network {n}": t.detach().cpu().numpy() for n, t in network.state_dict().items()}


@torch.no_grad()
def decode(network: Decoder, clouds: list[int]) -> Iterator[NDArray[np.float32]]:
    """Yield the normalised points (M, 3) of clouds of a network."""
    for i in clouds:
        yield network(network.latents[i : i + 1])[0].cpu().numpy()
