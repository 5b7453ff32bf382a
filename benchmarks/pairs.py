"""How many true pairs the first matching of clouds in correspondence finds when their order is hidden from it.

    python -m benchmarks.pairs CLOUDS... [--count N] [--points M] [--seed 0] [--matching NAME...] [--json]

The clouds hold the same points in the same order: registered meshes, frames of an animation. Each is shuffled on its
own and matched to the template as a fit would, and the true pairs are compared with those found. Without CLOUDS the
example skulls are matched. Rows are matchings, and the true pairs themselves. "Right" is the share of points that get
their true partner, "kept" the share of neighbours on the template that are still neighbours (at most four times their
spacing apart): the mean over the clouds, and the worst. "Off" is the mean distance of partners found to the true ones,
and "left out" what eight principal components of the matched coordinates leave out (root of the mean square), both in
percent of the diagonal. The last column is CPU time.
"""

import time
from collections.abc import Sequence

import numpy as np

from benchmarks import common
from examples import skulls
from pcqaad.errors import CloudError
from pcqaad.formats.clouds.find import LazyClouds, find_clouds
from pcqaad.matching.tears import Neighbourhood
from pcqaad.points.collect import collect
from pcqaad.points.components import principal_components
from pcqaad.settings import CHOICES, Settings
from pcqaad.training.start import choose_template, first_matching

COLUMNS = {
    "matching": "name",
    "right, %": "right_percent:.1f",
    "worst": "right_worst_percent:.1f",
    "kept, %": "kept_percent:.2f",
    "worst ": "kept_worst_percent:.2f",
    "off, %": "off_percent:.3f",
    "left out by 8, %": "left_out_percent:.2f",
    "CPU s": "seconds:.1f",
}
COMPONENTS = 8
_SKULL_POINTS = 4096


def clouds(a: common.Arguments) -> list[common.Points]:
    """Return clouds in correspondence: those given, or example skulls."""
    if not a.clouds:
        rng = np.random.default_rng(a.seed)
        weights = rng.standard_normal((a.count or 24, len(skulls.parameters()))).clip(-2.5, 2.5)
        found = [skulls.skull(some)[0] for some in weights]
    else:
        found = list(LazyClouds(find_clouds(a.clouds)[: a.count]))
    sizes = {len(cloud) for cloud in found}
    if len(sizes) > 1:
        raise CloudError(f"expected clouds in correspondence, found {min(sizes):,} to {max(sizes):,} points")
    points = a.points or (None if a.clouds else _SKULL_POINTS)
    rows = np.random.default_rng(a.seed).permutation(sizes.pop())[:points]
    return [cloud[rows] for cloud in found]


def figures(a: common.Arguments) -> common.Figures:
    given = clouds(a)
    orders = [np.random.default_rng([a.seed, i]).permutation(len(cloud)) for i, cloud in enumerate(given)]
    shuffled = [cloud[order] for cloud, order in zip(given, orders, strict=True)]
    settings = Settings(seed=a.seed)
    targets = collect(shuffled, None, None, a.seed).targets
    chosen = choose_template(targets, settings)
    template = targets[chosen]
    true = np.stack([np.argsort(order)[orders[chosen]] for order in orders])
    neighbourhood = Neighbourhood(template)

    def measured(found: np.ndarray, seconds: float | None = None) -> common.Figures:
        # Points that lie in one place are as good as each other.
        pairs = [(cloud[x], cloud[t]) for cloud, x, t in zip(targets, found, true, strict=True)]
        right, off = zip(
            *(((x == t).all(1).mean(), np.linalg.norm(x - t, axis=1).mean()) for x, t in pairs), strict=True
        )
        kept = [neighbourhood.kept(x) for x, _ in pairs]
        ordered = collect(shuffled, None, None, a.seed).targets
        for i, assignment in enumerate(found):
            ordered.permute(i, assignment)
        left_out = np.square(principal_components(ordered)[1][COMPONENTS:]).sum() / found.size
        percent = 100 / common.DIAGONAL
        return {
            "right_percent": 100 * float(np.mean(right)),
            "right_worst_percent": 100 * float(min(right)),
            "kept_percent": 100 * float(np.mean(kept)),
            "kept_worst_percent": 100 * float(min(kept)),
            "off_percent": percent * float(np.mean(off)),
            "left_out_percent": percent * float(np.sqrt(left_out)),
            **({} if seconds is None else {"seconds": seconds}),
        }

    # Compiled before the clock runs.
    first_matching(template, collect(shuffled[:2], None, None, a.seed).targets, settings)
    rows = {}
    for name in a.matching:
        common.tell(name)
        began = time.process_time()
        found = first_matching(template, targets, Settings(matching=name, seed=a.seed))
        rows[name] = measured(found, time.process_time() - began)
    rows["the true pairs"] = measured(true)
    return {"clouds": len(given), "points": targets.points, "seed": a.seed, **common.versions("numpy"), "rows": rows}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.options(__spec__.name, __doc__, "*", seeds=0)
    parser.add_argument("--count", type=common.positive, help="clouds, the first ones [all; 24 skulls]")
    parser.add_argument("--points", type=common.positive, help="of each, drawn at random [all; 4096 of skulls]")
    names = ["greedy", "optimal", "nonrigid"]
    parser.add_argument("--matching", nargs="+", choices=CHOICES["matching"], default=names, help=f"{names}")
    common.run(parser, arguments, figures, COLUMNS)


if __name__ == "__main__":
    main()
