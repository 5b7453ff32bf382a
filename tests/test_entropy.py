"""Laws of the entropy coder: exact, near the entropy, the same as the specification, and deaf to damage."""

from __future__ import annotations

import contextlib

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pcqaad.formats.coding import rans
from pcqaad.formats.coding.bits import BitReader, BitWriter
from pcqaad.formats.coding.histograms import read_weights, spread, write_weights
from pcqaad.formats.coding.pearson import PearsonTable, read_pearson
from pcqaad.formats.coding.rans import RansDecoder, RansEncoder, uniform_span
from pcqaad.formats.coding.symbols import Model, decode, encode
from pcqaad.formats.errors import FormatError
from tests import reference_coding as reference

Array = npt.NDArray[np.int64]
INT32 = st.integers(-(2**31), 2**31 - 1)
VALUES = st.one_of(st.integers(-3, 3), st.integers(-60, 60), INT32)


def entropy_bytes(symbols: Array) -> float:
    counts = np.unique(symbols, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum() / 8)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(VALUES, st.integers(0, 5)), max_size=300), st.booleans())
def test_round_trip(pairs: list[tuple[int, int]], use_contexts: bool) -> None:
    symbols = np.array([value for value, _ in pairs], np.int64)
    contexts = np.array([context for _, context in pairs], np.int64) if use_contexts else None
    decoded = decode(encode(symbols, contexts), len(symbols), contexts)
    assert decoded.dtype == np.int32
    np.testing.assert_array_equal(decoded, symbols)


def draw(kind: str, n: int) -> Array:
    rng = np.random.default_rng(n)
    drawn = {
        "laplace": rng.laplace(0, 8, n),
        "gauss": rng.normal(3, 12, n),
        "skewed": rng.random(n) < 0.003,
        "uniform": rng.integers(0, 65536, n),
        "everywhere": rng.integers(-(2**31), 2**31, n),
        "constant": np.full(n, -7),
        "steps": rng.integers(0, 9, n) * 1000,
    }[kind]
    return np.rint(drawn).astype(np.int64)


@pytest.mark.parametrize("kind", ["laplace", "gauss", "skewed", "uniform", "everywhere", "constant", "steps"])
@pytest.mark.parametrize("n", [1, 2000, 30000])
def test_round_trip_of_shapes(kind: str, n: int) -> None:
    symbols = draw(kind, n)
    np.testing.assert_array_equal(decode(encode(symbols), n), symbols)


@pytest.mark.parametrize("kind", ["laplace", "gauss", "skewed", "steps"])
@pytest.mark.parametrize("n", [200, 2000, 50000])
def test_size_is_near_the_entropy(kind: str, n: int) -> None:
    symbols = draw(kind, n)
    # The table may take a byte for each distinct symbol and three for a gap, and the stream 40 bytes.
    table = len(np.unique(symbols)) * (4 if kind == "steps" else 1)
    assert len(encode(symbols)) <= 1.005 * entropy_bytes(symbols) + table + 40


def test_uniform_16_bit_symbols_take_two_bytes_each() -> None:
    assert len(encode(draw("uniform", 30000))) <= 1.005 * 60000 + 40


def test_a_constant_takes_no_bits_per_symbol() -> None:
    assert len(encode(np.full(10**6, 5))) <= 16


def test_an_outlier_costs_no_more_than_its_bits() -> None:
    symbols = draw("gauss", 20000)
    plain = len(encode(symbols))
    symbols[[5, 9]] = 2**31 - 1, -(2**31)
    assert len(encode(symbols)) <= plain + 40


def test_contexts_are_told_apart() -> None:
    contexts = np.arange(20000) % 4
    symbols = np.rint(np.random.default_rng(0).laplace(0, 1, 20000) * 4.0**contexts).astype(np.int64)
    bound = sum(entropy_bytes(symbols[contexts == i]) for i in range(4))
    tables = sum(len(np.unique(symbols[contexts == i])) for i in range(4))
    assert len(encode(symbols, contexts)) <= 1.005 * bound + tables + 40
    assert len(encode(symbols, contexts)) < 0.9 * len(encode(symbols))


