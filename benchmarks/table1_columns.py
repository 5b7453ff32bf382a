"""The columns of `table1`: how each is fitted to a set, and kept once it is finished."""

import shutil
import time
from dataclasses import dataclass, replace

import numpy as np
import torch

import pcqaad
from benchmarks.baselines.atlasnet import AtlasNet, AtlasNetArchitecture
from benchmarks.fits import decoded, shown
from benchmarks.kept import Kept
from pcqaad import PRESETS, Settings, devices
from pcqaad.evaluation.metrics import measure, summarise
from pcqaad.formats.atomic import atomic_path
from pcqaad.formats.clouds.find import LazyClouds, find_clouds
from pcqaad.monitor import Stage
from pcqaad.points.collect import collect
from pcqaad.training.loop import train
from pcqaad.training.pretrain import ChamferTrainer
from pcqaad.training.schedule import Phase, Schedule
from pcqaad.training.start import first_template, untrained

COLUMNS = {
    "atlasnet": "AtlasNetV2",
    "atlasnet-translation": "AtlasNetV2, point translation",
    "atlasnet-matched": "AtlasNetV2, as many weights as ours",
    "chamfer": "our decoder & encoder, augmented Chamfer",
    "random": "our decoder, MSE, random matching",
    "greedy": "+ QAAD_GREEDY",
    "reassignment": "+ QAAD_REASSIGNMENT",
    "converged": "converged",
    "auto": "our recipe (preset auto)",
}
FIGURE5 = ("atlasnet", "chamfer", "reassignment", "auto")
# Part of the steps that the Chamfer columns make where as published.
CHAMFER = 0.25
# "Converged" ends where half as many steps again gain less than this part of EM-kD.
GAIN = 0.02
# It makes this many times the steps at most.
MOST = 4
# Clouds kept for the pictures.
SHOWN = 2
# No tuning: the columns do not differ in what rounding leaves.
OURS = Settings(tune=0.0, measure=1, components=False)
RATE = ("learning_rate", "warmup", "schedule")


@dataclass(frozen=True)
class Size:
    """The sizes that columns share: settings of the paper's recipe, AtlasNetV2's patches and width, steps."""

    settings: Settings
    patches: int
    width: int
    steps: int | None  # None: the paper's 600 epochs


def paper(preset, patches):
    """Return a preset's sizes."""
    settings = replace(PRESETS[preset], latent_init="encoder", tune=0.0, epochs=600, measure=1)
    return Size(settings, patches, 128, None)


