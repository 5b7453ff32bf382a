"""`pcqaad append`: more clouds into a file, the decoder as it is."""

from __future__ import annotations

import time
from pathlib import Path

import click

import pcqaad
from pcqaad.cli import options
from pcqaad.cli.errors import CommandError, StoppedError, need_torch
from pcqaad.cli.outputs import QAAD, check_output
from pcqaad.cli.progress import noting, watched
from pcqaad.cli.show.summary import compressed
from pcqaad.cli.show.text import as_json
from pcqaad.errors import Interrupted
from pcqaad.formats.atomic import named_os_errors
from pcqaad.formats.clouds.find import LazyClouds, LazyMeshes, find_clouds


@click.command(
    epilog="""\b
Examples:
  pcqaad append skulls.qaad new/skull_0101.ply new/skull_0102.ply
  pcqaad append skulls.qaad new/ -o more.qaad --minutes 5
"""
)
@click.argument("file", metavar="FILE.qaad", type=options.GivenPath())
@click.argument("inputs", metavar="NEW...", nargs=-1, type=options.Given(), required=True)
@click.option(
    "-o",
    "--output",
    metavar="OUT.qaad",
    type=options.GivenPath(),
    help="Where to write the file that holds all [FILE.qaad itself].",
)
@click.option("--minutes", metavar="T", type=click.FloatRange(min=0, min_open=True), help="Time for the fit.")
@click.option("--steps", metavar="N", type=click.IntRange(min=1), help="StepSizes of the fit of a cloud [200].")
@click.option("--overwrite", is_flag=True, help="Replace OUT.qaad if it is there.")
@options.seed
@options.device
@options.json
@options.quiet
def command(
    file: Path,
    inputs: tuple[str, ...],
    output: Path | None,
    minutes: float | None,
    steps: int | None,
    overwrite: bool,
    seed: int,
    device: str,
    json_: bool,
    quiet: bool,
) -> None:
    """Append clouds to a file: only their latents are fitted, the decoder stays as it is.

    A NEW is what INPUT is for compress, in the unit and alignment of the file's clouds; where these were drawn
    from the faces of meshes, so are the new ones. The old ones decode to the same bytes as before; the new ones
    follow them, and it says how well they fit beside the old ones. Needs torch.
    """
    if minutes is not None and steps is not None:
        raise click.UsageError("expected --minutes or --steps, found both")
    began = time.monotonic()
    target = output or file
    in_place = target.exists() and file.exists() and target.samefile(file)
    check_output(target, QAAD, overwrite=overwrite or in_place)
    need_torch("append")
    with watched(quiet=quiet) as monitor:
        # Closed before it is written: some systems replace no file that is open.
        with pcqaad.open(file) as collection:
            before = _begins(file)
            sources = find_clouds(inputs)
            drawn = collection.info["settings"].get("surface")
            clouds = LazyMeshes(sources) if drawn else LazyClouds(sources)
            # Here, not above: torch takes seconds to load, and a mistyped path should not have to wait for it.
            from pcqaad.latents import append as growth

            try:
                grown = growth.append(
                    collection,
                    clouds,
                    names=[source.name for source in sources],
                    steps=steps,
                    minutes=minutes,
                    seed=seed,
                    device=device,
                    monitor=noting(monitor, clouds),
                )
            except Interrupted as error:
                raise StoppedError(f"interrupted; {file} is as it was") from error
        if in_place and _begins(file) != before:
            raise CommandError(f"{file}: was replaced while the clouds were fitted; nothing is written: append anew")
        grown.save(target)
    with pcqaad.open(target) as collection:
        result = {**collection.info, "seconds": time.monotonic() - began}
    click.echo(as_json(result) if json_ else compressed(result))


def _begins(file: Path) -> bytes:
    """Return what a file begins with, in which is a checksum of all others in it."""
    with named_os_errors(file, "read"), file.open("rb") as opened:
        return opened.read(16)
