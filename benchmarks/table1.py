"""The paper's Table 1: AtlasNetV2, the decoder under the augmented Chamfer distance, and the stages of QAAD.

    python benchmarks/table1.py CLOUDS... [--size cpu] [--steps N] [--seed S] [--device D] [-o out/table1] [--json]
    python benchmarks/table1.py CLOUDS... --samples 64 128 256 512        Figure 5: fewer points a step

CLOUDS are sets, each anything `pcqaad compress` takes. Every column makes the same number of optimisation steps with
the same rate, clouds and points a step; with `--as-published` those of the Chamfer distance make a quarter of them,
as in the paper (150 epochs of 600). "Converged" goes on from the column before it until half as many steps again
lower EM-kD by less than 2 %, at most to four times as many. The last column is our own recipe on the same network.

EM-kD (cells of 1,024) is that of the float models' clouds, all of them, in percent of the diagonal. The sampling
floor beside it is that of two halves of each cloud, at half the points.

A column that is done lies in the output folder and is not fitted again; an interrupted one goes on. Pictures are
drawn there as well: reconstructions beside originals (the paper's Figures 2 and 3), templates by patch (4), the
error against the points of a step (5).
"""

import argparse
import json
import platform
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from ablation import floor

import pcqaad
from pcqaad.baselines.atlasnet import AtlasNet, AtlasNetShape
from pcqaad.clouds import collect
from pcqaad.floating import FloatDecoder
from pcqaad.formats.atomic import atomic_path
from pcqaad.formats.clouds import LazyClouds, find_clouds
from pcqaad.formats.errors import FormatError
from pcqaad.matching.kd import patch_order
from pcqaad.metrics import measure, percent, summarise
from pcqaad.network import Decoder
from pcqaad.settings import PRESETS, Settings, SettingsError
from pcqaad.training import devices
from pcqaad.training.chamfer import ChamferTrainer
from pcqaad.training.start import choose_template

# Paper, Table 1: EM-kD per column, in units of its own, and so are our columns of the same names.
PAPER = {
    "Skulls": (30.681, 24.004, 419.230, 18.312, 10.481, 6.708),
    "D-FAUST": (0.076, 0.023, 0.187, 0.015, 0.011, 0.010),
    "COMA": (200.083, 139.230, 2448.076, 74.893, 47.593, 18.554),
}
PAPER_COLUMNS = ("atlasnet", "chamfer", "random", "greedy", "reassignment", "converged")
COLUMNS = {
    "atlasnet": "AtlasNetV2",
    "atlasnet-matched": "AtlasNetV2, as many weights as ours",
    "chamfer": "our decoder & encoder, augmented Chamfer",
    "random": "our decoder, MSE, random matching",
    "greedy": "+ QAAD_GREEDY",
    "reassignment": "+ QAAD_REASSIGNMENT",
    "converged": "converged",
    "auto": "our recipe (preset auto)",
}
FIGURE5 = ("atlasnet", "chamfer", "reassignment", "auto")
CHAMFER = 0.25  # of the steps, where as published
GAIN, MOST = 0.02, 4  # of "converged"
SHOWN = 2  # clouds kept for the pictures


@dataclass(frozen=True)
class Size:
    """What the columns share: settings of the paper's recipe, AtlasNetV2's patches and width, steps."""

    settings: Settings
    patches: int
    width: int
    steps: int | None  # None: the paper's 600 epochs


def paper(preset, patches):
    settings = replace(PRESETS[preset], latents="encoder", tune=0.0, epochs=600, measure=1)
    return Size(settings, patches, 128, None)


SIZES = {
    "paper-skulls": paper("paper-skulls", 16),
    "paper-dfaust": paper("paper-dfaust", 28),
    "paper-coma": paper("paper-coma", 28),
}
# Half the paper's widths for both decoders, and a fraction of its steps, which a larger rate makes up for in part.
SIZES["cpu"] = Size(
    replace(
        SIZES["paper-skulls"].settings,
        shared=(128, 64, 64, 64),
        patch=32,
        latent=20,
        sample=512,
        greedy_cell=256,
        learning_rate=3e-3,
        warmup=20,
    ),
    patches=16,
    width=64,
    steps=400,
)


