"""Labels of points: whole numbers that have no order, such as the number of a bone, exactly and in few bits.

The points are halved into cells as for `fields`. A cell has the label of its first point. Where both halves of one have
points, the upper half's label is new. It is often the label that the point is known to have elsewhere (most clouds of
a set agree), or that of most cells around. What the two say, and how surely, chooses the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pcqaad.formats.coding.fields import NEARNESS, Cells
from pcqaad.formats.coding.rans import Ints
from pcqaad.formats.coding.residuals import Part
from pcqaad.formats.coding.symbols import Reader

OWN = 8  # the weight of the cell itself
_SPOKEN = 50  # the context of labels that no candidate has,
_FIRST = 49  # of whether the first label is the usual one
_REPEATED = 48  # of the labels of further points in one place
_NONE = 3  # the symbol of such a label
_TOGETHER = 1024  # cells whose neighbours are compared at once

Flags = npt.NDArray[np.bool_]
# Gets points (n,), contexts (n,), and the candidates' labels (n, 3); returns the labels (n,).
Code = Callable[[Ints, Ints, Ints], Ints]


class _Seen(NamedTuple):
    """What is known before a label: its candidates (n, 3), and the context (n,) of which of them it is."""

    candidates: Ints
    context: Ints


def label_parts(labels: Ints, usual: Ints | None, cells: Cells) -> list[Part]:
    """Return the numbers and contexts that code labels (M,) of 32 bits, part by part.

    `usual` (M,) are the labels that the points have as a rule; None where that is not known.
    """
    parts: list[Part] = []

    def code(points: Ints, context: Ints, candidates: Ints) -> Ints:
        true = labels[points]
        same = candidates == true[:, None]
        symbol = np.where(same.any(1), same.argmax(1), _NONE)
        parts.append((symbol, context))
        spoken = true[symbol == _NONE]
        parts.append((spoken, np.full(len(spoken), _SPOKEN)))
        return true

    _walk(usual, cells, code)
    return parts


def read_labels(reader: Reader, usual: Ints | None, cells: Cells) -> tuple[Ints, list[Part]]:
    """Read labels (M,) from their stream; return them and their parts. Raises FormatError for damaged bytes."""
    parts: list[Part] = []

    def code(points: Ints, context: Ints, candidates: Ints) -> Ints:
        symbol = reader.read(context).astype(np.int64).clip(0, _NONE)
        parts.append((symbol, context))
        where = np.full(int((symbol == _NONE).sum()), _SPOKEN)
        spoken = reader.read(where).astype(np.int64)
        parts.append((spoken, where))
        found: Ints = np.take_along_axis(candidates, symbol.clip(0, _NONE - 1)[:, None], 1)[:, 0]
        found[symbol == _NONE] = spoken
        return found

    labels = _walk(usual, cells, code)
    reader.finish()
    return labels, parts


def _walk(usual: Ints | None, cells: Cells, code: Code) -> Ints:
    """Return the labels (M,) that `code` finds, cell by cell and, in one place, point by point."""
    order = cells.order
    as_a_rule = np.zeros(len(cells), np.int64) if usual is None else usual[order]
    first = order[:1]
    labels = code(first, np.full(1, _FIRST), np.repeat(as_a_rule[:1], 3)[None])
    rules, count = as_a_rule[:1], np.array([len(cells)])
    for stage in cells.stages():
        upper = stage.lower + 1
        at = stage.first[upper]
        own, near = labels[stage.split], labels[stage.near]
        agree = None if usual is None else near == rules[stage.near]
        there = stage.near != stage.split
        seen = _seen(own, near, there, agree, None if usual is None else as_a_rule[at])
        found = code(order[at], seen.context, seen.candidates)
        labels, rules, count = labels[stage.parent], rules[stage.parent], stage.count
        labels[upper], rules[upper] = found, as_a_rule[at]
    where = np.repeat(np.arange(len(count)), count)
    again = np.flatnonzero(np.diff(where, prepend=-1) == 0)
    own = labels[where[again]]
    rule = own if usual is None else as_a_rule[again]
    values = np.empty(len(cells), np.int64)
    values[order] = labels[where]
    values[order[again]] = code(order[again], np.full(len(again), _REPEATED), np.stack([rule, own, own], 1))
    return values


def _seen(own: Ints, near: Ints, there: Flags, agree: Flags | None, rule: Ints | None) -> _Seen:
    """Weigh what cells (s,) and their neighbours (26, s) say of the labels of the cells' upper halves."""
    weights = np.concatenate([there * NEARNESS[:, None], np.full((1, len(own)), OWN)])
    said = np.concatenate([near, own[None]])
    votes = np.empty_like(weights)
    for low in range(0, len(own), _TOGETHER):
        part = slice(low, low + _TOGETHER)
        same = said[:, None, part] == said[None, :, part]
        votes[:, part] = (same * weights[None, :, part]).sum(1)
    total = weights.sum(0)
    # Of labels with equal votes the cell's own counts first, then the neighbours' in their order.
    top = np.where(votes[26] == votes.max(0), 26, votes.argmax(0))
    column = np.arange(len(own))
    most, share = said[top, column], votes[top, column]
    sure = 4 * share // total
    if rule is None or agree is None:
        return _Seen(np.stack([most, most, own], 1), sure)
    odd = (weights[:26] * ~agree).sum(0)
    trust = (odd > 0).astype(np.int64) + (4 * odd > total)
    voted = ((said == rule) * weights).sum(0)
    doubt = np.where(rule == most, 0, 1 + (voted > 0) + (4 * voted > total))
    return _Seen(np.stack([rule, most, own], 1), 12 * doubt + 4 * trust + np.maximum(sure - 1, 0))
