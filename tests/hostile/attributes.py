"""Section ATTR by hand, for the four points in one place of the smallest file's clouds; and what breaks its rules."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.hostile.small import STREAM, groups, head, model, point_tables, second, weights

SMOOTH, EXACT, LABELS, COLOURS = range(4)


def number(value: int) -> bytes:
    """A number of seven bits a byte."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def block(data: bytes) -> bytes:
    """Bytes behind their number."""
    return number(len(data)) + data


def attribute(
    name: bytes = b"a",
    kind: int = 0,
    channels: int = 1,
    coding: int = SMOOTH,
    *,
    finer: int = 32,
    components: int = 0,
    affine: tuple[float, ...] = (0.0, 1.0),
    coefficients: int = 0,
    mean: bytes = model(0) + STREAM,
    of_clouds: bytes = model(0),
) -> bytes:
    """An attribute of the first group: a mean of 0 at all points, and clouds that add 0 to it."""
    out = bytes([len(name)]) + name + bytes([kind, channels, coding])
    if coding != LABELS:
        out += bytes([finer, components]) + struct.pack("<2d", *affine) * channels
    out += block(mean)
    if components:
        out += block(model(0) + STREAM) + block(model(coefficients) + STREAM)
    return out + block(of_clouds)


def first(*attributes: bytes, count: int | None = None) -> bytes:
    """The first group."""
    return bytes([len(attributes) if count is None else count]) + b"".join(attributes)


def streams(count: int = 1, length: bytes = number(len(STREAM))) -> bytes:
    """The group of both clouds, whose streams say nothing."""
    return length * 2 * count + STREAM * 2 * count


def with_attributes(*attributes: bytes) -> bytes:
    """The file of version 2 with attributes."""
    return second(ATTR=groups(first(*attributes), streams(len(attributes))))


def forged() -> Iterator[tuple[str, bytes]]:
    """Yield rules and files that break them."""
    one = attribute()
    yield "7.13 groups", second(ATTR=groups(first(one)))
    yield "7.13 groups", second(ATTR=groups(first(one), streams(), b""))
    for length in (b"\x85\0", b"\xff\xff\xff\xff\x10", b"\xff" * 5 + b"\1"):
        yield "7.13 number", second(ATTR=groups(first(one), streams(length=length)))
    yield "7.13 attributes", second(ATTR=groups(first(), streams(0)))
    many = [attribute(b"%d" % i) for i in range(65)]
    yield "7.13 attributes", second(ATTR=groups(first(*many), streams(65)))
    for name in (b"", b"a\x1f", b"a\x7f", b"\xff"):
        yield "7.13 name", with_attributes(attribute(name))
    yield "7.13 name", with_attributes(one, one)
    yield "7.13 type", with_attributes(attribute(kind=8))
    for channels in (0, 5):
        yield "7.13 channels", with_attributes(attribute(channels=channels))
    yield "7.13 channels", with_attributes(attribute(channels=2, coding=LABELS))
    yield "7.13 channels", with_attributes(attribute(channels=2, coding=COLOURS))
    yield "7.13 coding", with_attributes(attribute(coding=4))
    yield "7.13 coding", with_attributes(attribute(kind=6, coding=LABELS))
    yield "7.13 finer", with_attributes(attribute(finer=57))
    yield "7.13 components", with_attributes(attribute(components=65))
    for affine in ((float("nan"), 1.0), (1e300, 1.0), (0.0, float("inf")), (0.0, 0.0), (0.0, -1.0), (0.0, 1e-300)):
        yield "7.13 affine", with_attributes(attribute(affine=affine))
    for far in (2**16 + 1, -(2**16) - 1):
        yield "7.13 coefficients", with_attributes(attribute(components=1, coefficients=far))
    yield "7.13 model", with_attributes(attribute(of_clouds=model(0) + b"\0"))
    yield "7.13 end", second(ATTR=groups(first(one) + b"\0", streams()))
    yield "7.13 end", second(ATTR=groups(first(one)[:-1], streams()))
    # 2^18 points, all in the lowest cell.
    crowd = {"HEAD": head(points=2**18), "TMPL": point_tables(8, *weights(0, 18)) + STREAM}
    four = [attribute(b"%d" % i, channels=4) for i in range(4)]
    yield "7.13 points to bytes", second(**crowd, ATTR=groups(first(*four), streams(4)))
