"""The paper's Table 1: AtlasNetV2, our decoder under the augmented Chamfer distance, and the stages of QAAD.

    python -m benchmarks.table1 CLOUDS... [--size cpu] [--steps N] [--seeds 3] [--device D] [-o out/table1] [--json]
    python -m benchmarks.table1 CLOUDS... --samples 64 128 256 512        Figure 5: fewer points a step

Each of CLOUDS is a set. Every column makes the same number of optimisation steps with the same number of clouds and
points. With `--as-published` the columns of the Chamfer distance make a quarter of them, as in the paper (150 epochs of
600). "Converged" goes on from the column before it until half as many steps again lower EM-kD by less than 2 %, to four
times as many at most, and is the best of these. The last column is our own recipe on the same network, with its own
rate, which falls. The others keep the paper's constant rate, or with `--annealed` get ours too.

EM-kD (cells of 1,024) is that of the models in floats on all clouds, in percent of the diagonal. Several seeds give
means and ± their standard deviation; the comparison with AtlasNetV2 is that of the means. The sampling floor is the
EM-kD between two halves of each cloud, at half the points.

A finished column lies in the output folder, by its seed, and is not fitted again. An interrupted one goes on. Pictures
of the first seed are drawn there too: reconstructions beside originals (the paper's Figures 2 and 3), templates by
patch (4), the error against the points of a step (5).
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import common, table1_pictures
from benchmarks.table1_columns import COLUMNS, FIGURE5, SIZES, Bench
from pcqaad import devices

# Paper, Table 1: EM-kD of each column, in a unit that it does not name. How they compare needs none.
PAPER = {
    "Skulls": (30.681, 24.004, 419.230, 18.312, 10.481, 6.708),
    "D-FAUST": (0.076, 0.023, 0.187, 0.015, 0.011, 0.010),
    "COMA": (200.083, 139.230, 2448.076, 74.893, 47.593, 18.554),
}
PAPER_COLUMNS = ("atlasnet", "chamfer", "random", "greedy", "reassignment", "converged")


def against(first, value):
    """Return how far a value lies above the first one, as a part of that."""
    return value / first - 1


def figures(a: common.Arguments) -> common.Figures:
    return {path: of_set(path, a) for path in a.clouds}


def of_set(path, a):
    """Fit one set's columns, draw them, and return their figures."""
    size, folder = SIZES[a.size], a.output / Path(path).stem
    # Where the rate has fallen, there is nothing left to go on with.
    asked = a.columns or [name for name in COLUMNS if name != "converged" or not a.annealed]
    asked = [name for name in asked if name in FIGURE5 or not a.samples]
    rows = {}
    for sample in a.samples or [size.settings.sample]:
        # The table's own columns are not fitted twice.
        part = "" if sample == size.settings.sample else f"sample_{sample}"
        runs, bench = [], None
        for seed in common.seeds(a):
            of_seed = Bench([path], folder / f"seed_{seed}" / part, size, a, seed, sample)
            runs.append({name: of_seed.column(name) for name in asked})
            bench = bench or of_seed
        rows[sample] = {name: together([run[name] for run in runs]) for name in asked}
    s = bench.settings
    found = {
        "clouds": len(bench.names),
        "points": bench.set.targets.points,
        "size": a.size,
        "steps": bench.steps,
        "chamfer_steps": round(bench.share * bench.steps),
        "rate": s.learning_rate,
        "schedule": s.schedule,
        "batch": s.batch,
        "sample": a.samples or s.sample,
        "latent": s.latent,
        "seeds": list(common.seeds(a)),
        "device": devices.describe(bench.device),
        **common.versions("numpy", "torch"),
        "sampling_floor_percent": common.sampling_floor(bench.set.targets, common.DIAGONAL),
        "rows": rows if a.samples else rows.popitem()[1],
    }
    if not a.no_pictures:
        if a.samples:
            table1_pictures.sampling(rows, found["sampling_floor_percent"], folder / "sampling.png")
        else:
            table1_pictures.reconstructions(bench, found["rows"], a.unit, a.azimuth, folder / "reconstructions.png")
            table1_pictures.templates(bench, found["rows"], a.azimuth, folder / "templates.png")
    return found


def together(runs):
    """Return a column's figures, of every seed and over them."""
    emkd = common.spread([run["emkd"]["mean_percent"] for run in runs])
    return {"label": runs[0]["label"], "weights": runs[0]["weights"], "emkd_percent": emkd, "runs": runs}


def text(found: common.Figures) -> str:
    write = {True: by_column, False: by_sample}
    return "\n\n".join(f"{path}: {write[isinstance(of['sample'], int)](of)}" for path, of in found.items())


def by_column(found):
    """Write a set's columns as rows."""
    rows = found["rows"]
    base, _ = rows.get("atlasnet", next(iter(rows.values())))["emkd_percent"]
    lines = []
    for name, row in rows.items():
        steps = sorted({run["steps"] for run in row["runs"]})
        seconds = common.spread([run["seconds"] for run in row["runs"]])
        line = {**row, "to": against(base, row["emkd_percent"][0]), "seconds": seconds[0]}
        line["steps"] = " to ".join(f"{n:,}" for n in dict.fromkeys((steps[0], steps[-1])))
        if name in PAPER_COLUMNS:
            there = PAPER_COLUMNS.index(name)
            line |= {data: against(values[0], values[there]) for data, values in PAPER.items()}
        lines.append(line)
    heads = {"": "label", "EM-kD, % of the diagonal": "emkd_percent:.3f", "to AtlasNetV2": "to:+.0%"}
    heads |= {f"paper, {data}": f"{data}:+.0%" for data in PAPER}
    return common.report(found, heads | {"weights": "weights:,", "steps": "steps", "seconds": "seconds:.0f"}, lines)


def by_sample(found):
    """Write the errors by the points of a step."""
    lines = [{"n": n, **{k: v["emkd_percent"] for k, v in row.items()}} for n, row in found["rows"].items()]
    return common.report(found, {"points a step": "n", **{COLUMNS[k]: f"{k}:.3f" for k in lines[0] if k != "n"}}, lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.options(__spec__.name, __doc__, clouds="+", seeds=1)
    parser.add_argument("--size", choices=SIZES, default="cpu")
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, metavar="NAME", help=f"of {', '.join(COLUMNS)} [all]")
    parser.add_argument("--steps", type=int, help="of every column [400 of size cpu, else the paper's 600 epochs]")
    parser.add_argument("--as-published", action="store_true", help="a quarter of the steps for the Chamfer distance")
    parser.add_argument("--annealed", action="store_true", help="our recipe's falling rate for every column")
    parser.add_argument("--samples", type=int, nargs="+", metavar="S", help="Figure 5 instead: points a step")
    parser.add_argument("--latent", type=int, help="numbers of each cloud [the size's]")
    parser.add_argument("--points", type=int, help="of each cloud [the smallest's]")
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/table1"))
    parser.add_argument("--no-pictures", action="store_true")
    parser.add_argument("--azimuth", type=float, default=32.0, help="of the eye in the pictures, degrees [32]")
    parser.add_argument("--unit", default="", help="of the coordinates, for the pictures")
    common.run(parser, arguments, figures, text)


if __name__ == "__main__":
    main()
