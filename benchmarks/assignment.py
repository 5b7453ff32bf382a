"""What each matcher takes, what its bijection costs and what it proves, beside SciPy's exact solver.

    python -m benchmarks.assignment [CLOUDS...] [--points 65536] [--seed 0] [--cells N] [--json]

The first two clouds of the inputs, or two of the example skulls, make four pairs. The two clouds of a pair have equally
many points, in random order:

    R   the same surface sampled twice: two disjoint random halves of the first cloud
    D   the same points, on one side smoothly deformed, by 3 % of the diagonal at most
    N   the same points, on one side with Gaussian noise of 0.5 % of the diagonal along each axis
    V   two different clouds

A cost is the summed distance of a bijection of the whole pair. OPT is a lower bound of it: all points are matched at a
tolerance of 0.05 %, and prices prove that no bijection costs less. So no true ratio is above the one printed. Times are
CPU seconds of one thread, without compilation, the best of three where short.

SciPy solves N cells of 1,024 drawn at random. Its time is scaled from these to all, with the standard error. Its cost
of all lies between what the certificates of `certified` prove and what `certified` finds.

Ends with status 1 where an assignment is no permutation, or costs a drawn cell 0.1 % more than SciPy's does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

import pcqaad
from benchmarks import common
from pcqaad.evaluation.metrics import CELL, EFFORTS, percent
from pcqaad.matching import solvers
from pcqaad.matching.assign import GREEDY_CELL, Matching, match_all, match_cells, refine_many
from pcqaad.matching.fan2017 import fan2017_auction
from pcqaad.matching.kd import paired_cells
from pcqaad.points.collect import diagonal

Points = NDArray[np.float64]
Result = TypeVar("Result")

# Of the matching that proves OPT.
OPT_TOLERANCE = 0.0005
# Of a cell's cost by `certified` over SciPy's.
MOST_EXCESS = 1e-3
# Seconds: what takes less is repeated.
SHORT = 2.0
# The longest displacement of D, as a part of the diagonal.
DEFORMED = 0.03
# The sines that it is made of.
WAVES = 4
# Standard deviation of N along an axis, as a part of the diagonal.
NOISE = 0.005
COLUMNS = {
    "matcher": "matcher",
    "CPU seconds": "seconds:.3g",
    "speed, SciPy = 1": "speed:.3g",
    "cost : OPT": "ends",
    "proven: cost / lower bound - 1": "proven:.3%",
    "of": "among",
}


@dataclass(frozen=True)
class Pair:
    """Two clouds (n, 3), and what they are to each other."""

    key: str
    title: str
    a: Points
    b: Points


@dataclass(frozen=True)
class Row:
    """One matcher on one pair.

    Attributes:
        matcher: its name.
        seconds: CPU time.
        cost: two ends between which the summed distance lies; equal where it was measured.
        proven: cost / lower bound - 1, the matcher's own certificate; None where it proves nothing of distances.
        among: the bijections that the certificate speaks of: all, or those that keep to the cells.
        error: standard error of the seconds, where they are scaled from a sample.
    """

    matcher: str
    seconds: float
    cost: tuple[float, float]
    proven: float | None = None
    among: str | None = None
    error: float | None = None


@dataclass(frozen=True)
class Sample:
    """The N drawn of all cells of 1,024: `seconds` and `costs` (2, N), of SciPy and of `certified`."""

    cells: int
    cut: float  # seconds that cutting all cells took
    seconds: NDArray[np.float64]
    costs: NDArray[np.float64]

    def whole(self) -> tuple[float, float | None]:
        """Return SciPy's seconds for the whole pair, and their standard error where cells were left out."""
        seconds = self.seconds[0]
        deviation = float(seconds.std(ddof=1)) if len(seconds) > 1 else 0.0
        error = self.cells * deviation * (1 / len(seconds) - 1 / self.cells) ** 0.5
        return self.cut + self.cells * float(seconds.mean()), error or None

    def excess(self) -> float:
        """Return how far `certified` lies above SciPy's cost, as a part of it, in the worst drawn cell."""
        exact, ours = self.costs
        return float(np.max((ours - exact) / np.where(exact > 0, exact, 1)))


# The pairs.


