"""Several seeds in one run: the options of every benchmark that has one, and means and deviations of what they give."""

import argparse
from collections.abc import Sequence

import numpy as np

Spread = tuple[float, float | None]


def add_seeds(parser: argparse.ArgumentParser, count: int = 1) -> None:
    """Add `--seed` and `--seeds`."""
    parser.add_argument("--seed", type=int, default=0, help="the first [0]")
    parser.add_argument("--seeds", type=int, default=count, help=f"how many, counted up from the first [{count}]")


def seeds(a: argparse.Namespace) -> range:
    """Return the seeds that were asked for: one at least."""
    return range(a.seed, a.seed + max(a.seeds, 1))


def named(a: argparse.Namespace) -> str:
    """Return the seeds in words."""
    first, *more = seeds(a)
    return f"seeds {first} to {more[-1]}" if more else f"seed {first}"


def spread(values: Sequence[float]) -> Spread:
    """Return the mean and the sample standard deviation of the seeds' values: None of a single one."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def number(found: Spread, digits: int, width: int = 0) -> str:
    """Return a mean, and its deviation where it has one."""
    mean, deviation = found
    text = f"{mean:.{digits}f}" if deviation is None else f"{mean:.{digits}f} ± {deviation:.{digits}f}"
    return f"{text:>{width}}"
