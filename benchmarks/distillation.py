"""Which density's slopes are nearest to HyperCD's: the search, beside the parameters that others took.

    python benchmarks/distillation.py [-o slopes.png] [--teacher hyper] [--sigma 0.5] [--cut 4] [--json]

The matching loss is the mean difference of the two slope curves, each divided by its largest value, over
half-normal distances (`pcqaad.distillation.search`). Every family is judged at the parameters that the search
finds, and at those of the authors' released losses, with the density taken from its mode on, as in the
search, and as it is, as in the released losses.
"""

import argparse
import json
from pathlib import Path

from pcqaad.cli.show.slopes import draw
from pcqaad.distillation.distances import half_normal
from pcqaad.distillation.search import distil, matching_loss, teacher_curve, weighted_curve
from pcqaad.formats.atomic import atomic_path
from pcqaad.losses.names import parse, write

# In the authors' code.
RELEASED = {
    "gumbel": {"beta": 1.4},
    "chi2": {"k": 3.0},
    "log-logistic": {"alpha": 5.0, "beta": 2.0},
    "gamma": {"shape": 2.0, "rate": 0.4},
    "landau": {},
}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="draw the curves here")
    parser.add_argument("--teacher", default="hyper")
    parser.add_argument("--sigma", type=float, default=0.5)
    parser.add_argument("--cut", type=float, default=4.0)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args(arguments)

    name, parameters = parse(a.teacher)
    distances = half_normal(a.sigma, a.cut)
    result = distil(name, parameters, distances, source=f"half-normal, sigma {a.sigma:g}, up to {a.cut:g} sigma")
    teacher = teacher_curve(name, parameters, distances)
    for row in result["families"]:
        released = RELEASED.get(row["family"])
        if released is not None:
            curves = [weighted_curve(row["family"], released, distances.d, shift) for shift in (True, False)]
            row["released"] = released
            row["released_losses"] = [matching_loss(teacher, curve, distances) for curve in curves]
    if a.output is not None:
        with atomic_path(a.output) as temporary:
            draw(temporary, result)
    if a.json:
        print(json.dumps(result, indent=2))
        return
    print(f"teacher {write(name, parameters)}; distances {result['distances']['source']}")
    print(f"{'found':38} {'loss':>8}  {'released':28} {'from mode':>9} {'as it is':>9}")
    for row in result["families"]:
        line = f"{row['criterion']:38} {row['loss']:8.5f}"
        if "released" in row:
            there, here = row["released_losses"]
            line += f"  {write(row['family'], row['released']):28} {there:9.5f} {here:9.5f}"
        print(line)


if __name__ == "__main__":
    main()
