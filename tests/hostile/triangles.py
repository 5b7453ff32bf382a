"""Forged triangles (SPEC.md, 6.2), and sections that hold them, put together by hand."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable

import numpy as np

from pcqaad.formats.coding import triangles as coder
from pcqaad.formats.coding.apexes import FAR, nearest
from pcqaad.formats.coding.flags import FlagWriter
from pcqaad.formats.coding.point_sets import encode_points
from pcqaad.formats.errors import FormatError
from tests.hostile.small import STREAM, head, model


class Script(FlagWriter):
    """Answers what a walk asks for from a list, and writes it."""

    def __init__(self, answers: Iterable[int]) -> None:
        super().__init__(coder._FIRST)
        self.answers = iter(answers)

    def flag(self, context: int, flag: bool) -> bool:
        return super().flag(context, bool(next(self.answers)))

    def number(self, width: int, number: int) -> int:
        return super().number(width, next(self.answers))


# In the order of a file.
CORNERS = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]])
FIRST = [1, 0, 1, 0, 2]  # the triangle 0, 1, 2; number 0 is where its walk begins
ALONE = [*FIRST, 0, 0, 0, 0]  # nothing across its edges, and no other
# Of 5 points: the rule that is broken, what is answered, and what it is refused for.
FORGED = {
    "no such point": ("6.2 number", [0, 0, 0, 0, 0, 5], "one of 5 points expected, found 5"),
    "no such neighbour": ("6.2 place", [1, 1, 1, 1, 0, 1], "one of 4 points expected, found 4"),
    "twice a corner": ("6.2 corners", [1, 0, 1, 0, 1], "three points of a triangle expected, found 0, 1 and 1"),
    "no such point across": ("6.2 number", [*FIRST, 1, 0, 0, 0, 7], "one of 5 points expected, found 7"),
    "an end of the edge across": ("6.2 corners", [*FIRST, 1, 0, 0, 0, 1], "three points of a triangle expected"),
    "the triangle itself": (
        "6.2 again",
        [*FIRST, 1, 0, 0, 0, 2],
        "triangles that differ expected, found 1, 0 and 2 again",
    ),
    "no such place": ("6.2 place", [*FIRST, 1, 0, 0, 1, 0, 0], "one of 0 points expected, found 0"),
    "again": (
        "6.2 again",
        [*FIRST, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 2],
        "triangles that differ expected, found 1, 0 and 2 again",
    ),
    "too many": ("6.2 too many", [*FIRST, 1, 1, 1, 1], "at most 2 triangles expected, found more"),
}


def scripted(answers: Iterable[int], most: int = 2) -> bytes:
    """The bytes of triangles over the corners, up to what is refused of them."""
    script = Script(answers)
    with contextlib.suppress(FormatError):
        coder._walk(CORNERS, nearest(CORNERS, FAR), most, script, coder._Unknown())
    return script.finish()


def surface(
    points: int = 3,
    triangles: int = 1,
    coded: bytes | None = None,
    counts: bytes | None = None,
    sizes: bytes = b"",
    more: int = 0,
) -> bytes:
    """Section SURF: the one triangle over the corners, `points` on it; `more` is how the length of counts lies."""
    coded = scripted(ALONE) if coded is None else coded
    counts = model(0) + STREAM if counts is None else counts
    return struct.pack("<IIII", points, triangles, len(coded), len(counts) + more) + coded + counts + sizes


# The sections of the small file where its template is the corners.
VERTICES = {"HEAD": head(patches=1, points=5, bits=1), "TMPL": encode_points([CORNERS], 1)[0]}
