"""Fits that differ in one choice, and how far their models in floats lie from the clouds."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pcqaad
from benchmarks import common
from pcqaad.decoder.architecture import Model
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.evaluation.metrics import measure, percent
from pcqaad.formats.clouds.find import LazyClouds, find_clouds
from pcqaad.monitor import Monitor
from pcqaad.points.collect import collect

COLUMNS = {
    "": "name",
    "EM-kD, %": "emkd_percent:.3f",
    "Chamfer, %": "chamfer_percent:.3f",
    "seconds": "seconds:.0f",
}


def options(module: str, description: str | None, epochs: int) -> argparse.ArgumentParser:
    """Return a parser with what all rows have in common."""
    parser = common.options(module, description, clouds="+", seeds=1)
    parser.add_argument("--epochs", type=int, default=epochs, help=f"of each fit [{epochs}]")
    parser.add_argument("--points", type=int, help="of each cloud [the smallest's]")
    parser.add_argument("--latent", type=int, default=12, help="numbers of each cloud [12]")
    parser.add_argument("--device", default="auto")
    return parser


def shown(label: str) -> Monitor:
    """Return what tells the progress of a fit."""
    return Monitor(lambda p: common.tell(f"{label}: {p.stage.value} {p.done:.0f}/{p.total:.0f}"))


def decoded(model: Model) -> Iterator[NDArray[np.float32]]:
    """Decode the clouds (M, 3) of a model in floats, normalised."""
    return map(FloatDecoder(model).decode, model.latents)


def fit(
    clouds: Sequence[common.Points],
    settings: pcqaad.Settings,
    points: int | None = None,
    metrics: Sequence[str] = ("emkd",),
    label: str = "",
) -> tuple[pcqaad.Fitted, dict[str, float]]:
    """Fit clouds; return the fit, the errors of its model in floats on all clouds in percent, and its seconds."""
    began = time.monotonic()
    fitted = pcqaad.fit(clouds, settings, points=points, monitor=shown(label))
    seconds = time.monotonic() - began
    targets = collect(clouds, None, points, settings.seed, registered=settings.registered).targets
    errors = measure(zip(targets, decoded(fitted.model), strict=True), metrics)
    found = {f"{name}_percent": percent(common.mean(each), common.DIAGONAL) for name, each in errors.items()}
    return fitted, {**found, "seconds": seconds}


def compare(
    a: common.Arguments, rows: Mapping[str, Mapping[str, Any]], metrics: Sequence[str] = ("emkd",)
) -> common.Figures:
    """Fit every row's settings with every seed, and return the figures of all."""
    clouds, found = LazyClouds(find_clouds(a.clouds)), {}
    # Networks are compared, in floats: what else a file might hold takes time for nothing.
    same = {"epochs": a.epochs, "latent": a.latent, "device": a.device, "components": False}
    for name, own in rows.items():
        runs = []
        for seed in common.seeds(a):
            settings = pcqaad.Settings(**same, **own, seed=seed)
            fitted, figures = fit(clouds, settings, a.points, metrics, f"{name}, seed {seed}")
            runs.append(figures)
        found[name] = common.over_seeds(runs)
    architecture = fitted.model.architecture
    return {
        "clouds": architecture.clouds,
        "points": architecture.points,
        "weights": architecture.weights(),
        "seeds": list(common.seeds(a)),
        **fitted.info["encoder"],
        "sampling_floor_percent": common.sampling_floor(
            collect(clouds, None, a.points, a.seed).targets, common.DIAGONAL
        ),
        "rows": found,
    }
