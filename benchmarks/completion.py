"""Completion under every criterion of the Chamfer family (Lin et al., Table 1, Table 2 and Figure 5), two ways.

    python benchmarks/completion.py CLOUDS... [--points 512] [--held 8] [--seeds 3] [--curves curves.png] [--json]

CLOUDS is anything `pcqaad compress` takes. For each seed some clouds are held out, and one view of each from a random
direction is all that is given of it (hidden points removed). `file` completes by a file fitted to the other clouds
(`pcqaad complete`); `folding` and `patches` are networks trained on views of the other clouds (Algorithm 2): a PointNet
encoder with FoldingNet's decoder or NeuralQAAD's. Within a way only the criterion differs: the same clouds, views,
start, draws and number of steps.

A network's criterion sees coordinates in which a diagonal is 1 (`--scale`): about those that its authors chose its
parameters on. A file's sees what `pcqaad complete` shows it, a diagonal of 4.

CD-L1 is (mean + mean) / 2 of distances, x 1000, in normalised coordinates: a diagonal is 4. EM-kD is in percent of
the diagonal. Both are means over the held-out clouds, ± the standard deviation of the seeds; `over l1` is the mean
of the seeds' differences in CD-L1 from the row l1. A step's time is CPU time. To read them beside: `mean` is the file's
mean shape, `whole` what the file makes of clouds of which everything is given, and `sampled again` another sampling of
the very same surface, where clouds hold twice the points.
"""

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
from spread import add_seeds, named, number, seeds, spread

import pcqaad
from pcqaad.baselines.completion_networks import DECODERS
from pcqaad.baselines.completion_training import Completer
from pcqaad.baselines.views import cut_view
from pcqaad.evaluation.metrics import chamfer
from pcqaad.formats.atomic import atomic_path
from pcqaad.formats.clouds.find import LazyClouds, find_clouds
from pcqaad.latents.plan import CompletePlan
from pcqaad.losses.criteria import criterion
from pcqaad.losses.names import CRITERIA, parse
from pcqaad.points.collect import Normalisation

Floats = NDArray[np.float32]

PRIOR = CompletePlan.prior
# Views of every cloud that the networks are trained on.
VIEWS = 4
# How often in its training a network is measured for the curves.
MEASURED = 6
# Distinct uses of the seed.
SPLIT, HELD, SEEN = 0, 1, 2


@dataclass(frozen=True)
class Task:
    """What one seed draws, normalised: held-out clouds and what is given of them, and what may be learned from."""

    file: pcqaad.Collection
    normalisation: Normalisation
    whole: list[Floats]
    again: list[Floats]
    given: list[Floats]
    others: list[Floats]
    seed: int

    @cached_property
    def pairs(self) -> list[tuple[Floats, Floats]]:
        """Views of what may be learned from, and the whole clouds."""
        return [(view(x, self.seed, SEEN, i, j), x) for i, x in enumerate(self.others) for j in range(VIEWS)]

    def judge(self, completed: Sequence[Floats]) -> dict[str, float]:
        """Return the figures of completed clouds (M, 3), normalised."""
        pairs = list(zip(completed, self.whole, strict=True))
        far = [chamfer(a, b).mean for a, b in pairs]
        emkd = [pcqaad.emkd(a, b).mean for a, b in pairs]
        return {"cd_l1": 1000 * float(np.mean(far)), "emkd_percent": 100 * float(np.mean(emkd)) / 4}


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def prepare(clouds: Sequence[Floats], seed: int, a: argparse.Namespace, folder: Path) -> Task:
    """Hold clouds out, fit a file to the others, and cut views of all."""
    order = np.random.default_rng([seed, SPLIT]).permutation(len(clouds))
    drawn = [clouds[i][np.random.default_rng([seed, SPLIT, i]).permutation(len(clouds[i]))] for i in order]
    held, learned = drawn[: a.held], [x[: a.points] for x in drawn[a.held :]]
    settings = pcqaad.Settings(epochs=a.epochs, latent=a.latent, seed=seed, tune=0, measure=4, device="cpu")
    path = folder / f"{seed}.qaad"
    if not path.exists():
        tell(f"seed {seed}: fitting")
        pcqaad.fit(learned, settings).save(path)
    file = pcqaad.open(path)
    centre, scale = file.denormalisation.centre_and_scale
    normalisation = Normalisation(np.array(centre), scale)

    def normalised(x: Floats) -> Floats:
        return normalisation.normalise(x).astype(np.float32)

    whole = [normalised(x[: a.points]) for x in held]
    return Task(
        file,
        normalisation,
        whole,
        [normalised(x[a.points : 2 * a.points]) for x in held if len(x) >= 2 * a.points],
        [view(x, seed, HELD, i) for i, x in enumerate(whole)],
        [normalised(x) for x in learned],
        seed,
    )


