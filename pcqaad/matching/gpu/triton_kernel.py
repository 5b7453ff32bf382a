"""A phase of the auction as one Triton kernel: a block of threads a cell, costs from coordinates, no matrix.

A bid of a waiting row takes a few microseconds, whatever else the GPU does. So each block keeps its own stack of
waiting rows, lets the topmost `BIDDERS` of them bid at once, and ends when the stack is empty.
"""

from __future__ import annotations

import triton
import triton.language as tl

from pcqaad.matching.cpu.schedule import SCHEDULE
from pcqaad.matching.gpu.cells import NOWHERE, Cells

# Rows that bid at once while many wait, and the columns they compare together. With these sizes five blocks share a
# multiprocessor, for which a Hopper has registers (96 a thread): while one block waits, another works.
_BIDDERS = 8
_TILE = 128
# The same at the end of a phase, when few rows wait.
_FEW = 2
_FEW_TILE = 512
# Fused operations round fewer times than the proof allows for.
OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}

# The types of the kernel's arguments; all others are constants.
TYPES = {"stuck": "*i1", "most_bids": "i32", "nowhere": "fp32"}
TYPES |= dict.fromkeys(("x", "y", "prices", "least", "eps"), "*fp32")
TYPES |= dict.fromkeys(("sizes", "columns", "owners", "bids", "stack"), "*i32")


def sizes(slots: int) -> dict[str, int]:
    """Return the constants of a kernel for cells of a number of slots, a power of two."""
    few = {"FEW": _FEW, "FEW_TILE": min(_FEW_TILE, slots)}
    return {"SLOTS": slots, "BIDDERS": _BIDDERS, "TILE": min(_TILE, slots), **few}


def kernel_phase(cells: Cells, power: int) -> None:
    """Let rows bid at the cells' eps until all have a column, then find every row's least: in place."""
    count, _, slots = cells.x.shape
    if count == 0:
        return
    # The kernel takes the fields in their order.
    tensors = vars(cells).values()
    assert all(tensor.is_contiguous() for tensor in tensors)
    constants = sizes(slots) | {"POWER": power} | OPTIONS
    stack = cells.columns.new_empty(count, slots)
    _phase[(count,)](*tensors, stack, SCHEDULE.most_bids, NOWHERE, **constants)


@triton.jit
def _two_best(x, y, prices, rows, among, SLOTS: tl.constexpr, TILE: tl.constexpr, POWER: tl.constexpr):
    """Return the least cost + price of rows (B,) of the cell, the second least, and the column of the first."""
    x0 = tl.load(x + rows, among, 0.0)
    x1 = tl.load(x + SLOTS + rows, among, 0.0)
    x2 = tl.load(x + 2 * SLOTS + rows, among, 0.0)
    lane = tl.arange(0, TILE)
    best = tl.zeros([rows.shape[0], TILE], tl.float32) + float("inf")
    second = best
    column = tl.zeros([rows.shape[0], TILE], tl.int32)
    for tile in range(0, SLOTS, TILE):
        d0 = x0[:, None] - tl.load(y + tile + lane)[None, :]
        d1 = x1[:, None] - tl.load(y + SLOTS + tile + lane)[None, :]
        d2 = x2[:, None] - tl.load(y + 2 * SLOTS + tile + lane)[None, :]
        value = d0 * d0 + d1 * d1 + d2 * d2
        if POWER == 1:
            value = tl.sqrt_rn(value)
        value += tl.load(prices + tile + lane)[None, :]
        second = tl.minimum(second, tl.maximum(best, value))
        column = tl.where(value < best, tile + lane[None, :], column)
        best = tl.minimum(best, value)
    least, place = tl.min(best, 1, return_indices=True)
    chosen = lane[None, :] == place[:, None]
    rest = tl.min(tl.where(chosen, second, best), 1)
    return least, rest, tl.sum(tl.where(chosen, column, 0), 1)


