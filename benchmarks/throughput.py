"""Clouds that EM-kD matches in a second, on the CPU and, where there is one, on a GPU.

    python -m benchmarks.throughput [CLOUDS...] [--points 65536 131072] [--count 32] [--seed 0] [--json]

Each cloud is cut into two disjoint random halves, one surface sampled twice. Without inputs two of the example skulls
are. The pairs are repeated up to `--count`.

Wall seconds, everything included: the k-d cells, on all cores, and their assignment. On a GPU the second run is timed,
as the first compiles the kernel. The table also has the solver's operations there, counted: a bid looks at all columns
of its cell, and each look takes 11 operations in float32 (3 subtractions, 5 for the square, a root, and 2 to add the
price and compare). `of peak` is their share of one operation a lane and cycle at the GPU's highest clock. `floor` is
the clouds a second at that peak. The coordinates cross the bus and the memory once, 48 bytes a pair of points there and
8 back, which takes far less.

Ends with status 1 where two devices disagree on a cost by more than the 0.1 % that both prove.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice

import numpy as np

import pcqaad
from benchmarks import common
from pcqaad.evaluation.metrics import CELL
from pcqaad.matching.assign import TOGETHER, Matching, match_many
from pcqaad.matching.kd import paired_cells
from pcqaad.matching.solvers import TOLERANCE
from pcqaad.parallel import in_parallel

Pairs = list[tuple[common.Points, common.Points]]

# Of a look at a column.
OPERATIONS = 11
# Of a multiprocessor, since 2018.
LANES = 128
COLUMNS = {
    "points": "points:,",
    "device": "device",
    "clouds a second": "clouds_per_second:.3g",
    "seconds for 4,096 clouds": "seconds_for_4096:,.0f",
    "cutting, s a cloud": "cutting:.3g",
    "of peak": "of_peak:.1%",
    "floor": "floor:.3g",
}


def on_cpu(pairs: Pairs) -> tuple[list[Matching], common.Figures]:
    """Match on all cores, and time the cutting alone as well."""
    began = time.perf_counter()
    for _ in in_parallel(lambda pair: paired_cells(*pair, CELL), pairs):
        pass
    cut = time.perf_counter() - began
    began = time.perf_counter()
    found = list(match_many(pairs, CELL))
    return found, {"device": "cpu", "seconds": time.perf_counter() - began, "cutting": cut / len(pairs)}


def on_gpu(pairs: Pairs) -> tuple[list[Matching], common.Figures]:
    """Match on the GPU, and count the bids."""
    import torch

    from pcqaad.matching.gpu import auction

    phase = auction._phase_for(torch.device("cuda"))
    bids = []

    def counted(cells: auction.Cells, power: int) -> None:
        before = cells.bids.clone()
        phase(cells, power)
        # A phase ends with a look of every row: no bid, but as dear.
        bids.append((cells.bids - before).sum() + cells.sizes.sum())

    solver = auction.batched("cuda", phase=counted)
    list(match_many(pairs[:1], CELL, solver=solver, together=TOGETHER))
    bids.clear()
    began = time.perf_counter()
    found = list(match_many(pairs, CELL, solver=solver, together=TOGETHER))
    seconds = time.perf_counter() - began
    operations = OPERATIONS * float(torch.stack(bids).double().sum()) * CELL
    gpu = torch.cuda.get_device_properties(0)
    figures = {"device": gpu.name, "seconds": seconds, "operations": operations}
    if peak := gpu.multi_processor_count * LANES * float(getattr(gpu, "clock_rate", 0)) * 1e3:
        figures |= {"of_peak": operations / seconds / peak, "floor": len(pairs) * peak / operations}
    return found, figures


def figures(a: common.Arguments) -> common.Figures:
    import torch

    devices = [on_cpu, on_gpu] if torch.cuda.is_available() else [on_cpu]
    rows = []
    for points in a.points:
        clouds = common.read_clouds(a.clouds, 2 * points, a.seed)
        pairs = list(common.halves(islice(cycle(clouds), a.count), points))
        if any(len(half) == 0 for half, _ in pairs):
            raise pcqaad.SettingsError("expected clouds of at least 2 points, to halve them")
        list(match_many(pairs[:1], CELL))  # compiled once, not timed
        costs = []
        for match in devices:
            found, row = match(pairs)
            costs.append(np.array([matching.cost for matching in found]))
            each = row["seconds"] / len(pairs)
            rates = {"clouds_per_second": 1 / each, "seconds_for_4096": 4096 * each}
            rows.append({"points": len(pairs[0][0]), **row, **rates})
        if not np.allclose(costs, costs[0], TOLERANCE, 0):
            sys.exit(f"{points} points: the devices disagree by {np.max(np.abs(costs[-1] / costs[0] - 1)):.3%}")
    about = {"clouds": a.count, "seed": a.seed, "cores": os.cpu_count(), **common.versions("torch", "numpy")}
    return {**about, "rows": rows}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.options(__spec__.name, __doc__, clouds="*", seeds=0)
    parser.add_argument("--points", type=common.positive, nargs="+", default=[65536, 131072], help="of each half")
    parser.add_argument("--count", type=common.positive, default=32, help="pairs to match [32]")
    common.run(parser, arguments, figures, COLUMNS)


if __name__ == "__main__":
    main()
