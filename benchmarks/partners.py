"""What becomes of the pairs while a fit swaps them: why QAAD_REASSIGNMENT may end above QAAD_GREEDY alone.

    python -m benchmarks.partners [--count 24] [--points 1024] [--epochs 100] [--seeds 3] [--json]

The example skulls hold the same vertices in every cloud, so every template point has a true partner in each of them.
The decoder is that of `table1 --size cpu` with 8 patches, 8 clouds x 256 points a step. A row is a start, without and
with the swaps. It has the EM-kD of the model in floats, in percent of the diagonal, and the share of template points
that end with their true partner. "Encoder" trains on the augmented Chamfer distance for the first quarter, as in the
paper. "Residual" moves template points, as our default does, where the paper's decoder places them. Several seeds, each
with clouds of its own, give means and ± their standard deviation.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from benchmarks import common, fits
from benchmarks.table1_columns import SIZES
from examples import skulls
from pcqaad.evaluation.metrics import measure, percent
from pcqaad.matching.kd import patch_order
from pcqaad.points.collect import collect
from pcqaad.training.run import Run
from pcqaad.training.start import choose_template

BASE = replace(SIZES["cpu"].settings, sample=256, batch=8, patches=8)
COLUMNS = {
    "start": "name",
    "EM-kD, %": "emkd_percent:.3f",
    "right, %": "right_percent:.0f",
    "EM-kD, %, swaps": "swapped_emkd_percent:.3f",
    "right, %, swaps": "swapped_right_percent:.0f",
}
STARTS = {
    "encoder (the paper's)": BASE,
    "no encoder, random latents": replace(BASE, latent_init="random"),
    "the same, residual": replace(BASE, latent_init="random", residual=True),
}


def population(count, points, seed):
    """Return shuffled clouds and, for each, the row at which every vertex stands: (points,)."""
    clouds, rows = [], []
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        vertices, _ = skulls.skull(np.clip(rng.standard_normal(len(skulls.parameters())), -2.5, 2.5))
        chosen = np.random.default_rng(seed).choice(len(vertices), points, replace=False)
        order = rng.permutation(points)
        clouds.append(vertices[chosen][order].astype(np.float32))
        rows.append(np.argsort(order))
    return clouds, rows


def measured(clouds, rows, settings, label):
    """Return EM-kD and the share of the pairs that are right, both in percent."""
    given, trained = (collect(clouds, None, None, settings.seed) for _ in range(2))
    trainer = Run(settings, torch.device("cpu"), None, False, fits.shown(label)).train(trained)
    errors = measure(zip(given.targets, fits.decoded(trainer.network.arrays()), strict=True))["emkd"]
    given = given.targets
    chosen = choose_template(given, settings)
    template = np.argsort(rows[chosen])[patch_order(given[chosen], settings.patches)]  # the vertex of every point
    right = [np.all(trained.targets[i] == given[i][row[template]], axis=1).mean() for i, row in enumerate(rows)]
    return {"emkd_percent": percent(common.mean(errors), common.DIAGONAL), "right_percent": 100 * float(np.mean(right))}


def figures(a: common.Arguments) -> common.Figures:
    rows = {}
    for name, start in STARTS.items():
        sizes = {"batch": min(start.batch, a.count), "sample": min(start.sample, a.points)}
        runs = []
        for seed in common.seeds(a):
            run = {}
            for prefix, reassign in (("", False), ("swapped_", True)):
                settings = replace(start, epochs=a.epochs, seed=seed, reassign=reassign, **sizes)
                found = measured(*population(a.count, a.points, seed), settings, f"{name}, seed {seed}")
                run |= {prefix + key: value for key, value in found.items()}
            runs.append(run)
        rows[name] = common.over_seeds(runs)
    return {
        "clouds": a.count,
        "points": a.points,
        "epochs": a.epochs,
        "seeds": list(common.seeds(a)),
        **common.versions("numpy", "torch"),
        "rows": rows,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.options(__spec__.name, __doc__, seeds=1)
    parser.add_argument("--count", type=int, default=24, help="skulls [24]")
    parser.add_argument("--points", type=int, default=1024, help="of each [1024]")
    parser.add_argument("--epochs", type=int, default=100, help="of each fit [100]")
    common.run(parser, arguments, figures, COLUMNS)


if __name__ == "__main__":
    main()
