"""Attributes of points, written from SPEC.md's sections 6.4, 6.5 and 7.13 alone: the law for the fast ones."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from tests.reference_coding import ArrayModel, Points, Rans, clip, decode_array, decode_part, fields_of

TYPES = ("B", "H", "I", "b", "h", "i", "f", "d")


def decode_values(
    model: ArrayModel, data: bytes, points: Points, b: int, channels: int, exact: bool
) -> list[list[int]]:
    """Section 6.4."""
    rans = Rans(data)
    found = fields_of(model, rans, points, b, channels, exact, 64)
    if exact:
        again = [i for i in order(points, b) if points.count(points[i]) > 1]
        contexts = [63 + 64 * (c > 0) for _ in again for c in range(channels)]
        more = iter(decode_part(model, rans, contexts) if contexts else [])
        for i in again:
            found[i] = [x + next(more) for x in found[i]]
    rans.finish()
    return found


def order(points: Points, b: int) -> list[int]:
    """The points in the order of the cells."""
    return sorted(range(len(points)), key=lambda i: (key(points[i], b), i))


def key(point: Sequence[int], b: int) -> int:
    bits = "".join(str(point[axis] >> level & 1) for level in reversed(range(b)) for axis in range(3))
    return int(bits, 2)


def decode_labels(model: ArrayModel, data: bytes, points: Points, b: int, rule: Sequence[int] | None) -> list[int]:
    """Section 6.5."""
    rans = Rans(data)
    labels: dict[int, int] = {}

    def part(asked: Sequence[tuple[int, int, tuple[int, int, int]]]) -> None:
        symbols = decode_part(model, rans, [context for _, context, _ in asked]) if asked else []
        spoken = [50 for s in symbols if s >= 3]
        said = iter(decode_part(model, rans, spoken) if spoken else [])
        for (p, _, candidates), s in zip(asked, symbols, strict=True):
            labels[p] = next(said) if s >= 3 else candidates[max(s, 0)]

    def usual(p: int) -> int:
        return rule[p] if rule is not None else 0

    rows = order(points, b)
    part([(rows[0], 49, (usual(rows[0]),) * 3)])
    cells = {(0, 0, 0): rows}
    for t in range(3 * b):
        axis, depth, asked, grown = t % 3, b - 1 - t // 3, [], {}
        for cell, mine in cells.items():
            halves = [[i for i in mine if points[i][axis] >> depth & 1 == side] for side in (0, 1)]
            for side, half in enumerate(halves):
                if half:
                    grown[tuple(2 * x + side if i == axis else x for i, x in enumerate(cell))] = half
            if not all(halves):
                continue
            p, own = halves[1][0], labels[mine[0]]
            near = []
            for o in product((-1, 0, 1), repeat=3):
                other = tuple(x + d for x, d in zip(cell, o, strict=True))
                if any(o) and other in cells:
                    near.append((8 >> sum(map(abs, o)), cells[other][0]))
            said = [*((w, labels[i]) for w, i in near), (8, own)]
            total = sum(w for w, _ in said)

            def vote(label: int, said: Sequence[tuple[int, int]] = said) -> int:
                return sum(w for w, other in said if other == label)

            share = max(vote(label) for _, label in said)
            most = own if vote(own) == share else next(label for _, label in said if vote(label) == share)
            sure = 4 * share // total
            if rule is None:
                asked.append((p, sure, (most, most, own)))
                continue
            odd = sum(w for w, i in near if labels[i] != usual(i))
            trust = (odd > 0) + (4 * odd > total)
            v = vote(usual(p))
            doubt = 0 if usual(p) == most else 1 + (v > 0) + (4 * v > total)
            asked.append((p, 12 * doubt + 4 * trust + max(sure - 1, 0), (usual(p), most, own)))
        part(asked)
        cells = grown
    again = []
    for mine in cells.values():
        own = labels[mine[0]]
        again += [(p, 48, (own if rule is None else usual(p), own, own)) for p in mine[1:]]
    part(again)
    rans.finish()
    return [labels[i] for i in range(len(points))]


class Reader:
    """Numbers and blocks of section 7.13."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, count: int) -> bytes:
        assert count <= len(self.data)
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def number(self) -> int:
        value = 0
        for i in range(5):
            byte = self.take(1)[0]
            value += (byte % 128) << 7 * i
            if byte < 128:
                assert (byte or not i) and value < 2**32
                return value
        raise AssertionError

    def block(self) -> bytes:
        return self.take(self.number())


@dataclass
class Attribute:
    """What clouds share of an attribute."""

    name: str
    type: str
    channels: int
    coding: int
    digits: int
    steps: list[tuple[float, float]]  # offset and unit of each channel
    mean: list[list[int]]
    components: list[list[list[int]]]  # of each point, component and channel
    coefficients: list[list[int]]
    model: ArrayModel


