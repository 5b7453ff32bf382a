"""What SELU and a whole step of training take on one core of a CPU, with torch's SELU and with the compiled one.

    python -m benchmarks.step [--steps 40] [--seed 0] [--json]

A step is of 16 clouds x 128 points with known pairs. The clouds are random: what a step takes does not depend on them.
Both take turns, CPU seconds are counted, and figures are medians of the turns. Products are those of layers with their
inputs and, for both gradients, with those of their outputs. The core's own rate is that of two square matrices.

Ends with status 1 where numba cannot be loaded, because then there is no compiled SELU.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from unittest import mock

import numpy as np
import torch

import pcqaad
from benchmarks import common
from pcqaad.compiled import why_absent
from pcqaad.decoder import module
from pcqaad.decoder.selu import selu
from pcqaad.parallel import limit
from pcqaad.points.fixed_point import Targets
from pcqaad.training.start import untrained
from pcqaad.training.trainer import Trainer

Selu = Callable[[torch.Tensor], torch.Tensor]

# Turns of either, after one that warms it up.
TURNS = 11
CLOUDS = 48
POINTS = 8192
SQUARE = 1024  # rows of the matrices whose product gives the core's rate
# Widths of the shared layers, of the patches' own, patches, numbers of a latent.
NETWORKS = (((128, 80, 80, 80), 32, 4, 12), ((96, 64, 64, 64), 32, 2, 20))
SELUS: dict[str, Selu] = {"torch": torch.selu, "compiled": selu}
COLUMNS = {
    "network": "network",
    "SELU": "selu",
    "forward, G elements/s": "forward:.2f",
    "backward, G elements/s": "backward:.2f",
    "ms a step": "milliseconds:.2f",
    "products, G flop/s": "products:.1f",
    "of the core's": "of_core:.0%",
}


def seconds(work: Callable[[], object], times: int = 1) -> float:
    """Return the CPU seconds that work takes, done several times."""
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times


def rates(function: Selu, elements: int, times: int) -> tuple[float, float]:
    """Return billions of elements a second, forward and backward."""
    # Of mixed signs, as between layers: torch skips exponentials where a whole vector is positive.
    x = torch.randn(elements, generator=torch.Generator().manual_seed(0)).requires_grad_()
    gradient = torch.ones(elements)
    y = function(x)
    forward = seconds(lambda: function(x), times)
    backward = seconds(lambda: torch.autograd.grad(y, x, gradient, retain_graph=True), times)
    return elements / forward / 1e9, elements / backward / 1e9


def trainer(shared: tuple[int, ...], patch: int, patches: int, latent: int, seed: int) -> Trainer:
    """Return a fit of random clouds at its first step."""
    rng = np.random.default_rng(seed)
    targets = Targets(np.empty((CLOUDS, POINTS, 3), np.uint16))
    for i in range(CLOUDS):
        targets.put(i, rng.standard_normal((POINTS, 3)))
    own = {"registered": True, "rematch": 0, "epochs": 1, "seed": seed}
    settings = pcqaad.Settings(shared=shared, patch=patch, patches=patches, latent=latent, **own)
    network = untrained(targets[0], rng.standard_normal((CLOUDS, latent)).astype(np.float32), settings)
    return Trainer(network, targets, np.zeros((CLOUDS, POINTS), np.int32), settings)


def operations(fit: Trainer) -> float:
    """Return the operations of a step's products: twice a multiplication, for the output and both gradients."""
    network, settings = fit.network, fit.settings
    # The first shared layer is computed once for each cloud and each point, not for their pairs.
    weights = sum(w.numel() for w in network.shared[1:])
    weights += sum(w[0].numel() for w in network.patch) - 3 * network.patch[0].shape[2]
    return 3 * 2 * settings.batch * settings.sample * weights


def measured(fit: Trainer, times: int) -> dict[str, common.Figures]:
    """Return the figures of a fit's steps with each SELU."""
    elements = fit.settings.batch * fit.settings.sample * len(fit.network.shared_bias[1])
    square = torch.ones(SQUARE, SQUARE)

    def step() -> None:
        fit.descend(fit.settings.learning_rate)
        fit.step += 1

    turns: dict[str, list[tuple[float, ...]]] = {name: [] for name in SELUS}
    for name in list(SELUS) * (TURNS + 1):
        with mock.patch.object(module, "selu", SELUS[name]):
            spent = seconds(step, times)
        rate, core = operations(fit) / spent, 2 * SQUARE**3 / seconds(lambda: square @ square)
        turns[name].append((*rates(SELUS[name], elements, times), 1e3 * spent, rate / 1e9, rate / core))
    keys = ("forward", "backward", "milliseconds", "products", "of_core")
    return {name: dict(zip(keys, np.median(of[1:], 0).tolist(), strict=True)) for name, of in turns.items()}


def figures(a: common.Arguments) -> common.Figures:
    if reason := why_absent():
        sys.exit(f"numba cannot be loaded ({reason}): pip install 'pcqaad[fast]' brings it")
    rows = []
    with limit(1):
        for shared, patch, patches, latent in NETWORKS:
            common.tell(network := f"{'-'.join(map(str, shared))}, {patch} x {patches}, {latent}")
            found = measured(trainer(shared, patch, patches, latent, a.seed), a.steps)
            rows += [{"network": network, "selu": name, **row} for name, row in found.items()]
    return {"steps": a.steps, "seed": a.seed, **common.versions("torch", "numba"), "rows": rows}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.options(__spec__.name, __doc__, seeds=0)
    parser.add_argument("--steps", type=common.positive, default=40, help="of a turn [40]")
    common.run(parser, arguments, figures, COLUMNS)


if __name__ == "__main__":
    main()
