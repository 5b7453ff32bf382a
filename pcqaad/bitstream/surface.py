"""The SURF section: the triangles between a template's points, where it is a surface (formats/SPEC.md, 7.10)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from pcqaad.bitstream.tags import SURFACE_TAG, in_section
from pcqaad.decoder.architecture import MAX_POINTS, Architecture
from pcqaad.decoder.integer_model import IntegerModel, Symbols
from pcqaad.decoder.surface import MAX_TRIANGLES, MAX_VERTICES, Surface, areas, expected_counts
from pcqaad.errors import CloudError
from pcqaad.formats.coding.symbols import decode, encode
from pcqaad.formats.coding.triangles import decode_triangles
from pcqaad.formats.container.container import RAW, Container, Section
from pcqaad.formats.errors import FormatError

_FIXED = struct.Struct("<III")
# A section may ask for this many points of a cloud in any case, and for more by its triangles.
_FREE_POINTS = 2**18
_PER_TRIANGLE = 1024


@dataclass(frozen=True)
class SurfaceHeader:
    """What the section says first."""

    points: int  # of a cloud
    triangles: int
    length: int  # bytes of the coded triangles


def surface_sections(model: IntegerModel) -> list[Section]:
    """Return the section of a model, or none; raises CloudError for more points than a reader accepts."""
    surface = model.surface
    if surface is None:
        return []
    coded, triangles = surface.coded, len(surface.triangles)
    if problem := _excess(surface.points, triangles):
        raise CloudError(f"clouds with more points than a surface of so few triangles holds: {problem}")
    expected = expected_counts(areas(model.grid.astype(np.int64), surface.triangles), surface.points)
    data = _FIXED.pack(surface.points, triangles, len(coded)) + coded
    data += encode((surface.counts - expected).astype(np.int32))
    return [Section(SURFACE_TAG, data, RAW)]


def read_surface_header(container: Container, architecture: Architecture) -> SurfaceHeader | None:
    """Return what a file's surface says first, None where it has none; raises FormatError."""
    if SURFACE_TAG not in container:
        return None
    with in_section(SURFACE_TAG):
        data = container.section(SURFACE_TAG)
        if len(data) < _FIXED.size:
            raise FormatError(f"expected at least {_FIXED.size} bytes, found {len(data)}")
        header = SurfaceHeader(*_FIXED.unpack_from(data))
        if architecture.patches != 1:
            raise FormatError(f"expected 1 patch, found {architecture.patches}")
        if architecture.points > MAX_VERTICES:
            raise FormatError(f"expected at most {MAX_VERTICES} vertices, found {architecture.points}")
        if not 1 <= header.triangles <= MAX_TRIANGLES:
            raise FormatError(f"expected 1 to {MAX_TRIANGLES} triangles, found {header.triangles}")
        if not 1 <= header.points <= MAX_POINTS:
            raise FormatError(f"expected 1 to {MAX_POINTS} points, found {header.points}")
        if problem := _excess(header.points, header.triangles):
            raise FormatError(problem)
        if len(data) < _FIXED.size + header.length:
            found = len(data) - _FIXED.size
            raise FormatError(f"expected {header.length} bytes of triangles, found {found}")
    return header


def read_surface(container: Container, architecture: Architecture, grid: Symbols, bits: int) -> Surface | None:
    """Return the surface over the grid points (V, 3) of the template, or None; raises FormatError."""
    header = read_surface_header(container, architecture)
    if header is None:
        return None
    with in_section(SURFACE_TAG):
        data, end = container.section(SURFACE_TAG), _FIXED.size + header.length
        coded = data[_FIXED.size : end]
        triangles = decode_triangles(coded, grid, bits, header.triangles)
        if len(triangles) != header.triangles:
            raise FormatError(f"expected {header.triangles} triangles, found {len(triangles)}")
        counts = decode(data[end:], header.triangles).astype(np.int64)
        counts += expected_counts(areas(grid.astype(np.int64), triangles), header.points)
        if counts.min() < 0 or counts.sum() != header.points:
            found = f"{counts.min()} or more, {counts.sum()} in all"
            raise FormatError(f"expected 0 points of a triangle or more, {header.points} in all, found {found}")
    return Surface(triangles, counts, coded)


def _excess(points: int, triangles: int) -> str:
    """Return by what a section holds too many points for its triangles; nothing where it holds them."""
    most = _FREE_POINTS + _PER_TRIANGLE * triangles
    return f"expected at most {most} points on {triangles} triangles, found {points}" if points > most else ""
