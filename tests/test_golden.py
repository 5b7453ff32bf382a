"""A frozen file decodes to the frozen bytes: nothing that reads `.qaad` may change by accident.

Version 1 decodes for ever: these files are never made anew. `python -m tests.test_golden` makes those that are missing.
"""

from pathlib import Path

import numpy as np
import pytest

import pcqaad
from pcqaad.bitstream.sections import to_sections
from pcqaad.decoder.architecture import Architecture
from pcqaad.decoder.components import Components
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.integer_model import IntegerModel
from pcqaad.decoder.step_sizes import StepSize
from pcqaad.decoder.weight_scales import WeightScales
from pcqaad.formats.coding.fields import Cells
from pcqaad.formats.container.container import Container, pack
from pcqaad.quantisation.step_sizes import to_grid
from tests import reference
from tests.conftest import SMALL
from tests.generators import population
from tests.surface_files import surface_file, surface_model

HERE = Path(__file__).resolve().parent / "golden"
FILE = HERE / "ellipsoids.qaad"
SURFACE = HERE / "surface.qaad"
# Of a fit; of random integers, whose latents are coded as a sequence in two groups; of a linear part; and of a surface.
GOLDEN = [FILE, HERE / "sequence.qaad", HERE / "linear.qaad", SURFACE]
# The numbers of points of the surface's clouds, and another number that its last cloud is decoded to.
SIZES, OTHER = [100, 60, 137, 100, 1], 77


def points(file):
    """Return the golden clouds of a file."""
    return np.load(file.with_suffix(".npy")) if file != SURFACE else golden_surface()[: len(SIZES)]


def golden_surface():
    """Return the golden clouds of the surface; its last one of another number of points, as dense and evenly; and P."""
    return np.split(np.load(SURFACE.with_suffix(".npy")), np.cumsum([*SIZES, OTHER, OTHER, 100])[:-1])


def of_other_numbers(clouds):
    """Return what is golden beside the clouds."""
    return [clouds.read(4, OTHER), clouds.read(4, OTHER, even=True), clouds[[4]][0]]


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_a_golden_file_decodes_to_its_golden_points(file):
    golden = points(file)
    with pcqaad.open(file) as c:
        c.check()
        assert c.names == [f"{file.stem.rstrip('s')} {i}" for i in range(len(golden))]
        for cloud, expected in zip(c, golden, strict=True):
            assert cloud.dtype == expected.dtype == np.float32 and cloud.shape == expected.shape
            assert cloud.tobytes() == expected.tobytes()


def test_a_golden_surface_decodes_to_its_other_golden_points():
    with pcqaad.open(SURFACE) as c:
        assert c.sizes.tolist() == SIZES
        for cloud, expected in zip(of_other_numbers(c), golden_surface()[len(SIZES) :], strict=True):
            assert cloud.tobytes() == expected.tobytes()


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_a_decoder_written_from_the_specification_alone_agrees(file):
    data = file.read_bytes()
    clouds = reference.decode_clouds(data)
    if file == SURFACE:
        for points_of, even in ((OTHER, False), (OTHER, True), (100, False)):
            clouds.append(reference.decode_clouds(data, points_of, even=even)[4])
    golden = points(file) if file != SURFACE else golden_surface()
    assert [cloud.tobytes() for cloud in clouds] == [cloud.tobytes() for cloud in golden]


def test_golden_files_know_all_codings():
    containers = [Container.open(file.read_bytes()) for file in GOLDEN]
    assert [container.section("HEAD")[15] for container in containers] == [1, 3, 1, 1]
    assert ["COMP" in container for container in containers] == [False, False, True, True]
    assert ["SURF" in container for container in containers] == [False, False, False, True]


def test_the_golden_file_is_as_good_as_it_says():
    with pcqaad.open(FILE) as c:
        errors = [pcqaad.emkd(a, b).mean for a, b in zip(population(), c, strict=True)]
        assert abs(np.mean(errors) / c.info["fidelity"]["mean"] - 1) < 1e-4


