"""The state of an auction of many cells at once, as tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

# Price of a column that only pads a smaller cell.
NOWHERE = 1e30


@dataclass
class Cells:
    """The auction of C cells of up to S rows and columns each, float32 and int32 on one device."""

    x: Tensor  # (C, 3, S) the rows' coordinates, within a box of side 1
    y: Tensor  # (C, 3, S) the columns'
    sizes: Tensor  # (C,) rows of each cell; padding follows, columns that nobody can pay
    prices: Tensor  # (C, S)
    columns: Tensor  # (C, S) the column of each row, -1 where it waits for one
    owners: Tensor  # (C, S) the row of each column, or -1
    least: Tensor  # (C, S) the least cost + price of each row after the phase
    eps: Tensor  # (C,) the smallest useful bid
    stuck: Tensor  # (C,) whether the cell was given up in the phase
    bids: Tensor  # (C,) their number, in all phases


Phase = Callable[[Cells, int], None]
