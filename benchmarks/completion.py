"""Completion by every criterion of the Chamfer family (Lin et al., Table 1, Table 2 and Figure 5), two ways.

    python -m benchmarks.completion CLOUDS... [--points 512] [--held 8] [--seeds 3] [--curves curves.png] [--json]

Each seed holds some clouds out. One view of each from a random direction is given (hidden points removed). `file`
completes it by a file fitted to the other clouds (`pcqaad complete`). `folding` and `patches` are networks trained on
views of the other clouds (Algorithm 2): a PointNet encoder with FoldingNet's decoder or NeuralQAAD's. Within a way only
the criterion differs: clouds, views, start, draws and number of steps are the same.

A network's criterion sees coordinates in which a diagonal is 1 (`--scale`): its authors chose its parameters on about
those. A file's criterion sees a diagonal of 4, as in `pcqaad complete`.

CD-L1 is (mean + mean) / 2 of distances, x 1000, in normalised coordinates: a diagonal is 4. EM-kD is in percent of the
diagonal. Both are means over the held-out clouds, ± the standard deviation of the seeds. `over l1` is the mean of the
seeds' differences in CD-L1 from the row l1. A step's time is CPU time. Three rows stand beside them: `mean` is the
file's mean shape, `whole` the file's completion of clouds that are given whole, and `sampled again` another sampling of
the very same surface, where clouds hold twice the points.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import pcqaad
from benchmarks import common
from benchmarks.baselines.completion_networks import DECODERS
from benchmarks.baselines.completion_training import Completer, Training
from benchmarks.kept import Kept
from pcqaad.evaluation.metrics import chamfer, percent
from pcqaad.formats.clouds.find import LazyClouds, find_clouds
from pcqaad.latents.plan import CompletePlan
from pcqaad.losses import CRITERIA, criterion, parse
from pcqaad.monitor import Monitor, Progress
from pcqaad.points.collect import Normalisation
from pcqaad.points.views import cut_view

Floats = NDArray[np.float32]

PRIOR = CompletePlan.prior
# Views of every cloud that the networks are trained on.
VIEWS = 4
# Measurements of a network in its training, for the curves.
MEASURED = 6
# Distinct uses of the seed.
SPLIT = 0
HELD = 1
SEEN = 2
COLUMNS = {
    "way": "way",
    "criterion": "criterion",
    "CD-L1 x 1000": "cd_l1:.2f",
    "over l1": "over_l1:.2f",
    "EM-kD, %": "emkd_percent:.3f",
    "CPU s a step": "step:.4f",
}
# Options that change no figure that is kept.
FREE = ("criteria", "curves", "json", "keep", "seed", "seeds")


class Task:
    """The clouds that one seed draws, and the ways to complete them.

    Attributes:
        file: of the clouds that may be learned from.
        whole: the held-out clouds (M, 3), normalised.
        given: a view (n_i, 3) of each.
        again: another sampling of each, where clouds hold enough points.
    """

    def __init__(self, clouds: Sequence[Floats], seed: int, a: common.Arguments, folder: Path) -> None:
        self.seed, self.a = seed, a
        order = np.random.default_rng([seed, SPLIT]).permutation(len(clouds))
        drawn = [clouds[i][np.random.default_rng([seed, SPLIT, i]).permutation(len(clouds[i]))] for i in order]
        held, learned = drawn[: a.held], [x[: a.points] for x in drawn[a.held :]]
        settings = pcqaad.Settings(epochs=a.epochs, latent=a.latent, seed=seed, tune=0, measure=4, device="cpu")
        path = folder / f"{seed}.qaad"
        if not path.exists():
            common.tell(f"seed {seed}: fitting")
            pcqaad.fit(learned, settings).save(path)
        self.file = pcqaad.open(path)
        fitted = self.file.info["normalisation"]
        self._normalisation = Normalisation(np.array(fitted["centre"]), fitted["scale"])
        self.whole = [self._normalised(x[: a.points]) for x in held]
        self.given = [self._view(x, HELD, i) for i, x in enumerate(self.whole)]
        self.again = [self._normalised(x[a.points : 2 * a.points]) for x in held if len(x) >= 2 * a.points]
        self._learned = [self._normalised(x) for x in learned]

    @cached_property
    def pairs(self) -> list[tuple[Floats, Floats]]:
        """Views of the clouds that may be learned from, and these clouds."""
        return [(self._view(x, SEEN, i, j), x) for i, x in enumerate(self._learned) for j in range(VIEWS)]

    def reference(self, name: str) -> common.Figures:
        """Return the figures of a row that others are read beside."""
        if name == "whole":
            return self.by_file("l1", 0.0, self.whole)
        if name == "sampled again":
            return self._judge(self.again)
        mean = self._normalised(self.file.decode(self.file.latents.mean(0)))
        return self._judge([mean] * len(self.whole))

    def by_file(self, name: str, prior: float | None, given: Sequence[Floats] | None = None) -> common.Figures:
        """Complete the views, or other clouds, by the file; return the figures."""
        to_data = self._normalisation
        placed = [x.astype(np.float64) * to_data.scale + to_data.centre for x in given or self.given]
        own = {} if prior is None else {"prior": prior}
        found = pcqaad.complete(
            self.file, placed, criterion=name, steps=self.a.search, seed=self.seed, device="cpu", **own
        )
        return self._judge([self._normalised(one.points) for one in found])

    def by_network(self, decoder: str, name: str) -> common.Figures:
        """Train a network; return its figures, the CPU seconds of a step, and how its CD-L1 fell."""
        a = self.a
        completer = Completer(decoder, self.pairs, a.points // 4, self.seed, "cpu")
        curve, spent, began = [], [], time.process_time()

        def show(step: Progress) -> None:
            nonlocal began
            spent.append(time.process_time() - began)
            if step.done % max(a.steps // MEASURED, 1) == 0:
                curve.append((step.done, self._judge(completer.complete(self.given), emkd=False)["cd_l1"]))
            began = time.process_time()

        spec, parameters = parse(name)
        loss = criterion(spec, **parameters)
        training = Training(a.steps, a.batch, a.rate)
        completer.train(lambda found, whole: loss(a.scale * found, a.scale * whole), training, Monitor(show))
        return {**self._judge(completer.complete(self.given)), "step": float(np.median(spent)), "curve": curve}

    def _judge(self, completed: Sequence[Floats], emkd: bool = True) -> common.Figures:
        pairs = list(zip(completed, self.whole, strict=True))
        found = {"cd_l1": 1000 * common.mean([chamfer(a, b) for a, b in pairs])}
        if emkd:
            found["emkd_percent"] = percent(common.mean([pcqaad.emkd(a, b) for a, b in pairs]), common.DIAGONAL)
        return found

    def _normalised(self, x: Floats) -> Floats:
        return self._normalisation.normalise(x).astype(np.float32)

    def _view(self, x: Floats, *draw: int) -> Floats:
        return x[cut_view(x, np.random.default_rng([self.seed, *draw]))]


def figures(a: common.Arguments) -> common.Figures:
    torch.set_num_threads(1)
    names = ["l1", *(name for name in a.criteria if name != "l1")]
    clouds = list(LazyClouds(find_clouds(a.clouds)))
    if min(map(len, clouds)) < a.points or not 1 <= a.held <= len(clouds) - 2 or a.points < 4:
        raise pcqaad.SettingsError("expected clouds of at least --points, and at least two more than --held")
    priors = {f"file, prior {prior:g}" if len(a.prior) > 1 else "file": prior for prior in a.prior}
    ways = [*priors, *(DECODERS if a.steps else ())]
    runs: dict[str, dict[str, list[common.Figures]]] = {way: {} for way in ["", *ways]}
    given = []
    with tempfile.TemporaryDirectory() as temporary:
        kept = Kept(a.keep or Path(temporary), {key: value for key, value in vars(a).items() if key not in FREE})
        for seed in common.seeds(a):
            task = Task(clouds, seed, a, kept.folder)
            given += [len(x) / a.points for x in task.given]
            with task.file:
                jobs = {("", name): partial(task.reference, name) for name in ("mean", "whole")}
                if len(task.again) == a.held:
                    jobs["", "sampled again"] = partial(task.reference, "sampled again")
                for way, name in itertools.product(ways, names):
                    by_file, by_network = partial(task.by_file, name), partial(task.by_network, way, name)
                    jobs[way, name] = partial(by_file, priors[way]) if way in priors else by_network
                for (way, name), make in jobs.items():
                    runs[way].setdefault(name, []).append(kept.figures(f"{seed} {way} {name}", make))
    rows = {way: {name: row(own, of.get("l1")) for name, own in of.items()} for way, of in runs.items()}
    if a.curves and a.steps:
        draw_curves(rows, a.curves)
    return {
        "clouds": len(clouds),
        "points": a.points,
        "held": a.held,
        "seeds": list(common.seeds(a)),
        "given_percent": 100 * float(np.mean(given)),
        **common.versions("numpy", "torch"),
        "rows": rows,
    }


def row(runs: Sequence[common.Figures], base: Sequence[common.Figures] | None) -> common.Figures:
    """Return figures over seeds, their differences from a base's CD-L1 among them."""
    of = [{key: value for key, value in run.items() if key != "curve"} for run in runs]
    for i, other in enumerate(base or []):
        of[i]["over_l1"] = runs[i]["cd_l1"] - other["cd_l1"]
    curves = [run["curve"] for run in runs if "curve" in run]
    return {**common.over_seeds(of), **({"curve": np.mean(curves, 0).tolist()} if curves else {})}