class Bench:
    """One set at one number of points a step: fits columns, and keeps what is done in a folder."""

    def __init__(self, paths, folder, size, a, sample=None):
        sources = find_clouds(paths)
        self.clouds, self.names = LazyClouds(sources), [source.name for source in sources]
        self.set = collect(self.clouds, self.names, a.points, a.seed)
        self.folder, self.device, self.size, self.points = folder, devices.choose(a.device), size, a.points
        each = -(-len(self.names) // min(size.settings.batch, len(self.names)))
        epochs = -(-(a.steps or size.steps or 600 * each) // each)
        self.steps, self.share = epochs * each, CHAMFER if a.as_published else 1.0
        changed = {"seed": a.seed, "device": a.device, "epochs": epochs, "batch": min(16, len(self.names))}
        self.settings = replace(size.settings, **changed, latent=a.latent or size.settings.latent)
        self.settings = replace(self.settings, sample=min(sample or size.settings.sample, self.set.targets.points))
        self.keep()

    def keep(self):
        """Make the folder, or see that what lies there was made of the same clouds with the same settings."""
        run = {"settings": self.settings.as_json(), "clouds": self.set.fingerprint, "chamfer": self.share}
        text = json.dumps(run | {"atlasnet": [self.size.patches, self.size.width]})
        path = self.folder / "run.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_text() != text:
            raise pcqaad.CloudError(f"{self.folder}: holds another run; remove it, or give another --output")
        path.write_text(text)

    def column(self, name):
        """Return a column's figures: from the folder, or of a fit."""
        path = self.folder / f"{name}.json"
        if path.exists():
            return json.loads(path.read_text())
        began = time.monotonic()
        kind = self._atlasnet if name.startswith("atlasnet") else self._chamfer if name == "chamfer" else self._qaad
        decoded, figures, arrays = kind(name)
        figures = {"label": COLUMNS[name], **self.errors(decoded), **figures, "seconds": time.monotonic() - began}
        kept = [decoded[i] for i in self.shown()]
        with atomic_path(path.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
            np.savez(file, decoded=np.stack(kept), **arrays)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(figures, indent=1))
        return figures

    def shown(self):
        """Return the clouds that pictures show."""
        return np.unique(np.linspace(0, len(self.names) - 1, SHOWN).astype(int)).tolist()

    def errors(self, decoded):
        """EM-kD of normalised clouds (N, M, 3), in the data's unit and in percent."""
        device = str(self.device.type)
        errors = measure(zip(self.set.targets, decoded, strict=True), device=device)["emkd"]
        scaled = [e.scaled(self.set.frame.scale) for e in errors]
        return {"emkd": summarise(scaled, self.names, self.set.diagonal)}

    def _train(self, decoder, label):
        """Train a decoder and its encoder, and decode all clouds."""
        trainer = ChamferTrainer(decoder, self.set.targets, self.settings, self.device)
        trainer.run(self.share, lambda: 0.0, show(label), lambda: False)
        latents = trainer.embed()
        with torch.no_grad():
            decoded = np.stack([decoder(latent[None])[0].cpu().numpy() for latent in latents])
        return decoded, trainer.step

    def _atlasnet(self, name):
        shape = AtlasNetShape(self.settings.latent, self.size.patches, self.size.width)
        if name == "atlasnet-matched":
            shape = AtlasNetShape.matching(self._decoder().arrays().shape.weights(), shape.latent, shape.patches)
        torch.manual_seed(self.settings.seed)
        decoder = AtlasNet(shape, self.set.targets.points).to(self.device)
        decoded, steps = self._train(decoder, COLUMNS[name])
        return decoded, {"weights": shape.weights(), "width": shape.width, "steps": steps}, {}

    def _decoder(self):
        s = self.settings
        template = self.set.targets[choose_template(self.set.targets, s)]
        template = template[patch_order(template, s.patches)]
        latents = np.zeros((len(self.names), s.latent), np.float32)
        return Decoder.untrained(template, latents, s).to(self.device)

    def _chamfer(self, name):
        decoder = self._decoder()
        first = decoder.arrays().template
        decoded, steps = self._train(decoder, COLUMNS[name])
        model = decoder.arrays()
        figures = {"weights": model.shape.weights(), "steps": steps}
        return decoded, figures, {"template": model.template, "first": first}

    def _qaad(self, name):
        s = self.settings
        if name == "auto":
            same = {
                key: getattr(s, key) for key in ("shared", "patch", "patches", "latent", "epochs", "seed", "device")
            }
            s = replace(Settings(), **same, batch=s.batch, sample=s.sample, tune=0.0, measure=1)
        elif name in ("random", "greedy"):
            s = replace(s, reassign=False, matching=name)
        checkpoint = self.folder / f"{name}.checkpoint"
        if name == "converged":
            # From where REASSIGNMENT ended, and from there again when it was interrupted.
            self.column("reassignment")
            shutil.copy(self.folder / "reassignment.checkpoint", checkpoint)
        fit = self._fit(s, checkpoint, COLUMNS[name])
        decoded, factor = decode(fit), 1.0
        while name == "converged" and factor < MOST:
            before, factor = self.errors(decoded)["emkd"]["mean"], factor + 0.5
            longer = replace(s, epochs=round(self.settings.epochs * factor))
            fit = self._fit(longer, checkpoint, COLUMNS[name])
            decoded = decode(fit)
            if self.errors(decoded)["emkd"]["mean"] > before * (1 - GAIN):
                break
        # Assigned, the targets lie in another order; the error does not depend on it.
        figures = {"weights": fit.model.shape.weights(), "steps": fit.encoder["steps"]}
        return decoded, figures, {"template": fit.model.template}

    def _fit(self, settings, checkpoint, label):
        given = {"names": self.names, "points": self.points, "checkpoint": checkpoint, "resume": True}
        return pcqaad.fit(self.clouds, settings, **given, on_progress=show(label))


def decode(fit):
    decoder = FloatDecoder(fit.model.shape, fit.model.template, fit.model.weights)
    return np.stack([decoder.decode(latent) for latent in fit.model.latents])


def show(label):
    """Print a column's progress: rewritten on a terminal, now and then elsewhere."""
    last = [0.0, ""]

    def on_progress(p):
        now = time.monotonic()
        if p.stage != last[1] or now - last[0] > (0.2 if sys.stderr.isatty() else 30):
            last[:] = now, p.stage
            text = f"{label}: {p.stage} {p.done:.0f}/{p.total:.0f}"
            print(
                f"\r{text}   " if sys.stderr.isatty() else text,
                end="" if sys.stderr.isatty() else "\n",
                file=sys.stderr,
            )

    return on_progress


def against(first, value):
    return f"{100 * (value / first - 1):+.0f} %"


def table(rows):
    """Print a set's columns as rows, in markdown."""
    base = rows.get("atlasnet", next(iter(rows.values())))["emkd"]
    heads = (
        "",
        "EM-kD, % of the diagonal",
        "to AtlasNetV2",
        "mean squared",
        "to AtlasNetV2",
        *(f"paper, {n}" for n in PAPER),
    )
    print("\n| " + " | ".join((*heads, "weights", "steps", "seconds")) + " |")
    print("|---" + "|---:" * (len(heads) + 2) + "|")
    for name, row in rows.items():
        e = row["emkd"]
        cells = [row["label"], f"{e['mean_percent']:.3f}", against(base["mean"], e["mean"])]
        cells += [f"{e['mean_squared']:.3g}", against(base["mean_squared"], e["mean_squared"])]
        for values in PAPER.values():
            there = name in PAPER_COLUMNS
            cells.append(against(values[0], values[PAPER_COLUMNS.index(name)]) if there else "")
        cells += [f"{row['weights']:,}", f"{row['steps']:,}", f"{row['seconds']:.0f}"]
        print("| " + " | ".join(cells) + " |")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="CLOUDS")
    parser.add_argument("--size", choices=SIZES, default="cpu")
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=list(COLUMNS), metavar="NAME")
    parser.add_argument("--steps", type=int, help="of every column [400 of size cpu, else the paper's 600 epochs]")
    parser.add_argument("--as-published", action="store_true", help="a quarter of the steps for the Chamfer distance")
    parser.add_argument("--samples", type=int, nargs="+", metavar="S", help="Figure 5 instead: points a step")
    parser.add_argument("--latent", type=int)
    parser.add_argument("--points", type=int)
    parser.add_argument("--seed", type=int, default=0)
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
    if a.samples:
        rows = {}
        for sample in a.samples:
            # The table's own columns are not fitted twice.
            own = folder if sample == size.settings.sample else folder / f"sample_{sample}"
            bench = Bench([path], own, size, a, sample)
            rows[sample] = {name: bench.column(name) for name in a.columns if name in FIGURE5}
    else:
        bench = Bench([path], folder, size, a)
        rows = {name: bench.column(name) for name in a.columns}
    half = percent(floor(bench.set.targets) * bench.set.frame.scale, bench.set.diagonal)
    s = bench.settings
    about = {
        "clouds": len(bench.names),
        "points": bench.set.targets.points,
        "size": a.size,
        "steps": bench.steps,
        "chamfer_steps": round(bench.share * bench.steps),
        "batch": [s.batch, s.sample],
        "latent": s.latent,
        "seed": a.seed,
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
        equal = (
            "equal steps for every column" if bench.share == 1 else "the paper's epochs: 150 of Chamfer, 600 of QAAD"
        )
        print(f"\n{path}: {about['clouds']} clouds x {about['points']:,} points, {bench.steps:,} steps ({equal}),")
        print(f"{s.batch} x {s.sample} points a step, latent {s.latent}, seed {a.seed}, torch {about['torch']}")
        if a.samples:
            print("\n| points a step | " + " | ".join(COLUMNS[name] for name in rows[a.samples[0]]) + " |")
            print("|---:" * (1 + len(rows[a.samples[0]])) + "|")
            for sample, row in rows.items():
                print(f"| {sample} | " + " | ".join(f"{r['emkd']['mean_percent']:.3f}" for r in row.values()) + " |")
        else:
            table(rows)
        print(f"\nsampling floor at half the points: {half:.3f} %")
    return {"about": about, "rows": rows}


if __name__ == "__main__":
    main()
