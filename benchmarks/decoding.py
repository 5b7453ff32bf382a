"""What decoding in integers takes, beside the same network in float32.

    python -m benchmarks.decoding [--points 65536] [--seed 0] [--json]

One cloud goes through the network of the preset `paper-skulls`. Its weights are random, such that SELU normalises
itself, and quantised as a fit's are. All decoders take turns. A time is the best of several turns, a ratio the median
of the turns' own. CPU seconds are those of all threads together: set OMP_NUM_THREADS=1 for one.

Ends with status 1 where numpy and torch decode the same integers to different bytes.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

import pcqaad
from benchmarks import common
from pcqaad.decoder.architecture import Architecture, Array, Model
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.exact import IntegerDecoder
from pcqaad.decoder.exact_torch import BatchDecoder
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.decoder.integer_model import POINT_SCALE
from pcqaad.decoder.module import Decoder
from pcqaad.quantisation.probe import probe
from pcqaad.quantisation.quantise import Quantised, quantise
from pcqaad.quantisation.step_sizes import choose_step_sizes

# Turns of every decoder, after one that warms it up.
TURNS = 7
# Lambda of the step sizes: about 7 bits a weight, as in files.
LAMBDA = 1e-7
BASE = "float32, numpy"
COLUMNS = {
    "decoder": "name",
    "CPU seconds": "cpu_seconds:.3f",
    ": float32 numpy": "cpu_ratio:.2f",
    "seconds": "seconds:.3f",
    "seconds : float32 numpy": "ratio:.2f",
}


def paper_model(points: int, seed: int) -> Quantised:
    """Return the network of the paper's Skulls with random weights, and eight clouds, quantised."""
    preset = pcqaad.PRESETS["paper-skulls"]
    assert preset.latent and preset.shared and preset.patch and preset.patches
    sizes = Architecture(8, points, preset.latent, preset.shared, preset.patch, preset.patches, preset.residual)
    rng = np.random.default_rng(seed)

    def tensor(name: str, size: tuple[int, ...]) -> Array:
        # Variance 1 / inputs, small biases. The parts of one layer share its inputs.
        inputs = {"latent": sizes.latent + 3, "point": sizes.latent + 3}.get(name, size[-2] if len(size) > 1 else 100)
        return (rng.standard_normal(size) / inputs**0.5).astype(np.float32)

    weights = {name: tensor(name, size) for name, size in sizes.tensors().items()}
    template = rng.standard_normal((points, 3)).astype(np.float32)
    latents = rng.standard_normal((sizes.clouds, sizes.latent)).astype(np.float32)
    model = Model(sizes, template, latents, weights)
    return quantise(model, choose_step_sizes(model, probe(model, seed), LAMBDA), seed)


def figures(a: common.Arguments) -> common.Figures:
    quantised = paper_model(a.points, a.seed)
    shared, model = quantised.shared, quantised.model()
    denormalisation = Denormalisation((0, 0, 0), 2.0**-POINT_SCALE)
    floating, module = FloatDecoder(model), Decoder.of(model)
    integer, batch = IntegerDecoder(shared, denormalisation), BatchDecoder(shared, denormalisation)
    numbers = torch.from_numpy(model.latents[:1])
    decoders: dict[str, Callable[[], Any]] = {
        BASE: lambda: floating.decode(model.latents[0]),
        "integers, numpy": lambda: integer.decode_symbols(quantised.latents[0]),
        "float32, torch": lambda: module(numbers).detach(),
        "integers, torch": lambda: batch(numbers),
    }
    here, there = decoders["integers, numpy"](), decoders["integers, torch"]().numpy()[0]
    if here.tobytes() != there.tobytes():
        sys.exit("numpy and torch decode the same integers to different bytes")
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in decoders}
    for name, decode in list(decoders.items()) * (TURNS + 1):
        cpu, wall = time.process_time(), time.perf_counter()
        decode()
        spent[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    rows = {}
    for name, turns in spent.items():
        rows[name] = {}
        for i, clock in enumerate(("cpu_seconds", "seconds")):
            mine, base = ([turn[i] for turn in of[1:]] for of in (turns, spent[BASE]))
            rows[name][clock] = min(mine)
            rows[name][clock.replace("seconds", "ratio")] = statistics.median(np.divide(mine, base).tolist())
    apart = np.linalg.norm(here - floating.decode(model.latents[0]), axis=1).max()
    return {
        "points": a.points,
        "weights": model.architecture.weights(),
        "scales": list(shared.scales),
        "apart_percent": 100 * float(apart / np.linalg.norm(np.ptp(here, axis=0))),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        **common.versions("numpy", "torch"),
        "rows": rows,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.options(__spec__.name, __doc__, seeds=0)
    parser.add_argument("--points", type=common.positive, default=65536, help="of the cloud [65536]")
    common.run(parser, arguments, figures, COLUMNS)


if __name__ == "__main__":
    main()
