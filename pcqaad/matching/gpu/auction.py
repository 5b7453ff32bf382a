"""The auction for all cells at once, in torch: for a GPU, where one cell would leave it idle.

The phases, prices and proofs are those of `pcqaad.matching.cpu.auction`, without its tree: the rows of a cell bid
a few at a time, against all columns. On CUDA a phase is one Triton kernel, a block of threads a cell
(`pcqaad.matching.gpu.triton_kernel`); elsewhere, and without Triton, it is rounds of plain torch operations.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pcqaad.matching.cpu.schedule import SCHEDULE, SINGLE, SUM_ROUNDING
from pcqaad.matching.gpu.cells import NOWHERE, Cells, Phase
from pcqaad.matching.solvers import TOLERANCE, Indices, Points, Solution, Solver, certified, solve_again

# Rows of a cell that bid at once. More would bid against each other; fewer would leave the GPU idle.
_BIDDERS = 16
# Points of a batch, at most.
_BATCH_POINTS = 1 << 23
# Costs that plain torch computes at once, at most.
_BATCH_COSTS = 1 << 26
# Points of a cell, at most. A cloud has too few larger cells to keep a GPU busy: `certified` and its tree take them.
_LARGEST_CELL = 1 << 13


def batched(device: torch.device | str, *, tolerance: float = TOLERANCE, phase: Phase | None = None) -> Solver:
    """Return a solver that works on all cells at once on a device, cuda or any other that torch knows.

    As with `certified`, each cell's cost is proven to lie within `tolerance` of the optimum. Cells for which float32
    cannot prove it go to `certified` itself. `phase` runs a phase: by default the Triton kernel on CUDA, plain torch
    elsewhere.
    """
    where = torch.device(device)
    run_phase = phase or _phase_for(where)

    def solve(a: Points, b: Points, bounds: Indices, power: int, workers: int | None = None) -> Solution:
        by_tree = partial(certified, power=power, workers=workers, tolerance=tolerance)
        bounds = np.asarray(bounds, np.int64)
        sizes = np.diff(bounds)
        if sizes.max() > _LARGEST_CELL:
            return by_tree(a, b, bounds)
        together = max(1, _BATCH_POINTS // int(sizes.max()))
        batches = (bounds[low : low + together + 1] for low in range(0, len(sizes), together))
        found = [_solve_batch(where, tolerance, run_phase, a, b, batch, power) for batch in batches]
        *solution, proven = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return solve_again(Solution(*solution), np.flatnonzero(~proven), a, b, bounds, by_tree)

    return solve


def _phase_for(device: torch.device) -> Phase:
    with suppress(ImportError):  # Triton comes with torch on Linux alone.
        if device.type == "cuda":
            from pcqaad.matching.gpu.triton_kernel import kernel_phase

            return kernel_phase
    return torch_phase


def _solve_batch(
    device: torch.device, tolerance: float, phase: Phase, a: Points, b: Points, bounds: Indices, power: int
) -> tuple[NDArray[Any], ...]:
    """Solve cells that fit on the device together: columns, costs, lower bounds, and which cells are proven."""
    low, high = bounds[0], bounds[-1]
    sizes = torch.from_numpy(np.diff(bounds)).to(device)
    first = torch.from_numpy(bounds[:-1] - low).to(device)
    # The next power of two, as a kernel needs it.
    slot = torch.arange(1 << max(int(sizes.max()) - 1, 1).bit_length(), device=device)
    used = slot < sizes[:, None]  # (C, S)
    # The padding repeats a cell's last point, which changes no box.
    index = first[:, None] + torch.minimum(slot, sizes[:, None] - 1)
    # (C, S, 3), float64
    original = [torch.from_numpy(np.asarray(c[low:high], np.float64)).to(device)[index] for c in (a, b)]
    x, y = (c - original[0][:, :1] for c in original)
    apart = torch.zeros(len(x), dtype=torch.float64, device=device)
    if power == 2:
        # See the CPU's: the part that no permutation changes is left out, as far as its sums can be trusted.
        shift = ((x - y) * used[..., None]).sum(1) / sizes[:, None]
        off = SUM_ROUNDING * ((x.abs() + y.abs()) * used[..., None]).sum(1)
        y = y + shift[:, None]
        apart = (shift.abs() * (shift.abs() - 2 * off)).sum(1) * sizes
    corner = torch.minimum(x.amin(1), y.amin(1))
    side = (torch.maximum(x.amax(1), y.amax(1)) - corner).amax(1)
    side = torch.where(side > 0, side, torch.ones_like(side))
    x, y = ((c - corner[:, None]) / side[:, None, None] for c in (x, y))

    columns, bound = _auction(x, y, sizes, used, power, tolerance * SCHEDULE.share, phase)
    proven = ~bound.isnan()
    columns = torch.where(proven[:, None], columns, slot)
    partner = torch.gather(original[1], 1, columns[..., None].expand(-1, -1, 3))
    squared = (original[0] - partner).square().sum(2)
    costs = ((squared if power == 2 else squared.sqrt()) * used).sum(1)
    lower_bounds = (bound.clamp(min=0) * side**power * (1 - SCHEDULE.margin) + apart).clamp(min=0)
    lower_bounds = torch.minimum(torch.where(proven, lower_bounds, torch.zeros_like(lower_bounds)), costs)
    proven &= costs - lower_bounds <= tolerance * costs
    found = (first[:, None] + columns)[used] + int(low)
    return tuple(c.cpu().numpy() for c in (found, costs, lower_bounds, proven))


def _auction(
    x: Tensor, y: Tensor, sizes: Tensor, used: Tensor, power: int, tolerance: float, phase: Phase
) -> tuple[Tensor, Tensor]:
    """Assign the first `sizes` rows of x to as many columns of y: (C, S, 3), float64 in boxes of side 1.

    Returns the columns (C, S), and the bound (C,) in float64: NaN where the tolerance could not be proven.
    """
    count, slots, _ = x.shape
    rows, columns = (c.to(torch.float32).transpose(1, 2).contiguous() for c in (x, y))
    own = torch.arange(slots, dtype=torch.int32, device=x.device).expand(count, slots)
    prices = torch.where(used, 0.0, NOWHERE).float()
    bids = torch.zeros(count, dtype=torch.int32, device=x.device)
    least, eps, stuck = torch.zeros_like(prices), bids.float(), bids.bool()
    # Nobody bids in the first call, which finds the nearest columns.
    cells = Cells(rows, columns, sizes.int(), prices, own.clone(), own.clone(), least, eps, stuck, bids)
    phase(cells, power)
    nearest = (cells.least.double() * used).sum(1) / sizes
    first_eps = SCHEDULE.first_eps if power == 1 else SCHEDULE.first_eps_squared
    cells.eps = (first_eps * nearest).clamp(min=SINGLE.smallest_eps).float()
    cells.columns = torch.where(used, -1, own)
    cells.owners = cells.columns.clone()

    kept = own.long()
    kept_bound = torch.full((count,), torch.nan, dtype=torch.float64, device=x.device)
    open_ = torch.arange(count, device=x.device)
    for _ in range(SCHEDULE.most_phases):
        phase(cells, power)
        mine = used[open_]
        value = cells.least.double()
        off = SINGLE.distance if power == 1 else (2 * value.clamp(min=0).sqrt() + SINGLE.distance) * SINGLE.distance
        bound = ((value * (1 - SINGLE.relative) - off - cells.prices.double()) * mine).sum(1)
        paid = _paid(cells, power)
        cost = (paid.double() * mine).sum(1)
        # A proof speaks of permutations: check that this is one.
        good = ~cells.stuck & (cells.columns.sort(1).values == own[0]).all(1)
        good &= (cost - bound <= tolerance * cost) | (cost == 0)
        kept[open_[good]] = cells.columns[good].long()
        kept_bound[open_[good]] = bound[good]
        left = ~good & ~cells.stuck
        open_, cells = open_[left], Cells(*(tensor[left] for tensor in vars(cells).values()))
        if len(open_) == 0:
            break
        cells.eps = cells.eps * SCHEDULE.shrink
        # A row whose column is within the new eps of its best stays.
        price = cells.prices.gather(1, cells.columns.long())
        leaves = (paid[left] + price > cells.least + cells.eps[:, None]) & used[open_]
        cells.owners = _vacate(cells.owners, cells.columns, leaves)
        cells.columns = torch.where(leaves, -1, cells.columns)
    return kept, kept_bound


def _paid(cells: Cells, power: int) -> Tensor:
    """Return the cost of each row's column, (C, S)."""
    columns = cells.columns.clamp(min=0).long()[:, None].expand(-1, 3, -1)
    squared = (cells.x - cells.y.gather(2, columns)).square().sum(1)
    return squared if power == 2 else squared.sqrt()


