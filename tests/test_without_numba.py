"""A base install, which has no numba: the same figures by SciPy, and one line where it cannot."""

import json
import subprocess
import sys

import pytest

from pcqaad.matching.solvers import TOLERANCE

BLOCKED = "import sys; sys.modules['numba'] = sys.modules['llvmlite'] = sys.modules['torch'] = None\n"
MAIN = "from pcqaad.cli.main import main\nmain(sys.argv[1:])"
EMD = """
import numpy as np
import pcqaad
a, b = np.random.default_rng(0).random((2, 5000, 3))
print(pcqaad.emkd(a, b).mean, pcqaad.emkd(a, b, 4096).mean, pcqaad.emd(a[:300], b[:300]).mean)
for refused in (lambda: pcqaad.emd(a, b), lambda: pcqaad.emkd(a, b, 5000)):
    try:
        refused()
    except pcqaad.Error as error:
        print(error)
"""


def run(script, *arguments):
    call = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_verify_gives_the_same_figures_and_says_once_how_to_be_faster(fitted_file, folder):
    call = ("verify", fitted_file, folder, "--metric", "emkd", "--metric", "emd", "--json")
    without = run(BLOCKED + MAIN, *call)
    (line,) = [line for line in without.stderr.splitlines() if line.startswith("note: ")]
    assert line.startswith("note: matching by SciPy, to the same figures")
    assert "numba cannot be loaded" in line and line.endswith("pip install 'pcqaad[fast]' brings it")
    here, there = (json.loads(done.stdout) for done in (without, run("import sys\n" + MAIN, *call)))
    for metric, tolerance in (("emkd", TOLERANCE), ("emd", 0.05)):
        found, expected = (verified["metrics"][metric] for verified in (here, there))
        assert found["mean"] == pytest.approx(expected["mean"], tolerance)
        assert expected["at_least"] <= found["at_least"] * (1 + 1e-9)
        for one, other in zip(found["per_cloud"], expected["per_cloud"], strict=True):
            assert one["name"] == other["name"]
            assert other["mean"] / (1 + tolerance) <= one["mean"] * (1 + 1e-9) <= other["mean"] * (1 + 2e-9)


def test_what_scipy_cannot_do_in_little_memory_is_refused_in_one_line():
    found, *refusals = run(BLOCKED + EMD).stdout.splitlines()
    small_cells, large_cells, few_points = map(float, found.split())
    assert 0 < large_cells < small_cells < few_points
    assert len(refusals) == 2
    for line in refusals:
        assert line.startswith("matching 5,000 points at once needs numba")
        assert line.endswith("pip install 'pcqaad[fast]', or match at most 4,096 points at once")
