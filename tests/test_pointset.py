"""Laws of the point-set coder: the multiset is exact, the order told, and damage refused."""

from __future__ import annotations

import contextlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcqaad.formats.coding.point_sets import decode_points, encode_points
from pcqaad.formats.errors import FormatError
from tests import reference_coding as reference

Array = npt.NDArray[np.int64]


def sphere(n: int, bits: int, seed: int = 0) -> Array:
    """Points drawn evenly on a sphere that fills the cube."""
    x = np.random.default_rng(seed).normal(size=(n, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.rint((x + 1) / 2 * ((1 << bits) - 1)).astype(np.int64)


def check(sets: list[Array], bits: int) -> bytes:
    data, orders = encode_points(sets, bits)
    decoded = decode_points(data, [len(points) for points in sets], bits)
    assert len(decoded) == len(sets)
    for points, order, back in zip(sets, orders, decoded, strict=True):
        assert back.dtype == np.int32
        np.testing.assert_array_equal(np.sort(order), np.arange(len(points)))
        np.testing.assert_array_equal(points[order], back)
    return data


@st.composite
def point_sets(draw: st.DrawFn) -> tuple[list[Array], int]:
    bits = draw(st.integers(1, 16))
    top = draw(st.sampled_from([1, 3, (1 << bits) - 1])) & ((1 << bits) - 1)
    coordinate = st.integers(0, top)
    points = st.lists(st.tuples(coordinate, coordinate, coordinate), max_size=40)
    return [np.array(p, np.int64).reshape(-1, 3) for p in draw(st.lists(points, max_size=4))], bits


@settings(deadline=None, max_examples=12)
@given(point_sets())
def test_round_trip(drawn: tuple[list[Array], int]) -> None:
    check(*drawn)


@pytest.mark.parametrize("bits", [1, 5, 9, 16])
def test_round_trip_of_a_surface(bits: int) -> None:
    check([sphere(3000, bits), sphere(1, bits), np.empty((0, 3), np.int64), sphere(500, bits, 1)], bits)


def test_one_point_many_times() -> None:
    assert len(check([np.full((70000, 3), 5)], 4)) < 40


def test_large_cells_in_halves_of_any_size() -> None:
    # More than 16 * 4096 points to a cell: remainders of two digits.
    points = np.zeros((200_000, 3), np.int64)
    points[:70_001, 2] = 1
    points[:30_011, 0] = 1
    assert len(check([points], 1)) < 60


def test_the_order_of_the_input_does_not_matter() -> None:
    points = sphere(400, 8)
    shuffled = np.random.default_rng(1).permutation(points)
    assert encode_points([points], 8)[0] == encode_points([shuffled], 8)[0]


def test_a_surface_takes_fewer_bits_than_points_in_space() -> None:
    # 3 b bits a point, less what the order would take: log2(n!) / n.
    n, bits = 8000, 9
    unordered = 3 * bits - float(np.log2(np.arange(1, n + 1)).sum()) / n
    data = check([sphere(n, bits)], bits)
    assert 8 * len(data) / n < unordered - 2.5


def test_sets_share_their_tables() -> None:
    sets = [sphere(200, 8, seed) for seed in range(2)]
    assert len(check(sets, 8)) < sum(len(encode_points([points], 8)[0]) for points in sets)


@settings(deadline=None, max_examples=10)
@given(point_sets())
def test_the_specification_says_the_same(drawn: tuple[list[Array], int]) -> None:
    sets, bits = drawn
    data, orders = encode_points(sets, bits)
    if data:
        expected = [points[order].tolist() for points, order in zip(sets, orders, strict=True)]
        decoded = reference.decode_points(data, [len(points) for points in sets], bits)
        assert [[list(point) for point in points] for points in decoded] == expected


def test_the_specification_says_the_same_of_surfaces() -> None:
    sets = [sphere(600, 7), sphere(200, 7, 1)]
    data, orders = encode_points(sets, 7)
    expected = [points[order].tolist() for points, order in zip(sets, orders, strict=True)]
    decoded = reference.decode_points(data, [600, 200], 7)
    assert [[list(point) for point in points] for points in decoded] == expected


def test_known_bytes() -> None:
    data = bytes.fromhex("80008410600074390430030420810000007b660c00")
    assert encode_points([[[1, 2, 3], [3, 0, 0], [1, 2, 3]]], 2)[0] == data
    assert decode_points(data, [3], 2)[0].tolist() == [[1, 2, 3], [1, 2, 3], [3, 0, 0]]


def test_no_points() -> None:
    assert encode_points([], 9) == (b"", [])
    assert decode_points(b"", [], 9) == []
    assert [points.shape for points in decode_points(b"", [0, 0], 9)] == [(0, 3), (0, 3)]
    with pytest.raises(FormatError, match="no bytes for no points"):
        decode_points(b"x", [0], 9)


def test_truncation_and_tail_are_refused() -> None:
    data, _ = encode_points([sphere(60, 6)], 6)
    for length in range(0, len(data), 2):
        with pytest.raises(FormatError):
            decode_points(data[:length], [60], 6)
    with pytest.raises(FormatError):
        decode_points(data + b"\0\0", [60], 6)


def test_other_counts_or_bits_are_refused() -> None:
    data, _ = encode_points([sphere(300, 6)], 6)
    for counts, bits in (([299], 6), ([301], 6), ([300], 5), ([300], 7), ([150, 150], 6)):
        with pytest.raises(FormatError):
            decode_points(data, counts, bits)


def test_damage_is_refused_or_keeps_the_counts() -> None:
    data, _ = encode_points([sphere(80, 6), sphere(30, 6, 1)], 6)
    refused = 0
    for bit in range(0, 8 * len(data), 23):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            decoded = decode_points(bytes(damaged), [80, 30], 6)
            assert [len(points) for points in decoded] == [80, 30]
            assert all(points.min() >= 0 and points.max() < 64 for points in decoded)
        except FormatError:
            refused += 1
    assert refused > 0.95 * len(data) * 8 / 23


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=80), st.integers(0, 60), st.integers(1, 16))
def test_any_bytes_are_decoded_or_refused(data: bytes, count: int, bits: int) -> None:
    with contextlib.suppress(FormatError):
        assert [len(points) for points in decode_points(data, [count, 3], bits)] == [count, 3]


@pytest.mark.parametrize(
    ("points", "bits"),
    [
        ([[0, 0, 4]], 2),
        ([[0, -1, 0]], 2),
        ([[0, 0]], 2),
        ([[0.5] * 3], 2),
        ([[0, 0, 0]], 0),
        ([[0] * 3], 17),
    ],
)
def test_points_out_of_range_are_not_encoded(points: list[list[int]], bits: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        encode_points([points], bits)


@pytest.mark.parametrize(("counts", "bits"), [([-1], 4), ([2**27], 4), ([1], 0), ([1], 17)])
def test_counts_out_of_range_are_a_mistake_of_the_caller(counts: list[int], bits: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        decode_points(b"", counts, bits)
