"""What a fit is trained by: the matched point, or the nearest one as each loss weighs its distance.

    python benchmarks/criteria.py CLOUDS... [--criteria matched l1] [--epochs 100] [--points M] [--seeds 3] [--json]

CLOUDS is anything `pcqaad compress` takes. Every row fits the same network from the same start with the same
number of steps. EM-kD (cells of 1,024) and Chamfer distance are measured on the float model's decoded clouds,
all of them, in percent of the diagonal, ± the standard deviation of the seeds where there are several; the seconds
are those of a fit, matching before it included.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from spread import add_seeds, named, number, seeds, spread

import pcqaad
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.evaluation.metrics import measure, percent
from pcqaad.formats.clouds.find import LazyClouds, find_clouds

CRITERIA = ("matched", "l1", "l2", "augmented", "hyper", "info", "dcd", "landau", "landau-released", "gumbel")


def judge(fitted):
    """Return the mean EM-kD and Chamfer distance of a fit's float model, in percent of the diagonal."""
    decoder = FloatDecoder(fitted.model)
    pairs = zip(fitted.clouds.targets, map(decoder.decode, fitted.model.latents), strict=True)
    found = measure(pairs, ("emkd", "chamfer"))
    scale, diagonal = fitted.clouds.normalisation.scale, fitted.clouds.diagonal
    return {name: percent(float(np.mean([e.mean for e in errors])) * scale, diagonal) for name, errors in found.items()}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clouds", nargs="+")
    parser.add_argument("--criteria", nargs="+", default=CRITERIA)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--points", type=int)
    parser.add_argument("--latent", type=int, default=12, help="the same for every row")
    add_seeds(parser)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args(arguments)

    if not a.json:
        print(f"{'criterion':32} {'EM-kD, %':>16} {'Chamfer, %':>16} {'seconds':>8}")
    clouds, rows, fitted = LazyClouds(find_clouds(a.clouds)), {}, None
    for name in a.criteria:
        runs = []
        for seed in seeds(a):
            began = time.monotonic()
            settings = pcqaad.Settings(
                criterion=name, epochs=a.epochs, seed=seed, device=a.device, latent=a.latent, tune=0, measure=1
            )
            fitted = pcqaad.fit(clouds, settings, points=a.points)
            seconds = time.monotonic() - began
            runs.append({**judge(fitted), "seconds": seconds})
        row = rows[name] = {key: spread([run[key] for run in runs]) for key in runs[0]}
        if not a.json:
            errors = f"{number(row['emkd'], 3, 16)} {number(row['chamfer'], 3, 16)}"
            print(f"{name:32} {errors} {row['seconds'][0]:8.0f}", flush=True)
    shape, steps = fitted.model.architecture, fitted.encoder["steps"]
    about = {"clouds": shape.clouds, "points": shape.points, "steps": steps, "weights": shape.weights()}
    if a.json:
        print(json.dumps({**about, "seeds": list(seeds(a)), "rows": rows}, indent=2))
        return
    print(f"{shape.clouds} clouds x {shape.points:,} points, {shape.weights():,} weights, {steps} steps, {named(a)}")


if __name__ == "__main__":
    main()
