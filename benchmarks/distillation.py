"""Which density's slopes are nearest to HyperCD's: the search, beside the parameters that others took.

    python -m benchmarks.distillation [-o slopes.png] [--teacher hyper] [--sigma 0.5] [--cut 4] [--json]

The matching loss is the mean difference of two slope curves, each divided by its largest value, over half-normal
distances (`pcqaad.distillation.search`). Every family stands at the parameters that the search finds, and at those of
the authors' released losses. These have two columns: with the density taken from its mode on, as in the search, and as
it is, as in the released code.
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import common
from pcqaad.cli.show.slopes import draw
from pcqaad.distillation.distances import half_normal
from pcqaad.distillation.search import distil, matching_loss, teacher_curve, weighted_curve
from pcqaad.formats.atomic import atomic_path
from pcqaad.losses import parse, write

COLUMNS = {
    "found": "criterion",
    "matching loss": "loss:.5f",
    "released": "released",
    "from its mode on": "released_loss:.5f",
    "as it is": "unshifted_loss:.5f",
}
# In the authors' code.
RELEASED = {
    "gumbel": {"beta": 1.4},
    "chi2": {"k": 3.0},
    "log-logistic": {"alpha": 5.0, "beta": 2.0},
    "gamma": {"shape": 2.0, "rate": 0.4},
    "landau": {},
}


def figures(a: common.Arguments) -> common.Figures:
    name, parameters = parse(a.teacher)
    distances = half_normal(a.sigma, a.cut)
    result = distil(name, parameters, distances, source=f"half-normal, sigma {a.sigma:g}, up to {a.cut:g} sigma")
    teacher = teacher_curve(name, parameters, distances)
    for row in result["families"]:
        released = RELEASED.get(row["family"])
        if released is not None:
            row["released"] = write(row["family"], released)
            for key, shift in (("released_loss", True), ("unshifted_loss", False)):
                curve = weighted_curve(row["family"], released, distances.d, shift)
                row[key] = matching_loss(teacher, curve, distances)
    if a.output is not None:
        with atomic_path(a.output) as temporary:
            draw(temporary, result)
    return {
        "teacher": write(name, parameters),
        "distances": result["distances"]["source"],
        "curves": {key: result[key] for key in ("d", "density", "slope")},
        "rows": result["families"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.options(__spec__.name, __doc__)
    parser.add_argument("-o", "--output", type=Path, help="draw the curves here")
    parser.add_argument("--teacher", default="hyper")
    parser.add_argument("--sigma", type=float, default=0.5)
    parser.add_argument("--cut", type=float, default=4.0)
    common.run(parser, arguments, figures, COLUMNS)


if __name__ == "__main__":
    main()
