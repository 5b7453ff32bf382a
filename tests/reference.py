"""A decoder of whole files, written from SPEC.md alone, in plain Python and 64-bit integers: the law for fast ones."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from tests.reference_attributes import decode_groups
from tests.reference_coding import ArrayModel, clip, decode_array, decode_fields, decode_points, decode_stream
from tests.reference_surface import Surface

KNOWN = (b"HEAD", b"GAIN", b"WGTS", b"TMPL", b"COMP", b"SURF", b"ATTR", b"LMOD", b"LATS", b"NAME", b"info")


def sections(data: bytes) -> dict[str, bytes]:
    """Section 1."""
    assert data[:8] == bytes.fromhex("93 51 41 41 44 0D 0A 1A")
    version, count, checksum = struct.unpack_from("<HHI", data, 8)
    at = 16 + 17 * count
    assert version in (1, 2) and checksum == zlib.crc32(data[:12] + data[16:at])
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
    """Sections 7.1 to 7.9: the points (N, M, 3) of all clouds, float32, or P of each where there is a surface."""
    return np.stack(decode_clouds(data, own=False))


def decode_clouds(data: bytes, points: int | None = None, *, own: bool = True, even: bool = False) -> list[np.ndarray]:
    """Sections 7.1 to 7.10: the clouds (n, 3), float32, on a surface of so many points, of their own numbers or P."""
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
    surface = None
    if "SURF" in section:
        assert k == 1
        surface = Surface(section["SURF"], [tuple(q) for q in (template[0] - origin).tolist()], bits, n)
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
    clouds_of_points = []
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
        p = np.concatenate(decoded)
        if surface is not None:
            count = points or (surface.sizes[cloud] if own else surface.points)
            p = np.array(surface.decode(p.tolist(), count, even))
        clouds_of_points.append(np.clip((p + centre).astype(np.float64) * unit, -largest, largest).astype(np.float32))
    return clouds_of_points


def decode_attributes(data: bytes) -> dict[str, list[list[list]]]:
    """Section 7.13: of each attribute the values of each cloud, point and channel."""
    section = sections(data)
    n, m, k = struct.unpack_from("<IIH", section["HEAD"])
    bits = section["HEAD"][16]
    sizes = [m // k + (i < m % k) for i in range(k)]
    points = [p for part in decode_points(section["TMPL"], sizes, bits) for p in part]
    if "SURF" in section:
        surface, s = Surface(section["SURF"], points, bits, n), 4 + bits
        points = []
        for triangle, w in surface.draw(surface.points):
            axes = zip(*(surface.vertices[i] for i in triangle), strict=True)
            points.append(tuple((sum(a * x for a, x in zip(w, axis, strict=True)) + 2**s // 2) >> s for axis in axes))
        bits = 16
    return decode_groups(groups(section["ATTR"]), n, points, bits)
