"""Frequency tables of a parametric pmf: w(q) = (1 + q^2 / a)^-p, Pearson's type VII, computed in integers.

The numbers that a network learns are spread like that, from nearly normal (a large p) to long tails (a small one).
Such a table takes some 25 bits where a histogram of 60 symbols takes 30 bytes, and leaves out the histogram's noise.
SPEC.md calls it a bell.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from pcqaad.formats.coding.bits import BitReader, BitWriter
from pcqaad.formats.coding.histograms import MAX_USED, bits_of, spread
from pcqaad.formats.coding.rans import PRECISION, TOTAL, Ints
from pcqaad.formats.errors import FormatError

_POWERS = (1, 2, 3, 4, 6, 8, 12, 24)  # the p that can be written
_SCALE_UNITS = 16  # to 1: `a` is counted in sixteenths, with four significant bits
_SCALES = 30 * 8  # codes of `a`: exponents, times the mantissas of each
_CENTRE_BITS = 30  # of the weight at the centre; the escape's is a power of two up to it
_MIN_VARIANCE = 0.05  # symbols squared


def _scale(code: int) -> int:
    """Return the `a` that a code stands for, in sixteenths."""
    return (8 + code % 8) << (code // 8)


def _weights(symbols: int, power: int, code: int, centre: int, escape: int) -> Ints:
    """Return the weights of the symbols and, behind them, the escape's: half of 2**escape, rounded down."""
    a = _scale(code)
    below = a + _SCALE_UNITS * (np.arange(symbols, dtype=np.int64) - centre) ** 2
    weights = np.full(symbols, 1 << _CENTRE_BITS, np.int64)
    for _ in range(_POWERS[power]):
        weights = weights * a // below
    return np.append(np.maximum(weights, 1), (1 << escape) >> 1)


class PearsonTable:
    """The parametric pmf with which a histogram takes the fewest bits.

    The histogram is of the symbols and, last, of the escape: (n + 1,), 1 <= n < 4096, not all 0. So is `frequency`,
    which sums to 2**14. The table and the histogram's symbols take about `bits` together.
    """

    def __init__(self, histogram: Ints) -> None:
        inside = histogram[:-1]
        self._symbols = len(inside)
        place, total = np.arange(len(inside)), max(int(inside.sum()), 1)
        mean = float(inside @ place) / total
        self._centre = round(mean)
        variance = max(float(inside @ (place - mean) ** 2) / total, _MIN_VARIANCE)
        self._power, self._code = self._search(inside, variance)
        weights = _weights(len(inside), self._power, self._code, self._centre, 0)
        self._escape = 0
        if escapes := int(histogram[-1]):
            # The power of two that is nearest to their share.
            share = math.log2(escapes / total * float(weights.sum()))
            self._escape = min(max(round(share), 0), _CENTRE_BITS) + 1
            weights[-1] = 1 << self._escape >> 1
        self.frequency = spread(weights)
        self.bits = bits_of(histogram, self.frequency) + (12 + 2 * abs(self._centre - len(inside) // 2).bit_length())

    def _search(self, inside: Ints, variance: float) -> tuple[int, int]:
        """Return the power and the code of the scale with which the symbols take the fewest bits, by descent."""
        squares = _SCALE_UNITS * (np.arange(len(inside)) - self._centre).astype(np.float64) ** 2

        @cache
        def bits(power: int, code: int) -> float:
            """Return what the symbols take, near enough to choose by."""
            weights = (1 + squares / _scale(code)) ** -_POWERS[power]
            share = weights * ((TOTAL - len(weights)) / weights.sum()) + 1
            return float(inside @ (PRECISION - np.log2(share)))

        power = _POWERS.index(8)
        scale = _SCALE_UNITS * variance * (2 * _POWERS[power] - 3)
        exponent = max(math.frexp(scale)[1] - 4, 0)
        code = min(max(8 * exponent + round(math.ldexp(scale, -exponent)) - 8, 0), _SCALES - 1)
        for stride in (8, 4, 2, 1):
            best = None
            while best != (power, code):
                best = power, code
                near = [(power + p, code + stride * c) for p in (-1, 0, 1) for c in (-1, 0, 1)]
                inside_range = [(p, c) for p, c in near if 0 <= p < len(_POWERS) and 0 <= c < _SCALES]
                power, code = min(inside_range, key=lambda choice: (bits(*choice), choice != best))
        return power, code

    def write(self, out: BitWriter, escape: bool) -> None:
        """Write the table, with or without a place for the escape."""
        out.fixed(self._power, 3)
        out.fixed(self._code, 8)
        out.signed(self._centre - self._symbols // 2)
        if escape:
            out.fixed(self._escape, 5)


def read_pearson(bits: BitReader, symbols: int, escape: bool) -> Ints:
    """Read the frequencies of `symbols` symbols and, where it has a place, of the escape; raises FormatError."""
    if symbols + escape > MAX_USED:
        raise FormatError(f"a bell of at most {MAX_USED} symbols expected, found {symbols + escape}")
    power, code = bits.fixed(3), bits.fixed(8)
    if code >= _SCALES:
        raise FormatError(f"a bell's width below {_SCALES} expected, found {code}")
    centre = symbols // 2 + bits.signed()
    if not 0 <= centre < symbols:
        raise FormatError(f"a bell's centre of 0 to {symbols - 1} expected, found {centre}")
    weights = _weights(symbols, power, code, centre, bits.fixed(5) if escape else 0)
    return spread(weights if escape else weights[:-1])
