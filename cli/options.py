"""Arguments, options and types of values that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pcqaad.errors import SettingsError
from pcqaad.losses.names import parse
from pcqaad.parallel import limit
from pcqaad.settings import CHOICES, MAX_SEED

COUNT = click.IntRange(min=1)
POSITIVE = click.FloatRange(min=0, min_open=True)
SEED = click.IntRange(0, MAX_SEED)


class Loss(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A loss of nearest neighbours, with its parameters or without, or one of other words.

    Args:
        others: these words.
    """

    name = "loss"

    def __init__(self, *others: str) -> None:
        self._others = others

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text as it was, checked."""
        try:
            if value not in self._others:
                parse(value)
        except SettingsError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class Given(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """Text that is not empty. A script's unset variable leaves an empty one, which would mean the current folder."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text."""
        if value == "":
            self.fail("expected a path, found an empty one", param, ctx)
        return value


class GivenPath(Given):
    """The same as a path."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path."""
        return Path(super().convert(value, param, ctx))


def _limit(ctx: click.Context, parameter: click.Parameter, value: int | None) -> None:
    """Limit the command's threads until it ends."""
    ctx.with_resource(limit(value))


file = click.argument("file", metavar="FILE.qaad", type=GivenPath())
# Where decoded or completed clouds go.
target = click.option(
    "-o",
    "--output",
    metavar="TARGET",
    type=GivenPath(),
    required=True,
    help="A folder, for one binary PLY file a cloud, or an .npy, .h5 or .hdf5 file for all clouds.",
)
overwrite = click.option("--overwrite", is_flag=True, help="Replace files that are there.")
trust = click.option(
    "--trust",
    is_flag=True,
    help="You trust who made the file: it may ask for any number of points and any time, and clouds have any name.",
)
drop_invalid = click.option(
    "--drop-invalid",
    is_flag=True,
    help="Leave out points that are not finite, and files that cannot be read, with a line for each.",
)
seed = click.option("--seed", metavar="S", type=SEED, default=0, help="Seed of all random choices.")
device = click.option("--device", type=click.Choice(CHOICES["device"]), default="auto", help="Where to fit.")
threads = click.option(
    "--threads", metavar="N", type=COUNT, expose_value=False, callback=_limit, help="Threads at most [one a core]."
)
json = click.option("--json", "json_", is_flag=True, help="Print the result as JSON.")
quiet = click.option("--quiet", is_flag=True, help="Show no progress and no notes.")
