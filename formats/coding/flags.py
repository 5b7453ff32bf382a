"""Adaptive coding of flags: each context has a probability that follows what was coded, and rANS of one lane.

No tables are stored: a context begins with a probability that both sides know. That suits short streams of many
contexts. SPEC.md gives the decoder to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence

from pcqaad.formats.coding.rans import PRECISION, TOTAL
from pcqaad.formats.errors import FormatError

_LOWER = 1 << 16  # least state between two flags
_ONE = 1 << 16  # probability 1
_EXCESS = 16 - PRECISION  # bits of a probability that its frequency does not have
_FIRST_DIVISOR, _LAST_DIVISOR = 16, 128  # a probability moves by a part in so many, more with each flag


class _Contexts:
    """The probabilities, in 2**-16, and by what part each moves."""

    def __init__(self, first: Sequence[int]) -> None:
        self._probability = list(first)
        self._divisor = [_FIRST_DIVISOR] * len(first)

    def _follow(self, context: int, flag: bool) -> None:
        p, divisor = self._probability[context], self._divisor[context]
        self._probability[context] = p + (_ONE - p) // divisor if flag else p - p // divisor
        if divisor < _LAST_DIVISOR:
            self._divisor[context] = divisor + 1


class FlagWriter(_Contexts):
    """Collects flags; `finish` returns their bytes."""

    def __init__(self, first: Sequence[int]) -> None:
        """Begin with the probabilities that a flag is set, in 2**-16, of each context."""
        super().__init__(first)
        self._spans: list[tuple[int, int]] = []

    def flag(self, context: int, flag: bool) -> bool:
        """Append a flag and return it."""
        frequency = self._probability[context] >> _EXCESS or 1
        self._spans.append((0, frequency) if flag else (frequency, TOTAL - frequency))
        self._follow(context, flag)
        return flag

    def number(self, width: int, number: int) -> int:
        """Append a number of `width` bits, which are all equally likely, and return it."""
        for at in reversed(range(width)):
            self._spans.append(((~number >> at & 1) * TOTAL // 2, TOTAL // 2))
        return number

    def finish(self) -> bytes:
        """Return the state that the reader begins with, and the words."""
        state, words = _LOWER, []
        for start, frequency in reversed(self._spans):
            if state >= frequency << (32 - PRECISION):
                words.append(state & 0xFFFF)
                state >>= 16
            state = (state // frequency << PRECISION) + state % frequency + start
        return state.to_bytes(4, "little") + b"".join(word.to_bytes(2, "little") for word in reversed(words))


class FlagReader(_Contexts):
    """Reads what a `FlagWriter` wrote. Raises FormatError as soon as it is known to be damaged."""

    def __init__(self, data: bytes, first: Sequence[int]) -> None:
        """Begin with the same probabilities as the writer."""
        super().__init__(first)
        if len(data) < 4 or len(data) % 2:
            raise FormatError(f"a state of 4 bytes and whole words of flags expected, found {len(data)} bytes")
        self._state = int.from_bytes(data[:4], "little")
        if self._state < _LOWER:
            raise FormatError(f"a state of flags of at least {_LOWER} expected, found {self._state}")
        self._data, self._at = data, 4

    def flag(self, context: int, flag: bool = False) -> bool:
        """Return the next flag; the one that is given is not looked at."""
        p, divisor = self._probability[context], self._divisor[context]
        found = self._take(p >> _EXCESS or 1)
        self._probability[context] = p + (_ONE - p) // divisor if found else p - p // divisor
        if divisor < _LAST_DIVISOR:
            self._divisor[context] = divisor + 1
        return found

    def number(self, width: int, number: int = 0) -> int:
        """Return the next number of `width` bits; the one that is given is not looked at."""
        number = 0
        for _ in range(width):
            number = number << 1 | self._take(TOTAL // 2)
        return number

    def _take(self, frequency: int) -> bool:
        state = self._state
        slot = state & (TOTAL - 1)
        found = slot < frequency
        if found:
            state = frequency * (state >> PRECISION) + slot
        else:
            state = (TOTAL - frequency) * (state >> PRECISION) + slot - frequency
        if state < _LOWER:
            at = self._at
            if at == len(self._data):
                raise FormatError(f"more than {at} bytes of flags expected, found the end")
            state = state << 16 | self._data[at] | self._data[at + 1] << 8
            self._at = at + 2
        self._state = state
        return found

    def finish(self) -> None:
        """Raise FormatError unless every word was used and the state is back where the writer began."""
        if self._at != len(self._data):
            raise FormatError(f"{self._at} bytes of flags expected, found {len(self._data)}")
        if self._state != _LOWER:
            raise FormatError(f"flags expected to end at {_LOWER}, found another state: the stream is damaged")
