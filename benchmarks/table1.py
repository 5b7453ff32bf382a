"""The paper's Table 1: AtlasNetV2, the decoder under the augmented Chamfer distance, and the stages of QAAD.

    python benchmarks/table1.py CLOUDS... [--size cpu] [--steps N] [--seeds 3] [--device D] [-o out/table1] [--json]
    python benchmarks/table1.py CLOUDS... --samples 64 128 256 512        Figure 5: fewer points a step

CLOUDS are sets, each anything `pcqaad compress` takes. Every column makes the same number of optimisation steps with
as many clouds and points; with `--as-published` those of the Chamfer distance make a quarter of them, as in the paper
(150 epochs of 600). "Converged" goes on from the column before it until half as many steps again lower EM-kD by less
than 2 %, at most to four times as many, and is the best of these. The last column is our own recipe on the same
network, its rate included, which falls; the others keep theirs, as in the paper, or with `--annealed` get ours too.

EM-kD (cells of 1,024) is that of the float models' clouds, all of them, in percent of the diagonal, ± the standard
deviation of the seeds where there are several; what it says of AtlasNetV2 is of the means. The sampling floor beside
it is that of two halves of each cloud, at half the points.

A column that is done lies in the output folder, by its seed, and is not fitted again; an interrupted one goes on.
Pictures are drawn there as well, of the first seed: reconstructions beside originals (the paper's Figures 2 and 3),
templates by patch (4), the error against the points of a step (5).
"""

import argparse
import json
import platform
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from ablation import floor
from spread import add_seeds, named, number, seeds, spread
from table1_columns import COLUMNS, FIGURE5, SIZES, Bench

import pcqaad
from pcqaad import devices
from pcqaad.errors import SettingsError
from pcqaad.evaluation.metrics import percent
from pcqaad.formats.errors import FormatError

# Paper, Table 1: EM-kD per column, in units that it does not name; what it says is how they compare.
PAPER = {
    "Skulls": (30.681, 24.004, 419.230, 18.312, 10.481, 6.708),
    "D-FAUST": (0.076, 0.023, 0.187, 0.015, 0.011, 0.010),
    "COMA": (200.083, 139.230, 2448.076, 74.893, 47.593, 18.554),
}
PAPER_COLUMNS = ("atlasnet", "chamfer", "random", "greedy", "reassignment", "converged")


def against(first, value):
    return f"{100 * (value / first - 1):+.0f} %"


def together(runs):
    """Return a column's figures, of every seed and over them."""
    emkd = spread([run["emkd"]["mean_percent"] for run in runs])
    return {"label": runs[0]["label"], "weights": runs[0]["weights"], "emkd_percent": emkd, "runs": runs}


def between(values):
    """Return the ends of what seeds differ in."""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def table(rows):
    """Print a set's columns as rows, in markdown."""
    base, _ = rows.get("atlasnet", next(iter(rows.values())))["emkd_percent"]
    heads = ("", "EM-kD, % of the diagonal", "to AtlasNetV2", *(f"paper, {name}" for name in PAPER))
    print("\n| " + " | ".join((*heads, "weights", "steps", "seconds")) + " |")
    print("|---" + "|---:" * (len(heads) + 2) + "|")
    for name, row in rows.items():
        cells = [row["label"], number(row["emkd_percent"], 3), against(base, row["emkd_percent"][0])]
        for values in PAPER.values():
            there = name in PAPER_COLUMNS
            cells.append(against(values[0], values[PAPER_COLUMNS.index(name)]) if there else "")
        seconds, _ = spread([run["seconds"] for run in row["runs"]])
        cells += [f"{row['weights']:,}", between([run["steps"] for run in row["runs"]]), f"{seconds:.0f}"]
        print("| " + " | ".join(cells) + " |")


