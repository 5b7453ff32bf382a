"""Which table the values of a context get: the one that takes the fewest bits together with them.

A table spans a range of the values, 2**shift of them to a symbol. It is a histogram or a parametric pmf.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pcqaad.formats.coding.histograms import MAX_USED, coded_bits
from pcqaad.formats.coding.pearson import PearsonTable
from pcqaad.formats.coding.rans import PRECISION, Ints

MAX_SHIFT = PRECISION
_MAX_GAP = 2048  # sorted values that lie further apart belong to different clusters: one table is not to span them
# Each symbol of a parametric pmf takes a slot at least. It is tried at the finest shifts that allow it.
_MAX_PEARSON_SYMBOLS = 1024
_PEARSON_SHIFTS = 2
_PATIENCE = 3  # the search ends after this many shifts in a row that are no better than the best


@dataclass(frozen=True)
class Plan:
    """A table for the values of one context."""

    bits: float  # that it and the values take, about
    low: int  # the least value that it spans
    shift: int  # 2**shift values from there on are one symbol
    histogram: Ints  # of the symbols and, last, of the values outside, which escape
    pearson: PearsonTable | None = None  # the parametric pmf, where it takes fewer bits than the histogram


def plan_table(values: Ints, escape_bits: int, limit: int) -> Plan:
    """Return the cheapest table for values (n,), of at most `limit` symbols; an escape takes `escape_bits`."""
    plans: list[Plan] = []
    for low, high in _ranges(values):
        inside = values[(values >= low) & (values <= high)] - low
        escapes = len(values) - len(inside)
        pearson = worse = 0
        least = math.inf
        for shift in range(MAX_SHIFT + 1):
            count = ((high - low) >> shift) + 1
            if count > limit or len(np.unique(inside >> shift)) >= MAX_USED:
                continue
            histogram = np.append(np.bincount(inside >> shift, minlength=count), escapes).astype(np.int64)
            more = shift * len(inside) + escape_bits * escapes
            plans.append(Plan(coded_bits(histogram) + more, low, shift, histogram))
            # A parametric pmf gains nothing from larger shifts.
            if count <= _MAX_PEARSON_SYMBOLS and pearson < _PEARSON_SHIFTS:
                table = PearsonTable(histogram)
                plans.append(Plan(table.bits + more, low, shift, histogram, table))
                pearson += 1
            # The coarser the symbols, the less a table takes and tells: past the best shift it only gets worse.
            worse = 0 if plans[-1].bits < least else worse + 1
            least = min(least, plans[-1].bits)
            if count == 1 or worse == _PATIENCE:
                break
    if plans:
        return min(plans, key=lambda plan: plan.bits)
    # The values lie all over 32 bits: those outside the widest table around the median escape.
    most = min(MAX_USED - 1, limit)
    low = int(np.median(values)) - (most << (MAX_SHIFT - 1))
    index = (values - low) >> MAX_SHIFT
    index = np.where((index < 0) | (index >= most), most, index)
    histogram = np.bincount(index, minlength=most + 1).astype(np.int64)
    return Plan(coded_bits(histogram), low, MAX_SHIFT, histogram)


def _ranges(values: Ints) -> list[tuple[int, int]]:
    """Return candidate ranges of values for a table: all of them, and the cluster around the median."""
    distinct = np.unique(values)
    middle = int(np.searchsorted(distinct, int(np.sort(values)[len(values) // 2])))
    far = np.flatnonzero(np.diff(distinct) > _MAX_GAP)
    first = far[far < middle].max(initial=-1) + 1
    last = far[far >= middle].min(initial=len(distinct) - 1)
    return list({(int(distinct[0]), int(distinct[-1])), (int(distinct[first]), int(distinct[last]))})
