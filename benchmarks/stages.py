"""Where the seconds of a fit go: its stages, of sets of several numbers of points.

    python -m benchmarks.stages [--minutes 1] [--seed 0] [--json]

The clouds are bumpy spheres in correspondence, shuffled, so that they are matched. CPU seconds are counted on one
thread, and each belongs to the stage that tells of its progress next. So quantising has what follows training up to
its last sign of life, and measuring is the record of the file. The share is that of both. The seconds used are those
of the clock, beside the minutes asked for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

import pcqaad
from benchmarks import common
from pcqaad.monitor import Monitor, Progress, Stage
from pcqaad.parallel import limit

# Clouds, and points of each.
SETS = ((48, 8192), (64, 16384), (8, 65536))
SHOWN = (Stage.MATCH, Stage.FIT, Stage.QUANTISE, Stage.MEASURE)
COLUMNS = {
    "clouds x points": "set",
    "matching, CPU s": "matching:.1f",
    "training": "fitting:.1f",
    "quantising": "quantising:.1f",
    "measuring": "measuring:.1f",
    "share of the last two": "share:.0%",
    "asked, s": "asked:.0f",
    "used": "used:.1f",
}


def bumpy_spheres(count: int, points: int, seed: int) -> list[np.ndarray]:
    """Return spheres (points, 3) whose radii smooth waves change, as many waves as make no few components do."""
    rng = np.random.default_rng(seed)
    sphere = rng.normal(size=(points, 3))
    sphere /= np.linalg.norm(sphere, axis=1)[:, None]
    waves = np.sin(sphere @ rng.normal(0, 3, (3, 24)) + rng.uniform(0, 6, 24))
    radii = 1 + rng.normal(0, 0.04, (count, 24)) @ waves.T
    return [rng.permutation(sphere * r[:, None]).astype(np.float32) for r in radii]


def stages(clouds: list[np.ndarray], settings: pcqaad.Settings) -> common.Figures:
    """Fit clouds, and return the CPU seconds of each stage, and the whole fit's by the clock."""
    spent = dict.fromkeys(Stage, 0.0)
    last = time.process_time()

    def note(progress: Progress) -> None:
        nonlocal last
        now = time.process_time()
        spent[progress.stage] += now - last
        last = now

    began = time.monotonic()
    with limit(1):
        fitted = pcqaad.fit(clouds, settings, monitor=Monitor(note))
    used = time.monotonic() - began
    after = spent[Stage.QUANTISE] + spent[Stage.MEASURE]
    share = after / sum(spent.values())
    size = fitted.info["fidelity"]["measured"]
    return {**{s.value: spent[s] for s in SHOWN}, "share": share, "used": used, "recorded": size}


def figures(a: common.Arguments) -> common.Figures:
    rows = []
    for count, points in SETS:
        common.tell(name := f"{count} x {points:,}")
        settings = pcqaad.Settings(minutes=a.minutes, seed=a.seed, device="cpu")
        found = stages(bumpy_spheres(count, points, a.seed), settings)
        rows.append({"set": name, "asked": 60 * a.minutes, **found})
    return {"minutes": a.minutes, "seed": a.seed, **common.versions("torch", "numba"), "rows": rows}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.options(__spec__.name, __doc__, seeds=0)
    parser.add_argument("--minutes", type=float, default=1.0, help="of each fit [1]")
    common.run(parser, arguments, figures, COLUMNS)


if __name__ == "__main__":
    main()
