"""What all benchmarks share: options, inputs, signs of life, figures over seeds, and tables.

A benchmark names its options, a function that measures and returns JSON-able figures, and the columns of its table.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pcqaad
from examples import skulls
from pcqaad.evaluation.metrics import Errors, measure, percent
from pcqaad.formats.clouds.find import LazyClouds, find_clouds

Points = NDArray[np.floating]
Arguments = argparse.Namespace
Figures = dict[str, Any]
# A mean over seeds and the standard deviation, None of a single seed.
Spread = tuple[float, float | None]

# Median diagonal of a set's clouds in normalised coordinates.
DIAGONAL = 4.0
# Seconds from one sign of life to the next where no terminal shows them.
_SELDOM = 30.0
_told = -_SELDOM


# The command line.


def options(
    module: str, description: str | None, clouds: str = "", seeds: int | None = None
) -> argparse.ArgumentParser:
    """Return a parser whose help is a module's docstring.

    Args:
        module: its name, for the usage.
        description: its docstring.
        clouds: how many inputs it takes, as argparse writes that; none where empty.
        seeds: how many seeds it takes where not told; 0 where never more than one, None where it draws nothing.
    """
    parser = argparse.ArgumentParser(
        f"python -m {module}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if clouds:
        parser.add_argument("clouds", nargs=clouds, metavar="CLOUDS", help="anything that `pcqaad compress` takes")
    if seeds is not None:
        parser.add_argument("--seed", type=natural, default=0, help="the first seed [0]")
    if seeds:
        parser.add_argument("--seeds", type=positive, default=seeds, help=f"counted up from the first [{seeds}]")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser


def natural(text: str, least: int = 0) -> int:
    """Read an option: a number of things that may be none."""
    if (value := int(text)) < least:
        raise argparse.ArgumentTypeError(f"expected at least {least}, found {value}")
    return value


def positive(text: str) -> int:
    """Read an option: a number of things, one at least."""
    return natural(text, 1)


def seeds(a: Arguments) -> range:
    """Return the seeds that were asked for."""
    return range(a.seed, a.seed + a.seeds)


def run(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    figures: Callable[[Arguments], Any],
    text: Callable[[Any], str] | Mapping[str, str],
) -> None:
    """Measure what the arguments ask for, and print it as `text` writes it, or as a report of such columns.

    A bad input or choice ends in one line and status 2.
    """
    a = parser.parse_args(arguments)
    try:
        found = figures(a)
    except pcqaad.Error as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        sys.exit("\ninterrupted")
    tell("")
    if a.json:
        print(json.dumps(found, indent=2))
    else:
        print(text(found) if callable(text) else report(found, text))


def tell(text: str) -> None:
    """Give a sign of life: on a terminal over the one before, elsewhere in a line now and then."""
    global _told
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)
    elif text and time.monotonic() - _told > _SELDOM:
        _told = time.monotonic()
        print(text, file=sys.stderr, flush=True)


# Clouds.


def read_clouds(inputs: Sequence[str], points: int, seed: int, most: int | None = None) -> list[Points]:
    """Return the inputs' first clouds in float64, or without any inputs two example skulls of some points."""
    clouds = LazyClouds(find_clouds(inputs)[:most]) if inputs else skulls.population(2, points, seed)
    return [cloud.astype(np.float64) for cloud in clouds]


def halves(clouds: Iterable[Points], most: int | None = None) -> Iterator[tuple[Points, Points]]:
    """Cut each cloud into two disjoint random halves of equal size, of `most` points at most."""
    for i, cloud in enumerate(clouds):
        half = min(len(cloud) // 2, most or len(cloud))
        drawn = np.random.default_rng(i).permutation(cloud)[: 2 * half]
        yield drawn[::2], drawn[1::2]


def sampling_floor(clouds: Iterable[Points], diagonal: float) -> float:
    """Return EM-kD between the halves of a cloud in percent of the diagonal: what a second scan would score."""
    return percent(mean(measure(halves(clouds))["emkd"]), diagonal)


# Figures.


def mean(errors: Sequence[Errors]) -> float:
    """Return the mean over clouds of their mean errors."""
    return float(np.mean([error.mean for error in errors]))


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of packages."""
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def spread(values: Sequence[float]) -> Spread:
    """Return the mean and the sample standard deviation of the seeds' values."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def over_seeds(runs: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """Return the spread of every figure over the runs of a row, one for each seed."""
    return {key: spread([run[key] for run in runs]) for key in runs[0]}


# Text.


def cell(value: Any, form: str = "") -> str:
    """Write a figure, or a mean and its deviation where it has one; nothing for None."""
    parts = value if isinstance(value, (tuple, list)) else [value]
    return " ± ".join(format(part, form) for part in parts if part is not None)


def summary(found: Figures) -> str:
    """Write the figures that are no rows: what was measured, where, and with what."""

    def word(value: Any) -> str:
        if isinstance(value, list):
            return " ".join(map(word, value))
        return cell(value, {int: ",", float: ".4g"}.get(type(value), ""))

    def plain(value: Any) -> bool:
        return all(map(plain, value)) if isinstance(value, list) else isinstance(value, (str, int, float))

    return ", ".join(f"{key.replace('_', ' ')} {word(value)}" for key, value in found.items() if plain(value))


def report(found: Figures, columns: Mapping[str, str], rows: Sequence[Figures] | None = None) -> str:
    """Write a summary, and rows as a table in Markdown of the columns that any row has.

    Args:
        found: what the summary is of.
        columns: by their heads, the key of a figure, and its format behind a colon.
        rows: those of `found` where None: a list, or a dict of rows by their `name`.
    """
    of = found["rows"] if rows is None else rows
    rows = [{"name": name, **row} for name, row in of.items()] if isinstance(of, dict) else of
    lines, forms = [[]] * (2 + len(rows)), []
    for head, column in columns.items():
        key, _, form = column.partition(":")
        values = [row[key] for row in rows if row.get(key) is not None]
        if not values:
            continue
        cells = [head, "", *(cell(row.get(key), form) for row in rows)]
        width, text = max(3, *map(len, cells)), isinstance(values[0], str)
        cells[1] = "-" * width if text else "-" * (width - 1) + ":"
        lines = [[*line, one] for line, one in zip(lines, cells, strict=True)]
        forms.append(f"{'<' if text else '>'}{width}")
    return "\n".join([summary(found), "", *(f"| {' | '.join(map(format, line, forms))} |" for line in lines)])
