"""`pcqaad complete`: whole clouds for partial ones, by what a file knows of their kind."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import pcqaad
from pcqaad.cli import options
from pcqaad.cli.errors import StoppedError, need_torch
from pcqaad.cli.outputs import check_target
from pcqaad.cli.progress import noting, watched
from pcqaad.cli.show.summary import completed
from pcqaad.cli.show.text import as_json
from pcqaad.errors import Interrupted
from pcqaad.formats.clouds.find import LazyClouds, find_clouds
from pcqaad.formats.clouds.write import write_clouds
from pcqaad.latents.plan import CompletePlan
from pcqaad.losses.names import CRITERIA

if TYPE_CHECKING:
    from pcqaad.latents.complete import Completion


@click.command(
    epilog="""\b
Examples:
  pcqaad complete skulls.qaad broken/skull_0101.ply -o whole/
  pcqaad complete skulls.qaad broken/ -o whole/ --criterion hyper --prior 0.01 --json
"""
)
@click.argument("file", metavar="FILE.qaad", type=options.GivenPath())
@click.argument("inputs", metavar="PARTIAL...", nargs=-1, type=options.Given(), required=True)
@options.target
@click.option(
    "--criterion",
    metavar="NAME",
    default=CompletePlan.criterion,
    show_default=True,
    type=options.Loss(),
    help=f"What a given point's distance to the decoded cloud costs: {', '.join(CRITERIA)}; NAME:KEY=NUMBER,... sets "
    "its parameters.",
)
@click.option(
    "--prior",
    metavar="WEIGHT",
    type=click.FloatRange(min=0),
    default=CompletePlan.prior,
    show_default=True,
    help="How much a shape has to look like those of the file where the points leave a choice; 0: not at all.",
)
@click.option(
    "--starts",
    metavar="N",
    type=click.IntRange(min=1),
    default=CompletePlan.starts,
    show_default=True,
    help="Shapes that the search for a cloud starts from.",
)
@click.option(
    "--steps",
    metavar="N",
    type=click.IntRange(min=1),
    default=CompletePlan.steps,
    show_default=True,
    help="Steps of the search for a cloud.",
)
@options.overwrite
@options.seed
@options.device
@options.json
@options.quiet
def command(
    file: Path,
    inputs: tuple[str, ...],
    output: Path,
    criterion: str,
    prior: float,
    starts: int,
    steps: int,
    overwrite: bool,
    seed: int,
    device: str,
    json_: bool,
    quiet: bool,
) -> None:
    """Complete partial clouds: write the whole clouds of the file's kind that go through their points.

    A PARTIAL is a PLY file, a folder of PLY files, an .npy array or an HDF5 file, with clouds of any number of
    points. They have to lie where the file's clouds lie, in their unit: nothing is moved or turned. Each is written
    under its name, with how far the given points lie from it. Needs torch.
    """
    began = time.monotonic()
    need_torch("complete")
    with watched(quiet=quiet) as monitor, pcqaad.open(file) as collection:
        sources = find_clouds(inputs)
        names = [source.name for source in sources]
        check_target(output, names, overwrite=overwrite)
        clouds = LazyClouds(sources)
        # Here, not above: torch takes seconds to load, and a mistyped path should not have to wait for it.
        from pcqaad.latents.complete import complete

        try:
            found = complete(
                collection,
                clouds,
                names=names,
                criterion=criterion,
                prior=prior,
                starts=starts,
                steps=steps,
                seed=seed,
                device=device,
                monitor=noting(monitor, clouds),
            )
        except Interrupted as error:
            raise StoppedError("interrupted; nothing was written") from error
        points = int(collection.info["points"])
        write_clouds(output, [one.name for one in found], points, (one.points for one in found))
        unit = collection.info["unit"]
    result = {
        "file": str(file),
        "output": str(output),
        "unit": unit,
        "criterion": criterion,
        "prior": prior,
        "starts": starts,
        "steps": steps,
        "seed": seed,
        "mean": sum(one.errors.mean for one in found) / len(found),
        "mean_percent": sum(one.percent for one in found) / len(found),
        "clouds": [_figures(one) for one in found],
        "seconds": time.monotonic() - began,
    }
    click.echo(as_json(result) if json_ else completed(result))


def _figures(one: Completion) -> dict[str, Any]:
    """Return what `--json` prints of a cloud; lengths in the data's unit."""
    return {
        "name": one.name,
        "given": one.given,
        "mean": one.errors.mean,
        "rms": one.errors.rms,
        "mean_percent": one.percent,
        "deviations": one.deviations,
        "start": one.start or None,
        "latent": one.latent.tolist(),
    }