SIZES = {
    "paper-skulls": paper("paper-skulls", 16),
    "paper-dfaust": paper("paper-dfaust", 28),
    "paper-coma": paper("paper-coma", 28),
}
# Half the paper's widths for both decoders, and a fraction of its steps. A larger rate makes up for some of these.
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
    """One set with one seed at one number of points a step: fits columns and keeps the finished ones."""

    def __init__(self, paths, folder, size, a, seed, sample):
        sources = find_clouds(paths)
        self.clouds, self.names = LazyClouds(sources), [source.name for source in sources]
        self.set = collect(self.clouds, self.names, a.points, seed)
        self.folder, self.device, self.size, self.points = folder, devices.choose(a.device), size, a.points
        each = -(-len(self.names) // min(size.settings.batch, len(self.names)))
        epochs = -(-(a.steps or size.steps or 600 * each) // each)
        self.steps, self.share = epochs * each, CHAMFER if a.as_published else 1.0
        changed = {"seed": seed, "device": a.device, "epochs": epochs, "batch": min(16, len(self.names))}
        if a.annealed:
            changed |= {key: getattr(OURS, key) for key in RATE}
        changed |= {"latent": a.latent or size.settings.latent, "sample": min(sample, self.set.targets.points)}
        self.settings = replace(size.settings, **changed)
        run = {"settings": self.settings.as_json(), "clouds": self.set.fingerprint, "chamfer": self.share}
        self.kept = Kept(folder, run | {"atlasnet": [size.patches, size.width]})

    def column(self, name):
        """Return a column's figures, fitted where they are not kept."""
        return self.kept.figures(name, lambda: self._made(name))

    def arrays(self, name):
        """Return the arrays of a finished column, for pictures."""
        return np.load(self.folder / f"{name}.npz")

    def shown(self):
        """Return the clouds that pictures show."""
        return np.unique(np.linspace(0, len(self.names) - 1, SHOWN).astype(int)).tolist()

    def errors(self, clouds):
        """Return EM-kD of normalised clouds (N, M, 3), in the data's unit and in percent."""
        errors = measure(zip(self.set.targets, clouds, strict=True), device=self.device.type)["emkd"]
        scaled = [e.scaled(self.set.normalisation.scale) for e in errors]
        return {"emkd": summarise(scaled, self.names, self.set.diagonal)}

    def _made(self, name):
        """Fit a column; return its figures, and keep its arrays."""
        began = time.monotonic()
        kind = self._atlasnet if name.startswith("atlasnet") else self._chamfer if name == "chamfer" else self._qaad
        clouds, figures, arrays = kind(name)
        figures = {"label": COLUMNS[name], **self.errors(clouds), **figures, "seconds": time.monotonic() - began}
        with atomic_path(self.folder / f"{name}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, decoded=clouds[self.shown()], **arrays)
        return figures

    def _train(self, decoder, label):
        """Train a decoder and its encoder; return all clouds as they decode them, and the steps."""
        trainer = ChamferTrainer(decoder, self.set.targets, self.settings, self.device)
        schedule = Schedule(self.settings, len(self.set.targets))
        falls = self.settings.schedule == "cosine"
        phase = Phase(
            Stage.PRETRAIN, schedule, self.share, descent=self.share, warmup=self.settings.warmup, falls=falls
        )
        train(trainer, phase, lambda: 0.0, shown(label))
        with torch.no_grad():
            return torch.cat([decoder(latent[None]) for latent in trainer.embed()]).cpu().numpy(), trainer.step

    def _atlasnet(self, name):
        latent, patches = self.settings.latent, self.size.patches
        structure = "translation" if name == "atlasnet-translation" else "deformation"
        sizes = AtlasNetArchitecture(latent, patches, self.size.width, structure)
        if name == "atlasnet-matched":
            sizes = AtlasNetArchitecture.of_weights(self._decoder().arrays().architecture.weights(), latent, patches)
        with devices.seeded(self.settings.seed):
            decoder = AtlasNet(sizes, self.set.targets.points).to(self.device)
        clouds, steps = self._train(decoder, COLUMNS[name])
        return clouds, {"weights": sizes.weights(), "width": sizes.width, "steps": steps}, {}

    def _decoder(self):
        s = self.settings
        template = first_template(self.set.targets, s)
        latents = np.zeros((len(self.names), s.latent), np.float32)
        return untrained(template, latents, s).to(self.device)

    def _chamfer(self, name):
        decoder = self._decoder()
        first = decoder.arrays().template
        clouds, steps = self._train(decoder, COLUMNS[name])
        model = decoder.arrays()
        figures = {"weights": model.architecture.weights(), "steps": steps}
        return clouds, figures, {"template": model.template, "first": first}

    def _qaad(self, name):
        s = self.settings
        if name == "auto":
            same = ("shared", "patch", "patches", "latent", "epochs", "batch", "sample", "seed", "device")
            s = replace(OURS, **{key: getattr(s, key) for key in same})
        elif name in ("random", "greedy"):
            s = replace(s, reassign=False, matching=name)
        checkpoint = self.folder / f"{name}.checkpoint"
        if name == "converged":
            # From where REASSIGNMENT ended, and from there again after an interruption.
            self.column("reassignment")
            shutil.copy(self.folder / "reassignment.checkpoint", checkpoint)
        fit, clouds = self._fit(s, checkpoint, COLUMNS[name])
        if name == "converged":
            fit, clouds = self._converged(s, checkpoint, fit, clouds)
        # Assigned, the targets lie in another order; the error does not depend on it.
        figures = {"weights": fit.model.architecture.weights(), "steps": fit.info["encoder"]["steps"]}
        return clouds, figures, {"template": fit.model.template}

    def _converged(self, settings, checkpoint, fit, clouds):
        """Go on with a fit until that gains little; return the best of it."""
        least, factor = self.errors(clouds)["emkd"]["mean"], 1.0
        while factor < MOST:
            factor += 0.5
            longer = replace(settings, epochs=round(self.settings.epochs * factor))
            later, points = self._fit(longer, checkpoint, COLUMNS["converged"])
            before, error = least, self.errors(points)["emkd"]["mean"]
            if error < least:
                least, fit, clouds = error, later, points
            if error > before * (1 - GAIN):
                break
        return fit, clouds

    def _fit(self, settings, checkpoint, label):
        """Fit, or go on from the checkpoint; return the fit and all clouds as its model in floats decodes them."""
        given = {"names": self.names, "points": self.points, "checkpoint": checkpoint, "resume": True}
        fit = pcqaad.fit(self.clouds, settings, **given, monitor=shown(label))
        return fit, np.stack(list(decoded(fit.model)))
