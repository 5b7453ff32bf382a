"""A quantised model <-> the sections of a .qaad file (formats/SPEC.md, section 7)."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.clouds import CloudError
from pcqaad.dyadic import CODES, Step
from pcqaad.formats.container import DEFLATE, RAW, Container, Section
from pcqaad.formats.entropy import Model as SymbolModel
from pcqaad.formats.entropy import decode, encode
from pcqaad.formats.errors import FormatError
from pcqaad.formats.groups import Groups, groups_size, pack_groups
from pcqaad.formats.pointset import decode_points, encode_points
from pcqaad.integers import LARGEST_LATENT, LARGEST_SCALE, IntegerModel, Symbols, latent_reach
from pcqaad.matching.kd import patch_sizes
from pcqaad.model import Shape
from pcqaad.placement import LARGEST_CENTRE, UNIT_EXPONENTS, Placement
from pcqaad.record import MAX_INFO

TAGS = {
    "HEAD": "sizes, placement, scales and steps",
    "WGTS": "weights",
    "TMPL": "template",
    "LMOD": "the latents' model",
    "LATS": "latents, in groups of clouds",
    "NAME": "names of the clouds",
    "info": "what the file was made from and how well",
}
RAW_TAGS = ("HEAD", "WGTS", "TMPL", "LMOD", "LATS")

# Reading one cloud reads its group: small enough for that, large enough that a group's 8 bytes do not count.
GROUP = 64
# Sizes that no real model has, refused before anything is allocated for them.
_MAX_CLOUDS, _MAX_POINTS, _MAX_WEIGHTS, _MAX_WIDTH, _MAX_LAYERS = 2**24, 2**24, 2**26, 2**14, 32
# How many numbers a section may hold for its bytes, and how many in any case: numbers that say nothing take no
# bytes, and a small file is not to ask for much memory.
_PER_BYTE, _FREE_WEIGHTS, _FREE_POINTS = 1024, 2**20, 2**18
MAX_BITS = 16

_HEAD = struct.Struct("<IIHHHBBBBH3qd3iH")


@dataclass(frozen=True)
class Head:
    """What a decoder must know first.

    Attributes:
        shape: of the model.
        placement: from decoded integers to the data's unit.
        bits: of the template's grid.
        origin: of the grid, in steps.
        step: of the grid.
        latent_contexts: 1, or L when every latent dimension has its own table.
        weight_steps: per tensor.
        latent_steps: per latent dimension.
        scales: per hidden layer, of its activations.
    """

    shape: Shape
    placement: Placement
    bits: int
    origin: tuple[int, int, int]
    step: Step
    latent_contexts: int
    weight_steps: dict[str, Step]
    latent_steps: tuple[Step, ...]
    scales: tuple[int, ...]

    def pack(self) -> bytes:
        """Return the bytes of the HEAD section."""
        s = self.shape
        fixed = _HEAD.pack(
            s.clouds,
            s.points,
            s.patches,
            s.latent,
            s.patch,
            len(s.shared),
            int(s.residual),
            self.bits,
            0,
            self.latent_contexts,
            *self.placement.centre,
            self.placement.unit,
            *self.origin,
            self.step.code,
        )
        steps = [*(self.weight_steps[name] for name in s.tensors()), *self.latent_steps]
        numbers = np.array([*s.shared, *(step.code for step in steps)], "<u2").tobytes()
        return fixed + bytes(self.scales) + numbers

    def with_more(self, clouds: int) -> Head:
        """Return the same for so many clouds more; raises FormatError where a file cannot hold them."""
        more = replace(self, shape=replace(self.shape, clouds=min(self.shape.clouds + clouds, 2**32 - 1)))
        return Head.unpack(more.pack())

    @classmethod
    def unpack(cls, data: bytes) -> Head:
        """Read the HEAD section; raises FormatError where it breaks a rule of the specification."""

        def demand(holds: bool, problem: str) -> None:
            if not holds:
                raise FormatError(problem, where="HEAD")

        demand(len(data) >= _HEAD.size, f"expected at least {_HEAD.size} bytes, found {len(data)}")
        n, m, k, latent, patch, layers, flags, bits, zero, contexts, *numbers = _HEAD.unpack_from(data)
        demand(2 <= n <= _MAX_CLOUDS, f"expected 2 to {_MAX_CLOUDS} clouds, found {n}")
        demand(1 <= m <= _MAX_POINTS, f"expected 1 to {_MAX_POINTS} points, found {m}")
        demand(1 <= k <= m, f"expected 1 to {m} patches, found {k}")
        demand(latent >= 1, f"expected latents of at least 1 number, found {latent}")
        demand(1 <= patch <= _MAX_WIDTH, f"expected patch layers 1 to {_MAX_WIDTH} wide, found {patch}")
        demand(1 <= layers <= _MAX_LAYERS, f"expected 1 to {_MAX_LAYERS} shared layers, found {layers}")
        demand(flags <= 1 and zero == 0, f"expected flags of 0 or 1 and a zero, found {flags} and {zero}")
        demand(1 <= bits <= MAX_BITS, f"expected a grid of 1 to {MAX_BITS} bits, found {bits}")
        demand(
            contexts == 1 or contexts == latent <= 256,
            f"expected 1 context of latents or, up to 256, {latent}, found {contexts}",
        )
        centre, unit, origin, step = tuple(numbers[:3]), numbers[3], tuple(numbers[4:7]), numbers[7]
        demand(max(map(abs, centre)) <= LARGEST_CENTRE, f"expected a centre up to 2^52 in size, found {centre}")
        demand(_is_unit(unit), f"expected a unit of 24 significant bits, 2^-400 to 2^128, found {unit!r}")
        at = _HEAD.size
        demand(len(data) >= at + 3 * layers + 1, f"expected the sizes of {layers} layers, found {len(data) - at} bytes")
        scales = tuple(data[at : at + layers + 1])
        demand(max(scales) <= LARGEST_SCALE, f"expected scales up to {LARGEST_SCALE}, found {scales}")
        at += layers + 1
        widths = tuple(int(w) for w in np.frombuffer(data, "<u2", layers, at))
        at += 2 * layers
        demand(all(1 <= w <= _MAX_WIDTH for w in widths), f"expected widths of 1 to {_MAX_WIDTH}, found {widths}")
        shape = Shape(n, m, latent, widths, patch, k, bool(flags & 1))
        weights = sum(math.prod(tensor) for tensor in shape.tensors().values())
        demand(weights <= _MAX_WEIGHTS, f"expected at most {_MAX_WEIGHTS} weights, found {weights}")
        demand(n * latent <= _MAX_WEIGHTS, f"expected at most {_MAX_WEIGHTS} latent numbers, found {n * latent}")
        names = list(shape.tensors())
        size = at + 2 * (len(names) + latent)
        demand(len(data) == size, f"expected {size} bytes, found {len(data)}")
        codes = [step, *np.frombuffer(data, "<u2", len(names) + latent, at).tolist()]
        demand(max(codes) < CODES, f"expected steps below {CODES}, found {max(codes)}")
        steps = [Step.of(code) for code in codes]
        return cls(
            shape,
            Placement(centre, unit),
            bits,
            origin,
            steps[0],
            contexts,
            dict(zip(names, steps[1:], strict=False)),
            tuple(steps[1 + len(names) :]),
            scales,
        )


def _is_unit(unit: float) -> bool:
    """Whether a double is what a unit may be; not so for NaN and infinity."""
    low, high = UNIT_EXPONENTS
    mantissa = math.frexp(unit)[0]
    return 2.0**low <= unit <= 2.0**high and math.ldexp(mantissa, 24).is_integer()


def to_sections(
    model: IntegerModel,
    latents: Symbols,
    placement: Placement,
    names: Sequence[str],
    info: dict[str, Any],
) -> list[Section]:
    """Return the sections of a file, of clouds with `latents` (N, L).

    Raises CloudError for so many equal numbers, or so long an `info`, that a reader would refuse them.
    """
    shape = model.shape
    symbols, contexts = _weight_stream(model.weights)
    template, _ = encode_points(_by_patch(model.grid, shape), model.bits)
    latent_contexts, latent_model, groups = _shortest_latent_stream(latents)
    head = Head(
        shape,
        placement,
        model.bits,
        model.origin,
        model.step,
        latent_contexts,
        model.weight_steps,
        model.latent_steps,
        model.scales,
    )
    weights = encode(symbols, contexts)
    for what, free, count, data in (
        ("weights", _FREE_WEIGHTS, len(symbols), weights),
        ("points", _FREE_POINTS, shape.points, template),
    ):
        if count > _most(free, len(data)):
            raise CloudError(f"{count} {what} that are nearly all the same: expected clouds with more to tell")
    return [
        Section("HEAD", head.pack(), RAW),
        Section("WGTS", weights, RAW),
        Section("TMPL", template, RAW),
        Section("LMOD", latent_model, RAW),
        Section("LATS", pack_groups(groups), RAW),
        _names_section(names),
        _info_section(info),
    ]


def grown_sections(
    container: Container, head: Head, latents: Symbols, names: Sequence[str], info: dict[str, Any]
) -> list[Section]:
    """Return the sections of a file with more clouds behind its own.

    Weights, template and the old latents' symbols stay as they are; sections that only another version knows, which
    may speak of the old clouds alone, are left out.

    Args:
        container: of the file.
        head: of the file.
        latents: (n, L) of the new clouds, in symbols.
        names: of all clouds.
        info: of the new file.

    Raises:
        FormatError: the file is damaged, or cannot hold them.
    """
    try:
        about = _info_section(info)
    except CloudError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError("expected finite numbers", where="info") from error
    full, rest = divmod(head.shape.clouds, GROUP)
    model, stored = read_latent_model(container), read_groups(container, head)
    tail = np.concatenate([read_latents(stored, head, model, full), latents]) if rest else latents
    grown = head.with_more(len(latents))
    try:
        coded = _latent_groups(model, tail, head.latent_contexts)
        groups = [*(stored.read(group) for group in range(full)), *coded]
        latent_model = model.to_bytes()
    except ValueError as error:
        if isinstance(error, FormatError):
            raise
        # A symbol that no old cloud has: all latents get a model that knows it.
        before = [read_latents(stored, head, model, group) for group in range(full)]
        contexts, latent_model, groups = _shortest_latent_stream(np.concatenate([*before, tail]))
        grown = replace(grown, latent_contexts=contexts)
    return [
        Section("HEAD", grown.pack(), RAW),
        Section("WGTS", container.section("WGTS"), RAW),
        Section("TMPL", container.section("TMPL"), RAW),
        Section("LMOD", latent_model, RAW),
        Section("LATS", pack_groups(groups), RAW),
        _names_section(names),
        about,
    ]


def _names_section(names: Sequence[str]) -> Section:
    return Section("NAME", "\0".join(names).encode(), DEFLATE)


def _info_section(info: dict[str, Any]) -> Section:
    described = json.dumps(info, separators=(",", ":"), allow_nan=False).encode()
    if len(described) > MAX_INFO:
        raise CloudError(f"expected at most {MAX_INFO} bytes of unit, settings and records, found {len(described)}")
    return Section("info", described, DEFLATE)


def _most(free: int, length: int) -> int:
    """Return how many numbers a section of `length` bytes may hold."""
    return free + _PER_BYTE * length


def read_head(container: Container) -> Head:
    """Return the header of a file that has all sections, each large enough for what the header says of it.

    Raises FormatError.
    """
    for tag in TAGS:
        if tag in container or tag[0].isupper():
            entry = container.entry(tag)
            if tag in RAW_TAGS and entry.coding != RAW:
                raise FormatError("expected a raw section, found a deflated one", where=tag)
    head = Head.unpack(container.section("HEAD"))
    for tag, what, free, count in (
        ("WGTS", "weights", _FREE_WEIGHTS, head.shape.weights()),
        ("TMPL", "points", _FREE_POINTS, head.shape.points),
    ):
        length = container.entry(tag).length
        if count > _most(free, length):
            problem = f"expected at most {_most(free, length)} {what} in {length} bytes, found {count}"
            raise FormatError(problem, where=tag)
    least, length = groups_size(_groups(head)), container.entry("LATS").length
    if length < least:
        raise FormatError(f"expected at least {least} bytes for {_groups(head)} groups, found {length}", where="LATS")
    return head


def _groups(head: Head) -> int:
    return math.ceil(head.shape.clouds / GROUP)


def read_model(container: Container, head: Head) -> IntegerModel:
    """Return what all clouds share; its sums are exact."""
    shapes = head.shape.tensors()
    sizes = [math.prod(shape) for shape in shapes.values()]
    contexts = np.repeat(np.arange(len(sizes)), sizes)
    with _InSection("WGTS"):
        symbols = decode(container.section("WGTS"), len(contexts), contexts)
    parts = zip(shapes.items(), np.split(symbols, np.cumsum(sizes)[:-1]), strict=True)
    weights = {name: part.reshape(shape) for (name, shape), part in parts}
    patches = [int(size) for size in patch_sizes(head.shape.points, head.shape.patches)]
    with _InSection("TMPL"):
        grid = np.concatenate(decode_points(container.section("TMPL"), patches, head.bits)).astype(np.int32)
    model = IntegerModel(
        head.shape,
        head.bits,
        head.origin,
        head.step,
        grid,
        head.weight_steps,
        weights,
        head.latent_steps,
        head.scales,
    )
    model.check()
    return model


def read_latent_model(container: Container) -> SymbolModel:
    """Return the model all groups of latents are coded with."""
    data = container.section("LMOD")
    with _InSection("LMOD"):
        model, end = SymbolModel.from_bytes(data)
        if end != len(data):
            raise FormatError(f"expected {end} bytes, found {len(data)}")
    return model


def read_groups(container: Container, head: Head) -> Groups:
    """Return access to the latents' groups."""
    groups = container.groups("LATS")
    if len(groups) != _groups(head):
        raise FormatError(f"expected {_groups(head)} groups, found {len(groups)}", where="LATS")
    return groups


