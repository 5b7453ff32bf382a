"""`pcqaad compress`: read the clouds, fit, save, and print the file's figures."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

import pcqaad
from pcqaad.cli import attributes as of_points
from pcqaad.cli import options
from pcqaad.cli.errors import StoppedError, misuse, need_torch
from pcqaad.cli.inputs import choose_clouds, read_lazily, same_faces, usable
from pcqaad.cli.main import ARGUMENTS
from pcqaad.cli.outputs import QAAD, output_of
from pcqaad.cli.progress import watched
from pcqaad.cli.show.summary import compressed
from pcqaad.cli.show.text import as_json
from pcqaad.errors import Interrupted
from pcqaad.monitor import log
from pcqaad.settings import CHOICES, PRESETS

# Characters of a command line that is printed whole.
_LONGEST_LINE = 400


class Bytes(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A number of bytes, with kB, MB or GB behind it or without: powers of a thousand, as files are listed."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the whole number of bytes."""
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([kmg]?)b?", str(value).strip(), re.IGNORECASE)
        if match is None:
            self.fail(f"expected a number of bytes such as 200000, 200kB or 1.5MB, found {value!r}", param, ctx)
        number = int(float(match[1]) * 1000 ** "_kmg".index(match[2].lower() or "_"))
        if number < 1:
            self.fail(f"expected at least 1 byte, found {value!r}", param, ctx)
        return number


