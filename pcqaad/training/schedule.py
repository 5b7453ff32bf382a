"""How the rate of a descent falls."""

from __future__ import annotations

import math


def cosine(done: float, last: float) -> float:
    """Return the part of the first rate that is left when a part `done` of the descent is over: from 1 to `last`."""
    return last + (1 - last) * (1 + math.cos(math.pi * done)) / 2