def view(x: Floats, *draw: int) -> Floats:
    """Return what a view from a random direction sees of a cloud (n, 3)."""
    return x[cut_view(x, np.random.default_rng(draw))]


def by_file(
    task: Task, given: Sequence[Floats], name: str, prior: float, a: argparse.Namespace, seed: int
) -> list[Floats]:
    """Complete by the file; normalised."""
    centre, scale = task.file.denormalisation.centre_and_scale
    placed = [x.astype(np.float64) * scale + centre for x in given]
    found = pcqaad.complete(task.file, placed, criterion=name, steps=a.search, prior=prior, seed=seed, device="cpu")
    return [task.normalisation.normalise(one.points).astype(np.float32) for one in found]


def judged_file(task: Task, name: str, prior: float, a: argparse.Namespace, seed: int) -> dict[str, float]:
    """Complete by the file, and return the figures."""
    return task.judge(by_file(task, task.given, name, prior, a, seed))


def by_network(task: Task, decoder: str, name: str, a: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train a network, and return its figures, the CPU seconds of a step, and how its CD-L1 fell."""
    spec, parameters = parse(name)
    completer = Completer(decoder, task.pairs, a.points // 4, seed, "cpu")
    every = max(a.steps // MEASURED, 1)
    curve, spent = [], []
    began = time.process_time()

    def on_step(step: int, loss: float) -> None:
        nonlocal began
        spent.append(time.process_time() - began)
        if step % every == 0:
            far = [chamfer(x, y).mean for x, y in zip(completer.complete(task.given), task.whole, strict=True)]
            curve.append((step, 1000 * float(np.mean(far))))
        began = time.process_time()

    loss = criterion(spec, **parameters)
    completer.train(lambda found, whole: loss(a.scale * found, a.scale * whole), a.steps, a.batch, a.rate, on_step)
    return {**task.judge(completer.complete(task.given)), "step": float(np.median(spent)), "curve": curve}


def reference(task: Task, name: str, a: argparse.Namespace, seed: int) -> dict[str, float]:
    """Return what the rows are to be read beside."""
    if name == "whole":
        return task.judge(by_file(task, task.whole, "l1", 0.0, a, seed))
    if name == "sampled again":
        return task.judge(task.again)
    mean = task.normalisation.normalise(task.file.decode(task.file.latents.mean(0))).astype(np.float32)
    return task.judge([mean] * len(task.whole))


class Kept:
    """Finished figures in a folder, a file each, so that a run that was stopped goes on where it was."""

    def __init__(self, folder: Path, a: argparse.Namespace) -> None:
        others = ("criteria", "curves", "json", "keep", "seed", "seeds")
        chosen = json.dumps({key: value for key, value in vars(a).items() if key not in others})
        self.folder, of = folder, folder / "settings.json"
        folder.mkdir(parents=True, exist_ok=True)
        if of.exists() and of.read_text() != chosen:
            sys.exit(f"{folder}: holds figures of other settings")
        of.write_text(chosen)

    def run(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the figures of a name, from the folder if they are there."""
        path = self.folder / f"{name.replace(':', ' ')}.json"
        if not path.exists():
            tell(name)
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(make()))
        found: dict[str, Any] = json.loads(path.read_text())
        return found


