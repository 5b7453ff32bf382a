"""The COMP section: the displacement components of the linear part, where a file has one (formats/SPEC.md, 7.3.1)."""

from __future__ import annotations

import struct

import numpy as np

from pcqaad.bitstream.tags import LINEAR_TAG, in_section
from pcqaad.decoder.architecture import Architecture
from pcqaad.decoder.components import STEP_SIZE_CODES, Components
from pcqaad.decoder.integer_model import IntegerModel, Symbols
from pcqaad.decoder.step_sizes import StepSize
from pcqaad.errors import CloudError
from pcqaad.formats.container.container import RAW, Container, Section
from pcqaad.formats.errors import FormatError

# Numbers that are all zero take no bytes: a section may hold this many of a template's points times its components in
# any case, and more by its length.
_FREE = 2**18
_PER_BYTE = 4096


def components_sections(model: IntegerModel) -> list[Section]:
    """Return the section of a model, or none; raises CloudError for more equal numbers than a reader accepts."""
    if model.components is None:
        return []
    codes = [step_size.code for step_size in model.components.step_sizes]
    data = struct.pack(f"<{1 + len(codes)}H", len(codes), *codes) + model.components.coded
    if problem := _excess(model.architecture, len(codes), len(data)):
        raise CloudError(f"components that are nearly all zero: {problem}")
    return [Section(LINEAR_TAG, data, RAW)]


def count_components(container: Container, architecture: Architecture) -> int:
    """Return how many components a file has, 0 without the section; raises FormatError where it is too short."""
    if LINEAR_TAG not in container:
        return 0
    with in_section(LINEAR_TAG):
        data = container.section(LINEAR_TAG)
        if len(data) < 2:
            raise FormatError(f"expected at least 2 bytes, found {len(data)}")
        (count,) = struct.unpack_from("<H", data)
        if not 1 <= count <= architecture.latent:
            raise FormatError(f"expected 1 to {architecture.latent} components, found {count}")
        if len(data) < 2 + 2 * count:
            raise FormatError(f"expected the steps of {count} components, found {len(data) - 2} bytes")
        if problem := _excess(architecture, count, len(data)):
            raise FormatError(problem)
    return int(count)


def read_components(container: Container, architecture: Architecture, grid: Symbols, bits: int) -> Components | None:
    """Return the components over the grid points (M, 3) of the template, or None; raises FormatError."""
    if LINEAR_TAG not in container:
        return None
    with in_section(LINEAR_TAG):
        count, data = architecture.components, container.section(LINEAR_TAG)
        codes = np.frombuffer(data, "<u2", count, 2).tolist()
        if max(codes) >= STEP_SIZE_CODES:
            raise FormatError(f"expected steps below {STEP_SIZE_CODES}, found {max(codes)}")
        return Components.decode(data[2 + 2 * count :], [StepSize.of(code) for code in codes], grid, bits)


def _excess(architecture: Architecture, count: int, length: int) -> str:
    """Return by what a section of this length holds too many numbers; nothing where it holds them."""
    found, most = count * architecture.points, _FREE + _PER_BYTE * length
    return f"expected at most {most} points times components in {length} bytes, found {found}" if found > most else ""