def test_many_wide_contexts_share_the_room_for_tables() -> None:
    symbols, contexts = draw("uniform", 400), np.arange(400) % 16
    np.testing.assert_array_equal(decode(encode(symbols, contexts), 400, contexts), symbols)


def test_one_model_serves_many_streams() -> None:
    symbols = draw("laplace", 5000)
    model, end = Model.from_bytes(b"xx" + Model.fit(symbols).to_bytes() + b"yy", 2)
    assert end == 2 + len(model.to_bytes())
    for part in np.split(symbols, 10):
        np.testing.assert_array_equal(model.decode(model.encode(part), len(part)), part)


def test_known_bytes() -> None:
    data = bytes.fromhex("401504862000b09101009ab0")
    assert encode([0, 1, 0, 0, 2, 0, 0, 1, -1, 0]) == data
    assert decode(data, 10).tolist() == [0, 1, 0, 0, 2, 0, 0, 1, -1, 0]


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(VALUES, st.integers(0, 2)), min_size=1, max_size=60))
def test_the_specification_says_the_same(pairs: list[tuple[int, int]]) -> None:
    symbols, contexts = [value for value, _ in pairs], [context for _, context in pairs]
    assert reference.decode_array(encode(symbols, contexts), contexts) == symbols


def test_the_specification_says_the_same_of_many_lanes() -> None:
    symbols = draw("gauss", 3000)
    data = encode(symbols)
    assert data[len(Model.fit(symbols).to_bytes())] > 0
    assert reference.decode_array(data, [0] * 3000) == symbols.tolist()


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(np.int64, st.integers(1, 300), elements=st.integers(0, 70000)))
def test_tables_are_read_as_written_and_fill_all_slots(histogram: Array) -> None:
    out = BitWriter()
    frequency = write_weights(out, histogram)
    np.testing.assert_array_equal(read_weights(BitReader(out.to_bytes()), len(histogram)), frequency)
    assert frequency.sum() == (2**14 if histogram.any() else 0)
    np.testing.assert_array_equal(frequency > 0, histogram > 0)


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(np.int64, st.integers(1, 300), elements=st.integers(0, 70000)), st.integers(0, 9))
def test_pearson_tables_are_read_as_written_and_leave_no_symbol_out(histogram: Array, escapes: int) -> None:
    table = PearsonTable(np.append(histogram, escapes))
    assert table.frequency.sum() == 2**14
    assert np.all(table.frequency[:-1] > 0)
    assert (table.frequency[-1] > 0) == (escapes > 0)
    out = BitWriter()
    table.write(out, escape=True)
    np.testing.assert_array_equal(read_pearson(BitReader(out.to_bytes()), len(histogram), True), table.frequency)
    assert reference.bell(reference.Bits(out.to_bytes()), len(histogram), True) == table.frequency.tolist()


@pytest.mark.parametrize("sigma", [0.3, 2.0, 30.0])
@pytest.mark.parametrize("tails", [False, True])
def test_numbers_of_a_parametric_pmf_take_hardly_more_than_their_entropy(sigma: float, tails: bool) -> None:
    rng = np.random.default_rng(5)
    numbers = rng.standard_t(3, 2000) if tails else rng.normal(size=2000)
    symbols = np.rint(sigma * numbers).astype(np.int64)
    shape = scipy.stats.t(3, scale=sigma) if tails else scipy.stats.norm(scale=sigma)
    entropy = -np.log2(shape.cdf(symbols + 0.5) - shape.cdf(symbols - 0.5)).sum() / 8
    assert len(encode(symbols)) <= 1.02 * entropy + 24


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(np.int64, st.integers(1, 4096), elements=st.integers(0, 65535)))
def test_any_weights_fill_all_slots(weights: Array) -> None:
    frequency = spread(weights)
    assert frequency.sum() == (2**14 if weights.any() else 0)
    np.testing.assert_array_equal(frequency > 0, weights > 0)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 2**14), st.data())
