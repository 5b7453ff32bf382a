"""Decoders written from SPEC.md alone, in plain Python and 64-bit integers: the law for the fast ones."""

from __future__ import annotations

import math
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np

Points = list[tuple[int, int, int]]

KNOWN = (b"HEAD", b"GAIN", b"WGTS", b"TMPL", b"COMP", b"LMOD", b"LATS", b"NAME", b"info")


class Bits:
    """Section 2."""

    def __init__(self, data: bytes) -> None:
        self.bits = "".join(f"{byte:08b}" for byte in data)
        self.at = 0

    def fixed(self, width: int) -> int:
        self.at += width
        return int(self.bits[self.at - width : self.at] or "0", 2)

    def gamma(self) -> int:
        zeros = self.bits.index("1", self.at) - self.at
        self.at += zeros
        return self.fixed(zeros + 1)

    def signed(self) -> int:
        u = self.gamma() - 1
        return -((u + 1) // 2) if u % 2 else u // 2

    def padding(self) -> int:
        assert set(self.bits[self.at : -(-self.at // 8) * 8]) <= {"0"}
        return -(-self.at // 8)


def weights(bits: Bits, count: int) -> list[int]:
    """Section 3."""
    m, length, w = bits.fixed(3), 0, []
    while len(w) < count:
        length += bits.signed()
        k = min(length - 1, m)
        w += [(2**k + bits.fixed(k)) << (length - 1 - k)] if length else [0] * bits.gamma()
    assert len(w) == count
    return frequencies(w)


def frequencies(w: list[int]) -> list[int]:
    """Section 3."""
    used = sum(x > 0 for x in w)
    f = [1 + x * (2**14 - used) // sum(w) if x else 0 for x in w]
    if used:
        f[w.index(max(w))] += 2**14 - sum(f)
    return f


def bell(bits: Bits, count: int, escape: bool) -> list[int]:
    """Section 3."""
    p, c = (1, 2, 3, 4, 6, 8, 12, 24)[bits.fixed(3)], bits.fixed(8)
    assert c < 240
    a, m, w = (8 + c % 8) << c // 8, count // 2 + bits.signed(), []
    assert 0 <= m < count <= 4096 - escape
    for i in range(count):
        x = 2**30
        for _ in range(p):
            x = x * a // (a + 16 * (i - m) ** 2)
        w.append(max(x, 1))
    return frequencies([*w, 2 ** bits.fixed(5) // 2] if escape else w)


class Rans:
    """Section 4."""

    def __init__(self, data: bytes) -> None:
        self.lanes = 2 ** data[0]
        self.x = [int.from_bytes(data[1 + 4 * i : 5 + 4 * i], "little") for i in range(self.lanes)]
        rest = data[1 + 4 * self.lanes :]
        self.words = iter([int.from_bytes(rest[i : i + 2], "little") for i in range(0, len(rest), 2)])

    def _advance(self, lane: int, start: int, frequency: int) -> None:
        x = frequency * (self.x[lane] // 2**14) + self.x[lane] % 2**14 - start
        self.x[lane] = x * 2**16 + next(self.words) if x < 2**16 else x

    def call(self, tables: Sequence[list[int]]) -> list[int]:
        out = []
        for i, table in enumerate(tables):
            slot = self.x[i % self.lanes] % 2**14
            ends = list(accumulate(table))
            s = bisect_right(ends, slot)
            self._advance(i % self.lanes, ends[s] - table[s], table[s])
            out.append(s)
        return out

    def uniform(self, sizes: Sequence[int]) -> list[int]:
        out = []
        for i, size in enumerate(sizes):
            s = self.x[i % self.lanes] % 2**14 * size // 2**14
            start, end = -(-s * 2**14 // size), -(-(s + 1) * 2**14 // size)
            self._advance(i % self.lanes, start, end - start)
            out.append(s)
        return out

    def finish(self) -> None:
        assert next(self.words, None) is None
        assert self.x == [2**16] * self.lanes


class ArrayModel:
    """Section 5: a model, and the bytes behind it."""

    def __init__(self, data: bytes) -> None:
        bits = Bits(data)
        count, self.escape_bits = bits.gamma() - 1, bits.fixed(6)
        self.low, self.shift, self.table, self.escape = {}, {}, {}, {}
        for c in range(count):
            n = bits.gamma() - 1
            if n:
                self.low[c], self.shift[c], self.escape[c] = bits.signed(), bits.fixed(4), n
                escape = self.escape_bits > 0
                self.table[c] = bell(bits, n, escape) if bits.fixed(1) else weights(bits, n + escape)
        self.rest = data[bits.padding() :]


def decode_array(data: bytes, contexts: Sequence[int]) -> list[int]:
    """Section 5, for at least one integer: a model and its stream."""
    model = ArrayModel(data)
    return decode_stream(model, model.rest, contexts)


def decode_stream(model: ArrayModel, data: bytes, contexts: Sequence[int]) -> list[int]:
    """Section 5, for at least one integer: the stream."""
    rans = Rans(data)
    out = decode_part(model, rans, contexts)
    rans.finish()
    return out


def decode_part(model: ArrayModel, rans: Rans, contexts: Sequence[int]) -> list[int]:
    """Section 5: one part of a stream."""
    low, shift, table, escape, escape_bits = model.low, model.shift, model.table, model.escape, model.escape_bits
    coded: Iterator[int] = iter(rans.call([table[c] for c in contexts if max(table[c]) < 2**14]))
    s = [next(coded) if max(table[c]) < 2**14 else table[c].index(2**14) for c in contexts]
    out = [low[c] + (v << shift[c]) for c, v in zip(contexts, s, strict=True)]
    fine = [i for i, c in enumerate(contexts) if s[i] != escape[c] and shift[c]]
    for i, r in zip(fine, rans.uniform([2 ** shift[contexts[i]] for i in fine]), strict=True):
        out[i] += r
    far = {i: 0 for i, c in enumerate(contexts) if s[i] == escape[c]}
    for p in range(0, escape_bits, 14):
        for i, d in zip(far, rans.uniform([2 ** min(14, escape_bits - p)] * len(far)), strict=True):
            far[i] += d << p
    for i, u in far.items():
        out[i] = low[contexts[i]] + (-((u + 1) // 2) if u % 2 else u // 2)
    assert all(-(2**31) <= number < 2**31 for number in out)
    return out


def decode_points(data: bytes, counts: Sequence[int], b: int) -> list[Points]:
    """Section 6, for at least one point."""
    bits = Bits(data)
    table = {}
    for kind, symbols in enumerate([2, 3, 4, 5, 6, 7, 8, 9, 18, 2, 2, 3, 3]):
        if bits.fixed(1):
            c = 0
            while c < 8:
                run = [c]
                c += 1
                while c < 8 and not bits.fixed(1):
                    run.append(c)
                    c += 1
                f = weights(bits, symbols)
                table.update({(kind, i): f for i in run})
    rans = Rans(data[bits.padding() :])
    cells = {(i, 0, 0, 0): n for i, n in enumerate(counts) if n}
    steps = [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)]
    for stage in range(3 * b):
        axis = stage % 3
        asked = []
        for (i, x, y, z), n in cells.items():
            side = {-1: 0, 0: 0, 1: 0}
            for d in steps:
                weight = 4 // 2 ** (sum(map(abs, d)) - abs(d[axis]))
                side[d[axis]] += weight * cells.get((i, x + d[0], y + d[1], z + d[2]), 0)
            before, behind = side[-1], side[1]
            both, surplus = before + behind, 20 * abs(behind - before)
            context = 1 + sum(surplus > t * both for t in (2, 4, 6, 9, 12, 16)) if surplus else 0
            crowd = 2 if both >= 9 * n else 1 if both >= 3 * n else 0
            kind = min(n, 9) - 1
            asked.append((before > behind, 8 + 2 * kind + crowd if kind < 2 and crowd else kind, context))
        s = rans.call([table[kind, context] for _, kind, context in asked])
        ns = list(cells.values())
        split = [i for i, n in enumerate(ns) if n > 8 and 1 <= s[i] <= 16]
        first = {i: -(-(s[i] - 1) * (ns[i] - 1) // 16) for i in split}
        size = {i: -(-s[i] * (ns[i] - 1) // 16) - first[i] for i in split}
        high = [i for i in split if size[i] > 4096]
        rest = dict.fromkeys(split, 0)
        for i, h in zip(high, rans.uniform([(size[i] - 1) // 4096 + 1 for i in high]), strict=True):
            rest[i] += 4096 * h
        more = [i for i in split if size[i] > 1]
        for i, l in zip(more, rans.uniform([min(size[i], 4096) for i in more]), strict=True):
            rest[i] += l
        grown = {}
        for i, (cell, n) in enumerate(cells.items()):
            count = 1 + first[i] + rest[i] if i in first else n if n > 8 and s[i] == 17 else s[i]
            upper = n - count if asked[i][0] else count
            for half, points in ((0, n - upper), (1, upper)):
                if points:
                    at = list(cell)
                    at[axis + 1] = 2 * at[axis + 1] + half
                    grown[at[0], at[1], at[2], at[3]] = points
        cells = grown
    rans.finish()
    return [[(x, y, z) for (j, x, y, z), n in cells.items() if j == i for _ in range(n)] for i in range(len(counts))]


def clip(x: int, low: int, high: int) -> int:
    return min(max(x, low), high)


def decode_fields(data: bytes, points: Points, b: int, fields: int) -> list[list[int]]:
    """Section 6.1: `fields` integers for each of the points."""
    model = ArrayModel(data)
    rans = Rans(model.rest)

    def scaled(q: int, s: int) -> int:
        return (q * s + 2**6) >> 7

    def grown(a: int, q: int) -> int:
        return (a >> 1) + 16 * min(abs(q), 2**16)

    q = decode_part(model, rans, [0] * fields)
    s = math.isqrt(2**38 // len(points))
    # Of each cell its points, means and activities.
    cells = {
        (0, 0, 0): (range(len(points)), [clip(scaled(x, s), -(2**36), 2**36) for x in q], [grown(0, x) for x in q])
    }
    for t in range(3 * b):
        axis, k = t % 3, b - (t + 2) // 3
        depth = b - 1 - t // 3

        def centre(rows: Sequence[int], k: int = k) -> list[int]:
            return [16 * sum(points[i][x] for i in rows) // (len(rows) << k) for x in range(3)]

        halves = {c: ([], []) for c in cells}
        for c, (rows, _, _) in cells.items():
            for i in rows:
                halves[c][points[i][axis] >> depth & 1].append(i)
        split = [c for c in cells if all(halves[c])]
        contexts = [1 + 9 * (t // 8) + min(a.bit_length(), 8) for c in split for a in cells[c][2]]
        numbers = iter(decode_part(model, rans, contexts) if contexts else [])
        grid = {}
        for c, (rows, means, activities) in cells.items():
            lower = tuple(2 * x + 0 if i == axis else x for i, x in enumerate(c))
            upper = tuple(2 * x + 1 if i == axis else x for i, x in enumerate(c))
            if not all(halves[c]):
                grid[upper if halves[c][1] else lower] = rows, means, activities
                continue
            here = centre(rows)
            near = []
            for o in [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)]:
                other = tuple(x + d for x, d in zip(c, o, strict=True))
                if any(o) and other in cells:
                    d = [x - y for x, y in zip(centre(cells[other][0]), here, strict=True)]
                    near.append((8 >> sum(map(abs, o)), d, cells[other][1]))
            v = [y - x for x, y in zip(centre(halves[c][0]), centre(halves[c][1]), strict=True)]
            m = [[sum(w * d[i] * d[j] for w, d, _ in near) for j in range(3)] for i in range(3)]
            ridge = (m[0][0] + m[1][1] + m[2][2]) // 64 + 1
            for i in range(3):
                m[i][i] += ridge
            adjugate = [
                [
                    m[(j + 1) % 3][(i + 1) % 3] * m[(j + 2) % 3][(i + 2) % 3]
                    - m[(j + 1) % 3][(i + 2) % 3] * m[(j + 2) % 3][(i + 1) % 3]
                    for j in range(3)
                ]
                for i in range(3)
            ]
            determinant = sum(m[0][i] * adjugate[i][0] for i in range(3))
            g = [sum(adjugate[i][j] * v[j] for j in range(3)) for i in range(3)]
            slope = [(x * 2**16 + determinant // 2) // determinant for x in g]
            r = [clip(w * sum(x * y for x, y in zip(slope, d, strict=True)), -(2**18), 2**18) for w, d, _ in near]
            l, u = map(len, halves[c])
            s = math.isqrt((l + u) * 2**38 // (l * u))
            low, high, activity = [], [], []
            for f in range(fields):
                q = next(numbers)
                total = sum(x * (others[f] - means[f]) for x, (_, _, others) in zip(r, near, strict=True))
                difference = clip(((total + 2**15) >> 16) + scaled(q, s), -(2**37), 2**37)
                first = means[f] - difference * u // (l + u)
                low.append(clip(first, -(2**36), 2**36))
                high.append(clip(first + difference, -(2**36), 2**36))
                activity.append(grown(activities[f], q))
            grid[lower] = halves[c][0], low, activity
            grid[upper] = halves[c][1], high, activity
        cells = grid
    rans.finish()
    of_point = {i: means for rows, means, _ in cells.values() for i in rows}
    return [of_point[i] for i in range(len(points))]


def sections(data: bytes) -> dict[str, bytes]:
    """Section 1."""
    assert data[:8] == bytes.fromhex("93 51 41 41 44 0D 0A 1A")
    version, count, checksum = struct.unpack_from("<HHI", data, 8)
    at = 16 + 17 * count
    assert version == 1 and checksum == zlib.crc32(data[:12] + data[16:at])
    found = {}
    for row in struct.iter_unpack("<4sBIII", data[16:at]):
        tag, coding, length, size, checksum = row
        body = data[at : at + length]
        at += length
        if tag not in KNOWN:
            assert tag[:1].islower()
            continue
        assert zlib.crc32(body) == checksum
        found[tag.decode()] = zlib.decompress(body, -15) if coding else body
        assert len(found[tag.decode()]) == size
    assert at == len(data)
    return found


def groups(data: bytes) -> list[bytes]:
    """Section 1.1."""
    count, checksum = struct.unpack_from("<II", data)
    at = 8 + 8 * count
    assert checksum == zlib.crc32(data[:4] + data[8:at])
    found = []
    for length, checksum in struct.iter_unpack("<II", data[8:at]):
        found.append(data[at : at + length])
        assert zlib.crc32(found[-1]) == checksum
        at += length
    assert at == len(data)
    return found


def selu(scale: int, z: int) -> int:
    """Section 7.7."""
    y = min(max(z, -(2**15)), 2**15 - 1)
    if y > 0:
        return math.floor(1.0507009873554805 * y + 0.5)
    return math.floor(2**scale * 1.0507009873554805 * 1.6732632423543772 * (math.exp(y / 2**scale) - 1) + 0.5)


def rounded_sum(scale: int, terms: Sequence[tuple[np.ndarray, int, int]]) -> np.ndarray:
    """Section 7.8: terms are numbers, the exponent t of their unit and the bound B."""
    u = min(-scale - 1, *(t for _, t, _ in terms))
    assert sum(b << (t - u) for _, t, b in terms) + (1 << (16 - scale - u)) < 2**53
    total = sum(numbers << (t - u) for numbers, t, _ in terms)
    return (total + (1 << (-scale - 1 - u))) >> (-scale - u)


def decode_file(data: bytes) -> np.ndarray:
    """Sections 7.1 to 7.8: the points (N, M, 3) of all clouds, float32."""
    section = sections(data)
    head = section["HEAD"]
    n, m, k, size, hidden, d, flags, bits, _, latent_contexts = struct.unpack_from("<IIHHHBBBBH", head)
    *centre, unit = struct.unpack_from("<3qd", head, 20)
    *origin, grid_code = struct.unpack_from("<3iH", head, 52)
    scales = list(head[66 : 67 + d])
    widths = struct.unpack_from(f"<{d}H", head, 67 + d)
    shapes = {"latent part": (size, widths[0]), "point part": (3, widths[0]), "bias 0": (widths[0],)}
    for i in range(1, d):
        shapes |= {f"weights {i}": (widths[i - 1], widths[i]), f"bias {i}": (widths[i],)}
    shapes |= {"feature part": (k, widths[-1], hidden), "patch point part": (k, 3, hidden), "patch bias": (k, hidden)}
    shapes |= {"output": (k, hidden, 3), "output bias": (k, 3)}
    codes = struct.unpack(f"<{len(shapes) + size}H", head[67 + 3 * d :])

    def step(code: int) -> tuple[int, int]:
        assert code < 1024
        return 8 + code % 8, code // 8 - 64

    grid = step(grid_code)
    steps = dict(zip(shapes, map(step, codes), strict=False))
    of_latents = [step(code) for code in codes[len(shapes) :]]

    gained = [*(f"weights {i}" for i in range(1, d)), "feature part"]
    inputs = [shapes[name][-2] for name in gained]
    code = decode_array(section["GAIN"], [0] * sum(inputs) + [1] * (k * hidden))
    assert set(code) <= set(range(8))
    gain = np.array([2, 3, 4, 6, 8, 12, 16, 24])
    of_inputs = {n: np.array(code[end - i : end]) for n, i, end in zip(gained, inputs, accumulate(inputs), strict=True)}
    of_neurons = np.array(code[sum(inputs) :]).reshape(k, 1, hidden)
    contexts, gains, first = [], {}, 0
    for name, shape in shapes.items():
        rows = of_inputs.get(name, np.zeros(shape[0], np.int64))[:, None]
        columns = of_neurons if name == "feature part" else np.zeros(1, np.int64)
        of_gain = np.broadcast_to(rows + columns, shape) if name in gained else np.zeros(shape, np.int64)
        contexts += (first + of_gain).ravel().tolist()
        gains[name] = gain[rows] * (gain[columns] if name == "feature part" else 1) if name in gained else 1
        first += 15 if name == "feature part" else 8 if name in gained else 1
    symbols = np.array(decode_array(section["WGTS"], contexts), np.int64)
    ends = [*accumulate(math.prod(shape) for shape in shapes.values())]
    tensors = {
        name: symbols[end - math.prod(shape) : end].reshape(shape) * gains[name]
        for (name, shape), end in zip(shapes.items(), ends, strict=True)
    }
    sizes = [m // k + (i < m % k) for i in range(k)]
    template = [np.array(part) + origin for part in decode_points(section["TMPL"], sizes, bits)]
    components, displaced = np.zeros((0, m, 3), np.int64), 0
    if "COMP" in section:
        (count,) = struct.unpack_from("<H", section["COMP"])
        assert 1 <= count <= size and m * count <= 2**18 + 4096 * len(section["COMP"])
        codes = struct.unpack_from(f"<{count}H", section["COMP"], 2)
        assert max(codes) < 520
        symbols = [tuple(q) for part in template for q in (part - origin).tolist()]
        fields = np.array(decode_fields(section["COMP"][2 + 2 * count :], symbols, bits, 3 * count), object)
        components = np.zeros((count, m, 3), np.int64)
        for i, (mantissa, exponent) in enumerate(map(step, codes)):
            own = fields[:, 3 * i : 3 * i + 3] * mantissa * 2**76
            components[i] = (own * 2 ** (exponent + 64) + 2**131) // 2**132
        reach = int(np.abs(components).sum(0).max())
        assert reach < 2**27
        displaced = 2**10 * reach + 1
    latent_model = ArrayModel(section["LMOD"])
    assert latent_model.rest == b""
    latents: list[list[int]] = []
    for g, group in enumerate(groups(section["LATS"])):
        clouds = min(64, n - 64 * g)
        of_cloud = [i % latent_contexts for i in range(size)]
        of_first = [c + latent_contexts * (flags >> 1) for c in of_cloud]
        flat = decode_stream(latent_model, group, of_first + of_cloud * (clouds - 1))
        for i in range(clouds):
            own = flat[i * size : (i + 1) * size]
            latents.append([a + b for a, b in zip(own, latents[-1], strict=True)] if flags & 2 and i else own)
            assert all(-(2**31) <= number < 2**31 for number in latents[-1])

    reach = max(max(abs(o), abs(o + 2**bits - 1)) for o in origin)

    def product(x: np.ndarray, name: str, tensor: np.ndarray, inputs: tuple[int, int, int]) -> tuple:
        """A term x @ tensor, for inputs of at most `largest` multiples of mantissa * 2**exponent."""
        largest, mantissa, exponent = inputs
        total = int(np.abs(tensors[name]).sum(-2).max())
        scale = mantissa * steps[name][0]
        return scale * (x @ tensor), exponent + steps[name][1], largest * scale * total

    def bias(name: str, tensor: np.ndarray) -> tuple:
        return steps[name][0] * tensor, steps[name][1], steps[name][0] * int(np.abs(tensors[name]).max())

    low = min(e for _, e in of_latents)
    assert np.abs(tensors["latent part"]).max() < 2**16
    points = np.empty((n, m, 3), np.float32)
    for cloud, latent in enumerate(latents):
        scaled = [l * mantissa << (e - low) for l, (mantissa, e) in zip(latent, of_latents, strict=True)]
        assert sum(map(abs, scaled)) < 2**36
        mantissa, exponent = steps["latent part"]
        own = []
        for column in tensors["latent part"].T.tolist():
            total = mantissa * sum(a * w for a, w in zip(scaled, column, strict=True))
            shift = low + exponent + 24
            total = total << shift if shift >= 0 else (total + (1 << (-shift - 1))) >> -shift
            own.append(min(max(total, -(2**36)), 2**36))
        coefficients = []
        for number, (mantissa, exponent) in zip(latent[: len(components)], of_latents, strict=False):
            number *= mantissa * 2**48
            coefficients.append(clip((number * 2 ** (exponent + 64) + 2**95) // 2**96, -(2**26), 2**26))
        moved = sum((a * c for a, c in zip(coefficients, components, strict=True)), np.zeros((m, 3), np.int64))
        parts = np.split((moved + 2**15) >> 16, np.cumsum(sizes)[:-1])
        decoded = []
        for patch, q in enumerate(template):
            of_grid, part = (reach, *grid), tensors["point part"]
            terms = [
                (np.array(own), -24, 2**36),
                product(q, "point part", part, of_grid),
                bias("bias 0", tensors["bias 0"]),
            ]
            z = rounded_sum(scales[0], terms)
            for i in range(1, d):
                x = np.vectorize(selu, otypes=[np.int64])(scales[i - 1], z)
                of_layer = 34428, 1, -scales[i - 1]
                terms = [
                    product(x, f"weights {i}", tensors[f"weights {i}"], of_layer),
                    bias(f"bias {i}", tensors[f"bias {i}"]),
                ]
                z = rounded_sum(scales[i], terms)
            x = np.vectorize(selu, otypes=[np.int64])(scales[d - 1], z)
            terms = [
                product(x, "feature part", tensors["feature part"][patch], (34428, 1, -scales[d - 1])),
                product(q, "patch point part", tensors["patch point part"][patch], of_grid),
                bias("patch bias", tensors["patch bias"][patch]),
            ]
            x = np.vectorize(selu, otypes=[np.int64])(scales[d], rounded_sum(scales[d], terms))
            terms = [
                product(x, "output", tensors["output"][patch], (34428, 1, -scales[d])),
                bias("output bias", tensors["output bias"][patch]),
            ]
            if flags & 1:
                terms.append((grid[0] * q, grid[1], reach * grid[0]))
            if len(components):
                terms.append((parts[patch], -20, displaced))
            decoded.append(rounded_sum(20, terms))
        largest = (2**24 - 1) * 2.0**104
        exact = (np.concatenate(decoded) + centre).astype(np.float64) * unit
        points[cloud] = np.clip(exact, -largest, largest)
    return points
