"""What becomes of the pairs while a fit swaps them: why QAAD_REASSIGNMENT may end above QAAD_GREEDY alone.

    python benchmarks/partners.py [--count 24] [--points 1024] [--epochs 100] [--seeds 3] [--json]

The example skulls with the same vertices in every cloud, so that every template point has a true partner in each
of them. The decoder is that of `table1.py --size cpu` with 8 patches, 8 clouds x 256 points a step. A row is a start,
without and with the swaps: EM-kD of the float model (in percent of the diagonal), and the share of the template
points that end with their true partner. "Encoder" trains on the augmented Chamfer distance for the first quarter,
as in the paper; "residual" moves template points, as our default does, where the paper's decoder places them.
Several seeds, each with clouds of its own, give means, ± their standard deviation.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import skulls
from spread import add_seeds, named, number, seeds, spread
from table1_columns import SIZES, decode

import pcqaad
from pcqaad.evaluation.metrics import measure, percent
from pcqaad.matching.kd import patch_order
from pcqaad.points.collect import collect
from pcqaad.training.start import choose_template

BASE = replace(SIZES["cpu"].settings, sample=256, batch=8, patches=8)
STARTS = {
    "encoder (the paper's)": BASE,
    "no encoder, random latents": replace(BASE, latents="random"),
    "the same, residual": replace(BASE, latents="random", residual=True),
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


def fit(clouds, rows, settings):
    """Return EM-kD in percent, and the share of the pairs that are right in percent."""
    fitted = pcqaad.fit(clouds, settings)
    errors = measure(zip(fitted.clouds.targets, decode(fitted), strict=True))["emkd"]
    mean = float(np.mean([e.mean for e in errors])) * fitted.clouds.normalisation.scale
    given = collect(clouds, None, None, settings.seed).targets
    chosen = choose_template(given, settings)
    template = np.argsort(rows[chosen])[patch_order(given[chosen], settings.patches)]  # the vertex of every point
    right = [np.all(fitted.clouds.targets[i] == given[i][row[template]], axis=1).mean() for i, row in enumerate(rows)]
    return percent(mean, fitted.clouds.diagonal), 100 * float(np.mean(right))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--points", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=100)
    add_seeds(parser)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args(arguments)
    found = {}
    for name, start in STARTS.items():
        for reassign in (False, True):
            sizes = {"batch": min(start.batch, a.count), "sample": min(start.sample, a.points)}
            runs = []
            for seed in seeds(a):
                settings = replace(start, epochs=a.epochs, seed=seed, reassign=reassign, **sizes)
                runs.append(fit(*population(a.count, a.points, seed), settings))
            emkd, right = (spread(values) for values in zip(*runs, strict=True))
            found.setdefault(name, []).append({"swaps": reassign, "emkd_percent": emkd, "right_percent": right})
    if a.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{a.count} clouds x {a.points:,} points, {a.epochs} epochs, {named(a)}\n")
    print("| start | EM-kD, % | right, % | EM-kD, %, swaps | right, %, swaps |")
    print("|---|---:|---:|---:|---:|")
    for name, pair in found.items():
        cells = [f"{number(row['emkd_percent'], 3)} | {number(row['right_percent'], 0)}" for row in pair]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
