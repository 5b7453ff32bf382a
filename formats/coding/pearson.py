"""Frequency tables of five numbers: bells, w(q) = (1 + q^2 / a)^-p (Pearson's type VII), computed in integers.

What a network learns is spread like that, from nearly normal (a large p) to long tails (a small one). A bell says so
in some 25 bits where a histogram of 60 symbols takes 30 bytes, and it tells more: a histogram repeats the noise.
"""

from __future__ import annotations

import math

import numpy as np

from pcqaad.formats.coding.bits import BitReader, BitWriter
from pcqaad.formats.coding.histograms import MAX_USED, spread
from pcqaad.formats.coding.rans import PRECISION, TOTAL, Ints
from pcqaad.formats.errors import FormatError

_POWERS = (1, 2, 3, 4, 6, 8, 12, 24)
# a is counted in sixteenths and has four significant bits.
_FINE = 16
_LARGEST_EXPONENT = 29
_CODES = (_LARGEST_EXPONENT + 1) * 8
# The weight at the centre; the escape's is a power of two up to it.
_TOP = 30


def _width(code: int) -> int:
    """Return the a that a code stands for, in sixteenths."""
    width: int = (8 + code % 8) << (code // 8)
    return width


def _nearest_code(width: float) -> int:
    exponent = max(math.frexp(width)[1] - 4, 0)
    mantissa = round(math.ldexp(width, -exponent))
    return min(max(8 * exponent + mantissa - 8, 0), _CODES - 1)


def _weights(symbols: int, power: int, code: int, centre: int, escape: int) -> Ints:
    """Return the weights of a bell and, behind them, the escape's: half of 2**escape, rounded down."""
    a = _width(code)
    below = a + _FINE * (np.arange(symbols, dtype=np.int64) - centre) ** 2
    weights = np.full(symbols, 1 << _TOP, np.int64)
    for _ in range(_POWERS[power]):
        weights = weights * a // below
    return np.append(np.maximum(weights, 1), (1 << escape) >> 1)


class PearsonTable:
    """The bell with which a histogram takes the fewest bits.

    Args:
        histogram: of the symbols and, last, of the escape: (n + 1,), 1 <= n < 4096, not all 0.

    Attributes:
        frequency: of each symbol and, last, of the escape, summing to 2**14.
        bits: about how many bits the bell and the histogram's symbols take together.
    """

    def __init__(self, histogram: Ints) -> None:
        inside = histogram[:-1]
        self._symbols = len(inside)
        place, total = np.arange(len(inside)), max(int(inside.sum()), 1)
        mean = float(inside @ place) / total
        self._centre = round(mean)
        variance = max(float(inside @ (place - mean) ** 2) / total, 0.05)
        squares = _FINE * (place - self._centre).astype(np.float64) ** 2
        found: dict[tuple[int, int], float] = {}

        def bits(power: int, code: int) -> float:
            """Return what the symbols take, near enough to choose by."""
            if (power, code) not in found:
                weights = (1 + squares / _width(code)) ** -_POWERS[power]
                share = weights * ((TOTAL - len(weights)) / weights.sum()) + 1
                found[power, code] = float(inside @ (PRECISION - np.log2(share)))
            return found[power, code]

        power = _POWERS.index(8)
        code = _nearest_code(_FINE * variance * (2 * _POWERS[power] - 3))
        for stride in (8, 4, 2, 1):
            best = None
            while best != (power, code):
                best = power, code
                near = [(power + p, code + stride * c) for p in (-1, 0, 1) for c in (-1, 0, 1)]
                inside_range = [(p, c) for p, c in near if 0 <= p < len(_POWERS) and 0 <= c < _CODES]
                power, code = min(inside_range, key=lambda choice: (bits(*choice), choice != best))
        self._power, self._code = power, code
        weights = _weights(len(inside), power, code, self._centre, 0)
        escapes = int(histogram[-1])
        self._escape = 0
        if escapes:
            # The power of two that is nearest to their share.
            share = math.log2(escapes / total * float(weights.sum()))
            self._escape = min(max(round(share), 0), _TOP) + 1
            weights[-1] = 1 << self._escape >> 1
        self.frequency = spread(weights)
        seen = histogram > 0
        self.bits = float(-(histogram[seen] * np.log2(self.frequency[seen] / TOTAL)).sum())
        self.bits += 12 + 2 * abs(self._centre - len(inside) // 2).bit_length()

    def write(self, out: BitWriter, escape: bool) -> None:
        """Write the bell, of a table with or without a place for the escape."""
        out.fixed(self._power, 3)
        out.fixed(self._code, 8)
        out.signed(self._centre - self._symbols // 2)
        if escape:
            out.fixed(self._escape, 5)


def read_pearson(bits: BitReader, symbols: int, escape: bool) -> Ints:
    """Read the frequencies of so many symbols and, where it has a place, the escape; raises FormatError."""
    if symbols + escape > MAX_USED:
        raise FormatError(f"a bell of at most {MAX_USED} symbols expected, found {symbols + escape}")
    power, code = bits.fixed(3), bits.fixed(8)
    if code >= _CODES:
        raise FormatError(f"a bell's width below {_CODES} expected, found {code}")
    centre = symbols // 2 + bits.signed()
    if not 0 <= centre < symbols:
        raise FormatError(f"a bell's centre of 0 to {symbols - 1} expected, found {centre}")
    weights = _weights(symbols, power, code, centre, bits.fixed(5) if escape else 0)
    return spread(weights if escape else weights[:-1])
