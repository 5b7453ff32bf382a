"""Inputs that tests draw: clouds of every awkward kind, and one small population."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def clouds(draw, min_points=1, max_points=300, count=1):
    """`count` clouds of one size: smooth, flat, on a line, on a lattice (ties), or all in one point."""
    n = draw(st.integers(min_points, max_points))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    unit = 10.0 ** draw(st.integers(-6, 6))
    drawn = []
    for _ in range(count):
        kind = draw(st.sampled_from(["ball", "flat", "line", "lattice", "point"]))
        x = rng.standard_normal((n, 3))
        if kind == "flat":
            x[:, rng.integers(3)] = 0
        elif kind == "line":
            x = x[:, :1] * rng.standard_normal(3)
        elif kind == "lattice":
            x = np.rint(x)
        elif kind == "point":
            x[:] = x[0]
        drawn.append(x * unit)
    return drawn


def population(count=6, points=256, seed=0):
    """Ellipsoids of three sizes, each sampled by itself: clouds of one kind that are not in correspondence."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(count):
        x = rng.standard_normal((points, 3))
        x *= rng.uniform(20, 60, 3) / np.linalg.norm(x, axis=1, keepdims=True)
        drawn.append((x + [1000, -500, 0]).astype(np.float32))
    return drawn
