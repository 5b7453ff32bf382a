"""A frozen file decodes to the frozen bytes: nothing that reads `.qaad` may change by accident.

Version 1 decodes for ever: these files are never made anew. `python -m tests.test_golden` made them.
"""

from pathlib import Path

import numpy as np

import pcqaad
from tests import reference
from tests.conftest import SMALL
from tests.generators import population

HERE = Path(__file__).resolve().parent / "golden"
FILE, POINTS = HERE / "ellipsoids.qaad", HERE / "ellipsoids.npy"


def test_the_golden_file_decodes_to_the_golden_points():
    golden = np.load(POINTS)
    with pcqaad.open(FILE) as c:
        c.check()
        assert c.names == [f"ellipsoid {i}" for i in range(6)]
        decoded = np.stack(list(c))
        assert decoded.dtype == golden.dtype == np.float32
        assert decoded.tobytes() == golden.tobytes()


def test_a_decoder_written_from_the_specification_alone_agrees():
    assert reference.decode_file(FILE.read_bytes()).tobytes() == np.load(POINTS).tobytes()


def test_the_golden_file_is_as_good_as_it_says():
    with pcqaad.open(FILE) as c:
        errors = [pcqaad.emkd(a, b).mean for a, b in zip(population(), c, strict=True)]
        assert abs(np.mean(errors) / c.info["fidelity"]["mean"] - 1) < 1e-4


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    names = [f"ellipsoid {i}" for i in range(6)]
    pcqaad.fit(population(), pcqaad.Settings(**SMALL, device="cpu"), names=names, unit="mm").save(FILE)
    np.save(POINTS, np.stack(list(pcqaad.open(FILE))))