@triton.jit
def _bid(
    x,
    y,
    prices,
    columns,
    owners,
    stack,
    count,
    eps,
    nowhere,
    SLOTS: tl.constexpr,
    BIDDERS: tl.constexpr,
    TILE: tl.constexpr,
    POWER: tl.constexpr,
):
    """Let the topmost rows of the stack bid. Returns how many wait now, and whether a bid raised nothing."""
    slot = tl.arange(0, BIDDERS)
    taken = tl.minimum(count, BIDDERS)
    bids = slot < taken
    rows = tl.load(stack + count - 1 - slot, bids, 0)
    best, second, wanted = _two_best(x, y, prices, rows, bids, SLOTS, TILE, POWER)
    price = tl.load(prices + wanted)
    # A single column has no second: any bid will do.
    bid = price + tl.where(second < nowhere / 2, second - best, 0.0) + eps
    raised_nothing = tl.max(((bid <= price) & bids).to(tl.int32), 0)

    rival = (wanted[:, None] == wanted[None, :]) & bids[None, :]
    ahead = (bid[None, :] > bid[:, None]) | ((bid[None, :] == bid[:, None]) & (slot[None, :] < slot[:, None]))
    wins = bids & (tl.max((rival & ahead).to(tl.int32), 1) == 0)
    outbid = tl.load(owners + wanted, wins, -1)
    # Other threads may still have to load where this one stores.
    tl.debug_barrier()
    loses, left = (bids & (wins == 0)).to(tl.int32), (outbid >= 0).to(tl.int32)
    back = count - taken
    tl.store(stack + back + tl.cumsum(loses, 0) - 1, rows, loses != 0)
    back += tl.sum(loses, 0)
    tl.store(stack + back + tl.cumsum(left, 0) - 1, outbid, left != 0)
    tl.store(columns + outbid, tl.full([BIDDERS], -1, tl.int32), left != 0)
    tl.store(columns + rows, wanted, wins)
    tl.store(owners + wanted, rows, wins)
    tl.store(prices + wanted, bid, wins)
    tl.debug_barrier()
    return back + tl.sum(left, 0), raised_nothing


@triton.jit
def _phase(
    x,
    y,
    sizes,
    prices,
    columns,
    owners,
    least,
    eps,
    stuck,
    bids,
    stack,
    most_bids,
    nowhere,
    SLOTS: tl.constexpr,
    BIDDERS: tl.constexpr,
    TILE: tl.constexpr,
    FEW: tl.constexpr,
    FEW_TILE: tl.constexpr,
    POWER: tl.constexpr,
):
    cell = tl.program_id(0).to(tl.int64)
    x += cell * 3 * SLOTS
    y += cell * 3 * SLOTS
    prices += cell * SLOTS
    columns += cell * SLOTS
    owners += cell * SLOTS
    stack += cell * SLOTS
    smallest = tl.load(eps + cell)
    size = tl.load(sizes + cell)

    row = tl.arange(0, SLOTS)
    waits = (tl.load(columns + row) < 0).to(tl.int32)
    tl.store(stack + tl.cumsum(waits, 0) - 1, row, waits != 0)
    count = tl.sum(waits, 0)
    tl.debug_barrier()
    made, given_up = 0, 0
    while (count > 0) & (given_up == 0):
        if count > FEW:
            made += tl.minimum(count, BIDDERS)
            count, given_up = _bid(
                x, y, prices, columns, owners, stack, count, smallest, nowhere, SLOTS, BIDDERS, TILE, POWER
            )
        else:
            made += count
            count, given_up = _bid(
                x, y, prices, columns, owners, stack, count, smallest, nowhere, SLOTS, FEW, FEW_TILE, POWER
            )
        if made > most_bids * size:
            given_up = 1
    tl.store(stuck + cell, given_up != 0)
    tl.store(bids + cell, tl.load(bids + cell) + made)

    slot = tl.arange(0, BIDDERS)
    for low in range(0, size, BIDDERS):
        among = low + slot < size
        best, _, _ = _two_best(x, y, prices, low + slot, among, SLOTS, TILE, POWER)
        tl.store(least + cell * SLOTS + low + slot, best, among)