def test_uniform_spans_tile_the_slots(size: int, data: st.DataObject) -> None:
    start, frequency = uniform_span(np.arange(size), np.full(size, size))
    assert start[0] == 0
    assert (frequency > 0).all()
    np.testing.assert_array_equal(start[1:], (start + frequency)[:-1])
    assert start[-1] + frequency[-1] == 2**14
    slot = data.draw(st.integers(0, 2**14 - 1))
    assert start[slot * size >> 14] <= slot < (start + frequency)[slot * size >> 14]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.one_of(st.integers(-(2**31), 2**31), st.integers(-3, 3)), max_size=40))
def test_bits_are_read_as_written(values: list[int]) -> None:
    out = BitWriter()
    for value in values:
        out.signed(value)
        out.fixed(abs(value) & 7, 3)
    bits = BitReader(out.to_bytes())
    assert [(bits.signed(), bits.fixed(3)) for _ in values] == [(v, abs(v) & 7) for v in values]
    assert bits.finish() == len(out.to_bytes())


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60), st.integers(0, 50))
def test_any_bytes_are_decoded_or_refused(data: bytes, count: int) -> None:
    with contextlib.suppress(FormatError):
        assert len(decode(data, count, np.arange(count) % 3)) == count


def test_truncation_and_tail_are_refused() -> None:
    symbols = draw("laplace", 400)
    data = encode(symbols)
    for length in range(len(data)):
        with pytest.raises(FormatError):
            decode(data[:length], 400)
    with pytest.raises(FormatError):
        decode(data + b"\0\0", 400)


def test_a_damaged_word_is_refused_or_told_apart() -> None:
    # Low bits apart from the tables would be plain bits, in which any value is as good as another.
    symbols = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [50, 200, 333, 170, 70]))
    data = encode(symbols)
    refused = 0
    bits = range(8 * (len(data) - 90), 8 * len(data), 13)
    for bit in bits:
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            assert not np.array_equal(decode(bytes(damaged), 823), symbols)
        except FormatError:
            refused += 1
    assert refused > 0.9 * len(bits)


def stream(states: list[int], words: bytes = b"", exponent: int = 0) -> bytes:
    return bytes([exponent]) + b"".join(state.to_bytes(4, "little") for state in states) + words


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "lanes expected, found exponent nothing"),
        (b"\x07" + bytes(512), "lanes expected, found exponent 7"),
        (b"\x01" + bytes(4), "9 bytes and whole words"),
        (stream([2**16], b"x"), "whole words"),
        (stream([2**16 - 1]), "states of at least 65536"),
        (stream([2**16], b"xx"), "0 bytes of rANS words expected, found 2"),
        (stream([2**16 + 1]), "lanes expected to end at 65536"),
    ],
)
def test_forged_stream_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(FormatError, match=problem):
        RansDecoder(data).finish()


def test_words_that_run_out_are_refused() -> None:
    with pytest.raises(FormatError, match="more than 0 words"):
        RansDecoder(stream([2**16])).uniform(np.full(9, 1000))


