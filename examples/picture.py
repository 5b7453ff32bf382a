"""Originals beside a file's clouds: `python examples/picture.py skulls.qaad out/skulls -o skulls.png`.

Points are drawn as oriented discs. A first pass keeps the nearest depth of every pixel. A second one averages the
normals and colours of the discs on that nearest surface. So a few thousand points shade as one closed surface that
hides everything behind it. Matplotlib only lays out, labels and writes.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

import pcqaad
from pcqaad.formats.atomic import atomic_path
from pcqaad.formats.clouds.find import find_clouds

Floats = NDArray[np.floating]
Image = NDArray[np.uint8]

BONE = (0.93, 0.88, 0.79)
BACKGROUND = (0.055, 0.062, 0.078)
INK = "#d9d6cf"
NEIGHBOURS = 16  # that a point's normal is fitted to
OVERSAMPLING = 2  # pixels drawn for each of the picture, along an axis
LIGHTS = (  # direction in camera axes (right, up, toward the eye), strength
    ((-0.55, 0.65, 0.60), 0.78),
    ((0.80, 0.10, 0.45), 0.22),
    ((0.0, -0.6, 0.5), 0.08),
)
AMBIENT = 0.20


def camera(view: tuple[float, float]) -> Floats:
    """Return the rotation (3, 3) with rows right, up and toward the eye, which stands on +y at (0, 0); degrees."""
    azimuth, elevation = np.radians(view)
    ca, sa, ce, se = np.cos(azimuth), np.sin(azimuth), np.cos(elevation), np.sin(elevation)
    eye = np.array([sa * ce, ca * ce, se])
    right = np.array([-ca, sa, 0.0])
    return np.stack([right, np.cross(eye, right), eye])


def surfels(points: Floats) -> tuple[Floats, Floats]:
    """Return unoriented unit normals (n, 3) and disc radii (n,), from the nearest neighbours of each point."""
    count = min(NEIGHBOURS, len(points))
    distance, index = cKDTree(points).query(points, k=np.arange(1, count + 1))
    offset = points[index] - points[:, None]
    near = np.exp(-2 * (distance / (distance[:, -1:] + 1e-12)) ** 2)
    thickness = 0.25 * distance[:, -1:] + 1e-12

    def agreement(normal: Floats) -> Floats:
        return near * np.exp(-((np.einsum("nki,ni->nk", offset, normal) / thickness) ** 2))

    def fit(weight: Floats) -> Floats:
        centred = offset - np.einsum("nk,nki->ni", weight, offset)[:, None] / weight.sum(1)[:, None, None]
        return np.linalg.eigh(np.einsum("nk,nki,nkj->nij", weight, centred, centred))[1][:, :, 0]

    normal = fit(near)
    # Neighbours may lie on both sides of a thin wall, and a plane through both is no plane of either. So each point
    # takes the plane of a neighbour that most of its own neighbours lie in, and fits it to those alone.
    for _ in range(3):
        best, votes = normal, agreement(normal).sum(1)
        for k in range(1, count):
            other = normal[index[:, k]]
            support = agreement(other).sum(1)
            better = support > votes
            best, votes = np.where(better[:, None], other, best), np.where(better, support, votes)
        normal = fit(agreement(best))
    # Neighbours then settle on a common direction: the better a fit, the more it counts.
    trust = agreement(normal).sum(1) / near.sum(1)
    ballot = near * trust[index] ** 3
    normal = np.linalg.eigh(np.einsum("nk,nki,nkj->nij", ballot, normal[index], normal[index]))[1][:, :, 2]
    trust = agreement(normal).sum(1) / near.sum(1)
    # Density differs from place to place: a disc reaches its seventh neighbour, but not much farther than others do.
    radius = distance[:, min(7, count - 1)]
    # Where the surface is no plane at this scale, small discs keep the detail.
    return normal, np.minimum(radius, 1.4 * np.median(radius)) * np.interp(trust, (0.35, 0.8), (0.62, 1.0))


def rasterise(
    xy: Floats, depth: Floats, normal: Floats, radius: Floats, colour: Floats, size: int
) -> tuple[Floats, Floats, Floats]:
    """Splat discs, given in pixels; return nearest depth (size²,), mean normal and mean colour (size², 3).

    Depth grows toward the eye and is -inf where nothing is drawn.
    """
    # A disc seen edge on would be a line: the tilt is bounded.
    slope = -normal[:, :2] / np.maximum(normal[:, 2:], 0.5)
    order = np.argsort(radius)  # the discs of one batch are then of one size
    pixels, depths, weights, owners = [], [], [], []
    for batch in np.array_split(order, len(order) // 256 + 1):
        reach = int(np.ceil(radius[batch].max(initial=0)))
        span = np.arange(-reach, reach + 1)
        across, down = (part.ravel() for part in np.meshgrid(span, span))
        inner = across**2 + down**2 <= (reach + 1) ** 2
        column = np.floor(xy[batch, :1]).astype(np.int64) + across[inner]
        row = np.floor(xy[batch, 1:]).astype(np.int64) + down[inner]
        dx, dy = column + 0.5 - xy[batch, :1], row + 0.5 - xy[batch, 1:]
        rise = dx * slope[batch, :1] + dy * slope[batch, 1:]
        share = (dx * dx + dy * dy + rise * rise) / radius[batch, None] ** 2
        hit = (share < 1) & (column >= 0) & (row >= 0) & (column < size) & (row < size)
        pixels.append((row * size + column)[hit])
        depths.append((depth[batch, None] + rise)[hit])
        weights.append(np.exp(-3 * share[hit]))
        owners.append(batch[np.nonzero(hit)[0]])
    pixel, level, weight, owner = map(np.concatenate, (pixels, depths, weights, owners))
    nearest = np.full(size * size, -np.inf)
    np.maximum.at(nearest, pixel, level)
    # Deep enough to smooth over overlapping discs, too little to reach the far side of a thin wall.
    front = level > nearest[pixel] - 0.65 * np.median(radius)
    pixel, level, weight, owner = pixel[front], level[front], weight[front], owner[front]

    def mean(values: Floats) -> Floats:
        total = np.bincount(pixel, weight, size * size)
        sums = np.bincount(pixel, weight * values, size * size)
        return np.divide(sums, total, out=np.zeros(size * size), where=total > 0)

    surface = np.where(np.isfinite(nearest), mean(level), -np.inf)
    normals = np.stack([mean(normal[owner, i]) for i in range(3)], 1)
    colours = np.stack([mean(colour[owner, i]) for i in range(3)], 1)
    return surface, normals, colours


def occlusion(depth: Floats, reach: float) -> Floats:
    """Return the part of the sky above each pixel (h, w) that nearer surfaces within `reach` pixels hide."""
    # Rolling wraps around, and one side would shade the other: the air of a frame keeps them apart.
    floor = np.where(np.isfinite(depth), depth, -1e9)

    def horizon(angle: float) -> Floats:
        highest = np.full_like(floor, -1.0)
        for step in reach * np.array([0.08, 0.2, 0.4, 0.7, 1.0]):
            shift = round(step * np.sin(angle)), round(step * np.cos(angle))
            rise = np.roll(floor, shift, (0, 1)) - floor
            # A surface far in front is another object with room between: it shades less.
            fade = np.exp(-((np.maximum(rise, 0) / (4 * reach)) ** 2))
            highest = np.maximum(highest, rise / np.hypot(rise, step) * fade)
        return highest

    # Opposite horizons cancel on a slope: only hollows darken, and no plane that is seen askew.
    angles = np.arange(8) * (np.pi / 8)
    return sum(np.maximum(horizon(a) + horizon(a + np.pi), 0) for a in angles) / (2 * len(angles))


def render(
    points: Floats,
    colours: Floats | None = None,
    size: int = 420,
    view: tuple[float, float] = (32.0, 8.0),
    frame: tuple[Floats, float] | None = None,
) -> Image:
    """Draw a picture (size, size, 3) of points (n, 3) with optional colours (n, 3) in 0..1.

    `view` is the azimuth and elevation of the eye in degrees. `frame` is a centre (3,) and the radius that fits the
    picture: two clouds can share one. Without it the cloud fits by itself.
    """
    points = np.asarray(points, np.float64)
    centre, extent = frame or framing(points, view)
    rotation = camera(view)
    normal, radius = surfels(points)
    seen, normal = (points - centre) @ rotation.T, normal @ rotation.T
    eye = 5.0 * extent
    toward = np.array([0, 0, eye]) - seen
    normal *= np.where((normal * toward).sum(1) < 0, -1.0, 1.0)[:, None]
    side = size * OVERSAMPLING
    zoom = 0.5 * side / extent * eye / (eye - seen[:, 2])  # a long lens: perspective, but only just
    xy = 0.5 * side + seen[:, :2] * zoom[:, None] * (1, -1)
    flat = np.full((len(points), 3), BONE) if colours is None else np.asarray(colours, np.float64)
    scale = 0.5 * side / extent
    turned = normal * (1, -1, 1)  # rows run downward
    depth, normals, albedo = rasterise(
        xy, seen[:, 2] * scale, turned, np.maximum(radius * zoom, OVERSAMPLING), flat, side
    )

    normals = normals * (1, -1, 1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    light = np.full(len(depth), AMBIENT)
    for direction, strength in LIGHTS:
        unit = np.array(direction) / np.linalg.norm(direction)
        light += strength * np.maximum(normals @ unit, 0)
    coarse = depth.reshape(size, OVERSAMPLING, size, OVERSAMPLING).max((1, 3)) / OVERSAMPLING
    hidden = np.kron(occlusion(coarse, 0.10 * size), np.ones((OVERSAMPLING, OVERSAMPLING))).reshape(-1)
    far = np.clip((depth / scale + extent) / (2 * extent), 0, 1)
    if colours is not None:
        light = 0.5 + 0.5 * light  # colours that mean something stay readable in the shade
    light *= (1 - hidden) ** 2 * (0.7 + 0.3 * far)
    lit = np.where(np.isfinite(depth)[:, None], albedo * 1.04 * light[:, None] ** 0.85, BACKGROUND)
    small = lit.reshape(size, OVERSAMPLING, size, OVERSAMPLING, 3).mean((1, 3))
    return (np.clip(small, 0, 1) * 255 + 0.5).astype(np.uint8)


def framing(points: Floats, view: tuple[float, float]) -> tuple[Floats, float]:
    """Return the centre (3,) of a cloud, and half the side of the square that holds it in this view with some air."""
    centre = (points.min(0) + points.max(0)) / 2
    seen = (points - centre) @ camera(view).T
    middle = (seen.min(0) + seen.max(0)) / 2
    return centre + middle @ camera(view), 1.2 * float(np.abs(seen - middle)[:, :2].max()) or 1.0


def compare(
    originals: Sequence[Floats],
    decoded: Sequence[Floats],
    names: Sequence[str],
    title: str,
    path: Path | str,
    *,
    unit: str = "mm",
    size: int = 420,
    view: tuple[float, float] = (32.0, 8.0),
) -> None:
    """Write one PNG with a row for each cloud: the original, the decoded cloud, and its error.

    The error of a decoded point is its distance to the nearest original point. One colour scale serves all rows. It
    ends at the 99th percentile: one stray point does not dim the rest.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    errors = [cKDTree(a).query(b)[0] for a, b in zip(originals, decoded, strict=True)]
    top = float(np.percentile(np.concatenate(errors), 99)) or 1.0
    scale = ScalarMappable(Normalize(0, top), colormaps["plasma"])

    rows, inch = len(names), size / 140
    left, head, foot = 0.35, 0.95, 0.85
    width, height = left + 3 * inch + 0.15, head + rows * inch + foot
    figure = Figure((width, height), dpi=140, facecolor=BACKGROUND)
    ink: dict[str, Any] = {"color": INK, "ha": "center", "va": "center"}
    figure.text(0.5, 1 - 0.36 / height, title, fontsize=11.5, weight="bold", **ink)
    for row, name in enumerate(names):
        frame = framing(np.asarray(originals[row], np.float64), view)
        heat = scale.to_rgba(errors[row])[:, :3]
        pictures = (
            render(originals[row], None, size, view, frame),
            render(decoded[row], None, size, view, frame),
            render(decoded[row], heat, size, view, frame),
        )
        below = foot + (rows - 1 - row) * inch
        for column, image in enumerate(pictures):
            place = ((left + column * inch) / width, below / height, inch / width, inch / height)
            axes = figure.add_axes(place)
            axes.imshow(image, interpolation="none")
            axes.axis("off")
        figure.text(0.24 / width, (below + inch / 2) / height, name, rotation=90, fontsize=8, **ink)
    for column, label in enumerate(("original", "decoded", "error")):
        middle = (left + (column + 0.5) * inch) / width
        figure.text(middle, 1 - 0.78 / height, label, fontsize=10, **ink)
    bar_axes = figure.add_axes(((left + 2.1 * inch) / width, 0.55 / height, 0.8 * inch / width, 0.09 / height))
    bar = figure.colorbar(scale, cax=bar_axes, orientation="horizontal", extend="max")
    bar.set_label(f"distance to the nearest original point, {unit}", color=INK, fontsize=7.5)
    bar.ax.tick_params(colors=INK, labelsize=7.5, length=2)
    bar.outline.set_visible(False)

    with atomic_path(Path(path)) as temporary:
        figure.savefig(temporary, format="png", facecolor=BACKGROUND)