def draw_curves(rows: dict[str, common.Figures], path: Path) -> None:
    """Draw the networks' CD-L1 on the held-out clouds by the step, one panel for each (the poster's Figure 5)."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    figure = Figure((5.2 * len(DECODERS), 4.2), dpi=90, layout="constrained")
    for i, decoder in enumerate(DECODERS):
        axes = figure.add_subplot(1, len(DECODERS), i + 1)
        for k, (name, own) in enumerate(rows[decoder].items()):
            axes.plot(*np.transpose(own["curve"]), label=name, linewidth=1.2, linestyle=("-", "--", ":")[k // 7 % 3])
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(ScalarFormatter())
        axes.set(title=decoder, xlabel="step", ylabel="CD-L1 x 1000, held out")
    axes.legend(fontsize=7, ncols=2)
    figure.savefig(path)


def text(found: common.Figures) -> str:
    rows = [{"way": way, "criterion": name, **own} for way, of in found["rows"].items() for name, own in of.items()]
    return common.report(found, COLUMNS, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.options(__spec__.name, __doc__, clouds="+", seeds=3)
    own = "[that of `pcqaad complete`]"
    parser.add_argument("--points", type=int, default=512, help="of a cloud, given whole or completed [512]")
    parser.add_argument("--held", type=int, default=8, help="clouds held out [8]")
    parser.add_argument("--criteria", nargs="+", default=[name for name in CRITERIA if name != "augmented"])
    parser.add_argument("--epochs", type=int, default=20, help="of the files' fits [20]")
    parser.add_argument("--latent", type=int, default=12, help="numbers of a cloud in the files [12]")
    parser.add_argument("--search", type=int, default=30, help="steps of a search by a file [30]")
    parser.add_argument(
        "--prior", type=float, nargs="+", default=[None], help=f"its weight there, one or several {own}"
    )
    parser.add_argument("--steps", type=int, default=60, help="of a network's training; 0 for no networks [60]")
    parser.add_argument("--rate", type=float, default=3e-3, help="of such a training at its first step [0.003]")
    parser.add_argument("--batch", type=int, default=4, help="clouds of such a step [4]")
    parser.add_argument(
        "--scale", type=float, default=0.25, help="of coordinates for a network's criterion [0.25: a diagonal is 1]"
    )
    parser.add_argument("--keep", type=Path, help="a folder for finished figures: a stopped run goes on there")
    parser.add_argument("--curves", type=Path, help="a PNG file for the networks' convergence")
    common.run(parser, arguments, figures, text)


if __name__ == "__main__":
    main()
