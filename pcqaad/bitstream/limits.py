"""What a file may ask of a reader that does not trust it, by its size: a few bytes can ask for hours and terabytes.

The format bounds what each section may promise for its bytes, generously, for what encoders may do one day. No file
that an encoder of today makes comes near these limits.
"""

from __future__ import annotations

import math

from pcqaad.decoder.architecture import Architecture
from pcqaad.formats.errors import FormatError

# Each a number that any file may ask for, and how many more for each of its bytes.
POINTS = 2**22, 2**10  # of a cloud: 4 million
MULTIPLICATIONS = 2**34, 2**20  # of a cloud: some seconds
BYTES = 2**30, 2**18  # of all clouds that are decoded together, as float32 coordinates
BYTES_PER_POINT = 12

_REMEDY = "if you trust who made it: --trust, or trust=True"


def multiplications(architecture: Architecture) -> int:
    """Count the products that a cloud takes: those of the network at every point, and those of the components."""
    a = architecture
    of_shared = sum(map(math.prod, zip((3, *a.shared[:-1]), a.shared, strict=True)))
    of_patch = a.shared[-1] * a.patch + 3 * a.patch + 3 * a.patch
    return a.points * (of_shared + of_patch + 3 * a.components)


def check_cloud(architecture: Architecture, points: int, size: int) -> None:
    """Raise FormatError where a cloud of `points` points asks for more than a file of `size` bytes may."""
    _check(points, POINTS, size, "points of a cloud")
    _check(multiplications(architecture), MULTIPLICATIONS, size, "multiplications for a cloud")


def check_clouds(points: int, size: int) -> None:
    """Raise FormatError where all clouds have more points together than a file of `size` bytes may ask for."""
    _check(BYTES_PER_POINT * points, BYTES, size, "bytes of points")


def _check(asked: int, limit: tuple[int, int], size: int, what: str) -> None:
    most = limit[0] + limit[1] * size
    if asked > most:
        raise FormatError(f"asks for {asked:,} {what}, more than {most:,}, the limit for {size:,} bytes: {_REMEDY}")
