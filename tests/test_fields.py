"""Laws of the coder of fields over points: what it says decodes, the written law agrees, smooth fields cost little."""

from __future__ import annotations

import contextlib

import numpy as np
import numpy.typing as npt
import pytest

from pcqaad.formats.coding import fields as coder
from pcqaad.formats.coding.fields import DEAD_ZONE, FRACTION_BITS, Cells, decode_fields, encode_fields, round_fields
from pcqaad.formats.coding.symbols import Model
from pcqaad.formats.errors import FormatError
from tests import reference_coding as reference

Points = npt.NDArray[np.int64]


def sphere(n: int, bits: int) -> Points:
    """Points drawn evenly on a sphere that fills the cube."""
    x = np.random.default_rng(0).normal(size=(n, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.rint((x + 1) / 2 * ((1 << bits) - 1)).astype(np.int64)


def cube(n: int, bits: int) -> Points:
    return np.random.default_rng(1).integers(0, 1 << bits, (n, 3))


SETS = {
    "one point": (np.array([[3, 0, 7]]), 3),
    "one point many times": (np.full((50, 3), 5), 4),
    "two points": (np.array([[0, 0, 0], [1, 1, 1]]), 1),
    "a line": (np.arange(40)[:, None] * np.array([1, 0, 2]), 7),
    "a small cube": (cube(60, 2), 2),
    "a cube": (cube(80, 16), 16),
    "a sphere": (sphere(150, 9), 9),
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("spread", [0, 0.3, 50])
def test_what_is_coded_is_decoded_by_the_written_law_too(name: str, spread: float) -> None:
    points, bits = SETS[name]
    values = np.random.default_rng(2).laplace(0, spread, (len(points), 4))
    data, coded = encode_fields(values, points, bits)
    assert np.array_equal(decode_fields(data, points, bits, 4), coded)
    rounded = round_fields(values, Cells(points, bits, kept=True))
    assert np.array_equal(rounded.decoded, coded)
    assert rounded.code() == data
    law = reference.decode_fields(data, [tuple(p) for p in points.tolist()], bits, 4)
    assert law == coded.tolist()


@pytest.mark.parametrize("name", ["a small cube", "a line", "a sphere"])
@pytest.mark.parametrize("width", [16, 31])
def test_numbers_of_any_size_decode_by_the_written_law(name: str, width: int) -> None:
    points, bits = SETS[name]
    rng, parts = np.random.default_rng(3), []

    def code(stage: object, context: Points, predicted: Points, scale: Points) -> Points:
        numbers = rng.integers(-(1 << width), 1 << width, context.shape)
        parts.append((numbers.ravel(), context.ravel()))
        return numbers

    decoded = coder.unfold(Cells(points, bits), 2, code)
    model = Model.fit(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    data = model.to_bytes() + model.encode_parts(parts)
    assert np.array_equal(decode_fields(data, points, bits, 2), decoded)
    assert reference.decode_fields(data, [tuple(p) for p in points.tolist()], bits, 2) == decoded.tolist()
    assert np.abs(decoded).max() <= 2**36


def test_the_order_of_the_points_changes_no_byte() -> None:
    points, bits = SETS["a sphere"]
    values, order = np.sin(points / 100), np.random.default_rng(4).permutation(len(points))
    data, decoded = encode_fields(values * 20, points, bits)
    other, moved = encode_fields(values[order] * 20, points[order], bits)
    # The sums of the encoder's floats may differ in their last digit, and no number is that near to a half.
    assert other == data
    assert np.array_equal(moved, decoded[order])


@pytest.mark.parametrize("dead_zone", [0.0, DEAD_ZONE])
def test_the_error_is_that_of_rounding_or_less(dead_zone: float) -> None:
    points, bits = sphere(1000, 12), 12
    values = np.random.default_rng(5).normal(0, 3, (len(points), 3))
    _, decoded = encode_fields(values, points, bits, dead_zone)
    own = {tuple(p) for p in points.tolist()}
    assert len(own) > 990
    error = np.square(decoded / 2**FRACTION_BITS - values).mean()
    assert error < 1.05 * (1 / 12 + dead_zone * 0.2)


def test_a_smooth_field_costs_far_less_than_its_numbers_do_one_by_one() -> None:
    points, bits = sphere(2000, 12), 12
    x = points / 2**11 - 1
    smooth = 50 * np.column_stack([x[:, 0], x[:, 1] * x[:, 2], np.sin(3 * x[:, 0] + x[:, 1])])
    shuffled = np.random.default_rng(6).permutation(smooth)
    smooth_bytes, noise_bytes = (len(encode_fields(values, points, bits)[0]) for values in (smooth, shuffled))
    assert smooth_bytes < noise_bytes / 4
    # A field of zeros is next to nothing, and so are many.
    assert len(encode_fields(np.zeros((2000, 48)), points, bits)[0]) < 60


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e9])
def test_numbers_that_no_symbol_holds_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="less than 2\\^23 steps"):
        encode_fields(np.full((2, 1), bad), np.zeros((2, 3), np.int64), 1)


def test_damage_is_refused_or_decodes() -> None:
    points, bits = SETS["a sphere"]
    data, _ = encode_fields(np.random.default_rng(7).normal(0, 9, (len(points), 2)), points, bits)
    rng, read = np.random.default_rng(8), 0
    for _ in range(30):
        changed = bytearray(data)
        changed[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        with contextlib.suppress(FormatError):
            decode_fields(bytes(changed), points, bits, 2)
            read += 1
    assert read < 15
    for cut in range(0, len(data), 31):
        with pytest.raises(FormatError):
            decode_fields(data[:cut], points, bits, 2)


def test_bits_are_told_without_coding() -> None:
    points, bits = SETS["a sphere"]
    waves = [np.sin(points @ np.array(wave) / 60) for wave in ((1, 0, 2), (0, 2, 1), (1, 1, 0), (2, 0, 1))]
    values = np.stack([50 * wave / 2**i for i, wave in enumerate(waves)], 1)
    values += np.random.default_rng(6).normal(0, 2, values.shape)
    told = round_fields(values, Cells(points, bits)).bits(together=2) / 8
    for fields, about in zip((2, 4), told, strict=True):
        assert about == pytest.approx(len(encode_fields(values[:, :fields], points, bits)[0]), rel=0.1)
