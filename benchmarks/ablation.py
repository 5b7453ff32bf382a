"""The paper's ablation (Table 1) at equal steps: random matching, + GREEDY, + REASSIGNMENT, and ours.

    python -m benchmarks.ablation CLOUDS... [--epochs 150] [--latent 12] [--points M] [--seeds 3] [--json]

Every row fits the same network from the same start in the same number of steps; only the matching differs. EM-kD
(cells of 1,024) is that of the model in floats on all clouds, in percent of the diagonal. Several seeds give means and
± their standard deviation. The sampling floor is the EM-kD between two halves of each cloud, at half the points.
"""

from collections.abc import Sequence

import pcqaad
from benchmarks import common, fits

GREEDY = {"matching": "greedy", "rematch": 0}
ROWS = {
    "random matching": GREEDY | {"matching": "random"},
    "+ QAAD_GREEDY": GREEDY,
    "+ QAAD_REASSIGNMENT": GREEDY | {"reassign": True},
    "+ re-matching": GREEDY | {"reassign": True, "rematch": pcqaad.Settings().rematch},
    "optimal matching for GREEDY": {"matching": "optimal", "intermediates": 0},
    "+ by way of clouds between": {"matching": "optimal"},
    "+ mended where it tears (our default)": {},
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = fits.options(__spec__.name, __doc__, epochs=150)
    # No tuning: the rows do not differ in what rounding leaves.
    rows = {name: {**own, "tune": 0.0} for name, own in ROWS.items()}
    common.run(parser, arguments, lambda a: fits.compare(a, rows), fits.COLUMNS)


if __name__ == "__main__":
    main()