def sequence():
    """Return a file of 70 clouds; each moves on a little from the one before."""
    rng = np.random.default_rng(0)
    architecture = Architecture(clouds=70, points=12, latent=2, shared=(4, 3), patch=3, patches=2, residual=True)
    model = IntegerModel(
        architecture,
        3,
        (-4, -3, -5),
        StepSize(9, -8),
        rng.integers(0, 8, (12, 3), dtype=np.int32),
        {name: StepSize(int(rng.integers(8, 16)), -10) for name in architecture.tensors()},
        WeightScales.of_codes(architecture, rng.integers(0, 4, sum(WeightScales.count(architecture)), dtype=np.int32)),
        {name: np.rint(rng.standard_t(4, size) * 30).astype(np.int32) for name, size in architecture.tensors().items()},
        (StepSize(8, -9), StepSize(15, -10)),
        (12, 11, 12),
    )
    latents = np.rint(np.cumsum(rng.normal(0, 4, (70, 2)), 0)).astype(np.int32)
    names = [f"sequence {i}" for i in range(70)]
    return pack(to_sections(model, latents, Denormalisation((1000, -5, 2**40), 2.0**-20), names, {"unit": "mm"}))


def linear():
    """Return a file of three smooth components on a bumpy sphere, beside a small network."""
    rng = np.random.default_rng(1)
    shape = Architecture(clouds=5, points=300, latent=4, shared=(3,), patch=2, patches=3, residual=True, components=3)
    sphere = rng.normal(0, 1, (300, 3))
    sphere *= (1 + 0.1 * np.sin(5 * sphere[:, :1])) / np.linalg.norm(sphere, axis=1, keepdims=True)
    step = StepSize(9, -10)
    grid, origin, bits = to_grid(sphere.astype(np.float32), step)
    waves = rng.normal(0, 2, (3, 3, 3))
    fields = np.sin(np.einsum("mx,xcd->mcd", sphere, waves)) * np.array([0.4, 0.1, 0.02])[:, None]
    steps = [StepSize(8, -8), StepSize(13, -9), StepSize(15, -10)]
    model = IntegerModel(
        shape,
        bits,
        origin,
        step,
        grid,
        {name: StepSize(int(rng.integers(8, 16)), -10) for name in shape.tensors()},
        WeightScales.of_codes(shape, rng.integers(0, 4, sum(WeightScales.count(shape)), dtype=np.int32)),
        {name: np.rint(rng.laplace(0, 9, size)).astype(np.int32) for name, size in shape.tensors().items()},
        (StepSize(8, -9), StepSize(15, -10), StepSize(11, -9), StepSize(8, -8)),
        (12, 12),
        Components.encode(fields.astype(np.float32), steps, Cells(grid, bits)),
    )
    latents = np.rint(rng.normal(0, 60, (5, 4))).astype(np.int32)
    names = [f"linear {i}" for i in range(5)]
    return pack(to_sections(model, latents, Denormalisation((1, 2**30, -7), 2.0**-18), names, {"unit": "mm"}))


def surface():
    """Return a file of clouds of their own numbers of points on a torus."""
    return surface_file(surface_model(2), np.array(SIZES))


def ellipsoids():
    """Return a fit's file."""
    names = [f"ellipsoid {i}" for i in range(6)]
    fitted = pcqaad.fit(population(), pcqaad.Settings(**SMALL, device="cpu"), names=names, unit="mm")
    fitted.save(FILE)
    return FILE.read_bytes()


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for made, make in zip(GOLDEN, (ellipsoids, sequence, linear, surface), strict=True):
        if not made.exists():
            made.write_bytes(make())
            clouds = pcqaad.open(made)
            of_surface = np.concatenate([*clouds, *of_other_numbers(clouds)]) if made == SURFACE else None
            np.save(made.with_suffix(".npy"), np.stack(list(clouds)) if of_surface is None else of_surface)
