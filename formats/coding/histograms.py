"""Frequency tables: histograms rounded to a few bits per symbol, written, read, and spread over 2**14 slots.

A weight is 0 or a short float: its bit length and the `mantissa` bits behind its leading one. Lengths are coded as
differences, and zeros in runs, so a smooth histogram of 60 symbols takes some 30 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pcqaad.formats.coding.bits import BitReader, BitWriter
from pcqaad.formats.coding.rans import PRECISION, TOTAL, Ints, UInts
from pcqaad.formats.errors import FormatError

MAX_SYMBOLS = 1 << 15  # of a table
MAX_USED = 4096  # symbols of a table with a weight
_MAX_BITS = 16  # of a weight
_MAX_MANTISSA = 5  # bits of a weight behind its leading one


def spread(weights: Ints) -> Ints:
    """Return frequencies that sum to 2**14, at least 1 where the weight is not 0 (and 0 elsewhere).

    Every used symbol gets one slot. The other slots are shared by weight, rounded down. The first of the heaviest
    symbols gets those that remain.
    """
    used = weights > 0
    share = (weights * (TOTAL - int(used.sum()))) // max(int(weights.sum()), 1)
    frequency = np.where(used, share + 1, 0).astype(np.int64)
    if used.any():
        frequency[int(weights.argmax())] += TOTAL - int(frequency.sum())
    return frequency


def bits_of(histogram: Ints, frequency: Ints) -> float:
    """Return the bits that the symbols of a histogram take at these frequencies."""
    seen = histogram > 0
    return float(-(histogram[seen] * np.log2(frequency[seen] / TOTAL)).sum())


def starts(frequency: Ints) -> Ints:
    """Return the first slot of each symbol."""
    return np.cumsum(frequency) - frequency


@dataclass(frozen=True)
class Lookup:
    """Several tables as flat arrays over their slots, as `RansDecoder.slots` takes them, and the symbol of each."""

    symbol: npt.NDArray[np.uint16]
    frequency: UInts
    bias: UInts

    @classmethod
    def of(cls, tables: list[Ints]) -> Lookup:
        """Return the lookup of frequency tables that each sum to 2**14 (an empty one is never looked up)."""
        symbol = np.zeros(len(tables) << PRECISION, np.uint16)
        frequency = np.ones(len(symbol), np.uint32)
        bias = np.zeros(len(symbol), np.uint32)
        for i, table in enumerate(tables):
            if not table.any():
                continue
            span = slice(i << PRECISION, (i + 1) << PRECISION)
            symbol[span] = np.repeat(np.arange(len(table)), table)
            frequency[span] = np.repeat(table, table)
            bias[span] = np.arange(TOTAL) - np.repeat(starts(table), table)
        return cls(symbol, frequency, bias)


def _rounded(weights: Ints, mantissa: int) -> tuple[Ints, Ints, Ints]:
    """Return bit lengths, mantissas, and the weights that a reader decodes."""
    lengths = np.where(weights > 0, np.frexp(weights.astype(np.float64))[1], 0).astype(np.int64)
    drop = np.maximum(lengths - 1 - mantissa, 0)
    kept = np.minimum(lengths - 1, mantissa).clip(0)
    heads = np.minimum((weights + ((1 << drop) >> 1)) >> drop, (1 << (kept + 1)) - 1)
    return lengths, heads - (1 << kept), np.where(lengths > 0, heads << drop, 0)


def _zero_runs(weights: Ints) -> tuple[Ints, Ints]:
    """Return where each weight or run of zeros begins, and how many symbols it stands for."""
    zero = weights == 0
    begins = np.flatnonzero(~zero | ~np.append(False, zero[:-1])).astype(np.int64)
    return begins, np.diff(begins, append=len(weights))


def _weights(histogram: Ints) -> Ints:
    total = max(int(histogram.sum()), 1)
    weights = (histogram * ((1 << _MAX_BITS) - 1) + total // 2) // total
    return np.where(histogram > 0, np.maximum(weights, 1), 0).astype(np.int64)


def _chosen(histogram: Ints) -> tuple[int, float]:
    """Return the mantissa that makes table and symbols shortest together, and their length in bits."""
    weights = _weights(histogram)
    begins, runs = _zero_runs(weights)
    steps = np.diff(_rounded(weights, 0)[0][begins], prepend=0)
    gammas = 2 * np.frexp(np.where(steps < 0, -2.0 * steps, 2.0 * steps + 1))[1] - 1
    gammas[weights[begins] == 0] += 2 * np.frexp(runs[weights[begins] == 0].astype(np.float64))[1] - 1
    best = (0, np.inf)
    for mantissa in range(_MAX_MANTISSA + 1):
        lengths, _, rounded = _rounded(weights, mantissa)
        table = 3 + gammas.sum() + np.minimum(lengths - 1, mantissa).clip(0).sum()
        bits = bits_of(histogram, spread(rounded)) + table
        if bits < best[1]:
            best = (mantissa, float(bits))
    return best


def write_weights(out: BitWriter, histogram: Ints) -> Ints:
    """Write a histogram (n,) of non-negative counts, as finely as it pays, and return its frequencies."""
    mantissa, _ = _chosen(histogram)
    lengths, tails, rounded = _rounded(_weights(histogram), mantissa)
    out.fixed(mantissa, 3)
    begins, runs = _zero_runs(lengths)
    before = 0
    for length, tail, run in zip(lengths[begins].tolist(), tails[begins].tolist(), runs.tolist(), strict=True):
        out.signed(length - before)
        if length:
            out.fixed(tail, min(length - 1, mantissa))
        else:
            out.gamma(run)
        before = length
    return spread(rounded)


def read_weights(bits: BitReader, count: int) -> Ints:
    """Read the frequencies of `count` symbols; raises FormatError."""
    mantissa = bits.fixed(3)
    if mantissa > _MAX_MANTISSA:
        raise FormatError(f"at most {_MAX_MANTISSA} bits of a weight expected, found {mantissa}")
    weights = np.zeros(count, np.int64)
    length = at = used = 0
    while at < count:
        length += bits.signed()
        if not 0 <= length <= _MAX_BITS:
            raise FormatError(f"a weight of 0 to {_MAX_BITS} bits expected, found {length}")
        if length:
            kept = min(length - 1, mantissa)
            weights[at] = ((1 << kept) | bits.fixed(kept)) << (length - 1 - kept)
            at += 1
            used += 1
        else:
            at += bits.gamma()
    if at != count or used > MAX_USED:
        raise FormatError(f"{count} weights expected, at most {MAX_USED} of them above 0, found {at} and {used}")
    return spread(weights)


def coded_bits(histogram: Ints) -> float:
    """Return about how many bits the symbols of a histogram take, their table included."""
    _, bits = _chosen(histogram)
    return bits
