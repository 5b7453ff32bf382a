"""What a fit is trained by: the distance to the matched point, or to the nearest one as each criterion weighs it.

    python -m benchmarks.criteria CLOUDS... [--criteria matched l1] [--epochs 100] [--points M] [--seeds 3] [--json]

Every row fits the same network from the same start in the same number of steps. EM-kD (cells of 1,024) and the Chamfer
distance, the mean of both directions, are those of the model in floats on all clouds, in percent of the diagonal.
Several seeds give means and ± their standard deviation. The seconds are those of a fit, its matching included.
"""

from collections.abc import Sequence

from benchmarks import common, fits

CRITERIA = ("matched", "l1", "l2", "augmented", "hyper", "info", "dcd", "landau", "landau-released", "gumbel")


def figures(a: common.Arguments) -> common.Figures:
    rows = {name: {"criterion": name, "tune": 0.0, "measure": 1} for name in a.criteria}
    return fits.compare(a, rows, ("emkd", "chamfer"))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = fits.options(__spec__.name, __doc__, epochs=100)
    parser.add_argument("--criteria", nargs="+", default=CRITERIA, help=f"[{' '.join(CRITERIA)}]")
    common.run(parser, arguments, figures, fits.COLUMNS)


if __name__ == "__main__":
    main()
