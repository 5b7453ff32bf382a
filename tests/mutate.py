"""Mutations of a file, and what becomes of each: `python -m tests.mutate --count 10000`.

Every other one is mended: done inside a section, its checksums computed anew, so that the parsers see it. One that
is not must be refused, unless it leaves the file as it was. A mended one is refused or decodes to points, which
may be others. None may take longer than a few seconds, more memory than `most_memory`, or raise anything but
FormatError.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import struct
import time
import tracemalloc
import zlib
from collections import Counter
from pathlib import Path

import numpy as np

import pcqaad
from pcqaad.bitstream.sections import read_header, to_sections
from pcqaad.bitstream.surface import read_sizes, read_surface_header
from pcqaad.decoder.architecture import Architecture
from pcqaad.decoder.components import Components
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.integer_model import IntegerModel
from pcqaad.decoder.step_sizes import StepSize
from pcqaad.decoder.weight_scales import WeightScales
from pcqaad.formats.coding.fields import Cells
from pcqaad.formats.container.container import Container, Section, pack
from tests.surface_files import surface_file, surface_model

GOLDEN = Path(__file__).resolve().parent / "golden" / "ellipsoids"
# Seconds for one file.
_MOST_SECONDS = 20
# As CONTRIBUTING.md states them: bytes of memory in any case, for every byte of the file, weight, and so on.
_ALWAYS, _PER_BYTE, _PER_BYTE_OF_NAMES = 96 << 20, 64, 4
_PER_WEIGHT, _PER_NEURON, _PER_POINT, _PER_LATENT, _PER_CLOUD = 160, 8192, 1000, 120, 300
_PER_NUMBER = 100  # of the components
_PER_TRIANGLE = 1200
STATED = (
    _PER_WEIGHT,
    _PER_NEURON,
    _PER_POINT,
    _PER_TRIANGLE,
    _PER_NUMBER,
    _PER_LATENT,
    _PER_CLOUD,
    _PER_BYTE,
    _PER_BYTE_OF_NAMES,
)


def most_memory(data: bytes) -> int:
    """Return the bytes of memory that reading a file may take: all of it, and one cloud."""
    most = _ALWAYS + _PER_BYTE * len(data)
    try:
        with Container.open(data) as container:
            header, names = read_header(container), container.entry("NAME").size
            shape = header.architecture
            surface = read_surface_header(container, shape)
            sizes = read_sizes(container, shape)
    except pcqaad.FormatError:
        return most
    widest = max(*shape.shared, shape.patch)
    network = _PER_WEIGHT * shape.weights() + _PER_NEURON * widest + _PER_POINT * shape.points
    if surface is not None:
        largest = header.points if sizes is None else int(sizes[-1])  # the cloud that is decoded is the last
        network += _PER_POINT * largest + _PER_TRIANGLE * surface.triangles
    network += _PER_NUMBER * 3 * shape.points * shape.components
    return most + network + shape.clouds * (_PER_CLOUD + _PER_LATENT * shape.latent) + _PER_BYTE_OF_NAMES * names


def little_file() -> bytes:
    """Return a file of random integers that is read many times as fast as the golden one."""
    rng = np.random.default_rng(0)
    shape = Architecture(clouds=5, points=12, latent=2, shared=(3,), patch=3, patches=2, residual=True, components=2)
    grid = np.rint(rng.normal(4, 1, (12, 3))).clip(0, 7).astype(np.int32)
    fields = rng.laplace(0, 0.05, (12, 2, 3)).astype(np.float32)
    model = IntegerModel(
        shape,
        3,
        (-4, -3, -5),
        StepSize(9, -8),
        grid,
        {name: StepSize(int(rng.integers(8, 16)), -8) for name in shape.tensors()},
        WeightScales({"patch": np.array([0, 3, 1], np.int32)}, rng.integers(0, 4, (2, 3), dtype=np.int32)),
        {name: np.rint(rng.laplace(0, 30, size)).astype(np.int32) for name, size in shape.tensors().items()},
        (StepSize(8, -6), StepSize(15, -7)),
        (12, 11),
        Components.encode(fields, (StepSize(9, -10), StepSize(15, -11)), Cells(grid, 3)),
    )
    latents = np.rint(rng.normal(0, 40, (5, 2))).astype(np.int32)
    names = [f"cloud {i}" for i in range(5)]
    info = {"unit": "mm", "settings": {"seed": 3, "shared": [3]}, "encoder": {"steps": 0}}
    return pack(to_sections(model, latents, Denormalisation((1000, -5, 2**40), 2.0**-20), names, info))


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return bytes with one thing done to them: flipped, changed, cut, inserted, doubled or swapped."""
    size = len(data)
    at, other = (int(i) for i in rng.integers(0, size, 2)) if size else (0, 0)
    run = int(rng.integers(1, 17))
    match rng.integers(0, 9):
        case 0 | 1 if size:
            changed = bytearray(data)
            for i in rng.integers(0, 8 * size, rng.integers(1, 4)):
                changed[i // 8] ^= 1 << i % 8
            return bytes(changed)
        case 2 | 3 if size:
            changed = bytearray(data)
            for i in range(at, min(at + int(rng.integers(1, 5)), size)):
                changed[i] = rng.choice([0, 1, 127, 128, 255, int(rng.integers(256))])
            return bytes(changed)
        case 4:
            return data[:at]
        case 5:
            return data[:at] + data[at + run :]
        case 6:
            return data[:at] + data[other : other + run] + data[at:]
        case 7:
            low, high = sorted((at, other))
            swapped = data[high : high + run] + data[low + run : high] + data[low : low + run]
            return data[:low] + swapped + data[high + run :] if low + run <= high else data[:low] + data[high:]
        case _:
            return data[:at] + rng.bytes(run) + data[at:]


def _mended(data: bytes, rng: np.random.Generator) -> bytes:
    """Mutate one section or two and compute all checksums anew, those of groups included."""
    with Container.open(data) as container:
        body = {entry.tag: container.section(entry.tag) for entry in container.entries}
        coding = {entry.tag: entry.coding for entry in container.entries}
        version = container.version
    # HEAD is small and has the most to say.
    for tag in rng.choice([*body, "HEAD", "HEAD"], rng.integers(1, 3)):
        if tag == "LATS" and rng.random() < 0.8:
            stream = mutated(body[tag][16:], rng)
            head, row = struct.pack("<I", 1), struct.pack("<II", len(stream), zlib.crc32(stream))
            body[tag] = head + struct.pack("<I", zlib.crc32(head + row)) + row + stream
        elif tag == "HEAD" and rng.random() < 0.5:
            # A number of the header that is still in its place.
            changed = bytearray(body[tag])
            changed[rng.integers(len(changed))] = rng.integers(256)
            body[tag] = bytes(changed)
        else:
            body[tag] = mutated(body[tag], rng)
    return pack([Section(tag, part, coding[tag], version) for tag, part in body.items()])


def outcome(data: bytes, last: np.ndarray, mended: bool) -> str:
    """Read a file: "refused", or "read" where it gave points; raises AssertionError where a law is broken."""
    try:
        collection = pcqaad.Collection(data)
        collection.check()
        json.dumps(collection.info)
        points = collection[len(collection) - 1]
    except pcqaad.FormatError as error:
        assert str(error).isprintable(), f"more than a line: {error!r}"
        return "refused"
    assert np.isfinite(points).all()
    if not mended:
        assert np.array_equal(points, last), "other points from a file whose checksums were not mended"
    return "read"


def run(count: int, seed: int = 0, golden: int = 8, measured: int = 50) -> dict[str, Counter[str]]:
    """Read `count` mutations; returns how many of the "damaged" and the "mended" were "refused" and "read".

    One pair in `golden` is of the golden file, the others of the little ones, one of which has a surface. Memory is
    traced for one in `measured`, as tracing takes time. Raises AssertionError, with the number of the mutation, where a
    law is broken.
    """
    drawn = surface_file(surface_model(3, around=4, across=3, points=40), np.array([40, 30, 40, 9, 50]))
    files = [(GOLDEN.with_suffix(".qaad").read_bytes(), np.load(GOLDEN.with_suffix(".npy"))[-1])]
    files += [(little, pcqaad.Collection(little)[-1]) for little in (little_file(), drawn)]
    found: dict[str, Counter[str]] = {"damaged": Counter(), "mended": Counter()}
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        data, points = files[1 + i // 2 % 2 if i // 2 % golden else 0]
        mended = bool(i % 2)
        changed = _mended(data, rng) if mended else mutated(data, rng)
        if changed == data:
            continue
        began = time.process_time()
        if i % measured == 1:
            tracemalloc.start()
        try:
            result = outcome(changed, points, mended)
            if tracemalloc.is_tracing():
                peak, most = tracemalloc.get_traced_memory()[1], most_memory(changed)
                assert peak < most, f"{peak} bytes of memory, at most {most} expected"
            took = time.process_time() - began
            assert took < _MOST_SECONDS, f"took {took:.1f} s"
        except Exception as error:
            raise AssertionError(f"mutation {i} of seed {seed}: {type(error).__name__}: {error}") from error
        finally:
            tracemalloc.stop()
        found["mended" if mended else "damaged"][result] += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Read mutations of three files.")
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--golden", type=int, default=8, help="one pair in this many is of the golden file")
    parser.add_argument("--hang", type=float, default=1200.0, help="seconds after which a traceback is printed")
    given = parser.parse_args()
    faulthandler.dump_traceback_later(given.hang, exit=True)
    began = time.process_time()
    for kind, results in run(given.count, given.seed, given.golden).items():
        print(kind, dict(results))
    print(f"{time.process_time() - began:.1f} s of CPU")


if __name__ == "__main__":
    main()
