"""`pcqaad distill`: the weighting of distances that trains most like another loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import pcqaad
from pcqaad.cli import options
from pcqaad.cli.errors import CommandError, StoppedError, misuse, need_torch
from pcqaad.cli.outputs import PICTURE, check_output
from pcqaad.cli.progress import noting, watched
from pcqaad.cli.show.text import as_json, columns, figure, pairs
from pcqaad.errors import Interrupted
from pcqaad.formats.atomic import atomic_path
from pcqaad.formats.clouds.find import LazyClouds, find_clouds
from pcqaad.losses.names import DENSITIES
from pcqaad.monitor import Monitor
from pcqaad.settings import MAX_SEED

if TYPE_CHECKING:
    from pcqaad.distillation.distances import Distances

JUDGES = ("l1", "emd")
_ROWS = 9  # of a curve or a path, that are printed


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
    help="hyper [so], l1, l2, info, dcd, landau-released or a family; with parameters hyper:alpha=2.",
)
@click.option("--alpha", metavar="A", type=float, help="Of the teacher [1 for hyper].")
@click.option(
    "--family", type=click.Choice([*DENSITIES, "all"]), default="all", show_default=True, help="Of the weighting."
)
@click.option(
    "--shift/--no-shift", default=True, help="Take the density from its mode on [so], or as it is, as released losses."
)
@click.option(
    "--sigma",
    metavar="S",
    type=click.FloatRange(min=0, min_open=True),
    help="Of the half-normal distances that are looked at, where no file gives them [0.5].",
)
@click.option(
    "--cut", metavar="C", type=click.FloatRange(min=0, min_open=True), help="They end after so many sigmas [4]."
)
@click.option(
    "--bilevel", is_flag=True, help="No teacher: learn the parameters while a small decoder trains on CLOUDS."
)
@click.option(
    "--judge",
    type=click.Choice(JUDGES),
    default="emd",
    show_default=True,
    help="With --bilevel: what is made small, on points that are not trained on.",
)
@click.option(
    "--rounds",
    metavar="N",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="With --bilevel: steps of the parameters.",
)
@click.option(
    "--seed", metavar="S", type=click.IntRange(0, MAX_SEED), default=0, show_default=True, help="With --bilevel."
)
@click.option(
    "--device",
    type=click.Choice(("auto", "cpu", "cuda")),
    default="auto",
    show_default=True,
    help="With --bilevel: where to train.",
)
@click.option("--plot", metavar="FILE.png", type=options.GivenPath(), help="Draw the curves; needs matplotlib.")
@options.json
@click.option("--quiet", is_flag=True, help="Show no progress.")
def command(
    inputs: tuple[str, ...],
    teacher: str | None,
    alpha: float | None,
    family: str,
    shift: bool,
    sigma: float | None,
    cut: float | None,
    bilevel: bool,
    judge: str,
    rounds: int,
    seed: int,
    device: str,
    plot: Path | None,
    json_: bool,
    quiet: bool,
) -> None:
    """Find the weighting f of distances d whose loss f(d) d trains most like another loss, the teacher.

    The parameters of a density f are searched for so that the forces on points, the slopes of both losses, are in
    proportion where distances are likely: half-normal ones, or those that FILE.qaad leaves to its originals CLOUDS.
    What is found is a loss for compress --criterion. Distances are normalised: the clouds' diagonal is 4.

    With --bilevel there is no teacher: a small decoder trains on half of the points of CLOUDS by the weighted loss,
    and the density's parameters follow the gradient, through its last steps, of how near it then is to the other
    half. Needs torch.
    """
    if bilevel:
        if family == "all" or not inputs:
            raise click.UsageError("--bilevel expects CLOUDS and one --family")
        if not shift or any(given is not None for given in (teacher, alpha, sigma, cut, plot)):
            raise click.UsageError("--bilevel has no use for --teacher, --alpha, --no-shift, --sigma, --cut and --plot")
        need_torch("distill --bilevel")
        with watched(quiet=quiet) as monitor:
            result = _learned(inputs, family, judge, rounds, seed, device, monitor)
        click.echo(as_json(result) if json_ else _shown_path(result))
        return
    if len(inputs) == 1:
        raise click.UsageError("expected FILE.qaad and the originals of its clouds, found one of them")
    if inputs and (sigma is not None or cut is not None):
        raise click.UsageError("expected a file that gives the distances, or --sigma and --cut, found both")
    if plot is not None:
        check_output(plot, PICTURE)
        _need_matplotlib()
    with watched(quiet=quiet) as monitor:
        # Here, not above: they bring numpy and more.
        from pcqaad.distillation.distances import half_normal

        if inputs:
            from pcqaad.distillation.observed import observed

            with pcqaad.open(Path(inputs[0])) as collection:
                distances = observed(collection, find_clouds(inputs[1:]), monitor=monitor)
            source = f"between {inputs[0]} and its originals"
        else:
            with misuse():
                distances = half_normal(**{k: v for k, v in (("sigma", sigma), ("cut", cut)) if v is not None})
            source = f"half-normal, sigma {sigma or 0.5:g}, up to {cut or 4:g} sigma"
        with misuse():
            result = _distilled(teacher or "hyper", alpha, family, shift, distances, source, monitor)
    if plot is not None:
        from pcqaad.cli.show.slopes import draw

        with atomic_path(plot) as temporary:
            draw(temporary, result)
    click.echo(as_json(result) if json_ else _shown(result))


def _need_matplotlib() -> None:
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise CommandError("--plot needs matplotlib: pip install 'pcqaad[pictures]'")


def _learned(
    inputs: tuple[str, ...],
    family: str,
    judge: str,
    rounds: int,
    seed: int,
    device: str,
    monitor: Monitor,
) -> Mapping[str, Any]:
    """Learn the parameters with a decoder, and return them and how they came about, JSON-able."""
    clouds = LazyClouds(find_clouds(inputs))
    # Here, not above: torch takes seconds to load.
    from pcqaad.distillation.bilevel import Plan
    from pcqaad.distillation.learn import learn_weighting
    from pcqaad.losses.names import write

    try:
        plan = Plan(rounds=rounds)
        learned = learn_weighting(
            clouds,
            family,
            judge=judge,
            plan=plan,
            seed=seed,
            device=device,
            monitor=noting(monitor, clouds),
        )
    except Interrupted as error:
        raise StoppedError("interrupted: nothing was learned") from error
    return {
        "family": family,
        "criterion": write(family, learned.parameters),
        "parameters": learned.parameters,
        "judge": judge,
        "clouds": len(clouds),
        "seed": seed,
        "plan": asdict(plan),
        "losses": learned.losses,
        "path": learned.path,
    }


def _shown_path(result: Mapping[str, Any]) -> str:
    """Return the tables for people: what was learned, and some of the rounds that led there."""
    losses, path, names = result["losses"], result["path"], list(result["parameters"])
    last = len(losses) - 1
    rounds = sorted({round(i * last / (_ROWS - 1)) for i in range(_ROWS)})
    rows = [[str(i + 1), *(figure(path[i][key]) for key in names), figure(losses[i])] for i in rounds]
    told = [("learned", result["criterion"]), ("judge", f"{result['judge']} on points that were not trained on")]
    return f"{pairs(told)}\n\n{columns(['round', *names, 'held-out loss'], rows)}"


def _distilled(
    teacher: str, alpha: float | None, family: str, shift: bool, distances: Distances, source: str, monitor: Monitor
) -> Mapping[str, Any]:
    """Search, and return what was found, JSON-able."""
    from pcqaad.distillation.search import distil
    from pcqaad.losses.names import complete, parse

    name, parameters = parse(teacher)
    if alpha is not None:
        if "alpha=" in teacher:
            raise click.UsageError("expected alpha once, found it in --teacher and as --alpha")
        parameters = complete(name, {**parameters, "alpha": alpha})
    families = tuple(DENSITIES) if family == "all" else (family,)
    return distil(name, parameters, distances, families, shift, source, monitor=monitor)


def _shown(result: Mapping[str, Any]) -> str:
    """Return the tables for people: what was compared, the ranking, the winner's curve beside the teacher's."""
    teacher, found = result["teacher"], result["families"]
    values = ", ".join(f"{key} {figure(value)}" for key, value in teacher["parameters"].items())
    winner = found[0]
    parts = [
        pairs(
            [
                ("teacher", f"{teacher['name']}{', ' if values else ''}{values}"),
                ("distances", f"{result['distances']['source']}; mean {figure(result['distances']['mean'])}"),
                ("winner", winner["criterion"]),
                ("matching loss", figure(winner["loss"])),
            ]
        )
    ]
    if len(found) > 1:
        ranked = [[m["criterion"], figure(m["loss"]), figure(m["mode"])] for m in found]
        parts.append(columns(["criterion", "matching loss", "mode"], ranked))
    edges = [f"{m['family']}: {', '.join(m['at_edge'])}" for m in found if m["at_edge"]]
    if edges:
        parts.append("at the end of the grid, where better ones may lie beyond: " + "; ".join(edges))
    head = ["d", "density", "teacher's slope", "weighted slope"]
    last = len(result["d"]) - 1
    rows = [round(i * last / (_ROWS - 1)) for i in range(_ROWS)]
    keys = (result["d"], result["density"], result["slope"], winner["slope"])
    parts.append(columns(head, [[f"{key[i]:.4f}" for key in keys] for i in rows]))
    return "\n\n".join(parts)