def headline(path: Path, clouds: Sequence[Floats], info: Mapping[str, Any]) -> str:
    """Return one line: the file's clouds, its size beside that of plain float32, and its fidelity."""
    counts = [len(cloud) for cloud in clouds]
    each = f"{counts[0]:,}" if len(set(counts)) == 1 else f"{min(counts):,} to {max(counts):,}"
    raw, packed = 12 * sum(counts), path.stat().st_size
    line = f"{len(counts)} clouds × {each} points,  {bytes_text(raw)} → {bytes_text(packed)}"
    line += f" ({raw / packed:.3g} : 1)"
    mean = info.get("fidelity", {}).get("mean_percent")
    return line if mean is None else f"{line},  EM-kD {mean:.2g} % of the diagonal"


def bytes_text(count: int) -> str:
    """Return a byte count with two figures or more, in decimal units."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}" if count < 10 * size else f"{count / size:.0f} {unit}"
    return f"{count} bytes"


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw some clouds of a file beside their originals."""
    parser = argparse.ArgumentParser(description="Draw clouds of a .qaad file beside their originals.")
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path, help="where the originals lie, under the names they had")
    parser.add_argument("-o", "--output", type=Path, default=Path("comparison.png"))
    parser.add_argument("--rows", type=int, default=3, help="clouds to show, spread over the file (3)")
    parser.add_argument("--unit", default="mm", help="unit of the coordinates (mm)")
    options = parser.parse_args(arguments)

    clouds = pcqaad.open(options.file)
    sources = {source.name: source for source in find_clouds([options.folder])}
    there = [i for i, name in enumerate(clouds.names) if name in sources]
    if not there or options.rows < 1:
        parser.error(f"{options.folder}: expected an original of a cloud in {options.file}, found none to show")
    shown = [there[i] for i in np.unique(np.linspace(0, len(there) - 1, options.rows).astype(int))]
    decoded = [clouds[i] for i in range(len(clouds))]
    names = [clouds.names[i] for i in shown]
    originals = [sources[name].read().points for name in names]
    title = headline(options.file, decoded, clouds.info)
    compare(originals, [decoded[i] for i in shown], names, title, options.output, unit=options.unit)


if __name__ == "__main__":
    main()
