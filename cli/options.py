"""Options and types of values that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pcqaad.losses.names import parse
from pcqaad.settings import SettingsError


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


# Where decoded or completed clouds go.
target = click.option(
    "-o",
    "--output",
    metavar="TARGET",
    type=click.Path(path_type=Path),
    required=True,
    help="A folder, for one binary PLY file a cloud, or the name of an .npy, .h5 or .hdf5 file for all.",
)
seed = click.option(
    "--seed", metavar="S", type=click.IntRange(min=0), default=0, show_default=True, help="Of all random choices."
)
device = click.option(
    "--device", type=click.Choice(("auto", "cpu", "cuda")), default="auto", show_default=True, help="Where to fit."
)
json = click.option("--json", "json_", is_flag=True, help="Print the result as JSON.")
quiet = click.option("--quiet", is_flag=True, help="Show no progress and no notes.")
