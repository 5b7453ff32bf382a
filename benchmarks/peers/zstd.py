"""Zstandard at level 19, one stream for all clouds: of float32 as it is, or of coordinates on a grid, well arranged."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.levels import morton

LEVEL, QUICK = 19, 3  # the strongest without more memory to read it; and one that tells which arrangement is smallest


def of_floats(clouds: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Code clouds (N, M, 3) without loss; return them and the bytes of all."""
    return clouds, len(_compressed(clouds.tobytes(), LEVEL))


def of_integers(clouds: NDArray[np.float32], bits: int, registered: bool) -> tuple[NDArray[np.float32], int]:
    """Code clouds (N, M, 3) on the grid of 2**bits steps along the longest side of all; return them decoded, and bytes.

    Bytes are apart by significance. Integers are kept plainly, as differences from point to point, or from cloud to
    cloud where `registered`, whichever is smallest. Points that are not registered are put in Morton order first.
    """
    low = clouds.min((0, 1))
    step = np.float32(max(float((clouds.max((0, 1)) - low).max()), 1e-30) / (2**bits - 1))
    grid = np.round((clouds - low) / step).astype(np.int32)
    if not registered:
        grid = np.stack([each[morton(each.astype(np.float64), bits)] for each in grid])
    found = dict(enumerate(_arrangements(grid, registered)))
    best = min(found, key=lambda i: len(_compressed(found[i], QUICK)))
    # With the origin and the step.
    return grid * step + low, len(_compressed(found[best], LEVEL)) + 16


def _arrangements(grid: NDArray[np.int32], registered: bool) -> Iterator[bytes]:
    yield _planes(grid)
    yield _planes(np.diff(grid, axis=1, prepend=0))
    if registered:
        between = np.diff(grid, axis=0, prepend=0)
        yield _planes(between)
        yield _planes(np.diff(between, axis=1, prepend=0))


def _planes(values: NDArray[np.int32]) -> bytes:
    """Return integers axis by axis, their lower bytes first; negative ones are folded into the others."""
    folded = np.where(values < 0, -2 * values - 1, 2 * values).astype("<u4")
    columns = np.ascontiguousarray(np.moveaxis(folded, 2, 0))
    return b"".join(((columns >> shift) & 255).astype(np.uint8).tobytes() for shift in (0, 8, 16))


def _compressed(data: bytes, level: int) -> bytes:
    import zstandard

    # A window as long as the data, so that a cloud is found again in the next.
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, window_log=min(max(len(data).bit_length(), 10), 27), enable_ldm=level == LEVEL
    )
    compressed: bytes = zstandard.ZstdCompressor(compression_params=parameters).compress(data)
    return compressed
