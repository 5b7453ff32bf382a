"""Entropy coding of integer arrays: a static table per context, rANS, and escapes for what no table holds.

Decoding gives the same integers on every machine: the tables are integers, and so is all arithmetic on them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pcqaad.formats.coding.bits import BitReader, BitWriter
from pcqaad.formats.coding.histograms import MAX_SYMBOLS, Lookup, read_weights, starts, write_weights
from pcqaad.formats.coding.pearson import read_pearson
from pcqaad.formats.coding.rans import PRECISION, TOTAL, Ints, RansDecoder, RansEncoder, uniform_span
from pcqaad.formats.coding.table_choice import MAX_SHIFT, plan_table
from pcqaad.formats.errors import FormatError

MAX_CONTEXTS = 256
_MAX_ESCAPE = 33  # bits
_MAX_TOTAL = 1 << 18  # symbols of all tables together: a run of zeros is short, the table that it makes is not
_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class _Table:
    """Symbols for the values from `low`, 2**shift of them to a symbol; the last symbol may be the escape."""

    low: int
    shift: int
    frequency: Ints


def _zigzag(values: Ints) -> Ints:
    return np.where(values < 0, -2 * values - 1, 2 * values)


def _digits(width: int) -> list[tuple[int, int]]:
    """Return (position, bits) of the digits, lowest first, in which a `width`-bit number is coded."""
    return [(at, min(PRECISION, width - at)) for at in range(0, width, PRECISION)]


class Model:
    """Tables for the symbols of each context, apart from the symbols, so that many streams can share them."""

    def __init__(self, tables: dict[int, _Table], escape_bits: int, data: bytes) -> None:
        self._tables = tables
        self._escape_bits = escape_bits
        self._data = data
        # Of the contexts that were used last: streams that share a model mostly use the same.
        self._lookup: tuple[list[int], Lookup] | None = None

    @classmethod
    def fit(cls, symbols: npt.ArrayLike, contexts: npt.ArrayLike | None = None) -> Model:
        """Return the model of int32 `symbols` (n,) in `contexts` (n,) of 0 to 255 (None: all 0). Raises ValueError."""
        values, context = _checked(symbols, contexts)
        span = int(np.ptp(values)) if len(values) else 0
        reach = (2 * span + 1).bit_length()
        groups = [values[context == i] for i in range(int(context.max(initial=-1)) + 1)]
        limit = min(MAX_SYMBOLS, _MAX_TOTAL // max(len(groups), 1))
        plans = {i: plan_table(group, reach, limit) for i, group in enumerate(groups) if len(group)}
        escape_bits = 0
        for i, plan in plans.items():
            offset = groups[i] - plan.low
            escaped = offset[(offset < 0) | (offset >> plan.shift >= len(plan.histogram) - 1)]
            escape_bits = max(escape_bits, int(_zigzag(escaped).max(initial=0)).bit_length())
        bits = BitWriter()
        bits.gamma(len(groups) + 1)
        bits.fixed(escape_bits, 6)
        tables: dict[int, _Table] = {}
        for i in range(len(groups)):
            if i not in plans:
                bits.gamma(1)
                continue
            plan = plans[i]
            bits.gamma(len(plan.histogram))
            bits.signed(plan.low)
            bits.fixed(plan.shift, 4)
            bits.fixed(int(plan.pearson is not None), 1)
            stop = None if escape_bits else -1
            if plan.pearson is not None:
                plan.pearson.write(bits, escape_bits > 0)
                frequency = plan.pearson.frequency[:stop]
            else:
                frequency = write_weights(bits, plan.histogram[:stop])
            tables[i] = _Table(plan.low, plan.shift, frequency)
        return cls(tables, escape_bits, bits.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the model's bytes."""
        return self._data

    @classmethod
    def from_bytes(cls, data: bytes, offset: int = 0) -> tuple[Model, int]:
        """Read a model at `offset`; return it and the offset behind it. Raises FormatError."""
        bits = BitReader(data, offset)
        contexts = bits.gamma() - 1
        escape_bits = bits.fixed(6)
        if contexts > MAX_CONTEXTS or escape_bits > _MAX_ESCAPE:
            limits = f"at most {MAX_CONTEXTS} contexts and {_MAX_ESCAPE} bits of escape"
            raise FormatError(f"{limits} expected, found {contexts} and {escape_bits}")
        tables: dict[int, _Table] = {}
        total = 0
        for i in range(contexts):
            count = bits.gamma() - 1
            if not count:
                continue
            total += count
            if count > MAX_SYMBOLS or total > _MAX_TOTAL:
                limits = f"at most {MAX_SYMBOLS} symbols in a table and {_MAX_TOTAL} in all"
                raise FormatError(f"{limits} expected, found {count} and {total}")
            low, shift = bits.signed(), bits.fixed(4)
            if shift > MAX_SHIFT:
                raise FormatError(f"at most {MAX_SHIFT} low bits expected, found {shift}")
            escape = escape_bits > 0
            frequency = read_pearson(bits, count, escape) if bits.fixed(1) else read_weights(bits, count + escape)
            if not frequency.any():
                raise FormatError("a table with a weight expected, found only zeros")
            tables[i] = _Table(low, shift, frequency)
        end = bits.finish()
        return cls(tables, escape_bits, data[offset:end]), end

    def encode(self, symbols: npt.ArrayLike, contexts: npt.ArrayLike | None = None) -> bytes:
        """Return the symbols' stream. Raises ValueError for a symbol that the model cannot express."""
        values, context = _checked(symbols, contexts)
        return self.encode_parts([(values, context)]) if len(values) else b""

    def encode_parts(self, parts: Iterable[tuple[npt.ArrayLike, npt.ArrayLike | None]]) -> bytes:
        """Return one stream of parts, symbols and contexts, that are read one at a time; raises as `encode` does."""
        coder = RansEncoder()
        for part in parts:
            self._push(coder, *_checked(*part))
        return coder.finish()

    def _push(self, coder: RansEncoder, values: Ints, context: Ints) -> None:
        if not len(values):
            return
        ids, which, tables = self._used(context)
        if len(tables) < len(ids):
            raise ValueError(f"the model has no table for one of the contexts {ids}")
        start, frequency = np.empty((2, len(values)), np.int64)
        low, shift, escape = self._columns(tables)
        offset = values - low[which]
        index = offset >> shift[which]
        escaped = (index < 0) | (index >= escape[which])
        index = np.where(escaped, escape[which], index)
        for i, table in enumerate(tables):
            mine = which == i
            if not self._escape_bits and escaped[mine].any():
                raise ValueError("a symbol outside the model's tables, and the model has no escape")
            start[mine], frequency[mine] = starts(table.frequency)[index[mine]], table.frequency[index[mine]]
        far = _zigzag(offset[escaped])
        if not frequency.all() or int(far.max(initial=0)).bit_length() > self._escape_bits:
            raise ValueError("a symbol that the model was not fitted to")
        doubtful = frequency < TOTAL  # certain symbols say nothing and take no lane
        coder.push(start[doubtful], frequency[doubtful])
        fine = ~escaped & (shift[which] > 0)
        size = 1 << shift[which][fine]
        coder.push(*uniform_span(offset[fine] & (size - 1), size))
        for at, width in _digits(self._escape_bits):
            digit = (far >> at) & ((1 << width) - 1)
            coder.push(*uniform_span(digit, np.full(len(far), 1 << width)))

    def decode(self, data: bytes, count: int, contexts: npt.ArrayLike | None = None) -> npt.NDArray[np.int32]:
        """Return `count` symbols of a stream; the contexts must be those of encoding. Raises FormatError."""
        if not count:
            if data:
                raise FormatError(f"no bytes for no symbols expected, found {len(data)}")
            return np.empty(0, np.int32)
        context = np.zeros(count, np.int64) if contexts is None else np.asarray(contexts).astype(np.int64, copy=False)
        if context.shape != (count,):
            raise ValueError(f"contexts of shape ({count},) expected, found {context.shape}")
        ids, which, tables = self._used(context)
        if len(tables) < len(ids):
            raise FormatError(f"a table for each of the contexts {ids} expected, found some missing")
        kept = self._lookup  # kept as a pair, and read once: another thread may put that of other contexts there
        if kept is None or kept[0] != ids:
            kept = self._lookup = ids, Lookup.of([table.frequency for table in tables])
        reader = Reader(data, self._columns(tables), kept[1], self._escape_bits)
        symbols = reader.read_rows(which)
        reader.finish()
        return symbols

    def reader(self, data: bytes) -> Reader:
        """Return what reads a stream of parts. Raises FormatError."""
        tables = list(self._tables.values())
        row = np.full(MAX_CONTEXTS, -1)
        row[list(self._tables)] = np.arange(len(tables))
        columns = self._columns(tables) if tables else (np.empty(0, np.int64),) * 3
        return Reader(data, columns, Lookup.of([table.frequency for table in tables]), self._escape_bits, row)

    def _used(self, context: Ints) -> tuple[list[int], Ints, list[_Table]]:
        """Return the contexts in use, which of them each symbol has, and the tables of those that have one."""
        used = np.bincount(context) > 0
        ids: list[int] = np.flatnonzero(used).tolist()
        which = (np.cumsum(used) - 1)[context].astype(np.int64, copy=False)
        return ids, which, [self._tables[i] for i in ids if i in self._tables]

    def _columns(self, tables: list[_Table]) -> tuple[Ints, Ints, Ints]:
        """Return low, shift and the index of the escape (or past the last symbol) of each table."""
        escape = self._escape_bits > 0
        low, shift, last = np.array([(t.low, t.shift, len(t.frequency) - escape) for t in tables], np.int64).T
        return low, shift, last


