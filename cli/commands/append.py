"""`pcqaad append`: more clouds into a file, the decoder as it is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

import pcqaad
from pcqaad.bitstream.info import registered
from pcqaad.cli import options
from pcqaad.cli.attributes import Attributes
from pcqaad.cli.errors import CommandError, need_torch
from pcqaad.cli.inputs import read_lazily, usable
from pcqaad.cli.outputs import QAAD, output_of
from pcqaad.cli.progress import watched
from pcqaad.cli.show.summary import compressed
from pcqaad.cli.show.text import as_json
from pcqaad.formats.atomic import named_os_errors
from pcqaad.formats.clouds.find import find_clouds


@click.command(
    epilog="""\b
Examples:
  pcqaad append skulls.qaad new/skull_0101.ply new/skull_0102.ply
  pcqaad append skulls.qaad new/ -o more.qaad --minutes 5
"""
)
@options.file
@click.argument("inputs", metavar="NEW...", nargs=-1, type=options.Given(), required=True)
@click.option(
    "-o", "--output", metavar="OUT.qaad", type=options.GivenPath(), help="The file for all clouds [FILE.qaad itself]."
)
@click.option("--minutes", metavar="T", type=options.POSITIVE, help="Minutes for the fit of all clouds.")
@click.option("--steps", metavar="N", type=options.COUNT, help="Steps of the fit of each latent [200].")
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
    output: Path | None,
    overwrite: bool,
    json_: bool,
    quiet: bool,
    trust: bool,
    drop_invalid: bool,
    **choices: Any,
) -> None:
    """Append clouds to a file: only their latents are fitted, the decoder stays as it is.

    A NEW is an INPUT of compress, in the unit and alignment of the file's clouds. Where these were drawn from the
    faces of meshes, so are the new ones; where these have attributes, the new ones need them too. The old clouds decode
    to the same bytes as before. The new ones follow them, and their error is shown beside that of the old ones. Needs
    torch.
    """
    if choices["minutes"] is not None and choices["steps"] is not None:
        raise click.UsageError("expected --minutes or --steps, found both")
    began = time.monotonic()
    target = output or file
    in_place = target.exists() and file.exists() and target.samefile(file)
    need_torch("append")
    with (
        output_of(target, QAAD, overwrite=overwrite or in_place),
        watched(quiet=quiet, stopped=f"interrupted; {file} is as it was") as monitor,
    ):
        # Closed before it is written: some systems replace no file that is open.
        with pcqaad.open(file, trust=trust) as collection:
            before = _first_bytes(file)
            meshes = bool(collection.info["settings"].get("surface"))
            ordered, whole = registered(collection.info), bool(collection.attributes)
            sources = usable(find_clouds(inputs), drop_invalid, monitor, meshes=meshes, whole=ordered)
            clouds, names, monitor = read_lazily(sources, monitor, meshes=meshes, whole=whole)
            given = Attributes(sources) if whole else None
            # Here, not above: torch takes seconds to load, and a mistyped path should not have to wait for it.
            from pcqaad.latents.append import append

            appended = append(collection, clouds, names=names, attributes=given, monitor=monitor, **choices)
        if in_place and _first_bytes(file) != before:
            raise CommandError(f"{file}: was replaced while the clouds were fitted; nothing is written: append anew")
        appended.save(target)
    with pcqaad.open(target) as collection:
        result = {**collection.info, "seconds": time.monotonic() - began}
    click.echo(as_json(result) if json_ else compressed(result))


def _first_bytes(file: Path) -> bytes:
    """Return the first bytes of a file. A checksum of all others is among them."""
    with named_os_errors(file, "read"), file.open("rb") as opened:
        return opened.read(16)
