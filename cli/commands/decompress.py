"""`pcqaad decompress`: write the clouds back, all or some."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

import pcqaad
from pcqaad.bitstream.collection import Collection
from pcqaad.cli import options
from pcqaad.cli.errors import printable
from pcqaad.cli.outputs import check_target
from pcqaad.cli.progress import watched
from pcqaad.cli.selection import parse_selection, select
from pcqaad.cli.show.text import plural, seconds
from pcqaad.formats.clouds.write import write_clouds
from pcqaad.monitor import Monitor, Stage


def _parse(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[range | str] | None:
    return [item for value in values for item in parse_selection(value)] if values else None


@click.command(
    epilog="""\b
Examples:
  pcqaad decompress skulls.qaad -o decoded/
  pcqaad decompress skulls.qaad -o some/ --only 0,5-9,skull_0031
  pcqaad decompress skulls.qaad -o skulls.npy
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
@options.overwrite
@options.threads
@click.option("--quiet", is_flag=True, help="Show no progress.")
def command(file: Path, output: Path, only: list[range | str] | None, overwrite: bool, quiet: bool) -> None:
    """Write the clouds of a file under their original names."""
    began = time.monotonic()
    with watched(quiet=quiet) as monitor, pcqaad.open(file) as collection:
        names = collection.names
        chosen = list(range(len(names))) if only is None else select(only, names, str(file))
        points, called = collection.info["points"], [names[i] for i in chosen]
        check_target(output, called, overwrite=overwrite)
        write_clouds(output, called, points, _decoded(collection, chosen, monitor))
    took = seconds(time.monotonic() - began)
    click.echo(printable(f"{output}: {plural(len(chosen), 'cloud')} of {plural(points, 'point')} in {took}"))


def _decoded(collection: Collection, chosen: Sequence[int], monitor: Monitor) -> Iterator[NDArray[np.float32]]:
    for done, i in enumerate(chosen):
        monitor.update(Stage.DECODE, done, len(chosen), "clouds")
        yield collection[i]
    monitor.update(Stage.DECODE, len(chosen), len(chosen), "clouds")