@click.command(
    epilog="""\b
Examples:
  pcqaad compress skulls/*.ply -o skulls.qaad
  pcqaad compress scans.h5:female/clouds -o scans.qaad --unit m --minutes 30
  pcqaad compress skulls/ -o skulls.qaad --preset paper-skulls --seed 7
  pcqaad compress skulls/ -o skulls.qaad --ratio 500
  pcqaad compress registrations/ -o scans.qaad --registered
  pcqaad compress COMA/ -o coma.qaad --sample-surface 16384 --every 10
  pcqaad compress painted/ -o painted.qaad --attributes all --colour-quality 38
  pcqaad compress skulls/ -o skulls.qaad --resume
"""
)
@click.argument("inputs", metavar="INPUT...", nargs=-1, type=options.Given(), required=True)
@click.option("-o", "--output", metavar="FILE.qaad", type=options.GivenPath(), required=True)
@click.option("--preset", type=click.Choice(list(PRESETS)), default="auto", help="Defaults of all settings.")
@click.option("--patches", metavar="K", type=options.COUNT, help="Patches of the decoder.")
@click.option("--latent", metavar="L", type=options.COUNT, help="Numbers of a latent, one latent a cloud.")
@click.option("--points", metavar="M", type=options.COUNT, help="Points kept of each cloud [the smallest cloud's].")
@click.option(
    "--sample-surface",
    "surface",
    metavar="M",
    type=options.COUNT,
    help="Draw M points from the faces of each mesh, uniformly by area, instead of its vertices.",
)
@click.option(
    "--registered",
    is_flag=True,
    help="Point j is the same point in every cloud, as in registered meshes: pairs are kept, not looked for.",
)
@click.option("--every", metavar="N", type=options.COUNT, default=1, help="Take the first of every N clouds.")
@click.option("--min-points", metavar="M", type=options.COUNT, default=1, help="Leave out clouds of fewer points.")
@options.drop_invalid
@click.option("--epochs", metavar="E", type=options.COUNT, help="Passes over the collection.")
@click.option("--minutes", metavar="T", type=options.POSITIVE, help="Minutes of the whole fit.")
@click.option("--max-bytes", metavar="N", type=Bytes(), help="Largest size of the file: 200000, 200kB, 1.5MB.")
@click.option("--ratio", metavar="R", type=options.POSITIVE, help="Least ratio of raw float32 coordinates to file.")
@click.option(
    "--max-emkd",
    metavar="PERCENT",
    type=options.POSITIVE,
    help="Largest EM-kD, in percent of the diagonal: the file takes as few bits a number as it allows.",
)
@click.option("--seed", metavar="S", type=options.SEED, help="Seed of all random choices [0].")
@click.option("--device", type=click.Choice(CHOICES["device"]), help="Where to fit [auto].")
@click.option("--unit", metavar="UNIT", default="", show_default=False, help="Unit of the coordinates: mm.")
@click.option("--template", type=click.Choice(CHOICES["template"]), help="Cloud to start from [the preset's].")
@click.option(
    "--matching", type=click.Choice(CHOICES["matching"]), help="Matching of the clouds before training [nonrigid]."
)
@click.option(
    "--criterion",
    metavar="LOSS",
    type=options.Loss("matched"),
    help="Training loss, of the distance to the matched point [matched] or to the nearest one: l1, l2, augmented, "
    "hyper, landau... or gamma:shape=2.5,rate=0.5.",
)
@click.option("--latent-init", type=click.Choice(CHOICES["latent_init"]), help="Start of the latents [the preset's].")
@of_points.options
@click.option("--resume", is_flag=True, help="Continue an interrupted fit.")
@options.overwrite
@options.threads
@options.json
@options.quiet
@click.pass_context
def command(
    ctx: click.Context,
    /,
    inputs: tuple[str, ...],
    output: Path,
    preset: str,
    points: int | None,
    every: int,
    min_points: int,
    drop_invalid: bool,
    unit: str,
    resume: bool,
    overwrite: bool,
    json_: bool,
    quiet: bool,
    attributes: str | None,
    colour_quality: float | None,
    attribute_errors: dict[str, str],
    **choices: Any,
) -> None:
    """Compress a collection of clouds into one file.

    An INPUT is a file of points or of a mesh (PLY, STL, OBJ, OFF, VTK, VTP, PCD, XYZ, TXT, CSV, PTS, LAS, LAZ, E57), a
    folder of such files or of folders of them, an .npy or .npz array, or an HDF5 file, with :DATASET behind its name
    where it holds several. All clouds are brought to the same number of points. Needs torch.
    """
    began = time.monotonic()
    need_torch("compress")
    with misuse():
        settings = replace(PRESETS[preset], **{name: value for name, value in choices.items() if value is not None})
        keep = of_points.asked(attributes, colour_quality, attribute_errors)
    checkpoint = output.with_name(f"{output.name}.checkpoint")
    with output_of(output, QAAD, overwrite=overwrite), watched(quiet=quiet) as monitor:
        meshes = settings.surface is not None
        sources = usable(
            choose_clouds(inputs, every, min_points, monitor),
            drop_invalid,
            monitor,
            meshes=meshes,
            whole=settings.registered,
        )
        if checkpoint.exists() and not resume:
            log.warning("%s is ignored and will be overwritten; add --resume to continue it", checkpoint)
        if resume and not checkpoint.exists():
            log.warning("%s is not there: nothing to continue, the fit starts from the beginning", checkpoint)
        if not settings.registered and settings.surface is None and same_faces(sources):
            log.warning("faces are the same in all files looked at: if their points are too, give --registered")
        clouds, names, monitor = read_lazily(sources, monitor, meshes=meshes, whole=keep is not None)
        # Here, not above: torch takes seconds to load, and a mistyped path should not have to wait for it.
        from pcqaad.codec import fit

        try:
            fitted = fit(
                clouds,
                settings,
                names=names,
                unit=unit,
                points=points,
                attributes=None if keep is None else of_points.Attributes(sources),
                keep=keep,
                checkpoint=checkpoint,
                resume=resume,
                monitor=monitor,
            )
            fitted.save(output)
        except Interrupted as error:
            if not error.resumable:
                raise StoppedError(str(error)) from error
            raise StoppedError(f"interrupted; continue with: {_again(ctx.meta[ARGUMENTS])}") from error
    with pcqaad.open(output) as collection:
        result = {**collection.info, "seconds": time.monotonic() - began}
    click.echo(as_json(result) if json_ else compressed(result))


def _again(arguments: Sequence[str]) -> str:
    """Return the command line that goes on; abridged where a shell had put hundreds of files into it."""
    command = shlex.join(["pcqaad", *(a for a in arguments if a != "--resume"), "--resume"])
    return command if len(command) <= _LONGEST_LINE else "pcqaad compress ... --resume, all else as before"
