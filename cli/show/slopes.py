"""A picture of losses' slopes over distances, the teacher's and those of the weightings that were found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def draw(path: Path, result: Mapping[str, Any]) -> None:
    """Draw the result of `pcqaad distill --json` as a PNG: slopes above, the density of distances below."""
    # Here, not above: matplotlib is an extra, and takes its time to load.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    d, teacher = result["d"], result["teacher"]
    values = ", ".join(f"{key} {value:g}" for key, value in teacher["parameters"].items())
    name = f"{teacher['name']} ({values})" if values else teacher["name"]
    above.plot(d, result["slope"], color="black", linewidth=3, alpha=0.35, label=f"teacher: {name}")
    for match in result["families"]:
        above.plot(d, match["slope"], linewidth=1.2, label=f"{match['criterion']}  {match['loss']:.2g}")
    above.axhline(0, color="grey", linewidth=0.6)
    above.set_ylabel("slope, largest 1")
    above.legend(fontsize=8, frameon=False, loc=(0.01, 0.08))
    below.fill_between(d, result["density"], color="grey", alpha=0.4, linewidth=0)
    below.set(xlabel="distance to the nearest neighbour (the clouds' diagonal is 4)", ylabel="density", ylim=(0, None))
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png", dpi=130, metadata={"Software": None})  # no date: equal results make equal files