def deform(x: Points, rng: np.random.Generator) -> Points:
    """Move points (n, 3) by a sum of sines with half a period to two on a way as long as the diagonal."""
    size = diagonal([x])
    directions = rng.standard_normal((WAVES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    waves = 2 * np.pi / size * rng.uniform(0.5, 2, (WAVES, 1)) * directions
    moved = np.sin(x @ waves.T + rng.uniform(0, 2 * np.pi, WAVES)) @ rng.standard_normal((WAVES, 3))
    longest = float(np.linalg.norm(moved, axis=1).max())
    deformed: Points = x + moved * (DEFORMED * size / longest)
    return deformed


def make_pairs(clouds: Sequence[Points], points: int, seed: int) -> Iterator[Pair]:
    """Make the pairs, of `points` points each where the clouds hold them; V only of two clouds."""
    rng = np.random.default_rng(seed)
    first = rng.permutation(clouds[0])
    half, x = min(points, len(first) // 2), first[:points]
    yield Pair("R", "the same surface sampled twice", first[:half], first[half : 2 * half])
    yield Pair("D", "the same points, deformed", x, rng.permutation(deform(x, rng)))
    noisy = x + NOISE * diagonal([x]) * rng.standard_normal(x.shape)
    yield Pair("N", "the same points with noise", x, rng.permutation(noisy))
    if len(clouds) > 1:
        n = min(len(x), len(clouds[1]))
        yield Pair("V", "two different clouds", x[:n], rng.permutation(clouds[1])[:n])


# The measurements.


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Return what work returns and its CPU seconds: those of the wall are shared with others."""
    least = np.inf
    for _ in range(3):
        began = time.process_time()
        result = work()
        least = min(least, time.process_time() - began)
        if least > SHORT:
            break
    return result, least


def cost_of(matcher: str, a: Points, b: Points, assignment: NDArray[np.int64]) -> float:
    """Return the summed distance of a bijection; ends the run with status 1 if it is none."""
    if not np.array_equal(np.sort(assignment), np.arange(len(a))):
        sys.exit(f"{matcher}: the assignment of {len(a)} points is not a permutation")
    return float(np.linalg.norm(a - b[assignment], axis=1).sum())


def draw_cells(pair: Pair, count: int, rng: np.random.Generator) -> Sample:
    """Solve up to `count` random cells of 1,024 by SciPy and by `certified`."""
    (order_a, order_b, bounds), cut = timed(lambda: paired_cells(pair.a, pair.b, CELL))
    drawn = rng.choice(len(bounds) - 1, min(count, len(bounds) - 1), replace=False)
    seconds, costs = np.empty((2, 2, len(drawn)))
    for i, cell in enumerate(drawn):
        rows = slice(bounds[cell], bounds[cell + 1])
        a, b = pair.a[order_a[rows]], pair.b[order_b[rows]]
        for k, solver in enumerate((solvers.exact, solvers.certified)):
            found, seconds[k, i] = timed(partial(solver, a, b, np.array([0, len(a)]), 1, 1))
            costs[k, i] = cost_of(f"{pair.key}: cell {cell}", a, b, found.columns)
    return Sample(len(bounds) - 1, cut, seconds, costs)


def run(pair: Pair, matcher: str, among: str, work: Callable[[], Matching]) -> tuple[Row, Matching]:
    """Time one matcher and check what it returns."""
    common.tell(f"{pair.key}: {matcher}")
    matching, seconds = timed(work)
    cost = cost_of(f"{pair.key}: {matcher}", pair.a, pair.b, matching.assignment)
    # Summed in another order, an optimum can come out below its certificate.
    proven = max(cost / matching.lower_bound - 1, 0.0) if matching.lower_bound > 0 else None
    return Row(matcher, seconds, (cost, cost), proven, among), matching


def refined(pair: Pair, seed: int) -> Iterator[Row]:
    """QAAD_GREEDY and passes of `refine` on it, seconds added up: all of them lower the squared distances."""
    a, b = pair.a, pair.b
    name = f"cells of {GREEDY_CELL}, squared distance"
    row, matching = run(pair, name, "cells", lambda: match_cells(a, b, GREEDY_CELL, power=2, workers=1))
    yield replace(row, proven=None, among=None)
    assignment, seconds = matching.assignment, row.seconds
    for turn in (1, 2):
        common.tell(f"{pair.key}: refine {turn}")

        def improve(targets: Points = b[assignment], turn: int = turn) -> NDArray[np.int64]:
            # The generator begins anew, so a repetition does the same.
            return refine_many([(a, targets)], [np.random.default_rng([seed, turn])], workers=1)[0]

        permutation, more = timed(improve)
        assignment, seconds = assignment[permutation], seconds + more
        cost = cost_of(f"{pair.key}: refine {turn}", a, b, assignment)
        yield Row(f"{name}, `refine` x {turn}", seconds, (cost, cost))


def judge(pair: Pair, count: int, seed: int) -> tuple[list[Row], Sample, float]:
    """Measure every matcher on a pair: the rows, SciPy's first, the drawn cells, and OPT."""

    def in_cells(name: str, cell: int, solver: solvers.Solver = solvers.certified) -> tuple[Row, Matching]:
        return run(pair, name, "cells", lambda: match_cells(pair.a, pair.b, cell, solver=solver, workers=1))

    def at_once(name: str, tolerance: float) -> tuple[Row, Matching]:
        return run(pair, f"all points{name}, {tolerance}", "all", lambda: match_all(pair.a, pair.b, tolerance))

    common.tell(f"{pair.key}: SciPy")
    sample = draw_cells(pair, count, np.random.default_rng([seed, 0]))
    emkd, matching = in_cells(f"`certified`, cells of {CELL:,} (EM-kD)", CELL)
    seconds, error = sample.whole()
    known = float(sample.costs[0].sum())
    cost = (known, known) if sample.costs.shape[1] == sample.cells else (matching.lower_bound, emkd.cost[1])
    rows = [Row(f"SciPy, cells of {CELL:,}", seconds, cost, 0.0, "cells", error)]
    rows.append(in_cells(f"the paper's auction, cells of {CELL:,}", CELL, fan2017_auction)[0])
    rows += [emkd, *(in_cells(f"`certified`, cells of {cell}", cell)[0] for cell in (256, 128))]
    rows += refined(pair, seed)
    rows.append(in_cells("k-d splits down to one point", 1)[0])
    rows += [at_once(f" (`emd`, {effort})", tolerance)[0] for effort, tolerance in EFFORTS.items()]
    last, best = at_once(" (for OPT)", OPT_TOLERANCE)
    return [*rows, last], sample, best.lower_bound


def of_pair(pair: Pair, count: int, seed: int) -> common.Figures:
    """Return a pair's figures; costs in the data's unit. Ends the run where a cell of `certified` costs too much."""
    rows, sample, opt = judge(pair, count, seed)
    if not sample.excess() < MOST_EXCESS:
        sys.exit(f"{pair.key}: a cell of `certified` costs {sample.excess():.4%} more than SciPy's")
    ratios = [[cost / opt if opt > 0 else None for cost in row.cost] for row in rows]
    return {
        "pair": pair.title,
        "points": len(pair.a),
        "opt_at_least": opt,
        "opt_mean_percent": percent(opt / len(pair.a), diagonal([pair.a])),
        "rows": [
            {**asdict(row), "speed": rows[0].seconds / row.seconds, "cost_to_opt": ends}
            for row, ends in zip(rows, ratios, strict=True)
        ],
        "cells": sample.cells,
        "drawn": sample.costs.shape[1],
        **dict(zip(("scipy_ms", "certified_ms"), (1e3 * sample.seconds.mean(1)).tolist(), strict=True)),
        "largest_excess": sample.excess(),
    }


def figures(a: common.Arguments) -> common.Figures:
    clouds = common.read_clouds(a.clouds, 2 * a.points, a.seed, most=2)
    if len(clouds[0]) < 2 or diagonal(clouds[:1]) == 0:
        raise pcqaad.CloudError("the first cloud: expected at least 2 points that differ")
    common.tell("compile")
    tiny = np.random.default_rng(0).random((2, 64, 3))
    judge(Pair("", "", *tiny), 1, 0)
    pairs = {pair.key: of_pair(pair, a.cells, a.seed) for pair in make_pairs(clouds, a.points, a.seed)}
    return {"seed": a.seed, **common.versions("numpy", "scipy", "numba"), "pairs": pairs}


def of_one(key: str, pair: common.Figures) -> str:
    """Write a pair's figures."""
    rows = []
    for row in pair["rows"]:
        # One figure where both ends round to it.
        ends = dict.fromkeys("-" if ratio is None else f"{ratio:.4f}" for ratio in row["cost_to_opt"])
        rows.append({**row, "seconds": (row["seconds"], row["error"]), "ends": " to ".join(ends)})
    about = (
        f"OPT is at least {pair['opt_mean_percent']:.4f} % of the diagonal a point. In {pair['drawn']} of "
        f"{pair['cells']} cells of {CELL:,}: SciPy {pair['scipy_ms']:.1f} ms a cell, `certified` "
        f"{pair['certified_ms']:.1f} ms, its cost above SciPy's by {pair['largest_excess']:.4%} at most."
    )
    return f"### {key}: {pair['pair']}, {pair['points']:,} points{common.report({}, COLUMNS, rows)}\n\n{about}"


def text(found: common.Figures) -> str:
    return "\n\n".join([common.summary(found), *(of_one(key, pair) for key, pair in found["pairs"].items())])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.options(__spec__.name, __doc__, clouds="*", seeds=0)
    parser.add_argument("--points", type=common.positive, default=65536, help="points of each cloud of a pair [65536]")
    parser.add_argument("--cells", type=common.positive, default=8, help="cells that SciPy solves [8]")
    common.run(parser, arguments, figures, text)


if __name__ == "__main__":
    main()
