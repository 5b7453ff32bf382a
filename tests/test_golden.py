"""A frozen file decodes to the frozen bytes: nothing that reads `.qaad` may change by accident.

Version 1 decodes for ever: these files are never made anew. `python -m tests.test_golden` made them.
"""

from pathlib import Path

import numpy as np
import pytest

import pcqaad
from pcqaad.bitstream.sections import to_sections
from pcqaad.decoder.architecture import Architecture
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.integer_model import IntegerModel
from pcqaad.decoder.step_sizes import StepSize
from pcqaad.decoder.weight_scales import WeightScales
from pcqaad.formats.container.container import Container, pack
from tests import reference
from tests.conftest import SMALL
from tests.generators import population

HERE = Path(__file__).resolve().parent / "golden"
FILE = HERE / "ellipsoids.qaad"
# Of a fit; and of random integers, whose latents are coded as a sequence in two groups.
GOLDEN = [FILE, HERE / "sequence.qaad"]


def points(file):
    return np.load(file.with_suffix(".npy"))


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_a_golden_file_decodes_to_its_golden_points(file):
    golden = points(file)
    with pcqaad.open(file) as c:
        c.check()
        assert c.names == [f"{file.stem.rstrip('s')} {i}" for i in range(len(golden))]
        decoded = np.stack(list(c))
        assert decoded.dtype == golden.dtype == np.float32
        assert decoded.tobytes() == golden.tobytes()


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_a_decoder_written_from_the_specification_alone_agrees(file):
    assert reference.decode_file(file.read_bytes()).tobytes() == points(file).tobytes()


def test_golden_files_know_all_codings():
    flags = [Container.open(file.read_bytes()).section("HEAD")[15] for file in GOLDEN]
    assert flags == [1, 3]


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


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    names = [f"ellipsoid {i}" for i in range(6)]
    pcqaad.fit(population(), pcqaad.Settings(**SMALL, device="cpu"), names=names, unit="mm").save(FILE)
    GOLDEN[1].write_bytes(sequence())
    for made in GOLDEN:
        np.save(made.with_suffix(".npy"), np.stack(list(pcqaad.open(made))))