def over_seeds(runs: Sequence[dict[str, Any]], base: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    """Return means and standard deviations of the seeds' figures, and of their differences from a base's CD-L1."""
    keys = [key for key in runs[0] if key != "curve"]
    row: dict[str, Any] = {key: spread([run[key] for run in runs]) for key in keys}
    if base:
        row["over_l1"] = spread([run["cd_l1"] - other["cd_l1"] for run, other in zip(runs, base, strict=True)])
    if "curve" in runs[0]:
        curves = np.array([run["curve"] for run in runs])
        row["curve"] = [[int(step), float(value)] for step, value in curves.mean(0)]
    return row


def draw_curves(rows: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw the networks' CD-L1 on the held-out clouds by the step, one panel for each (the poster's Figure 5)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    figure = Figure((5.2 * len(DECODERS), 4.2), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    for i, decoder in enumerate(DECODERS):
        axes = figure.add_subplot(1, len(DECODERS), i + 1)
        for k, (name, row) in enumerate(rows[decoder].items()):
            steps, values = zip(*row["curve"], strict=True)
            axes.plot(steps, values, label=name, linewidth=1.2, linestyle=("-", "--", ":")[k // 7 % 3])
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(ScalarFormatter())
        axes.set(title=decoder, xlabel="step", ylabel="CD-L1 x 1000, held out")
    axes.legend(fontsize=7, ncols=2)
    figure.savefig(path)


def table(ways: dict[str, dict[str, Any]]) -> str:
    """Return all rows as a Markdown table."""
    lines = ["| way | criterion | CD-L1 x 1000 | over l1 | EM-kD, % | CPU s a step |", "|---|---|---:|---:|---:|---:|"]
    for way, rows in ways.items():
        for name, row in rows.items():
            over = number(row["over_l1"], 2) if "over_l1" in row and name != "l1" else ""
            step = number(row["step"], 4) if "step" in row else ""
            cells = [way, name, number(row["cd_l1"], 2), over, number(row["emkd_percent"], 3), step]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clouds", nargs="+")
    parser.add_argument("--points", type=int, default=512, help="of a cloud: what a file and a network return [512]")
    parser.add_argument("--held", type=int, default=8, help="clouds held out [8]")
    add_seeds(parser, 3)
    parser.add_argument("--criteria", nargs="+", default=[name for name in CRITERIA if name != "augmented"])
    parser.add_argument("--epochs", type=int, default=20, help="of the files' fits [20]")
    parser.add_argument("--latent", type=int, default=12, help="numbers a cloud in the files [12]")
    parser.add_argument("--search", type=int, default=30, help="steps of a search by a file [30]")
    parser.add_argument(
        "--prior", type=float, nargs="+", default=[PRIOR], help=f"its weight in these; several [{PRIOR}]"
    )
    parser.add_argument("--steps", type=int, default=60, help="of a network's training; 0 for none [60]")
    parser.add_argument("--rate", type=float, default=3e-3, help="of such a training, where it begins [0.003]")
    parser.add_argument(
        "--scale",
        type=float,
        default=0.25,
        help="of coordinates as its criterion sees them [0.25: a diagonal is 1]",
    )
    parser.add_argument("--batch", type=int, default=4, help="clouds of such a step [4]")
    parser.add_argument("--keep", type=Path, help="a folder for what is finished, to go on from when stopped")
    parser.add_argument("--curves", type=Path, help="a PNG file for the networks' convergence")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args(arguments)
    torch.set_num_threads(1)
    names = ["l1", *(name for name in a.criteria if name != "l1")]
    clouds = list(LazyClouds(find_clouds(a.clouds)))
    if min(map(len, clouds)) < a.points or not 1 <= a.held <= len(clouds) - 2 or a.points < 4:
        parser.error("expected clouds of at least --points, at least two more than --held")

    priors = {f"file, prior {prior:g}" if len(a.prior) > 1 else "file": prior for prior in a.prior}
    ways = [*priors, *(DECODERS if a.steps else ())]
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {"": {}, **{way: {name: [] for name in names} for way in ways}}
    given = []
    with tempfile.TemporaryDirectory() as temporary:
        kept = Kept(a.keep or Path(temporary), a)
        for seed in seeds(a):
            task = prepare(clouds, seed, a, kept.folder)
            given += [len(x) / a.points for x in task.given]
            with task.file:
                for name in ("mean", "whole", "sampled again")[: 2 + (len(task.again) == a.held)]:
                    figures = kept.run(f"{seed} {name}", partial(reference, task, name, a, seed))
                    runs[""].setdefault(name, []).append(figures)
                for way, name in itertools.product(ways, names):
                    make = partial(by_network, task, way, name, a, seed)
                    if way in priors:
                        make = partial(judged_file, task, name, priors[way], a, seed)
                    runs[way][name].append(kept.run(f"{seed} {way} {name}", make))
    rows = {way: {k: over_seeds(v, of.get("l1")) for k, v in of.items()} for way, of in runs.items()}
    if a.curves and a.steps:
        draw_curves(rows, a.curves)
    about = {
        "clouds": len(clouds),
        "points": a.points,
        "held": a.held,
        "seeds": list(seeds(a)),
        "given_percent": 100 * float(np.mean(given)),
        "torch": torch.__version__,
    }
    if a.json:
        print(json.dumps({**about, "rows": rows}, indent=2))
        return
    print(f"{len(clouds)} clouds x {a.points:,} points, {a.held} held out, {named(a)}; ", end="")
    print(f"a view gives {about['given_percent']:.0f} % of a cloud's points\n")
    print(table(rows))


if __name__ == "__main__":
    main()