class Reader:
    """Reads a stream of integers, part by part. Raises FormatError as soon as it is known to be damaged."""

    def __init__(
        self,
        data: bytes,
        columns: tuple[Ints, Ints, Ints],
        lookup: Lookup,
        escape_bits: int,
        row: Ints | None = None,
    ) -> None:
        """Take low, shift and escape of tables, their lookup and, to read by contexts, the table of each or -1."""
        self._coder = RansDecoder(data)
        self._low, self._shift, self._escape = columns
        self._lookup, self._escape_bits, self._row = lookup, escape_bits, row
        self._certain = lookup.frequency[:: 1 << PRECISION] == TOTAL

    def read(self, context: Ints) -> npt.NDArray[np.int32]:
        """Return the next integers (n,), in contexts (n,) of 0 to 255."""
        assert self._row is not None
        which = self._row[context]
        if which.min(initial=0) < 0:
            missing = np.unique(context[which < 0]).tolist()
            raise FormatError(f"a table for each of the contexts {missing} expected, found none")
        return self.read_rows(which)

    def read_rows(self, which: Ints) -> npt.NDArray[np.int32]:
        """Return the next integers (n,), by the rows (n,) of their tables."""
        if not len(which):
            return np.empty(0, np.int32)
        coder, lookup = self._coder, self._lookup
        slot = which << PRECISION
        doubtful = ~self._certain[which]
        slot[doubtful] = coder.slots(lookup.frequency, lookup.bias, slot[doubtful])
        index = lookup.symbol[slot].astype(np.int64)
        escaped = index == self._escape[which]
        offset = index << self._shift[which]
        fine = ~escaped & (self._shift[which] > 0)
        offset[fine] += coder.uniform(1 << self._shift[which][fine])
        far = np.zeros(int(escaped.sum()), np.int64)
        for at, width in _digits(self._escape_bits):
            far |= coder.uniform(np.full(len(far), 1 << width)) << at
        offset[escaped] = np.where(far & 1, -((far + 1) >> 1), far >> 1)
        values = offset + self._low[which]
        if values.min() < _INT32.min or values.max() > _INT32.max:
            raise FormatError(f"symbols of 32 bits expected, found {values.min()} to {values.max()}")
        symbols: npt.NDArray[np.int32] = values.astype(np.int32)
        return symbols

    def finish(self) -> None:
        """Raise FormatError unless the stream ends here."""
        self._coder.finish()


