"""Models and files whose template is a surface, of random integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pcqaad.bitstream.sections import to_sections
from pcqaad.decoder.architecture import Architecture
from pcqaad.decoder.components import Components
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.integer_model import IntegerModel
from pcqaad.decoder.step_sizes import StepSize
from pcqaad.decoder.surface import Surface
from pcqaad.decoder.weight_scales import WeightScales
from pcqaad.formats.coding.fields import Cells
from pcqaad.formats.coding.point_sets import encode_points
from pcqaad.formats.coding.triangles import encode_triangles
from pcqaad.formats.container.container import pack

Ints = NDArray[np.int64]


def ring(rng: np.random.Generator, around: int, across: int, bits: int) -> tuple[Ints, Ints]:
    """Return a torus that is not smooth: grid points (V, 3) in the order of a file, and triangles (T, 3)."""
    i, j = (k.ravel() for k in np.meshgrid(np.arange(around), np.arange(across), indexing="ij"))
    u, v = 2 * np.pi * i / around, 2 * np.pi * j / across
    r = 0.35 + rng.normal(0, 0.02, len(u))
    x = np.stack([(1 + r * np.cos(v)) * np.cos(u), (1 + r * np.cos(v)) * np.sin(u), r * np.sin(v)], 1)
    grid = np.rint((x / 3 + 0.5).clip(0, 1) * ((1 << bits) - 1)).astype(np.int64)

    def at(di: int, dj: int) -> Ints:
        where: Ints = (i + di) % around * across + (j + dj) % across
        return where

    quads = at(0, 0), at(1, 0), at(1, 1), at(0, 1)
    faces = np.concatenate([np.stack([quads[k] for k in corners], 1) for corners in ((0, 1, 2), (0, 2, 3))])
    order = encode_points([grid], bits)[1][0]
    return grid[order], np.argsort(order)[faces]


def surface_model(
    seed: int, *, clouds: int = 5, around: int = 8, across: int = 5, points: int = 100, bits: int = 9
) -> IntegerModel:
    """Return a model of `points` points on a torus, more of them on some triangles than on others."""
    rng = np.random.default_rng(seed)
    grid, triangles = ring(rng, around, across, bits)
    coded, triangles = encode_triangles(triangles, grid, bits)
    counts = rng.multinomial(points, rng.dirichlet(np.full(len(triangles), 2.0))).astype(np.int64)
    shape = Architecture(
        clouds=clouds,
        points=len(grid),
        latent=2,
        shared=(4, 3),
        patch=3,
        patches=1,
        residual=True,
        components=1,
    )
    fields = np.sin(grid[:, None] / (1 << bits) * rng.normal(3, 1, (1, 1, 3))).astype(np.float32) * 0.1
    return IntegerModel(
        shape,
        bits,
        (-4, -3, -5),
        StepSize(9, -bits - 3),
        grid.astype(np.int32),
        {name: StepSize(int(rng.integers(8, 16)), -10) for name in shape.tensors()},
        WeightScales.of_codes(shape, rng.integers(0, 4, sum(WeightScales.count(shape)), dtype=np.int32)),
        {name: np.rint(rng.standard_t(4, size) * 20).astype(np.int32) for name, size in shape.tensors().items()},
        (StepSize(8, -9), StepSize(15, -10)),
        (12, 11, 12),
        Components.encode(fields, [StepSize(8, -8)], Cells(grid.astype(np.int32), bits)),
        Surface(triangles, counts, coded),
    )


def surface_file(model: IntegerModel, sizes: Ints | None = None, name: str = "surface") -> bytes:
    """Return a file of a model; its clouds have `sizes` (N,) points, or all the same number."""
    clouds = model.architecture.clouds
    latents = np.rint(np.random.default_rng(clouds).normal(0, 40, (clouds, 2))).astype(np.int32)
    names = [f"{name} {i}" for i in range(clouds)]
    denormalisation = Denormalisation((1000, -5, 2**40), 2.0**-20)
    return pack(to_sections(model, latents, denormalisation, names, {"unit": "mm"}, sizes))
