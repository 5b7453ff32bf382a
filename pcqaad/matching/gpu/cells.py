"""The state of an auction of many cells at once, as tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from torch import Tensor

# Price of a column that only pads a smaller cell.
NOWHERE = 1e30


@dataclass
class Cells:
    """The auction of C cells of up to S rows and columns each, float32 and int32 on one device.

    Attributes:
        x: (C, 3, S) the rows' coordinates, within a box of side 1.
        y: (C, 3, S) the columns'.
        sizes: (C,) rows of each cell; padding follows, columns that nobody can pay.
        prices: (C, S).
        columns: (C, S) the column of each row, -1 where it waits for one.
        owners: (C, S) the row of each column, or -1.
        least: (C, S) the least cost + price of each row after the phase.
        eps: (C,) the smallest useful bid.
        stuck: (C,) whether the cell was given up in the phase.
        bids: (C,) their number, in all phases.
    """

    x: Tensor
    y: Tensor
    sizes: Tensor
    prices: Tensor
    columns: Tensor
    owners: Tensor
    least: Tensor
    eps: Tensor
    stuck: Tensor
    bids: Tensor

    def rows(self, which: Tensor) -> Cells:
        """Return a copy of some of the cells."""
        return Cells(*(getattr(self, f.name)[which] for f in fields(self)))


Phase = Callable[[Cells, int], None]
