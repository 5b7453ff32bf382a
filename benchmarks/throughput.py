"""Clouds that EM-kD matches in a second, on the CPU and, where there is one, on a GPU.

    python benchmarks/throughput.py [CLOUD...] [--points 65536 131072] [--clouds 32] [--seed 0] [--json]

CLOUD is any file or folder that `pcqaad compress` takes: each is cut into two disjoint random halves, one
surface sampled twice. Without one, two of the example skulls are. The pairs are repeated up to `--clouds`.

Wall seconds, everything included: the k-d cells, on all cores, and their assignment. On a GPU (the second run
is timed: the first compiles the kernel) the table also has what the solver did there, counted: a bid looks at
all columns of its cell, and each look takes 11 operations in float32 (3 subtractions, 5 for the square, a
root, and 2 to add the price and compare). `of peak` is the share of what the GPU's lanes could do at their
highest clock, one operation a lane and cycle; the same count makes the floor. The coordinates cross the bus
and the memory once, which takes far less: 48 bytes a pair of points there, 8 back.

Ends with status 1 if two devices disagree on a cost by more than the 0.1 % both prove.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
from assignment import example_skulls

from pcqaad.evaluation.metrics import CELL
from pcqaad.formats.clouds.find import find_clouds
from pcqaad.formats.errors import FormatError
from pcqaad.matching.assign import TOGETHER, Matching, match_many
from pcqaad.matching.kd import paired_cells
from pcqaad.matching.solvers import TOLERANCE
from pcqaad.parallel import in_parallel

Points = NDArray[np.float64]
OPERATIONS, LANES = 11, 128  # of a look at a column; of a multiprocessor, since 2018


def halves(clouds: Sequence[Points], points: int, count: int, seed: int) -> Iterator[tuple[Points, Points]]:
    """Cut clouds into disjoint random halves of up to `points` points, again and again."""
    for i, cloud in enumerate(islice(cycle(clouds), count)):
        order = np.random.default_rng([seed, i]).permutation(len(cloud))
        half = min(points, len(cloud) // 2)
        yield cloud[order[:half]], cloud[order[half : 2 * half]]


def on_cpu(pairs: Sequence[tuple[Points, Points]]) -> tuple[list[Matching], dict[str, Any]]:
    """Match on all cores, and time the cutting alone as well."""
    began = time.perf_counter()
    for _ in in_parallel(lambda pair: paired_cells(*pair, CELL), pairs):
        pass
    cut = time.perf_counter() - began
    began = time.perf_counter()
    found = list(match_many(pairs, CELL))
    return found, {"device": "cpu", "seconds": time.perf_counter() - began, "cutting": cut}


def on_gpu(pairs: Sequence[tuple[Points, Points]]) -> tuple[list[Matching], dict[str, Any]]:
    """Match on the GPU, and count the bids."""
    import torch

    from pcqaad.matching.gpu import auction as batched

    phase = batched._phase_for(torch.device("cuda"))
    bids = []

    def counted(cells: batched.Cells, power: int) -> None:
        before = cells.bids.clone()
        phase(cells, power)
        # A phase ends with a look of every row, which is no bid but costs as much.
        bids.append((cells.bids - before).sum() + cells.sizes.sum())

    solver = batched.batched("cuda", phase=counted)
    list(match_many(pairs[:1], CELL, solver=solver, together=TOGETHER))
    bids.clear()
    began = time.perf_counter()
    found = list(match_many(pairs, CELL, solver=solver, together=TOGETHER))
    seconds = time.perf_counter() - began
    looks = float(torch.stack(bids).double().sum()) * CELL
    gpu = torch.cuda.get_device_properties(0)
    peak = gpu.multi_processor_count * LANES * float(getattr(gpu, "clock_rate", 0)) * 1e3
    return found, {
        "device": gpu.name,
        "seconds": seconds,
        "operations": OPERATIONS * looks,
        "of_peak": OPERATIONS * looks / seconds / peak if peak else None,
        "floor_clouds_per_second": len(pairs) * peak / (OPERATIONS * looks) if peak else None,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clouds_", nargs="*", metavar="CLOUD")
    parser.add_argument("--points", type=int, nargs="+", default=[65536, 131072])
    parser.add_argument("--clouds", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args(arguments)
    if min(a.points) < 1 or a.clouds < 1 or a.seed < 0:
        parser.error("expected at least 1 point, 1 cloud and a seed of at least 0")
    try:
        given = [source.read().points.astype(np.float64) for source in find_clouds(a.clouds_)] if a.clouds_ else None
    except FormatError as error:
        parser.error(str(error))
    import torch

    devices = [on_cpu, on_gpu] if torch.cuda.is_available() else [on_cpu]
    rows: list[dict[str, Any]] = []
    for points in a.points:
        clouds = given or example_skulls(2 * points, a.seed)
        pairs = list(halves(clouds, points, a.clouds, a.seed))
        list(match_many(pairs[:1], CELL))  # compiled once, not timed
        costs = []
        for run in devices:
            found, row = run(pairs)
            costs.append(np.array([matching.cost for matching in found]))
            size = len(pairs[0][0])
            rows.append({"points": size, "clouds_per_second": len(pairs) / row["seconds"], **row})
        if not all(np.allclose(cost, costs[0], TOLERANCE, 0) for cost in costs):
            sys.exit(f"{points} points: the devices disagree by {np.max(np.abs(costs[-1] / costs[0] - 1)):.3%}")
    about = {"clouds": a.clouds, "seed": a.seed, "cores": os.cpu_count(), "python": platform.python_version()}
    about |= {"torch": torch.__version__, "numpy": np.__version__}
    if a.json:
        print(json.dumps({**about, "rows": rows}, indent=2))
        return
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    print("\n| points | device | clouds a second | seconds for 4,096 clouds | cutting, s a cloud | of peak | floor |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    for row in rows:
        cut = f"{row['cutting'] / a.clouds:.3g}" if "cutting" in row else "-"
        peak = f"{row['of_peak']:.1%}" if row.get("of_peak") else "-"
        floor = f"{row['floor_clouds_per_second']:.3g}" if row.get("floor_clouds_per_second") else "-"
        rate = row["clouds_per_second"]
        print(f"| {row['points']:,} | {row['device']} | {rate:.3g} | {4096 / rate:,.0f} | {cut} | {peak} | {floor} |")


if __name__ == "__main__":
    main()
