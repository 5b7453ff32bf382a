"""The paper's ablation (Table 1) at equal steps: random matching, + GREEDY, + REASSIGNMENT, and ours.

    python benchmarks/ablation.py CLOUDS... [--epochs 60] [--points M] [--seed S] [--json]

CLOUDS is anything `pcqaad compress` takes. Every row fits the same network from the same start with the
same number of steps; only the matching differs. EM-kD (cells of 1,024) is measured on the float model's
decoded clouds, all of them, in percent of the diagonal.
"""

import argparse
import json
import platform
import sys
import time
from dataclasses import replace

import numpy as np

import pcqaad
from pcqaad.floating import FloatDecoder
from pcqaad.formats.clouds import LazyClouds, find_clouds
from pcqaad.metrics import measure, percent
from pcqaad.progress import Progress

# No tuning: what rounding leaves is not what the rows differ in.
BASE = pcqaad.Settings(matching="greedy", rematch=0, reassign=False, tune=0)
ROWS = {
    "random matching": replace(BASE, matching="random"),
    "+ QAAD_GREEDY": BASE,
    "+ QAAD_REASSIGNMENT": replace(BASE, reassign=True),
    "+ re-matching": replace(BASE, reassign=True, rematch=pcqaad.Settings().rematch),
    "optimal matching for GREEDY": pcqaad.Settings(tune=0, relays=0),
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clouds", nargs="+")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--points", type=int)
    parser.add_argument("--latent", type=int, default=12, help="the same for every row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()

    sources = find_clouds(a.clouds)
    clouds = LazyClouds(sources)
    rows, steps, shape, fitted = {}, 0, None, None
    for name, settings in ROWS.items():
        began = time.monotonic()
        settings = replace(settings, epochs=a.epochs, seed=a.seed, device=a.device, latent=a.latent)
        fitted = pcqaad.fit(clouds, settings, points=a.points, on_progress=show(name))
        seconds = time.monotonic() - began
        model = fitted.model
        decoder = FloatDecoder(model.shape, model.template, model.weights)
        pairs = zip(fitted.clouds.targets, map(decoder.decode, model.latents), strict=True)
        errors = measure(pairs)["emkd"]
        mean = float(np.mean([e.mean for e in errors])) * fitted.clouds.frame.scale
        rows[name] = {"emkd_percent": percent(mean, fitted.clouds.diagonal), "seconds": seconds}
        steps, shape = fitted.encoder["steps"], model.shape
    half = percent(floor(fitted.clouds.targets) * fitted.clouds.frame.scale, fitted.clouds.diagonal)
    about = {
        "clouds": shape.clouds,
        "points": shape.points,
        "steps": steps,
        "weights": shape.weights(),
        "seed": a.seed,
        "device": fitted.encoder["device"],
        "torch": fitted.encoder["torch"],
        "python": platform.python_version(),
        "floor_at_half_the_points_percent": half,
    }
    if a.json:
        print(json.dumps({**about, "rows": rows}, indent=2))
        return
    print(f"{shape.clouds} clouds x {shape.points:,} points, {shape.weights():,} weights, {steps} steps, seed {a.seed}")
    print(f"{'matching':42} {'EM-kD, % of diagonal':>22} {'seconds':>8}")
    for name, row in rows.items():
        print(f"{name:42} {row['emkd_percent']:22.3f} {row['seconds']:8.0f}")
    print(f"sampling floor at half the points: {half:.3f} %")


if __name__ == "__main__":
    main()
