"""A weighting learned on clouds: a small decoder trains on one half of their points and is judged by the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pcqaad import devices
from pcqaad.decoder.module import Decoder
from pcqaad.decoder.patches import draw_points, patch_sizes
from pcqaad.distillation.bilevel import Batch, Loss, Plan, Weighting, learn
from pcqaad.errors import CloudError, SettingsError
from pcqaad.evaluation.metrics import CELL
from pcqaad.losses.criteria import criterion
from pcqaad.losses.names import write
from pcqaad.losses.nearest import safe_sqrt
from pcqaad.matching.assign import match_cells
from pcqaad.monitor import SILENT, Monitor
from pcqaad.parallel import in_parallel
from pcqaad.points.collect import Points, collect
from pcqaad.points.components import principal_components
from pcqaad.seeds import Use, generator
from pcqaad.settings import Settings
from pcqaad.training.sizing import resolve
from pcqaad.training.start import first_latents, first_matching, first_template, untrained

# Points of a cloud that a step decodes and compares.
_SAMPLED_POINTS = 256
# Points kept of a cloud, half of them to train on: more tell the same.
POINTS = 2048

JUDGES = ("l1", "emd")


class Learned(TypedDict):
    """The result of `learn_weighting`, which `pcqaad distill --bilevel --json` prints.

    `criterion` is the loss as `compress --criterion` takes it. `losses` are the held-out losses by the `judge`, one a
    round, and `path` the parameters that each round began with.
    """

    family: str
    criterion: str
    parameters: dict[str, float]
    judge: str
    clouds: int
    seed: int
    plan: dict[str, Any]
    losses: list[float]
    path: list[dict[str, float]]


def emd_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the mean distance of clouds (B, N, 3) to others as large, matched one to one as for EM-kD.

    The matching is found without gradients and then taken as given.
    """

    def match(pair: tuple[Points, Points]) -> NDArray[np.int64]:
        a, b = pair
        return match_cells(a, b, CELL, workers=1).assignment

    pairs = zip(predicted.detach().cpu().double().numpy(), target.cpu().double().numpy(), strict=True)
    rows = torch.from_numpy(np.stack(list(in_parallel(match, pairs)))).to(target.device)
    matched = target.gather(1, rows[..., None].expand(-1, -1, 3))
    return safe_sqrt((predicted - matched).square().sum(-1)).mean()


class _Sampled(nn.Module):
    """A decoder at some of its template's points: clouds (B,) and rows (K, S) -> (B, K * S, 3)."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, clouds: Tensor, rows: Tensor) -> Tensor:
        folded = self.decoder.fold_rows(self.decoder.latents[clouds], rows)  # (K, B, S, 3)
        return folded.transpose(0, 1).reshape(len(clouds), -1, 3)


class Halves:
    """Clouds whose points are dealt out: a decoder trains on one half, the other judges it.

    Attributes:
        network: the decoder, as a fit would start it: clouds (B,) and rows (K, S) -> (B, K * S, 3).
        normalisation: of the clouds that it decodes.
    """

    def __init__(self, clouds: Sequence[Points], points: int, seed: int, device: str, monitor: Monitor) -> None:
        count = len(clouds)
        found = collect(clouds, None, points, seed, monitor)
        if points < 2 * _SAMPLED_POINTS:
            raise CloudError(f"expected clouds of at least {2 * _SAMPLED_POINTS} points, found {points}")
        settings = Settings(seed=seed)
        template = first_template(found.targets, settings)
        rng = generator(seed, Use.HALVES)
        halves = np.stack([rng.permutation(points) for _ in range(count)])
        self.normalisation = found.normalisation
        self._points = np.stack([found.targets[i] for i in range(count)])
        self._train, self._judge = halves[:, : points // 2], halves[:, points // 2 :]

        for i, assignment in enumerate(first_matching(template, found.targets, settings, monitor)):
            found.targets.permute(i, assignment)
        basis, spectrum = principal_components(found.targets)
        settings = resolve(settings, count, points, spectrum)
        assert settings.patches and settings.latent
        self._device = devices.choose(device)
        decoder = untrained(template, first_latents(basis, settings.latent, settings), settings)
        self.network = _Sampled(decoder).to(self._device)
        self._seed, self._batch = seed, settings.batch
        self._sizes = patch_sizes(points, settings.patches)

    def train(self, step: int) -> Batch:
        """Return a step's batch of the half to train on."""
        return self._batch_of(self._train, Use.TRAINED_HALF, step)

    def held_out(self, number: int) -> Batch:
        """Return a round's batch of the half that judges."""
        return self._batch_of(self._judge, Use.JUDGING_HALF, number)

    def _batch_of(self, half: NDArray[np.int64], use: Use, number: int) -> Batch:
        rng = generator(self._seed, use, number)
        clouds = rng.permutation(len(half))[: self._batch]
        rows = draw_points(rng, self._sizes, _SAMPLED_POINTS)
        some = np.stack([rng.choice(half[i], rows.size, replace=False) for i in clouds])
        target = torch.from_numpy(self._points[clouds[:, None], some]).to(self._device)
        return (torch.from_numpy(clouds).to(self._device), torch.from_numpy(rows).to(self._device)), target


def learn_weighting(
    clouds: Sequence[Points],
    family: str,
    *,
    judge: str = "emd",
    plan: Plan | None = None,
    points: int | None = None,
    seed: int = 0,
    device: str = "auto",
    monitor: Monitor = SILENT,
) -> Learned:
    """Learn a density's parameters while a small decoder trains on clouds by it.

    Args:
        clouds: as for `pcqaad.fit`; `points` random ones of each stay.
        family: of the density.
        judge: the held-out loss: "l1", the Chamfer distance, or "emd", EM-kD.
        plan: how long.
        points: kept of each cloud; where not given 2,048, or as many as the smallest one has.
        seed: of all random choices.
        device: "auto", "cpu" or "cuda".
        monitor: told of progress; may stop it.

    Raises:
        CloudError: the clouds are malformed or too small.
        DivergenceError: the rate is too large to train at.
        SettingsError: there is no such judge, or nothing to learn in the family.
        Interrupted: stopped.
    """
    if judge not in JUDGES:
        raise SettingsError(f"unknown judge {judge!r}, expected one of {', '.join(JUDGES)}")
    plan = plan or Plan()
    weighting = Weighting(family)
    if points is None:
        points = min([POINTS, *(len(cloud) for cloud in clouds)])
    halves = Halves(clouds, points, seed, device, monitor)
    loss: Loss = emd_loss if judge == "emd" else criterion("l1")
    losses, path = learn(halves.network, weighting, halves.train, halves.held_out, loss, plan, monitor)
    return {
        "family": family,
        "criterion": write(family, weighting.parameters),
        "parameters": weighting.parameters,
        "judge": judge,
        "clouds": len(clouds),
        "seed": seed,
        "plan": asdict(plan),
        "losses": losses,
        "path": path,
    }