def forged_model(*fields: tuple[int, int | None]) -> bytes:
    out = BitWriter()
    for value, width in fields:
        out.gamma(value) if width is None else out.fixed(value, width)
    return out.to_bytes() + bytes(8)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (forged_model((258, None), (0, 6)), "at most 256 contexts"),
        (forged_model((2, None), (34, 6)), "33 bits of escape"),
        (forged_model((2, None), (0, 6), (32770, None)), "at most 32768 symbols"),
        (forged_model((2, None), (0, 6), (2, None), (1, None), (15, 4)), "low bits expected, found 15"),
        (forged_model((2, None), (0, 6), (2, None), (1, None), (7, 8)), "bits of a weight"),
        (
            forged_model((2, None), (0, 6), (2, None), (1, None), (0, 5), (0, 3), (1, None), (1, None)),
            "only zeros",
        ),
        (forged_model((2, None), (0, 6), (2, None), (1, None), (0, 8), (2, None)), "0 to 16 bits"),
        (
            forged_model((2, None), (0, 6), (2, None), (1, None), (0, 8), (1, None), (2, None)),
            "1 weights expected, at most 4096 of them above 0, found 2",
        ),
        (forged_model((1, None), (0, 6), (1, 1)), "zero padding"),
        (bytes(9), "at most 33 bits"),
        (b"", "1 bytes expected"),
    ],
)
def test_forged_model_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(FormatError, match=problem):
        Model.from_bytes(data)


def test_a_result_outside_32_bits_is_refused() -> None:
    fields = [(2, None), (0, 6), (2, None), (2**32 + 1, None), (0, 5), (0, 3), (3, None)]
    model, _ = Model.from_bytes(forged_model(*fields))
    with pytest.raises(FormatError, match="symbols of 32 bits expected, found 2147483648"):
        model.decode(stream([2**16]), 1)


def test_a_context_without_a_table_is_refused() -> None:
    model = Model.fit([1, 2], [0, 2])
    for context in (1, 3):
        with pytest.raises(FormatError, match="table for each of the contexts"):
            model.decode(stream([2**16]), 1, [context])
        with pytest.raises(ValueError, match="no table"):
            model.encode([1], [context])
    with pytest.raises(FormatError, match="no bytes for no symbols"):
        model.decode(b"x", 0)


@pytest.mark.parametrize("symbol", [3, -1, 2**31 - 1])
def test_a_symbol_that_the_model_cannot_express_is_not_encoded(symbol: int) -> None:
    with pytest.raises(ValueError, match="symbol"):
        Model.fit([0, 0, 1, 2]).encode([symbol])


@pytest.mark.parametrize(
    ("symbols", "contexts"),
    [([[1]], None), ([1.5], None), ([2**31], None), ([1], [256]), ([1], [-1]), ([1], [0, 0])],
)
def test_arrays_of_the_wrong_kind_are_not_encoded(symbols: list[int], contexts: list[int] | None) -> None:
    with pytest.raises(ValueError, match="expected"):
        encode(symbols, contexts)


@pytest.mark.parametrize("lanes_log2", [0, 1, 3, 4])
@pytest.mark.parametrize("count", [1, 15, 16, 17, 1000])
def test_lanes_one_by_one_decode_as_together(lanes_log2: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rans, "_lanes_log2", lambda count, bits: lanes_log2)
    rng = np.random.default_rng(count)
    symbols, contexts = np.rint(rng.normal(0, 3, count)).astype(np.int64), rng.integers(0, 3, count)
    model = Model.fit(symbols, contexts)
    coded = model.encode(symbols, contexts)
    assert coded[0] == lanes_log2
    for few in (0, 16):
        monkeypatch.setattr(rans, "_MAX_SCALAR_LANES", few)
        assert np.array_equal(model.decode(coded, count, contexts), symbols)
        for cut in (len(coded) - 2, len(coded) - 4):
            with pytest.raises(FormatError):
                model.decode(coded[: max(cut, 0)], count, contexts)


def test_calls_of_any_length_interleave() -> None:
    encoder = RansEncoder()
    sizes = [np.full(n, 5000) for n in (0, 1, 700, 3, 0, 64)]
    values = [np.random.default_rng(i).integers(0, 5000, len(size)) for i, size in enumerate(sizes)]
    for value, size in zip(values, sizes, strict=True):
        encoder.push(*uniform_span(value, size))
    decoder = RansDecoder(encoder.finish())
    for value, size in zip(values, sizes, strict=True):
        np.testing.assert_array_equal(decoder.uniform(size), value)
    decoder.finish()
