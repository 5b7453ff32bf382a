"""The columns of `table1.py`: what is fitted of a set, and how what is done is kept."""

import json
import shutil
import sys
import time
from dataclasses import dataclass, replace

import numpy as np
import torch

import pcqaad
from pcqaad import devices
from pcqaad.baselines.atlasnet import AtlasNet, AtlasNetShape
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.evaluation.metrics import measure, summarise
from pcqaad.formats.atomic import atomic_path
from pcqaad.formats.clouds.find import LazyClouds, find_clouds
from pcqaad.matching.kd import patch_order
from pcqaad.points.collect import collect
from pcqaad.settings import PRESETS, Settings
from pcqaad.training.pretrain import ChamferTrainer
from pcqaad.training.start import choose_template, untrained

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
CHAMFER = 0.25  # of the steps, where as published
GAIN, MOST = 0.02, 4  # of "converged"
SHOWN = 2  # clouds kept for the pictures
OURS = Settings(tune=0.0, measure=1)  # without tuning: what rounding leaves is no column's
RATE = ("learning_rate", "warmup", "schedule")


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

    def __init__(self, paths, folder, size, a, seed, sample):
        sources = find_clouds(paths)
        self.clouds, self.names = LazyClouds(sources), [source.name for source in sources]
        self.set = collect(self.clouds, self.names, a.points, seed)
        self.folder, self.device, self.size, self.points = folder, devices.choose(a.device), size, a.points
        each = -(-len(self.names) // min(size.settings.batch, len(self.names)))
        epochs = -(-(a.steps or size.steps or 600 * each) // each)
        self.steps, self.share = epochs * each, CHAMFER if a.as_published else 1.0
        changed = {"seed": seed, "device": a.device, "epochs": epochs, "batch": min(16, len(self.names))}
        self.settings = replace(size.settings, **changed, latent=a.latent or size.settings.latent)
        if a.annealed:
            self.settings = replace(self.settings, **{key: getattr(OURS, key) for key in RATE})
        self.settings = replace(self.settings, sample=min(sample, self.set.targets.points))
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
        scaled = [e.scaled(self.set.normalisation.scale) for e in errors]
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
        structure = "translation" if name == "atlasnet-translation" else "deformation"
        shape = AtlasNetShape(self.settings.latent, self.size.patches, self.size.width, structure)
        if name == "atlasnet-matched":
            shape = AtlasNetShape.matching(self._decoder().arrays().architecture.weights(), shape.latent, shape.patches)
        with devices.seeded(self.settings.seed):
            decoder = AtlasNet(shape, self.set.targets.points).to(self.device)
        decoded, steps = self._train(decoder, COLUMNS[name])
        return decoded, {"weights": shape.weights(), "width": shape.width, "steps": steps}, {}

    def _decoder(self):
        s = self.settings
        template = self.set.targets[choose_template(self.set.targets, s)]
        template = template[patch_order(template, s.patches)]
        latents = np.zeros((len(self.names), s.latent), np.float32)
        return untrained(template, latents, s).to(self.device)

    def _chamfer(self, name):
        decoder = self._decoder()
        first = decoder.arrays().template
        decoded, steps = self._train(decoder, COLUMNS[name])
        model = decoder.arrays()
        figures = {"weights": model.architecture.weights(), "steps": steps}
        return decoded, figures, {"template": model.template, "first": first}

    def _qaad(self, name):
        s = self.settings
        if name == "auto":
            same = ("shared", "patch", "patches", "latent", "epochs", "batch", "sample", "seed", "device")
            s = replace(OURS, **{key: getattr(s, key) for key in same})
        elif name in ("random", "greedy"):
            s = replace(s, reassign=False, matching=name)
        checkpoint = self.folder / f"{name}.checkpoint"
        if name == "converged":
            # From where REASSIGNMENT ended, and from there again when it was interrupted.
            self.column("reassignment")
            shutil.copy(self.folder / "reassignment.checkpoint", checkpoint)
        fit = self._fit(s, checkpoint, COLUMNS[name])
        decoded = decode(fit)
        if name == "converged":
            fit, decoded = self._converged(s, checkpoint, fit, decoded)
        # Assigned, the targets lie in another order; the error does not depend on it.
        figures = {"weights": fit.model.architecture.weights(), "steps": fit.encoder["steps"]}
        return decoded, figures, {"template": fit.model.template}

    def _converged(self, settings, checkpoint, fit, decoded):
        """Go on with a fit until that gains little; returns the best of it."""
        least, factor = self.errors(decoded)["emkd"]["mean"], 1.0
        while factor < MOST:
            factor += 0.5
            longer = replace(settings, epochs=round(self.settings.epochs * factor))
            later = self._fit(longer, checkpoint, COLUMNS["converged"])
            points = decode(later)
            before, error = least, self.errors(points)["emkd"]["mean"]
            if error < least:
                least, fit, decoded = error, later, points
            if error > before * (1 - GAIN):
                break
        return fit, decoded

    def _fit(self, settings, checkpoint, label):
        given = {"names": self.names, "points": self.points, "checkpoint": checkpoint, "resume": True}
        return pcqaad.fit(self.clouds, settings, **given, on_progress=show(label))


def decode(fit):
    decoder = FloatDecoder(fit.model)
    return np.stack([decoder.decode(latent) for latent in fit.model.latents])


def show(label):
    """Print a column's progress: rewritten on a terminal, now and then elsewhere."""
    last = [0.0, ""]

    def on_progress(p):
        now, terminal = time.monotonic(), sys.stderr.isatty()
        if p.stage != last[1] or now - last[0] > (0.2 if terminal else 30):
            last[:] = now, p.stage
            text = f"{label}: {p.stage} {p.done:.0f}/{p.total:.0f}"
            print(f"\r{text:79}" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)

    return on_progress
