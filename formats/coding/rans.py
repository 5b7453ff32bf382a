"""Interleaved range asymmetric numeral systems (rANS) over integer frequencies that sum to 2**14.

Symbol i of a call belongs to lane i mod L; the lanes advance together, so numpy does L symbols a step. A
lane's state is 32 bits wide and is renormalised by 16-bit words. All arithmetic is on unsigned integers.
SPEC.md gives the decoder to the bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pcqaad.formats.errors import FormatError

PRECISION = 14  # bits of a frequency
TOTAL = 1 << PRECISION
MAX_LANES_LOG2 = 6
_LOWER = 1 << 16  # least state between two symbols
# Lanes up to which a stream is decoded number by number: in a twentieth of the time that as many calls of numpy take.
_MAX_SCALAR_LANES = 16

UInts = npt.NDArray[np.uint32]
Ints = npt.NDArray[np.int64]


def uniform_span(index: Ints, size: Ints) -> tuple[Ints, Ints]:
    """Return start and frequency of value `index` among `size` equally likely ones, size <= 2**14."""
    start = -((-index << PRECISION) // size)
    return start, -((-(index + 1) << PRECISION) // size) - start


def _lanes_log2(count: int, bits: float) -> int:
    # A lane costs two bytes that carry nothing. They may take 0.3 % of the payload, and up to 24 bytes more
    # that spare a stream of many cheap symbols a great number of steps.
    budget = 0.003 * bits / 8 + min(count / 256, 24)
    return min(max(int(budget / 2), 1).bit_length() - 1, MAX_LANES_LOG2)


class RansEncoder:
    """Collects symbols as (start, frequency) pairs, call by call, in the order of decoding."""

    def __init__(self) -> None:
        self._calls: list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]] = []

    def push(self, start: Ints, frequency: Ints) -> None:
        """Append one call of symbols: 0 <= start, 1 <= frequency, start + frequency <= 2**14."""
        self._calls.append((start.astype(np.uint64), frequency.astype(np.uint64)))

    def finish(self) -> bytes:
        """Return the stream: lanes, their states, and the words, as the decoder wants them."""
        count = sum(len(start) for start, _ in self._calls)
        bits = sum(float((PRECISION - np.log2(f.astype(np.float64))).sum()) for _, f in self._calls)
        lanes_log2 = _lanes_log2(count, bits)
        lanes = 1 << lanes_log2
        state = np.full(lanes, _LOWER, np.uint64)
        words: list[npt.NDArray[np.uint64]] = []
        shift, word = np.uint64(PRECISION), np.uint64(16)
        for start, frequency in reversed(self._calls):
            limit = frequency << np.uint64(32 - PRECISION)
            for at in reversed(range(0, len(start), lanes)):
                f = frequency[at : at + lanes]
                x = state[: len(f)]
                full = np.flatnonzero(x >= limit[at : at + lanes])
                if len(full):
                    spilled = x[full]
                    words.append(spilled & np.uint64(0xFFFF))
                    x[full] = spilled >> word
                quotient = x // f
                x[:] = (quotient << shift) + (x - quotient * f) + start[at : at + lanes]
        body = np.concatenate(words[::-1]).astype("<u2").tobytes() if words else b""
        return bytes([lanes_log2]) + state.astype("<u4").tobytes() + body


class RansDecoder:
    """Reads a stream call by call. Raises FormatError as soon as it is known to be damaged."""

    def __init__(self, data: bytes) -> None:
        if not data or data[0] > MAX_LANES_LOG2:
            found = data[0] if data else "nothing"
            raise FormatError(f"at most 2**{MAX_LANES_LOG2} rANS lanes expected, found exponent {found}")
        self._lanes = 1 << data[0]
        head = 1 + 4 * self._lanes
        if len(data) < head or (len(data) - head) % 2:
            raise FormatError(f"{head} bytes and whole words of rANS expected, found {len(data)}")
        self._state = np.frombuffer(data, "<u4", self._lanes, 1).astype(np.uint32)
        if (self._state < _LOWER).any():
            raise FormatError(f"rANS states of at least {_LOWER} expected, found {int(self._state.min())}")
        self._words = np.frombuffer(data, "<u2", offset=head).astype(np.uint32)
        self._at = 0

    def slots(self, frequency: UInts, bias: UInts, base: Ints) -> Ints:
        """Decode len(base) symbols by lookup and return `base` plus the slot of each, (n,) int64.

        `frequency` and `bias` (slot minus the symbol's start) are flat tables of 2**14 slots; each `base` begins one.
        """
        out = np.empty(len(base), np.int64)
        if self._lanes <= _MAX_SCALAR_LANES:
            self._slots_one_by_one(frequency, bias, base, out)
            return out
        mask, shift = np.uint32(TOTAL - 1), np.uint32(PRECISION)
        for at in range(0, len(base), self._lanes):
            chosen = base[at : at + self._lanes]
            x = self._state[: len(chosen)]
            index = out[at : at + self._lanes]
            np.add(x & mask, chosen, out=index)
            x >>= shift
            x *= frequency[index]
            x += bias[index]
            self._renormalise(x)
        return out

    def _slots_one_by_one(self, frequency: UInts, bias: UInts, base: Ints, out: Ints) -> None:
        state: list[int] = self._state.tolist()
        # Views, not lists: the tables may be far longer than the stream.
        f, b, words, chosen, found = frequency.data, bias.data, self._words.data, base.data, out.data
        at, lanes = self._at, self._lanes
        for i in range(len(found)):
            x = state[i % lanes]
            index = found[i] = chosen[i] + (x & (TOTAL - 1))
            x = (x >> PRECISION) * f[index] + b[index]
            if x < _LOWER:
                if at == len(words):
                    raise FormatError(f"more than {len(words)} words of rANS expected, found the end")
                x = (x << 16) | words[at]
                at += 1
            state[i % lanes] = x
        self._at, self._state = at, np.array(state, np.uint32)

    def uniform(self, size: Ints) -> Ints:
        """Decode one value in 0 <= value < size for each size <= 2**14, (n,) int64."""
        out = np.empty(len(size), np.int64)
        for at in range(0, len(size), self._lanes):
            chosen = size[at : at + self._lanes]
            x = self._state[: len(chosen)]
            slot = (x & np.uint32(TOTAL - 1)).astype(np.int64)
            value = (slot * chosen) >> PRECISION
            start, frequency = uniform_span(value, chosen)
            x >>= np.uint32(PRECISION)
            x *= frequency.astype(np.uint32)
            x += (slot - start).astype(np.uint32)
            self._renormalise(x)
            out[at : at + self._lanes] = value
        return out

    def _renormalise(self, x: UInts) -> None:
        low = np.flatnonzero(x < _LOWER)
        if len(low):
            end = self._at + len(low)
            if end > len(self._words):
                raise FormatError(f"more than {len(self._words)} words of rANS expected, found the end")
            x[low] = (x[low] << np.uint32(16)) | self._words[self._at : end]
            self._at = end

    def finish(self) -> None:
        """Raise FormatError unless every word was used and every lane is back where its encoder began."""
        if self._at != len(self._words):
            raise FormatError(f"{2 * self._at} bytes of rANS words expected, found {2 * len(self._words)}")
        if (self._state != _LOWER).any():
            raise FormatError(f"rANS lanes expected to end at {_LOWER}, found others: the stream is damaged")
