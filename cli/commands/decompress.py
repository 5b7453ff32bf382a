"""`pcqaad decompress`: write the clouds back, all or some."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import click
import numpy as np

import pcqaad
from pcqaad.bitstream.limits import BYTES_PER_POINT
from pcqaad.cli import options
from pcqaad.cli.attributes import attributes_of
from pcqaad.cli.errors import CommandError, printable
from pcqaad.cli.outputs import TOGETHER, check_space, check_target
from pcqaad.cli.progress import watched
from pcqaad.cli.selection import parse_selection, select
from pcqaad.cli.show.text import between, plural, seconds
from pcqaad.decoder.architecture import MAX_POINTS
from pcqaad.decoder.surface import MAX_LEVEL
from pcqaad.formats.clouds.places import check_harmless, check_no_links
from pcqaad.formats.clouds.shape import Polygons, Shape
from pcqaad.formats.clouds.write import write_clouds, write_shapes
from pcqaad.formats.clouds.writers import WRITERS
from pcqaad.monitor import Monitor, Stage

Item = TypeVar("Item")


def _parse(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[range | str] | None:
    return [item for value in values for item in parse_selection(value)] if values else None


@click.command(
    epilog="""\b
Examples:
  pcqaad decompress skulls.qaad -o decoded/
  pcqaad decompress skulls.qaad -o some/ --only 0,5-9,skull_0031
  pcqaad decompress skulls.qaad -o skulls.npy
  pcqaad decompress skulls.qaad -o dense/ --points 100000 --even
  pcqaad decompress skulls.qaad -o meshes/ --faces --to obj
"""
)
@click.argument("file", metavar="FILE.qaad", type=options.GivenPath())
@options.target
@click.option(
    "--only",
    metavar="LIST",
    multiple=True,
    callback=_parse,
    help="Positions from 0, ranges and names: 0,5-9,NAME. With a leading =, all the rest is one name.",
)
@click.option(
    "--points",
    metavar="M",
    type=click.IntRange(1, MAX_POINTS),
    help="Points of every cloud [each cloud's own number]. Needs a template that is a surface, as --even and --faces.",
)
@click.option("--even", is_flag=True, help="Spread points evenly, not as densely as the originals' lay.")
@click.option("--faces", is_flag=True, help="Write meshes, whose triangles are the same for all clouds.")
@click.option(
    "--level",
    metavar="N",
    type=click.IntRange(0, MAX_LEVEL),
    help="Cut every triangle of the meshes into 4, N times over [0].",
)
@click.option(
    "--to",
    type=click.Choice([suffix.removeprefix(".") for suffix in WRITERS]),
    help="Files in the folder [ply]. stl needs --faces; npy, pcd, xyz, txt and csv hold none.",
)
@options.overwrite
@options.trust
@options.threads
@click.option("--quiet", is_flag=True, help="Show no progress.")
def command(
    file: Path,
    output: Path,
    only: list[range | str] | None,
    points: int | None,
    even: bool,
    faces: bool,
    level: int | None,
    to: str | None,
    overwrite: bool,
    quiet: bool,
    trust: bool,
) -> None:
    """Write the clouds of a file under their original names."""
    began = time.monotonic()
    _check_choices(output, points is not None or even, faces, level, to)
    suffix = f".{to or 'ply'}"
    with watched(quiet=quiet) as monitor, pcqaad.open(file, trust=trust) as collection:
        names = collection.names
        chosen = list(range(len(names))) if only is None else select(only, names, str(file))
        called = [names[i] for i in chosen]
        check_target(output, called, overwrite=overwrite, files=suffix)
        if not trust and output.suffix.lower() not in TOGETHER:
            check_harmless(called)
            check_no_links(output, [f"{name}{suffix}" for name in called])
        what = plural(len(chosen), "mesh" if faces else "cloud", "es" if faces else "s")
        if faces:
            read_mesh = collection.meshes(level or 0)
            vertices, triangles = read_mesh(chosen[0])  # as many as of all others
            check_space(output, BYTES_PER_POINT * len(vertices) * len(chosen))
            of = f"{len(vertices):,} vertices and {plural(len(triangles), 'triangle')}"
            of_points = attributes_of(collection, suffix, level=level or 0)
            meshes = zip(chosen, _decoded(read_mesh, chosen, monitor), strict=False)
            shapes = (Shape(v, Polygons.of_triangles(t), of_points(i)) for i, (v, t) in meshes)
            write_shapes(output, suffix, called, shapes)
        else:
            counts = np.full(len(chosen), points) if points is not None else collection.sizes[chosen]
            if points is None:
                collection.check_cost(int(counts.sum()))
            check_space(output, BYTES_PER_POINT * int(counts.sum()))
            one = None if counts.min() < counts.max() else int(counts[0])
            together = output.suffix.lower() in TOGETHER
            if one is None and together:
                found = f"clouds of {between(counts)} points, where one array holds clouds of one number"
                raise CommandError(f"{output}: {found}: give --points M, or a folder")
            read = collection.reader(points, even=even)
            clouds = _decoded(read, chosen, monitor)
            of_points = attributes_of(collection, output.suffix if together else suffix, points=points, even=even)
            if together:
                write_clouds(output, called, one, clouds)
            else:
                pairs = zip(chosen, clouds, strict=False)
                write_shapes(output, suffix, called, (Shape(cloud, attributes=of_points(i)) for i, cloud in pairs))
            of = f"{between(counts)} points" if one is None else plural(one, "point")
    took = seconds(time.monotonic() - began)
    click.echo(printable(f"{output}: {what} of {of} in {took}"))


def _check_choices(output: Path, drawn: bool, faces: bool, level: int | None, to: str | None) -> None:
    """Refuse choices that say nothing together; raises UsageError."""
    if faces and drawn:
        raise click.UsageError("expected --faces, or --points and --even, found both: a mesh's points are its vertices")
    if not faces and level is not None:
        raise click.UsageError("--level needs --faces")
    if to and faces and not WRITERS[f".{to}"].faces:
        raise click.UsageError(f"expected --faces or --to {to}, found both: {to} files hold no faces")
    if to and not faces and not WRITERS[f".{to}"].points:
        raise click.UsageError(f"--to {to} needs --faces, which are all that {to} files hold")
    if (faces or to) and output.suffix.lower() in TOGETHER:
        option = "--faces" if faces else f"--to {to}"
        raise click.UsageError(f"{option} writes files to a folder, found {output} as TARGET")


def _decoded(read: Callable[[int], Item], chosen: Sequence[int], monitor: Monitor) -> Iterator[Item]:
    for done, i in enumerate(chosen):
        monitor.update(Stage.DECODE, done, len(chosen), "clouds")
        yield read(i)
    monitor.update(Stage.DECODE, len(chosen), len(chosen), "clouds")
