"""The paper's ablation (Table 1) at equal steps: random matching, + GREEDY, + REASSIGNMENT, and ours.

    python benchmarks/ablation.py CLOUDS... [--epochs 60] [--points M] [--seeds 3] [--json]

CLOUDS is anything `pcqaad compress` takes. Every row fits the same network from the same start with the
same number of steps; only the matching differs. EM-kD (cells of 1,024) is measured on the float model's
decoded clouds, all of them, in percent of the diagonal, ± the standard deviation of the seeds where there are several.
"""

import argparse
import json
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from spread import add_seeds, named, number, seeds, spread

import pcqaad
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.evaluation.metrics import measure, percent
from pcqaad.formats.clouds.find import LazyClouds, find_clouds
from pcqaad.progress import Progress

# No tuning: what rounding leaves is not what the rows differ in.
BASE = pcqaad.Settings(matching="greedy", rematch=0, reassign=False, tune=0)
ROWS = {
    "random matching": replace(BASE, matching="random"),
    "+ QAAD_GREEDY": BASE,
    "+ QAAD_REASSIGNMENT": replace(BASE, reassign=True),
    "+ re-matching": replace(BASE, reassign=True, rematch=pcqaad.Settings().rematch),
    "optimal matching for GREEDY": pcqaad.Settings(tune=0, intermediates=0),
    "+ by way of clouds between (our default)": pcqaad.Settings(tune=0),
}


def floor(clouds):
    """EM-kD between the two halves of each cloud, at half the points: what a second scan would score."""
    halves = [np.random.default_rng(i).permutation(x)[: len(x) // 2 * 2] for i, x in enumerate(clouds)]
    errors = measure((x[::2], x[1::2]) for x in halves)["emkd"]
    return float(np.mean([e.mean for e in errors]))


def show(name):
    """Print a row's progress on a terminal."""

    def on_progress(p: Progress) -> None:
        if sys.stderr.isatty():
            print(f"\r{name}: {p.stage} {p.done:.0f}/{p.total:.0f}   ", end="", file=sys.stderr)

    return on_progress


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clouds", nargs="+")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--points", type=int)
    parser.add_argument("--latent", type=int, default=12, help="the same for every row")
    add_seeds(parser)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args(arguments)

    sources = find_clouds(a.clouds)
    clouds = LazyClouds(sources)
    rows, steps, shape, fitted = {}, 0, None, None
    for name, base in ROWS.items():
        runs = []
        for seed in seeds(a):
            began = time.monotonic()
            settings = replace(base, epochs=a.epochs, seed=seed, device=a.device, latent=a.latent)
            fitted = pcqaad.fit(clouds, settings, points=a.points, on_progress=show(f"{name}, seed {seed}"))
            seconds = time.monotonic() - began
            model = fitted.model
            decoder = FloatDecoder(model)
            pairs = zip(fitted.clouds.targets, map(decoder.decode, model.latents), strict=True)
            mean = float(np.mean([e.mean for e in measure(pairs)["emkd"]])) * fitted.clouds.normalisation.scale
            runs.append((percent(mean, fitted.clouds.diagonal), seconds))
            steps, shape = fitted.encoder["steps"], model.architecture
        emkd, seconds = (spread(values) for values in zip(*runs, strict=True))
        rows[name] = {"emkd_percent": emkd, "seconds": seconds}
    half = percent(floor(fitted.clouds.targets) * fitted.clouds.normalisation.scale, fitted.clouds.diagonal)
    about = {
        "clouds": shape.clouds,
        "points": shape.points,
        "steps": steps,
        "weights": shape.weights(),
        "seeds": list(seeds(a)),
        "device": fitted.encoder["device"],
        "torch": fitted.encoder["torch"],
        "python": platform.python_version(),
        "floor_at_half_the_points_percent": half,
    }
    if a.json:
        print(json.dumps({**about, "rows": rows}, indent=2))
        return
    sizes = f"{shape.clouds} clouds x {shape.points:,} points, {shape.weights():,} weights"
    print(f"{sizes}, {steps} steps, {named(a)}")
    print(f"{'matching':42} {'EM-kD, % of diagonal':>22} {'seconds':>8}")
    for name, row in rows.items():
        print(f"{name:42} {number(row['emkd_percent'], 3, 22)} {row['seconds'][0]:8.0f}")
    print(f"sampling floor at half the points: {half:.3f} %")


if __name__ == "__main__":
    main()
