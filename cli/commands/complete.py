"""`pcqaad complete`: whole clouds for partial ones, by what a file knows of their kind."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import pcqaad
from pcqaad.bitstream.limits import BYTES_PER_POINT
from pcqaad.cli import options
from pcqaad.cli.errors import need_torch
from pcqaad.cli.inputs import read_lazily, usable
from pcqaad.cli.outputs import check_space, check_target
from pcqaad.cli.progress import watched
from pcqaad.cli.show.summary import completed
from pcqaad.cli.show.text import as_json
from pcqaad.formats.clouds.find import find_clouds
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
@options.file
@click.argument("inputs", metavar="PARTIAL...", nargs=-1, type=options.Given(), required=True)
@options.target
@click.option(
    "--criterion",
    metavar="LOSS",
    default=CompletePlan.criterion,
    type=options.Loss(),
    help=f"Loss of the given points' distances to the decoded cloud: {', '.join(CRITERIA)}, with parameters "
    "gamma:shape=2.5,rate=0.5.",
)
@click.option(
    "--prior",
    metavar="WEIGHT",
    type=click.FloatRange(min=0),
    default=CompletePlan.prior,
    help="Weight of the likeness to the file's clouds, where the points leave a choice; 0 for none.",
)
@click.option(
    "--starts", metavar="N", type=options.COUNT, default=CompletePlan.starts, help="Latents that each fit starts from."
)
@click.option(
    "--steps", metavar="N", type=options.COUNT, default=CompletePlan.steps, help="Steps of the fit of each latent."
)
@options.overwrite
@options.seed
@options.device
@options.drop_invalid
@options.trust
@options.threads
@options.json
@options.quiet
def command(
    file: Path,
    inputs: tuple[str, ...],
    output: Path,
    overwrite: bool,
    json_: bool,
    quiet: bool,
    trust: bool,
    drop_invalid: bool,
    **choices: Any,
) -> None:
    """Complete partial clouds: write the whole clouds of the file's kind that go through their points.

    A PARTIAL is an INPUT of compress, with clouds of any number of points. They have to lie where the file's clouds
    lie, in their unit: nothing is moved or turned. Each whole cloud is written under its name, and its distance from
    the given points is shown. Needs torch.
    """
    began = time.monotonic()
    need_torch("complete")
    with (
        watched(quiet=quiet, stopped="interrupted; nothing was written") as monitor,
        pcqaad.open(file, trust=trust) as collection,
    ):
        clouds, names, monitor = read_lazily(usable(find_clouds(inputs), drop_invalid, monitor), monitor)
        check_target(output, names, overwrite=overwrite)
        check_space(output, BYTES_PER_POINT * collection.points * len(names))
        # Here, not above: torch takes seconds to load, and a mistyped path should not have to wait for it.
        from pcqaad.latents.complete import complete

        found = complete(collection, clouds, names=names, monitor=monitor, **choices)
        write_clouds(output, names, int(collection.info["points"]), (one.points for one in found))
        unit = collection.info["unit"]
    result = {
        "file": str(file),
        "output": str(output),
        "unit": unit,
        **{key: choices[key] for key in ("criterion", "prior", "starts", "steps", "seed")},
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