def decode_groups(groups: list[bytes], clouds: int, points: Points, b: int) -> dict[str, list[list[list]]]:
    """Section 7.13: of each attribute the values of each cloud, point and channel."""
    reader, found = Reader(groups[0]), []
    count = reader.take(1)[0]
    assert 1 <= count <= 64 and len(groups) == 1 + -(-clouds // 16)
    numbers = 0
    for _ in range(count):
        name = reader.take(reader.take(1)[0]).decode()
        kind, channels, coding = reader.take(3)
        digits, k, steps = 0, 0, []
        if coding != 2:
            digits, k = reader.take(2)
            digits -= 32
            steps = [struct.unpack("<dd", reader.take(16)) for _ in range(channels)]
            assert all(abs(o) <= 2.0**900 and 2.0**-900 <= u <= 2.0**900 for o, u in steps)
        assert (
            name and not any(c < " " or c == "\x7f" for c in name) and 1 <= channels <= 4 and digits <= 24 and k <= 64
        )
        assert coding != 2 or (channels == 1 and kind < 6)
        assert coding != 3 or channels == 3
        numbers += len(points) * channels * (1 + k)
        mean, components, coefficients = ArrayModel(reader.block()), [], [[] for _ in range(clouds)]
        if coding == 2:
            of_points = [[label] for label in decode_labels(mean, mean.rest, points, b, None)]
        else:
            rans = Rans(mean.rest)
            of_points = fields_of(mean, rans, points, b, channels, False, 0)
            rans.finish()
        if k:
            model = ArrayModel(reader.block())
            rans = Rans(model.rest)
            flat = fields_of(model, rans, points, b, k * channels, False, 0)
            rans.finish()
            components = [[row[i * channels : (i + 1) * channels] for i in range(k)] for row in flat]
            array = decode_array(reader.block(), [0] * (clouds * k))
            assert max(map(abs, array)) <= 2**16
            coefficients = [array[i * k : (i + 1) * k] for i in range(clouds)]
        model = ArrayModel(reader.block())
        assert not model.rest
        of = digits, steps, of_points, components, coefficients
        found.append(Attribute(name, TYPES[kind], channels, coding, *of, model))
    assert not reader.data and len({a.name for a in found}) == count
    assert numbers <= 2**20 + 4096 * len(groups[0])
    values: dict[str, list] = {a.name: [] for a in found}
    for j, group in enumerate(groups[1:]):
        reader, mine = Reader(group), range(16 * j, min(16 * j + 16, clouds))
        lengths = [reader.number() for _ in mine for _ in found]
        streams = [reader.take(length) for length in lengths]
        assert not reader.data
        for at, stream in enumerate(streams):
            a = found[at % count]
            values[a.name].append(decode_cloud(a, stream, mine[at // count], points, b))
    return values


def decode_cloud(a: Attribute, stream: bytes, cloud: int, points: Points, b: int) -> list[list]:
    """The values of one attribute of one cloud."""
    if a.coding == 2:
        labels = decode_labels(a.model, stream, points, b, [row[0] for row in a.mean])
        return [[typed(a.type, label)] for label in labels]
    rest = decode_values(a.model, stream, points, b, a.channels, a.coding == 1)
    out = []
    for i, more in enumerate(rest):
        row = []
        for c in range(a.channels):
            parts = zip(a.coefficients[cloud], a.components[i], strict=True) if a.components else ()
            total = 64 * a.mean[i][c] + sum(k * own[c] for k, own in parts)
            # With 26 digits more, so that no shift is to the left.
            base = clip(((total << 26) + 2 ** (a.digits + 32) // 2) >> (a.digits + 32), -(2**40), 2**40)
            offset, unit = a.steps[c]
            x = float(((base + 2**11) >> 12) + more[c]) if a.coding == 1 else (base + more[c]) / 2**12
            row.append(x * unit + offset)
        if a.coding == 3:
            luma, of_blue, of_red = row
            red, blue = luma + 1.5748 * of_red, luma + 1.8556 * of_blue
            row = [red, (luma - 0.2126 * red - 0.0722 * blue) / 0.7152, blue]
        out.append([typed(a.type, x) for x in row])
    return out


def typed(kind: str, value: float) -> float:
    """A value in its type."""
    if kind in "fd":
        largest = (2 - 2.0**-23) * 2.0**127 if kind == "f" else (2 - 2.0**-52) * 2.0**1023
        return struct.unpack(f"<{kind}", struct.pack(f"<{kind}", clip(value, -largest, largest)))[0]
    size = 8 * struct.calcsize(f"<{kind}")
    low, high = (0, 2**size - 1) if kind.isupper() else (-(2 ** (size - 1)), 2 ** (size - 1) - 1)
    return clip(math.floor(value + 0.5) if isinstance(value, float) else value, low, high)


def nearest(points: Points, others: Sequence[Sequence[int]], b: int) -> list[int]:
    """Which of the points other places have the values of."""
    rows = order(points, b)
    keys = [key(points[i], b) for i in rows]
    found = []
    for other in others:
        at = sum(k < key(other, b) for k in keys)
        near = rows[max(at - 8, 0) : at + 8]
        found.append(min(near, key=lambda i: sum((x - y) ** 2 for x, y in zip(points[i], other, strict=True))))
    return found