def _vacate(owners: Tensor, columns: Tensor, leaves: Tensor) -> Tensor:
    """Return the owners without the rows that leave."""
    spare = owners.shape[1]  # a column behind the last, to write to where nothing changes
    wide = torch.cat([owners, owners[:, :1]], 1)
    wide.scatter_(1, torch.where(leaves, columns, spare).long(), -1)
    return wide[:, :spare].contiguous()


def torch_phase(cells: Cells, power: int) -> None:
    """Let rows bid at the cells' eps until all have a column, then find every row's least: in place."""
    cells.stuck[:] = False
    most = cells.bids + SCHEDULE.most_bids * cells.sizes
    while True:
        waiting = (cells.columns < 0).sum(1)
        active = torch.nonzero((waiting > 0) & ~cells.stuck)[:, 0]
        if len(active) == 0:
            break
        bidders = min(_BIDDERS, int(waiting.max()))
        active = active[: max(1, _BATCH_COSTS // (bidders * cells.x.shape[2]))]
        _bid(cells, active, bidders, power)
        cells.bids[active] += waiting[active].clamp(max=bidders).to(cells.bids.dtype)
        cells.stuck |= cells.bids > most
    together = max(1, _BATCH_COSTS // cells.x.shape[2] ** 2)
    for low in range(0, len(cells.x), together):
        part = torch.arange(low, min(low + together, len(cells.x)), device=cells.x.device)
        cells.least[part] = _values(cells, part, cells.x[part], power).amin(2)


def _values(cells: Cells, which: Tensor, rows: Tensor, power: int) -> Tensor:
    """Return cost + price of rows (A, 3, B) of cells (A,) for every column: (A, B, S)."""
    y = cells.y[which]
    squares = ((rows[:, k, :, None] - y[:, k, None]).square() for k in range(3))
    squared = sum(squares, torch.zeros((), device=y.device))
    return (squared if power == 2 else squared.sqrt()) + cells.prices[which][:, None]


def _bid(cells: Cells, which: Tensor, bidders: int, power: int) -> None:
    """Let up to `bidders` waiting rows of each of the cells (A,) bid; the highest bid for a column wins it."""
    columns, owners, prices = cells.columns[which], cells.owners[which], cells.prices[which]
    slots = columns.shape[1]
    waits, row = (columns < 0).to(torch.int8).topk(bidders, 1)  # (A, B)
    waits = waits > 0
    bidding = cells.x[which].gather(2, row[:, None].expand(-1, 3, -1))
    value = _values(cells, which, bidding, power)
    # A single column has no second: any bid will do.
    two = value.topk(min(2, slots), 2, largest=False)
    best, second, wanted = two.values[..., 0], two.values[..., -1], two.indices[..., 0]
    price = prices.gather(1, wanted)
    bid = price + torch.where(second < NOWHERE / 2, second - best, 0) + cells.eps[which][:, None]
    cells.stuck[which] = ((bid <= price) & waits).any(1)

    rival = (wanted[:, :, None] == wanted[:, None]) & waits[:, None]
    order = torch.arange(bidders, device=row.device)
    ahead = (bid[:, None] > bid[:, :, None]) | ((bid[:, None] == bid[:, :, None]) & (order < order[:, None]))
    wins = waits & ~(rival & ahead).any(2)

    # A slot behind the last, to write to where nothing changes.
    spare = torch.zeros(len(which), 1, dtype=columns.dtype, device=columns.device)
    outbid = torch.where(wins, owners.gather(1, wanted), -1).long()
    columns, owners = torch.cat([columns, spare], 1), torch.cat([owners, spare], 1)
    prices = torch.cat([prices, spare.float()], 1)
    columns.scatter_(1, torch.where(outbid >= 0, outbid, slots), -1)
    columns.scatter_(1, torch.where(wins, row, slots), wanted.to(columns.dtype))
    won = torch.where(wins, wanted, slots)
    owners.scatter_(1, won, row.to(owners.dtype))
    prices.scatter_(1, won, bid)
    cells.columns[which], cells.owners[which], cells.prices[which] = (c[:, :slots] for c in (columns, owners, prices))
