"""Views of clouds, completed by a file: `python examples/completion.py skulls.qaad out/new -o whole.png`.

The file has not seen the clouds. A view of each keeps the points that an eye in a random direction sees. The picture
shows the view, its completion and the whole cloud, all from the side that is missing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from picture import BACKGROUND, INK, Floats, framing, render

import pcqaad
from pcqaad.formats.atomic import atomic_path
from pcqaad.formats.clouds.find import LazyClouds, find_clouds
from pcqaad.points.views import cut_view


def draw(rows: Sequence[tuple[str, Floats, Floats, Floats]], path: Path, size: int = 300) -> None:
    """Write a PNG with a row for each name, view, completion and whole cloud (n, 3)."""
    from matplotlib.figure import Figure

    inch = size / 100
    height = len(rows) * inch + 0.4
    figure = Figure((3 * inch, height), dpi=100, facecolor=BACKGROUND)
    for i, (name, view, completed, whole) in enumerate(rows):
        # From behind: the points of a view lie on the side of the eye that took it.
        x, y, z = whole.mean(0) - view.mean(0)
        angles = float(np.degrees(np.arctan2(x, y))), float(np.degrees(np.arctan2(z, np.hypot(x, y))))
        for j, cloud in enumerate((view, completed, whole)):
            axes = figure.add_axes((j / 3, (len(rows) - 1 - i) * inch / height, 1 / 3, inch / height))
            axes.imshow(render(cloud, None, size, angles, framing(np.asarray(whole, np.float64), angles)))
            axes.axis("off")
        figure.text(0.01, ((len(rows) - i) * inch - 0.15) / height, name, color=INK, fontsize=7, va="top")
    for j, label in enumerate(("given", "completed", "whole")):
        figure.text((j + 0.5) / 3, 1 - 0.2 / height, label, color=INK, fontsize=10, ha="center", va="center")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", facecolor=BACKGROUND)


def main(arguments: Sequence[str] | None = None) -> None:
    """Cut views, complete them and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("clouds", nargs="+", help="whole clouds that are not in the file")
    parser.add_argument("-o", "--output", type=Path, default=Path("completion.png"))
    parser.add_argument("--rows", type=int, default=2, help="clouds to show, the first ones [2]")
    parser.add_argument("--seed", type=int, default=0, help="of the views [0]")
    options = parser.parse_args(arguments)

    sources = find_clouds(options.clouds)[: options.rows]
    whole = list(LazyClouds(sources))
    names = [source.name for source in sources]
    views = [x[cut_view(x, np.random.default_rng([options.seed, i]))] for i, x in enumerate(whole)]
    with pcqaad.open(options.file) as clouds:
        completed = [one.points for one in pcqaad.complete(clouds, views, names=names, seed=options.seed)]
    draw(list(zip(names, views, completed, whole, strict=True)), options.output)


if __name__ == "__main__":
    main()
