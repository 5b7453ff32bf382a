"""`pcqaad distill`: the weighting of distances that trains most like another loss."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

import pcqaad
from pcqaad.cli import options
from pcqaad.cli.errors import CommandError, misuse, need_torch
from pcqaad.cli.inputs import read_lazily
from pcqaad.cli.outputs import PICTURE, check_output
from pcqaad.cli.progress import watched
from pcqaad.cli.show.distillation import distilled, learned
from pcqaad.cli.show.text import as_json
from pcqaad.formats.atomic import atomic_path
from pcqaad.formats.clouds.find import find_clouds
from pcqaad.losses.names import DENSITIES, complete, parse

# As in pcqaad.distillation.learn, which loads torch.
JUDGES = ("l1", "emd")


@click.command(
    epilog="""\b
Examples:
  pcqaad distill --teacher hyper --alpha 1 --family gamma
  pcqaad distill --family all --plot slopes.png
  pcqaad distill skulls.qaad skulls/ --teacher landau-released
  pcqaad distill skulls/ --bilevel --family gamma --judge emd
"""
)
@click.argument("inputs", metavar="[[FILE.qaad] CLOUDS...]", nargs=-1, type=options.Given())
@click.option(
    "--teacher",
    metavar="LOSS",
    help="Loss to train like [hyper]: l1, l2, info, dcd, landau-released or a family, with parameters hyper:alpha=2.",
)
@click.option("--alpha", metavar="A", type=float, help="Alpha of the teacher.")
@click.option("--family", type=click.Choice([*DENSITIES, "all"]), default="all", help="Density to search.")
@click.option(
    "--shift/--no-shift", default=True, help="Take the density from its mode on, or as it is, as released losses."
)
@click.option(
    "--sigma",
    metavar="S",
    type=options.POSITIVE,
    help="Standard deviation of the half-normal distances, where no file gives distances [0.5].",
)
@click.option("--cut", metavar="C", type=options.POSITIVE, help="Largest half-normal distance, in sigmas [4].")
@click.option(
    "--bilevel", is_flag=True, help="Learn the parameters while a small decoder trains on CLOUDS, without a teacher."
)
@click.option("--judge", type=click.Choice(JUDGES), default="emd", help="Held-out loss of --bilevel.")
@click.option("--rounds", metavar="N", type=options.COUNT, default=50, help="Steps of --bilevel's parameters.")
@options.seed
@options.device
@options.threads
@click.option("--plot", metavar="FILE.png", type=options.GivenPath(), help="Draw the curves; needs matplotlib.")
@options.json
@options.quiet
def command(
    inputs: tuple[str, ...],
    teacher: str | None,
    alpha: float | None,
    family: str,
    shift: bool,
    sigma: float | None,
    cut: float | None,
    bilevel: bool,
    rounds: int,
    plot: Path | None,
    json_: bool,
    quiet: bool,
    **choices: Any,
) -> None:
    """Find the weighting f of distances d whose loss f(d) d trains most like another loss, the teacher.

    The parameters of a density f are searched for so that the forces on points, the slopes of both losses, are in
    proportion where distances are likely: half-normal ones, or those between FILE.qaad and its originals CLOUDS. The
    result is a loss for compress --criterion. Distances are normalised: the clouds' diagonal is 4.

    With --bilevel there is no teacher: a small decoder trains on half of the points of CLOUDS by the weighted loss,
    and the density's parameters follow the gradient of a held-out loss, on the other half, through its last steps.
    --judge, --rounds, --seed and --device count there alone. Needs torch.
    """
    if bilevel:
        if family == "all" or not inputs:
            raise click.UsageError("--bilevel expects CLOUDS and one --family")
        if not shift or any(given is not None for given in (teacher, alpha, sigma, cut, plot)):
            raise click.UsageError("--bilevel has no use for --teacher, --alpha, --no-shift, --sigma, --cut and --plot")
        need_torch("distill --bilevel")
        with watched(quiet=quiet, stopped="interrupted: nothing was learned") as monitor:
            clouds, _, monitor = read_lazily(find_clouds(inputs), monitor)
            # Here, not above: torch takes seconds to load.
            from pcqaad.distillation.bilevel import Plan
            from pcqaad.distillation.learn import learn_weighting

            found = learn_weighting(clouds, family, plan=Plan(rounds=rounds), monitor=monitor, **choices)
        click.echo(as_json(found) if json_ else learned(found))
        return
    if len(inputs) == 1:
        raise click.UsageError("expected FILE.qaad and the originals of its clouds, found one of them")
    if inputs and (sigma is not None or cut is not None):
        raise click.UsageError("expected a file that gives the distances, or --sigma and --cut, found both")
    if plot is not None:
        check_output(plot, PICTURE)
        if find_spec("matplotlib") is None:
            raise CommandError("--plot needs matplotlib: pip install 'pcqaad[pictures]'")
    with misuse(), watched(quiet=quiet) as monitor:
        name, parameters = _teacher(teacher or "hyper", alpha)
        # Here, not above: they bring numpy and more.
        from pcqaad.distillation.distances import half_normal
        from pcqaad.distillation.search import distil

        if inputs:
            from pcqaad.distillation.observed import observed

            with pcqaad.open(Path(inputs[0])) as collection:
                distances = observed(collection, find_clouds(inputs[1:]), monitor=monitor)
            source = f"between {inputs[0]} and its originals"
        else:
            distances = half_normal(**{k: v for k, v in (("sigma", sigma), ("cut", cut)) if v is not None})
            source = f"half-normal, sigma {sigma or 0.5:g}, up to {cut or 4:g} sigma"
        families = tuple(DENSITIES) if family == "all" else (family,)
        result = distil(name, parameters, distances, families, shift, source, monitor=monitor)
    if plot is not None:
        from pcqaad.cli.show.slopes import draw

        with atomic_path(plot) as temporary:
            draw(temporary, result)
    click.echo(as_json(result) if json_ else distilled(result))


def _teacher(text: str, alpha: float | None) -> tuple[str, dict[str, float]]:
    """Return the name of a loss and its parameters; raises SettingsError, and UsageError where alpha is given twice."""
    name, parameters = parse(text)
    if alpha is None:
        return name, parameters
    if "alpha=" in text:
        raise click.UsageError("expected alpha once, found it in --teacher and as --alpha")
    return name, complete(name, {**parameters, "alpha": alpha})