def encode(symbols: npt.ArrayLike, contexts: npt.ArrayLike | None = None) -> bytes:
    """Return a model fitted to int32 `symbols` (n,) and their stream, in one. Raises ValueError."""
    model = Model.fit(symbols, contexts)
    return model.to_bytes() + model.encode(symbols, contexts)


def decode(data: bytes, count: int, contexts: npt.ArrayLike | None = None) -> npt.NDArray[np.int32]:
    """Return the `count` symbols of `encode`, given the same contexts. Raises FormatError."""
    model, end = Model.from_bytes(data)
    return model.decode(data[end:], count, contexts)


def _checked(symbols: npt.ArrayLike, contexts: npt.ArrayLike | None) -> tuple[Ints, Ints]:
    values = np.asarray(symbols)
    context = np.zeros(values.shape, np.int64) if contexts is None else np.asarray(contexts)
    if values.ndim != 1 or values.shape != context.shape:
        raise ValueError(f"symbols and contexts (n,) expected, found {values.shape} and {context.shape}")
    if values.size == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    if not (np.issubdtype(values.dtype, np.integer) and np.issubdtype(context.dtype, np.integer)):
        raise ValueError(f"integers expected, found {values.dtype} and {context.dtype}")
    if values.min() < _INT32.min or values.max() > _INT32.max:
        raise ValueError(f"symbols of 32 bits expected, found {values.min()} to {values.max()}")
    if context.min() < 0 or context.max() >= MAX_CONTEXTS:
        raise ValueError(f"contexts of 0 to {MAX_CONTEXTS - 1} expected, found up to {context.max()}")
    return values.astype(np.int64), context.astype(np.int64)
