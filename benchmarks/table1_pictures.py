"""The pictures of `table1`: reconstructions and their errors, templates by patch, error against sampling."""

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, hsv_to_rgb
from matplotlib.figure import Figure
from scipy.spatial import cKDTree

from examples.picture import BACKGROUND, INK, framing, render
from pcqaad.decoder.patches import patch_sizes
from pcqaad.formats.atomic import atomic_path

# Of a picture's side.
PIXELS = 300
DPI = 120
# Degrees above the horizon.
ELEVATION = 8.0
TEXT = {"color": INK, "ha": "center", "va": "center"}
# Shorter than the table's: these stand above pictures.
HEADS = {
    "atlasnet": "AtlasNetV2",
    "atlasnet-translation": "AtlasNetV2, translation",
    "atlasnet-matched": "AtlasNetV2, same weights",
    "chamfer": "augmented Chamfer",
    "random": "random matching",
    "greedy": "QAAD_GREEDY",
    "reassignment": "QAAD_REASSIGNMENT",
    "converged": "converged",
    "auto": "our recipe",
}
# These have collapsed, or stand between two that are drawn.
LEFT_OUT = ("atlasnet-translation", "atlasnet-matched", "random", "greedy")
COLOURS = {"atlasnet": "#8e8a83", "chamfer": "#d9894b", "reassignment": "#6fa8dc", "auto": "#7fc97f"}


def reconstructions(bench, rows, unit, azimuth, path):
    """Draw originals, the first from two sides, and the first seed's columns with their errors (Figures 2 and 3).

    The error of a decoded point is its distance to the nearest original point. One scale serves all. It ends at three
    times the 99th percentile of the best column's errors, so the good columns can be told apart.
    """
    names = [name for name in rows if name not in LEFT_OUT] or list(rows)
    shown, scale = bench.shown(), bench.set.normalisation.scale
    originals = [bench.set.targets[i] * scale for i in shown]
    decoded = {name: bench.arrays(name)["decoded"] * scale for name in names}
    errors = {name: [cKDTree(a).query(b)[0] for a, b in zip(originals, d, strict=True)] for name, d in decoded.items()}
    top = 3 * min(float(np.percentile(np.concatenate(e), 99)) for e in errors.values()) or 1.0
    colours = ScalarMappable(Normalize(0, top), colormaps["plasma"])
    views = [(0, azimuth), (0, azimuth + 65), *((i, azimuth) for i in range(1, len(shown)))]
    figure, place = canvas(len(views), 1 + len(names), foot=0.75)
    for row, (cloud, turned) in enumerate(views):
        view = turned, ELEVATION
        frame = framing(originals[cloud], view)
        place(row, 0, render(originals[cloud], None, PIXELS, view, frame), "original")
        for column, name in enumerate(names, 1):
            heat = colours.to_rgba(errors[name][cloud])[:, :3]
            head = f"{HEADS[name]}\nEM-kD {rows[name]['runs'][0]['emkd']['mean_percent']:.2f} %"
            place(row, column, render(decoded[name][cloud], heat, PIXELS, view, frame), head)
    width, height = figure.get_size_inches()
    bar = figure.colorbar(
        colours,
        cax=figure.add_axes((0.5 - 1.5 / width, 0.5 / height, 3 / width, 0.09 / height)),
        orientation="horizontal",
        extend="max",
    )
    bar.set_label(f"distance to the nearest original point{', ' if unit else ''}{unit}", color=INK, fontsize=8)
    bar.ax.tick_params(colors=INK, labelsize=8, length=2)
    bar.outline.set_visible(False)
    write(figure, path)


def templates(bench, rows, azimuth, path):
    """Draw the template before training and as the columns leave it, coloured by patch (Figure 4)."""
    drawn = {}
    for name in rows:
        stored = bench.arrays(name)
        if "first" in stored:
            drawn["a cloud of the set"] = stored["first"]
        if "template" in stored and name not in LEFT_OUT:
            drawn[HEADS[name]] = stored["template"]
    if not drawn:
        return
    patches = bench.settings.patches
    sizes = patch_sizes(bench.set.targets.points, patches)
    # Neighbours in the order of patches are neighbours in space: they get hues far apart, and two shades.
    hue = (np.arange(patches) * 0.618034) % 1
    shade = np.where(np.arange(patches) % 2, 0.95, 0.75)
    colour = np.repeat(hsv_to_rgb(np.stack([hue, np.full(patches, 0.62), shade], 1)), sizes, 0)
    figure, place = canvas(1, len(drawn))
    for column, (label, template) in enumerate(drawn.items()):
        view = azimuth, ELEVATION
        place(0, column, render(template, colour, PIXELS, view, framing(template, view)), label)
    write(figure, path)


def sampling(rows, floor, path):
    """Plot EM-kD against the points of a step (Figure 5)."""
    figure = Figure((5.2, 4.0), dpi=DPI, facecolor=BACKGROUND)
    axes = figure.add_axes((0.13, 0.26, 0.84, 0.71), facecolor=BACKGROUND)
    samples = list(rows)
    for name in next(iter(rows.values())):
        values, deviations = zip(*(rows[s][name]["emkd_percent"] for s in samples), strict=True)
        style = {"color": COLOURS[name], "label": HEADS[name], "markersize": 4, "linewidth": 1.6, "capsize": 2.5}
        axes.errorbar(samples, values, None if None in deviations else deviations, fmt="o-", elinewidth=0.9, **style)
    axes.axhline(floor, color=INK, linewidth=0.8, linestyle=":")
    axes.annotate(
        "sampling floor, half the points", (samples[-1], floor), (0, -3), textcoords="offset points",
        color=INK, fontsize=7.5, ha="right", va="top",
    )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(samples, [str(s) for s in samples])
    low, high = axes.get_ylim()
    low, high = 0.8 * low, 1.1 * high
    axes.set_ylim(low, high)
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if low <= t <= high]
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_xlabel("points of a cloud a step", color=INK, fontsize=9)
    axes.set_ylabel("EM-kD, % of the diagonal", color=INK, fontsize=9)
    axes.tick_params(colors=INK, labelsize=8)
    for side in axes.spines.values():
        side.set_color("#4a4844")
    axes.grid(color="#2c2c30", linewidth=0.6)
    # Below the axes: it hides no line there.
    axes.legend(fontsize=8, labelcolor=INK, frameon=False, ncol=2, loc="upper center", bbox_to_anchor=(0.5, -0.17))
    write(figure, path)


def canvas(rows, columns, head=0.5, foot=0.1):
    """Return a figure of rows and columns of pictures, and a function that places one under its column's head."""
    inch = PIXELS / DPI
    width, height = columns * inch, head + rows * inch + foot
    figure = Figure((width, height), dpi=DPI, facecolor=BACKGROUND)

    def place(row, column, image, label):
        below = foot + (rows - 1 - row) * inch
        axes = figure.add_axes((column * inch / width, below / height, inch / width, inch / height))
        axes.imshow(image, interpolation="none")
        axes.axis("off")
        if row == 0:
            figure.text((column + 0.5) * inch / width, 1 - head / 2 / height, label, fontsize=9, **TEXT)

    return figure, place


def write(figure, path):
    """Write a PNG, whole or not at all."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", facecolor=BACKGROUND)
