"""Options and types of values that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pcqaad.errors import SettingsError
from pcqaad.losses.names import parse
from pcqaad.settings import MAX_SEED


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
    """Text that is not empty: what a script's unset variable leaves would stand for the folder it runs in."""

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


# Where decoded or completed clouds go.
target = click.option(
    "-o",
    "--output",
    metavar="TARGET",
    type=GivenPath(),
    required=True,
    help="A folder, for one binary PLY file a cloud, or the name of an .npy, .h5 or .hdf5 file for all.",
)
overwrite = click.option("--overwrite", is_flag=True, help="Replace files of the clouds' names that are there.")
seed = click.option(
    "--seed",
    metavar="S",
    type=click.IntRange(0, MAX_SEED),
    default=0,
    show_default=True,
    help="Of all random choices.",
)
device = click.option(
    "--device", type=click.Choice(("auto", "cpu", "cuda")), default="auto", show_default=True, help="Where to fit."
)
json = click.option("--json", "json_", is_flag=True, help="Print the result as JSON.")
quiet = click.option("--quiet", is_flag=True, help="Show no progress and no notes.")