def figure5(rows):
    """Print the errors by the points of a step."""
    print("\n| points a step | " + " | ".join(COLUMNS[name] for name in next(iter(rows.values()))) + " |")
    print("|---:" * (1 + len(next(iter(rows.values())))) + "|")
    for sample, row in rows.items():
        print(f"| {sample} | " + " | ".join(number(r["emkd_percent"], 3) for r in row.values()) + " |")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="CLOUDS")
    parser.add_argument("--size", choices=SIZES, default="cpu")
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, metavar="NAME", help=f"of {', '.join(COLUMNS)} [all]")
    parser.add_argument("--steps", type=int, help="of every column [400 of size cpu, else the paper's 600 epochs]")
    parser.add_argument("--as-published", action="store_true", help="a quarter of the steps for the Chamfer distance")
    parser.add_argument("--annealed", action="store_true", help="our recipe's falling rate for every column")
    parser.add_argument("--samples", type=int, nargs="+", metavar="S", help="Figure 5 instead: points a step")
    parser.add_argument("--latent", type=int)
    parser.add_argument("--points", type=int)
    add_seeds(parser)
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/table1"))
    parser.add_argument("--no-pictures", action="store_true")
    parser.add_argument("--azimuth", type=float, default=32.0, help="of the eye in the pictures, degrees [32]")
    parser.add_argument("--unit", default="", help="of the coordinates, for the pictures")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args(arguments)
    try:
        found = {path: one_set(path, a) for path in a.sets}
    except (FormatError, SettingsError, pcqaad.CloudError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        sys.exit("\ninterrupted: the same command goes on from here")
    if a.json:
        print(json.dumps(found, indent=2))


def one_set(path, a):
    """Fit what was asked for of one set, print and draw it."""
    size, folder = SIZES[a.size], a.output / Path(path).stem
    # Where the rate has fallen, there is nothing left to go on with.
    asked = a.columns or [name for name in COLUMNS if name != "converged" or not a.annealed]
    asked = [name for name in asked if name in FIGURE5 or not a.samples]
    rows = {}
    for sample in a.samples or [size.settings.sample]:
        runs, bench = [], None
        for seed in seeds(a):
            # The table's own columns are not fitted twice.
            own = folder / f"seed_{seed}" / ("" if sample == size.settings.sample else f"sample_{sample}")
            of = Bench([path], own, size, a, seed, sample)
            runs.append({name: of.column(name) for name in asked})
            bench = bench or of
        rows[sample] = {name: together([run[name] for run in runs]) for name in asked}
    s = bench.settings
    half = percent(floor(bench.set.targets) * bench.set.normalisation.scale, bench.set.diagonal)
    if not a.samples:
        (rows,) = rows.values()
    about = {
        "clouds": len(bench.names),
        "points": bench.set.targets.points,
        "size": a.size,
        "steps": bench.steps,
        "chamfer_steps": round(bench.share * bench.steps),
        "rate": [s.learning_rate, s.schedule],
        "batch": [s.batch, s.sample],
        "latent": s.latent,
        "seeds": list(seeds(a)),
        "device": devices.describe(bench.device),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "floor_at_half_the_points_percent": half,
    }
    if not a.no_pictures:
        import table1_pictures as pictures

        if a.samples:
            pictures.sampling(rows, half, folder / "sampling.png")
        else:
            pictures.reconstructions(bench, rows, a.unit, a.azimuth, folder / "reconstructions.png")
            pictures.templates(bench, rows, a.azimuth, folder / "templates.png")
    if not a.json:
        equal = "of every column" if bench.share == 1 else "and a quarter of them for Chamfer alone, as published"
        print(f"\n{path}: {about['clouds']} clouds x {about['points']:,} points, {bench.steps:,} steps ({equal}),")
        points = f"{s.batch} x {s.sample} points a step, " if not a.samples else f"{s.batch} clouds a step, "
        print(
            f"{points}{s.schedule} rate of {s.learning_rate:g}, latent {s.latent}, {named(a)}, torch {about['torch']}"
        )
        (figure5 if a.samples else table)(rows)
        print(f"\nsampling floor at half the points: {half:.3f} %")
    return {"about": about, "rows": rows}


if __name__ == "__main__":
    main()