def read_latents(groups: Groups, head: Head, model: SymbolModel, group: int) -> Symbols:
    """Return the latents (clouds, L) of one group of clouds, in symbols."""
    clouds = min(GROUP, head.shape.clouds - group * GROUP)
    contexts = _latent_contexts(clouds, head.shape.latent, head.latent_contexts)
    with _InSection("LATS"):
        symbols = model.decode(groups.read(group), clouds * head.shape.latent, contexts)
    latents = symbols.reshape(clouds, head.shape.latent)
    largest = max(latent_reach(latents, head.latent_steps))
    if largest >= LARGEST_LATENT:
        problem = f"expected latents below 2^36 in all, found up to 2^{largest.bit_length()}"
        raise FormatError(problem, where=f"LATS: group {group}")
    return latents


def _weight_stream(weights: dict[str, Symbols]) -> tuple[Symbols, NDArray[np.intp]]:
    """Return all tensors' symbols in one row, each tensor a context of its own."""
    flat = [symbols.ravel() for symbols in weights.values()]
    return np.concatenate(flat), np.repeat(np.arange(len(flat)), [len(part) for part in flat])


def _latent_contexts(clouds: int, latent: int, contexts: int) -> NDArray[np.intp]:
    return np.tile(np.arange(latent) % contexts, clouds)


