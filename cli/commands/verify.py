"""`pcqaad verify`: the integrity of a file, and the errors of its clouds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

import pcqaad
from pcqaad.cli import options
from pcqaad.cli.errors import CommandError, need_torch
from pcqaad.cli.outputs import PAGE, check_output
from pcqaad.cli.progress import watched
from pcqaad.cli.show.metric import metrics_of
from pcqaad.cli.show.report import page
from pcqaad.cli.show.summary import verified
from pcqaad.cli.show.text import METRICS, as_json, figure
from pcqaad.formats.atomic import atomic_path
from pcqaad.formats.clouds.find import find_clouds
from pcqaad.formats.clouds.invalid import dropping

# As in pcqaad.evaluation.metrics, which a command line that only needs help should not have to wait for.
EFFORTS = ("normal", "high")


@click.command(
    epilog="""\b
Examples:
  pcqaad verify skulls.qaad
  pcqaad verify skulls.qaad skulls/ --metric emkd --metric d1
  pcqaad verify skulls.qaad skulls/ --metric emd --effort high
  pcqaad verify scans.qaad meshes/ --metric d2 --metric surface
  pcqaad verify skulls.qaad skulls/ --fail-above 0.5 --report skulls.html
"""
)
@options.file
@click.argument("inputs", metavar="[INPUT...]", nargs=-1, type=options.Given())
@click.option(
    "--metric",
    "metrics",
    type=click.Choice(list(METRICS)),
    multiple=True,
    default=("emkd",),
    help="Metric to measure; may be given several times. emd shows two bounds of the true earth mover's distance. "
    "surface is of decoded points to the originals' faces, and of a file that has meshes both ways between these and "
    "the originals.",
)
@click.option(
    "--cell",
    metavar="POINTS",
    type=options.COUNT,
    default=1024,
    help="Points of a cell of EM-kD; larger is tighter and slower.",
)
@click.option(
    "--effort",
    type=click.Choice(EFFORTS),
    default="normal",
    help="Largest gap between the bounds of emd: 5 % (normal) or 0.5 % (high, slower). Other metrics ignore it.",
)
@click.option(
    "--device",
    type=click.Choice(("cpu", "cuda")),
    default="cpu",
    help="Where EM-kD is matched; cuda needs torch. Other metrics take the CPU.",
)
@click.option("--drop-invalid", is_flag=True, help="The originals were compressed so: leave the same points out.")
@options.trust
@options.threads
@options.json
@click.option("--report", metavar="PAGE.html", type=options.GivenPath(), help="Write a page with a chart too.")
@click.option(
    "--fail-above",
    metavar="PERCENT",
    type=click.FloatRange(min=0),
    help="Exit with 1 when the mean of any metric, for emd its upper bound, is above this, in percent of the diagonal.",
)
@options.quiet
def command(
    file: Path,
    inputs: tuple[str, ...],
    metrics: tuple[str, ...],
    cell: int,
    effort: str,
    device: str,
    json_: bool,
    report: Path | None,
    fail_above: float | None,
    quiet: bool,
    trust: bool,
    drop_invalid: bool,
) -> None:
    """Check a file, and measure its clouds against the originals.

    Every section and every cloud's latents are read and checked. With the originals as INPUT their errors are
    measured. Without INPUT the errors shown are those recorded when the file was made, and when clouds were appended.
    """
    wanted = tuple(dict.fromkeys(metrics))
    if not inputs and wanted != ("emkd",):
        raise click.UsageError("--metric needs INPUT, the originals: files record EM-kD alone")
    if device != "cpu":
        need_torch("--device cuda")
    if report is not None:
        check_output(report, PAGE)
    with watched(quiet=quiet) as monitor, pcqaad.open(file, trust=trust) as collection:
        references = find_clouds(inputs) if inputs else None
        if references is not None and drop_invalid:
            references = dropping(references)
        # Here, not above: scipy takes time to load, and a mistyped path should not have to wait for it.
        from pcqaad.evaluation.verify import verify

        result = verify(collection, references, wanted, cell, effort, device, monitor=monitor)
    if report is not None:
        with atomic_path(report) as temporary:
            temporary.write_text(page(file.name, result), encoding="utf-8", errors="backslashreplace")
    click.echo(as_json(result) if json_ else verified(str(file), result))
    if fail_above is not None:
        _check_limit(result, fail_above, effort)


def _check_limit(result: Mapping[str, Any], limit: float, effort: str) -> None:
    if not result["metrics"]:
        raise CommandError("--fail-above: the file records no fidelity; give the originals as INPUT")
    for metric in metrics_of(result):
        mean = metric.values["mean"]
        if result["diagonal"] == 0 and mean > 0:
            raise CommandError(f"mean {metric.title} is {figure(mean)}, and the clouds have no diagonal")
        # Not `mean > limit`: NaN has to fail as well.
        if metric.values["mean_percent"] <= limit:
            continue
        found = f"mean {metric.title} is {metric.percent} of the diagonal"
        if metric.bracketed and metric.least_percent <= limit:
            advice = "; try --effort high" if effort != "high" else ""
            raise CommandError(f"{found}, not proven to be at most {figure(limit)} %{advice}")
        raise CommandError(f"{found}, above {figure(limit)} %")
