"""The command `pcqaad`: it finds the subcommand, loads it alone, and turns failures into lines and exit codes."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from pcqaad._version import __version__
from pcqaad.cli.errors import one_line_errors

# Kept here so that `pcqaad --help` loads none of the modules.
_COMMANDS = {
    "compress": "Compress a collection of clouds into one .qaad file.",
    "append": "Add clouds to a .qaad file without fitting it anew.",
    "complete": "Complete partial clouds by what a .qaad file knows of their kind.",
    "decompress": "Write the clouds of a .qaad file, all or some.",
    "verify": "Check a .qaad file, and measure its clouds against the originals.",
    "distill": "Find a weighted loss that trains like another one.",
    "info": "Describe a .qaad file without decoding it.",
}

# Key of the context's meta for the arguments as given: `compress` prints them, to be run again.
ARGUMENTS = "pcqaad.arguments"


class _Commands(click.Group):
    """A group whose commands are modules of `commands`, each loaded when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = import_module(f"pcqaad.cli.commands.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        with one_line_errors():
            return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with one_line_errors():
            return super().invoke(ctx)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True},
    epilog="""\b
Examples:
  pcqaad compress skulls/ -o skulls.qaad --unit mm
  pcqaad append skulls.qaad new/
  pcqaad info skulls.qaad
  pcqaad verify skulls.qaad skulls/ --report skulls.html
  pcqaad decompress skulls.qaad -o decoded/ --only 0,5-9
""",
)
@click.version_option(__version__, message="%(prog)s %(version)s", prog_name="pcqaad")
def cli() -> None:
    """A codec for whole collections of point clouds.

    Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line, this process's own where none is given, and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    cli.main(None if arguments is None else list(arguments), prog_name="pcqaad")


if __name__ == "__main__":
    main()