def _shortest_latent_stream(latents: Symbols) -> tuple[int, bytes, list[bytes]]:
    """Code latents (N, L) with 1 or L tables, as is shorter; returns that number, the model and the groups."""
    size = latents.shape[1]
    streams = (_latent_stream(latents, contexts) for contexts in {1, size if size <= 256 else 1})
    return min(streams, key=lambda coded: len(coded[1]) + sum(map(len, coded[2])))


def _latent_stream(latents: Symbols, contexts: int) -> tuple[int, bytes, list[bytes]]:
    model = SymbolModel.fit(latents.ravel(), _latent_contexts(len(latents), latents.shape[1], contexts))
    return contexts, model.to_bytes(), _latent_groups(model, latents, contexts)


def _latent_groups(model: SymbolModel, latents: Symbols, contexts: int) -> list[bytes]:
    """Code latents (N, L) by a model, group by group; raises ValueError for what it cannot express."""
    parts = (latents[low : low + GROUP] for low in range(0, len(latents), GROUP))
    return [model.encode(part.ravel(), _latent_contexts(len(part), part.shape[1], contexts)) for part in parts]


class _InSection:
    """Put the section's tag before what goes wrong in it."""

    def __init__(self, tag: str) -> None:
        self.tag = tag

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FormatError) and not error.where.startswith(self.tag):
            where = ": ".join(part for part in (self.tag, error.where) if part)
            raise FormatError(error.problem, file=error.file, where=where) from error


def _by_patch(rows: Symbols, shape: Shape) -> list[Symbols]:
    """Cut rows stored patch after patch, (M, ...), into one array a patch."""
    return np.split(rows, np.cumsum(patch_sizes(shape.points, shape.patches))[:-1])
