"""What a step should be: points, clouds, optimiser and learning rate, at equal seconds of CPU time.

    python -m benchmarks.recipe CLOUDS... [--over FIELD=VALUE,VALUE ...] [--cpu-seconds 20 60] [--registered]
        [--points M] [--latent 12] [--threads 1] [--seed S] [--seeds 1] [--json]

Fits the clouds once for every choice of a grid over fields of `pcqaad.Settings`, and prints the EM-kD of the model in
floats, in percent of the diagonal, and the steps made. The grid is that of `--over`, or else

    --over sample=128,256,512,1024 batch=8,16,32 optimiser=adam,muon learning_rate=0.005

Run it on sets with common vertices (`examples/skulls.py --vertices`), on sets without, and with `--registered` where
point j of every cloud is the same point.

The seconds are those of CPU time that training takes on all its threads. Reading, matching and starting the latents
come before, and are the same for every choice. Short fits tell how long an epoch of a choice is. The schedule then
ends where the seconds do, on a machine of any load. The seconds that the fit took stand beside them.

Neither quantisation nor what it trains for is part of it (`tune=0`): a choice is judged by what its model learns.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import product
from typing import Any

import pcqaad
from benchmarks import common
from benchmarks.fits import fit
from pcqaad.errors import SettingsError
from pcqaad.formats.clouds.find import LazyClouds, find_clouds
from pcqaad.parallel import limit

PROBE = 0.1  # part of the seconds that an epoch is timed for
KNOWN = {field.name for field in fields(pcqaad.Settings)}
GRID = ("sample=128,256,512,1024", "batch=8,16,32", "optimiser=adam,muon", "learning_rate=0.005")
COLUMNS = {
    "CPU s": "cpu_seconds:g",
    **{name: name for name in sorted(KNOWN)},
    "steps": "steps:,.0f",
    "measured CPU s": "measured_cpu_seconds:.1f",
    "EM-kD, %": "emkd_percent:.3f",
}


def read_field(text: str) -> tuple[str, list[Any]]:
    """Read FIELD=VALUE,VALUE: numbers, true, false and null as JSON has them, all else as words."""
    name, _, values = text.partition("=")
    if name not in KNOWN or not values:
        raise SettingsError(f"expected FIELD=VALUE,VALUE with a field of pcqaad.Settings, found {text!r}")

    def read(value: str) -> Any:
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value

    return name, [read(value) for value in values.split(",")]


def choices(grid: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the settings of a grid."""
    axes = dict(map(read_field, grid))
    for values in product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def spent(clouds: Sequence[common.Points], settings: pcqaad.Settings, points: int | None) -> dict[str, float]:
    """Fit; return the error, the steps and the CPU seconds of all."""
    began = time.process_time()
    fitted, found = fit(clouds, settings, points, label=f"{settings.sample} points, {settings.batch} clouds")
    cpu = time.process_time() - began
    return {"emkd_percent": found["emkd_percent"], "steps": fitted.info["encoder"]["steps"], "cpu": cpu}


def timed(
    clouds: Sequence[common.Points], own: dict[str, Any], points: int | None, least: float
) -> tuple[float, float]:
    """Return the CPU seconds before training, and those of an epoch, by fits that train for `least` seconds or more."""

    def of(epochs: int) -> float:
        return spent(clouds, pcqaad.Settings(**own, epochs=epochs), points)["cpu"]

    of(1)  # what is done once in a process
    short, epochs = of(1), 4
    while (more := of(1 + epochs) - short) < least:
        epochs *= 4
    return short - more / epochs, more / epochs


def figures(a: common.Arguments) -> common.Figures:
    clouds = LazyClouds(find_clouds(a.clouds))
    same = {"latent": a.latent, "device": a.device, "tune": 0.0, "measure": 1, "registered": a.registered}
    rows = []
    with limit(a.threads):
        for choice in choices(a.over):
            runs: dict[float, list[dict[str, float]]] = {seconds: [] for seconds in a.cpu_seconds}
            for seed in common.seeds(a):
                own = {**same, **choice, "seed": seed}
                start, epoch = timed(clouds, own, a.points, PROBE * min(a.cpu_seconds))
                for seconds in a.cpu_seconds:
                    settings = pcqaad.Settings(**own, epochs=max(1, round(seconds / epoch)))
                    found = spent(clouds, settings, a.points)
                    runs[seconds].append({**found, "measured_cpu_seconds": found.pop("cpu") - start})
            rows += [{"cpu_seconds": s, **choice, **common.over_seeds(each)} for s, each in runs.items()]
    rows.sort(key=lambda row: (row["cpu_seconds"], row["emkd_percent"][0]))
    return {
        "clouds": len(clouds),
        "points": a.points or min(map(len, clouds)),
        "registered": a.registered,
        "latent": a.latent,
        "threads": a.threads,
        "seeds": list(common.seeds(a)),
        **common.versions("torch"),
        "rows": rows,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.options(__spec__.name, __doc__, clouds="+", seeds=1)
    parser.add_argument("--cpu-seconds", type=float, nargs="+", default=[20, 60], help="of training [20 60]")
    parser.add_argument("--over", nargs="+", default=GRID, metavar="FIELD=VALUE,VALUE", help=f"[{' '.join(GRID)}]")
    parser.add_argument("--registered", action="store_true", help="point j of every cloud is the same point")
    parser.add_argument("--threads", type=common.positive, default=1, help="that all work shares [1]")
    parser.add_argument("--points", type=int, help="of each cloud [the smallest's]")
    parser.add_argument("--latent", type=int, default=12, help="numbers of each cloud [12]")
    parser.add_argument("--device", default="cpu")
    common.run(parser, arguments, figures, COLUMNS)


if __name__ == "__main__":
    main()
