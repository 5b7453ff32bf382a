"""`pcqaad info`: what a file says of itself."""

from __future__ import annotations

from pathlib import Path

import click

import pcqaad
from pcqaad.cli import options
from pcqaad.cli.errors import printable
from pcqaad.cli.show.summary import described
from pcqaad.cli.show.text import as_json


@click.command(
    epilog="""\b
Examples:
  pcqaad info skulls.qaad
  pcqaad info skulls.qaad --json
  pcqaad info skulls.qaad --names
"""
)
@click.argument("file", metavar="FILE.qaad", type=options.GivenPath())
@click.option("--json", "json_", is_flag=True, help="Print the same as JSON.")
@click.option("--names", is_flag=True, help="Print the clouds' names instead, one a line.")
def command(file: Path, json_: bool, names: bool) -> None:
    """Describe a file: sizes, where the bytes went, errors, settings. No cloud is decoded."""
    if names and json_:
        raise click.UsageError("expected --names or --json, found both")
    with pcqaad.open(file) as collection:
        if names:
            click.echo("\n".join(printable(name) for name in collection.names))
        else:
            click.echo(as_json(collection.info) if json_ else described(collection.info))
