"""The GAIN, WGTS and TMPL sections: the integers that all clouds share (formats/SPEC.md, 7.2 and 7.3)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pcqaad.bitstream.components import read_components
from pcqaad.bitstream.header import Header
from pcqaad.bitstream.surface import read_surface
from pcqaad.bitstream.tags import in_section
from pcqaad.decoder.architecture import Architecture
from pcqaad.decoder.integer_model import IntegerModel
from pcqaad.decoder.patches import patch_sizes
from pcqaad.decoder.weight_scales import LEVELS, WeightScales, scaled_inputs
from pcqaad.errors import CloudError
from pcqaad.formats.coding.point_sets import decode_points, encode_points
from pcqaad.formats.coding.symbols import decode, encode
from pcqaad.formats.container.container import RAW, Container, Section
from pcqaad.formats.errors import FormatError

# Numbers that are all the same take no bytes, and a small file is not to ask for much memory. So a section may hold
# a number of them in any case, and more by its length.
_FREE_WEIGHTS = 2**20
_FREE_POINTS = 2**18
_PER_BYTE = 1024


def network_sections(model: IntegerModel) -> list[Section]:
    """Return the three sections; raises CloudError for more equal numbers than a reader accepts."""
    architecture, scales = model.architecture, model.weight_scales
    symbols = np.concatenate([symbols.ravel() for symbols in model.weights.values()])
    patches = np.split(model.grid, np.cumsum(patch_sizes(architecture.points, architecture.patches))[:-1])
    sections = [
        Section("GAIN", encode(scales.codes(), _weight_scale_contexts(architecture)), RAW),
        Section("WGTS", encode(symbols, _weight_contexts(architecture, scales)), RAW),
        Section("TMPL", encode_points(patches, model.bits)[0], RAW),
    ]
    lengths = {section.tag: len(section.data) for section in sections}
    for _, numbers, count, _ in _excess(architecture, lengths):
        raise CloudError(f"{count} {numbers} that are nearly all the same: expected clouds with more to tell")
    return sections


def check_lengths(container: Container, architecture: Architecture) -> None:
    """Raise FormatError where the header promises more numbers than the sections' bytes may stand for."""
    lengths = {tag: container.entry(tag).length for tag in ("WGTS", "TMPL")}
    for tag, numbers, count, most in _excess(architecture, lengths):
        raise FormatError(f"expected at most {most} {numbers} in {lengths[tag]} bytes, found {count}", where=tag)


def _excess(architecture: Architecture, lengths: dict[str, int]) -> Iterator[tuple[str, str, int, int]]:
    """Yield each section that would hold too many numbers: its tag, what they are, how many and at most how many."""
    for tag, numbers, count, free in (
        ("WGTS", "weights", architecture.weights(), _FREE_WEIGHTS),
        ("TMPL", "points", architecture.points, _FREE_POINTS),
    ):
        most = free + _PER_BYTE * lengths[tag]
        if count > most:
            yield tag, numbers, count, most


def read_model(container: Container, header: Header) -> IntegerModel:
    """Return the integers that all clouds share, whose sums are exact; raises FormatError."""
    architecture = header.architecture
    with in_section("GAIN"):
        counts = WeightScales.count(architecture)
        codes = decode(container.section("GAIN"), sum(counts), _weight_scale_contexts(architecture))
        if codes.min() < 0 or codes.max() >= len(LEVELS):
            raise FormatError(f"expected gains of 0 to {len(LEVELS) - 1}, found {codes.min()} to {codes.max()}")
    scales = WeightScales.of_codes(architecture, codes)
    with in_section("WGTS"):
        contexts = _weight_contexts(architecture, scales)
        symbols = decode(container.section("WGTS"), architecture.weights(), contexts)
    shapes = architecture.tensors()
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
    parts = zip(shapes.items(), np.split(symbols, ends[:-1]), strict=True)
    with in_section("TMPL"):
        patches = patch_sizes(architecture.points, architecture.patches).tolist()
        grid = np.concatenate(decode_points(container.section("TMPL"), patches, header.bits)).astype(np.int32)
    weights = {name: part.reshape(shape) for (name, shape), part in parts}
    of_grid = header.bits, header.origin, header.step_size
    of_weights = header.weight_step_sizes, scales, weights
    components = read_components(container, architecture, grid, header.bits)
    surface = read_surface(container, architecture, grid, header.bits)
    of_latents = header.latent_step_sizes, header.scales
    model = IntegerModel(architecture, *of_grid, grid, *of_weights, *of_latents, components, surface)
    model.check()
    return model


def _weight_scale_contexts(architecture: Architecture) -> NDArray[np.intp]:
    """Return the contexts of the weight scales' codes: 0 for inputs, 1 for hidden neurons."""
    return np.repeat(np.arange(2), WeightScales.count(architecture))


def _weight_contexts(architecture: Architecture, scales: WeightScales) -> NDArray[np.intp]:
    """Return the context of every weight: one for each tensor, and there one for each sum of its scales' codes."""
    contexts, first = [], 0
    for name, shape in architecture.tensors().items():
        contexts.append(np.broadcast_to(first + scales.classes(name), shape).ravel())
        first += 1 + (len(LEVELS) - 1) * ((name in scaled_inputs(architecture)) + (name == "patch"))
    return np.concatenate(contexts)
