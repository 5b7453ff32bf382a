"""A quantised model <-> the sections of a .qaad file (formats/SPEC.md, section 7)."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.bitstream import latent_coding as latent_stream
from pcqaad.bitstream.header import Header
from pcqaad.bitstream.info import MAX_INFO
from pcqaad.bitstream.latent_coding import LatentCoding, latent_groups, shortest_latents
from pcqaad.decoder.architecture import Architecture
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.integer_model import LARGEST_LATENT, IntegerModel, Symbols, latent_reach
from pcqaad.decoder.patches import patch_sizes
from pcqaad.decoder.weight_scales import LEVELS, WeightScales, scaled_inputs
from pcqaad.errors import CloudError, SettingsError
from pcqaad.formats.coding.point_sets import decode_points, encode_points
from pcqaad.formats.coding.symbols import Model as SymbolModel
from pcqaad.formats.coding.symbols import decode, encode
from pcqaad.formats.container.container import DEFLATE, RAW, Container, Section
from pcqaad.formats.container.groups import Groups, groups_size, pack_groups
from pcqaad.formats.errors import FormatError

TAGS = {
    "HEAD": "sizes, denormalisation, scales and steps",
    "GAIN": "weight scales of inputs and neurons",
    "WGTS": "weights",
    "TMPL": "template",
    "LMOD": "the latents' model",
    "LATS": "latents, in groups of clouds",
    "NAME": "names of the clouds",
    "info": "what the file was made from and how well",
}
RAW_TAGS = ("HEAD", "GAIN", "WGTS", "TMPL", "LMOD", "LATS")

# How many numbers a section may hold for its bytes, and how many in any case: numbers that say nothing take no
# bytes, and a small file is not to ask for much memory.
_PER_BYTE, _FREE_WEIGHTS, _FREE_POINTS = 1024, 2**20, 2**18


def to_sections(
    model: IntegerModel,
    latents: Symbols,
    denormalisation: Denormalisation,
    names: Sequence[str],
    info: dict[str, Any],
) -> list[Section]:
    """Return the sections of a file, of clouds with `latents` (N, L).

    Raises CloudError for what a reader would refuse: so many equal numbers, or so long an `info`, or sizes that no
    file has room for.
    """
    shape = model.architecture
    symbols = np.concatenate([symbols.ravel() for symbols in model.weights.values()])
    contexts = _weight_contexts(shape, model.weight_scales)
    template, _ = encode_points(_by_patch(model.grid, shape), model.bits)
    coding, latent_model, groups = shortest_latents(latents)
    header = Header(
        shape,
        denormalisation,
        model.bits,
        model.origin,
        model.step_size,
        *coding,
        model.weight_step_sizes,
        model.latent_step_sizes,
        model.scales,
    )
    weights = encode(symbols, contexts)
    for what, free, count, data in (
        ("weights", _FREE_WEIGHTS, len(symbols), weights),
        ("points", _FREE_POINTS, shape.points, template),
    ):
        if count > _most(free, len(data)):
            raise CloudError(f"{count} {what} that are nearly all the same: expected clouds with more to tell")
    try:
        packed = header.pack()
        Header.unpack(packed)
    except (struct.error, FormatError) as error:
        raise SettingsError(f"a file cannot hold such a model: {error}") from error
    return [
        Section("HEAD", packed, RAW),
        Section("GAIN", encode(model.weight_scales.codes(), _weight_scale_contexts(shape)), RAW),
        Section("WGTS", weights, RAW),
        Section("TMPL", template, RAW),
        Section("LMOD", latent_model, RAW),
        Section("LATS", pack_groups(groups), RAW),
        _names_section(names),
        _info_section(info),
    ]


def grown_sections(
    container: Container, header: Header, latents: Symbols, names: Sequence[str], info: dict[str, Any]
) -> list[Section]:
    """Return the sections of a file with more clouds behind its own.

    Weights, template and the old latents' symbols stay as they are; sections that only another version knows, which
    may speak of the old clouds alone, are left out.

    Args:
        container: of the file.
        header: of the file.
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
    full, rest = divmod(header.architecture.clouds, latent_stream.GROUP)
    model, stored = read_latent_model(container), read_groups(container, header)
    tail = np.concatenate([read_latents(stored, header, model, full), latents]) if rest else latents
    grown = header.with_more(len(latents))
    try:
        coded = latent_groups(model, tail, LatentCoding(header.latent_contexts, header.sequence))
        groups = [*(stored.read(group) for group in range(full)), *coded]
        latent_model = model.to_bytes()
    except ValueError as error:
        if isinstance(error, FormatError):
            raise
        # A symbol that no old cloud has: all latents get a model that knows it.
        before = [read_latents(stored, header, model, group) for group in range(full)]
        coding, latent_model, groups = shortest_latents(np.concatenate([*before, tail]))
        grown = replace(grown, latent_contexts=coding.contexts, sequence=coding.sequence)
    return [
        Section("HEAD", grown.pack(), RAW),
        Section("GAIN", container.section("GAIN"), RAW),
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
        raise SettingsError(f"expected at most {MAX_INFO} bytes of unit, settings and records, found {len(described)}")
    return Section("info", described, DEFLATE)


def _most(free: int, length: int) -> int:
    """Return how many numbers a section of `length` bytes may hold."""
    return free + _PER_BYTE * length


def read_header(container: Container) -> Header:
    """Return the header of a file that has all sections, each large enough for what the header says of it.

    Raises FormatError.
    """
    for tag in TAGS:
        if tag in container or tag[0].isupper():
            entry = container.entry(tag)
            if tag in RAW_TAGS and entry.coding != RAW:
                raise FormatError("expected a raw section, found a deflated one", where=tag)
    header = Header.unpack(container.section("HEAD"))
    for tag, what, free, count in (
        ("WGTS", "weights", _FREE_WEIGHTS, header.architecture.weights()),
        ("TMPL", "points", _FREE_POINTS, header.architecture.points),
    ):
        length = container.entry(tag).length
        if count > _most(free, length):
            problem = f"expected at most {_most(free, length)} {what} in {length} bytes, found {count}"
            raise FormatError(problem, where=tag)
    least, length = groups_size(_groups(header)), container.entry("LATS").length
    if length < least:
        raise FormatError(f"expected at least {least} bytes for {_groups(header)} groups, found {length}", where="LATS")
    return header


def _groups(header: Header) -> int:
    return math.ceil(header.architecture.clouds / latent_stream.GROUP)


def read_model(container: Container, header: Header) -> IntegerModel:
    """Return what all clouds share; its sums are exact."""
    shapes = header.architecture.tensors()
    sizes = [math.prod(shape) for shape in shapes.values()]
    with _InSection("GAIN"):
        codes = decode(
            container.section("GAIN"),
            sum(WeightScales.count(header.architecture)),
            _weight_scale_contexts(header.architecture),
        )
        if codes.min() < 0 or codes.max() >= len(LEVELS):
            raise FormatError(f"expected gains of 0 to {len(LEVELS) - 1}, found {codes.min()} to {codes.max()}")
    weight_scales = WeightScales.of_codes(header.architecture, codes)
    with _InSection("WGTS"):
        symbols = decode(container.section("WGTS"), sum(sizes), _weight_contexts(header.architecture, weight_scales))
    parts = zip(shapes.items(), np.split(symbols, np.cumsum(sizes)[:-1]), strict=True)
    weights = {name: part.reshape(shape) for (name, shape), part in parts}
    patches = [int(size) for size in patch_sizes(header.architecture.points, header.architecture.patches)]
    with _InSection("TMPL"):
        grid = np.concatenate(decode_points(container.section("TMPL"), patches, header.bits)).astype(np.int32)
    model = IntegerModel(
        header.architecture,
        header.bits,
        header.origin,
        header.step_size,
        grid,
        header.weight_step_sizes,
        weight_scales,
        weights,
        header.latent_step_sizes,
        header.scales,
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


def read_groups(container: Container, header: Header) -> Groups:
    """Return access to the latents' groups."""
    groups = container.groups("LATS")
    if len(groups) != _groups(header):
        raise FormatError(f"expected {_groups(header)} groups, found {len(groups)}", where="LATS")
    return groups


def read_latents(groups: Groups, header: Header, model: SymbolModel, group: int) -> Symbols:
    """Return the latents (clouds, L) of one group of clouds, in symbols."""
    clouds = min(latent_stream.GROUP, header.architecture.clouds - group * latent_stream.GROUP)
    coding = LatentCoding(header.latent_contexts, header.sequence)
    size = header.architecture.latent
    with _InSection("LATS"):
        symbols = model.decode(groups.read(group), clouds * size, coding.context(clouds, size))
        latents = coding.latents(symbols, size)
    largest = max(latent_reach(latents, header.latent_step_sizes))
    if largest >= LARGEST_LATENT:
        problem = f"expected latents below 2^36 in all, found up to 2^{largest.bit_length()}"
        raise FormatError(problem, where=f"LATS: group {group}")
    return latents


def _weight_scale_contexts(shape: Architecture) -> NDArray[np.intp]:
    """Return the contexts of the weight scales' codes: those of inputs, and those of hidden neurons."""
    return np.repeat(np.arange(2), WeightScales.count(shape))


def _weight_contexts(shape: Architecture, weight_scales: WeightScales) -> NDArray[np.intp]:
    """Return the context of every weight: one for each tensor, and for each sum of codes in a tensor with gains."""
    contexts, first = [], 0
    for name, tensor in shape.tensors().items():
        contexts.append(np.broadcast_to(first + weight_scales.classes(name), tensor).ravel())
        first += 1 + (len(LEVELS) - 1) * ((name in scaled_inputs(shape)) + (name == "patch"))
    return np.concatenate(contexts)


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


def _by_patch(rows: Symbols, shape: Architecture) -> list[Symbols]:
    """Cut rows stored patch after patch, (M, ...), into one array a patch."""
    return np.split(rows, np.cumsum(patch_sizes(shape.points, shape.patches))[:-1])
