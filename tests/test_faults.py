"""Whatever call fails, the old file or the new one stands, and nothing else; `tests/faults.py` says how it is tried."""

import sys

import pytest

if sys.platform == "win32":
    pytest.skip("limits of POSIX", allow_module_level=True)

from tests.faults import CASES, inject

# All calls that write, and a part of the many that allocate: `python -m tests.faults` tries them all.
EVERY = {"allocate": 23, "full disk": 6}


@pytest.mark.parametrize(
    ("case", "kind"), [(c, k) for c in CASES for k in c.kinds], ids=lambda x: getattr(x, "name", x)
)
def test_a_fault_leaves_the_old_or_the_new(case, kind):
    found = inject(case, kind, EVERY.get(kind, 1))
    assert found["old"] > 0
