"""The SURF section: the triangles between a template's points, where it is a surface (formats/SPEC.md, 7.10)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from pcqaad.bitstream.tags import SURFACE_TAG, in_section
from pcqaad.decoder.architecture import MAX_POINTS, Architecture
from pcqaad.decoder.integer_model import IntegerModel, Ints, Symbols
from pcqaad.decoder.surface import MAX_TRIANGLES, MAX_VERTICES, Surface, areas, expected_counts
from pcqaad.errors import CloudError
from pcqaad.formats.coding.symbols import decode, encode
from pcqaad.formats.coding.triangles import decode_triangles
from pcqaad.formats.container.container import RAW, Container, Section
from pcqaad.formats.errors import FormatError

_FIXED = struct.Struct("<IIII")
# A section may ask for this many points of a cloud in any case, and for more by the bytes of its triangles.
_FREE_POINTS = 2**18
_PER_BYTE = 4096


@dataclass(frozen=True)
class SurfaceHeader:
    """What the section says first."""

    points: int  # of a cloud
    triangles: int
    of_triangles: int  # bytes of the coded triangles
    of_counts: int  # bytes of how many points lie on each

    def check(self, architecture: Architecture) -> None:
        """Raise FormatError unless a file of these sizes may have such a surface."""
        if architecture.patches != 1:
            raise FormatError(f"expected 1 patch, found {architecture.patches}")
        if architecture.points > MAX_VERTICES:
            raise FormatError(f"expected at most {MAX_VERTICES} vertices, found {architecture.points}")
        if not 1 <= self.triangles <= MAX_TRIANGLES:
            raise FormatError(f"expected 1 to {MAX_TRIANGLES} triangles, found {self.triangles}")
        self.check_points(self.points)

    def check_points(self, points: int) -> None:
        """Raise FormatError unless a cloud may have this many points."""
        if not 1 <= points <= MAX_POINTS:
            raise FormatError(f"expected 1 to {MAX_POINTS} points, found {points}")
        if problem := _excess(points, self.of_triangles):
            raise FormatError(problem)


def surface_sections(model: IntegerModel, sizes: Ints | None = None) -> list[Section]:
    """Return the section of a model, or none; `sizes` (N,) are the numbers of points of clouds that differ in them.

    Raises CloudError for more points, triangles or vertices than a reader accepts.
    """
    surface = model.surface
    if surface is None:
        return []
    coded, points = surface.coded, surface.points
    expected = expected_counts(areas(model.grid.astype(np.int64), surface.triangles), points)
    counts = encode((surface.counts - expected).astype(np.int32))
    header = SurfaceHeader(points, len(surface.triangles), len(coded), len(counts))
    try:
        header.check(model.architecture)
        for size in () if sizes is None else (int(sizes.min()), int(sizes.max())):
            header.check_points(size)
    except FormatError as error:
        raise CloudError(f"a file cannot hold such a surface: {error.problem}") from error
    data = _FIXED.pack(points, header.triangles, len(coded), len(counts)) + coded + counts
    return [Section(SURFACE_TAG, data + _coded_sizes(points, sizes), RAW)]


def with_sizes(section: bytes, sizes: Ints) -> bytes:
    """Return a section with other numbers of points (N,) of the clouds."""
    points, _, of_triangles, of_counts = _FIXED.unpack_from(section)
    return section[: _FIXED.size + of_triangles + of_counts] + _coded_sizes(points, sizes)


def _coded_sizes(points: int, sizes: Ints | None) -> bytes:
    if sizes is None or (sizes == points).all():
        return b""
    return encode((sizes - points).astype(np.int32))


def read_surface_header(container: Container, architecture: Architecture) -> SurfaceHeader | None:
    """Return what a file's surface says first, None where it has none; raises FormatError."""
    if SURFACE_TAG not in container:
        return None
    with in_section(SURFACE_TAG):
        data = container.section(SURFACE_TAG)
        if len(data) < _FIXED.size:
            raise FormatError(f"expected at least {_FIXED.size} bytes, found {len(data)}")
        header = SurfaceHeader(*_FIXED.unpack_from(data))
        header.check(architecture)
        expected, found = header.of_triangles + header.of_counts, len(data) - _FIXED.size
        if found < expected:
            raise FormatError(f"expected at least {expected} bytes of triangles and counts, found {found}")
    return header


def read_surface(container: Container, architecture: Architecture, grid: Symbols, bits: int) -> Surface | None:
    """Return the surface over the grid points (V, 3) of the template, or None; raises FormatError."""
    header = read_surface_header(container, architecture)
    if header is None:
        return None
    with in_section(SURFACE_TAG):
        coded, counts_data, _ = _parts(container, header)
        triangles = decode_triangles(coded, grid, bits, header.triangles)
        if len(triangles) != header.triangles:
            raise FormatError(f"expected {header.triangles} triangles, found {len(triangles)}")
        counts = decode(counts_data, header.triangles).astype(np.int64)
        counts += expected_counts(areas(grid.astype(np.int64), triangles), header.points)
        if counts.min() < 0 or counts.sum() != header.points:
            found = f"{counts.min()} or more, {counts.sum()} in all"
            raise FormatError(f"expected 0 points of a triangle or more, {header.points} in all, found {found}")
    return Surface(triangles, counts, coded)


def read_sizes(container: Container, architecture: Architecture) -> Ints | None:
    """Return the numbers of points (N,) of clouds that have their own, else None; raises FormatError."""
    header = read_surface_header(container, architecture)
    if header is None:
        return None
    with in_section(SURFACE_TAG):
        data = _parts(container, header)[2]
        if not data:
            return None
        sizes = header.points + decode(data, architecture.clouds).astype(np.int64)
        for size in (int(sizes.min()), int(sizes.max())):
            header.check_points(size)
        if (sizes == header.points).all():
            raise FormatError("expected numbers of points that differ, found one")
    return sizes


def _parts(container: Container, header: SurfaceHeader) -> tuple[bytes, bytes, bytes]:
    """Return the bytes of the triangles, of the points on each, and of the clouds' own numbers of points."""
    data, first = container.section(SURFACE_TAG), _FIXED.size
    second = first + header.of_triangles
    third = second + header.of_counts
    return data[first:second], data[second:third], data[third:]


def most_points(of_triangles: int) -> int:
    """Return how many points a cloud may have at most on triangles that take so many bytes."""
    return min(_FREE_POINTS + _PER_BYTE * of_triangles, MAX_POINTS)


def _excess(points: int, of_triangles: int) -> str:
    """Return by what a section holds too many points for its triangles; nothing where it holds them."""
    most = most_points(of_triangles)
    return (
        f"expected at most {most} points on triangles of {of_triangles} bytes, found {points}" if points > most else ""
    )
