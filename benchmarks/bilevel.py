"""Is a learned weighting worth it? One decoder, trained from one start by several weightings.

    python -m benchmarks.bilevel CLOUDS... [--families gumbel normal] [--rounds 40] [--steps 200] [--seeds 3] [--json]

The clouds hold at least 768 points each. Two thirds of these teach a weighting, as `pcqaad distill --bilevel` does with
EM-kD for a judge. Then a decoder is trained from the start by plain gradient descent on the Chamfer distance, on each
family at its default parameters, and on each as it was learned. The other third judges it: no training has seen that.
Weightings are divided by f(m), so all have the same rate. Several seeds give means and ± their standard deviation.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.func import functional_call

from benchmarks import common, fits
from pcqaad.distillation.bilevel import Plan, Weighting, train
from pcqaad.distillation.learn import POINTS, Halves, emd_loss, learn_weighting
from pcqaad.evaluation.metrics import percent
from pcqaad.formats.clouds.find import LazyClouds, find_clouds
from pcqaad.losses import criterion, write
from pcqaad.monitor import SILENT

# Batches that a decoder is judged on.
JUDGED = 16
# Number of the first of them, and of the first step: those that the learning saw come before.
FIRST = 10**6


def deal(clouds, points, seed):
    """Deal each cloud's points out: some to learn a weighting and to train by, the others to judge by."""
    orders = [np.random.default_rng([seed, i]).permutation(len(cloud)) for i, cloud in enumerate(clouds)]
    dealt = [(cloud[order[:points]], cloud[order[points:]]) for cloud, order in zip(clouds, orders, strict=True)]
    return tuple(map(list, zip(*dealt, strict=True)))


def judge(halves, weights, rest):
    """Return EM-kD and the mean of both directed Chamfer distances to points of `rest`, in percent of the diagonal."""
    found = []
    for i in range(JUDGED):
        inputs, target = halves.held_out(FIRST + i)
        rng, size = np.random.default_rng([FIRST, i]), target.shape[1]
        drawn = [rest[cloud][rng.choice(len(rest[cloud]), size, replace=False)] for cloud in inputs[0].tolist()]
        target = torch.from_numpy(np.stack(drawn))
        predicted = functional_call(halves.network, weights, inputs).detach()
        found.append([float(emd_loss(predicted, target)), float(criterion("l1")(predicted, target)) / 2])
    emkd, chamfer = np.mean(found, 0).tolist()
    return {
        "emkd_percent": percent(emkd, common.DIAGONAL),
        "chamfer_percent": percent(chamfer, common.DIAGONAL),
    }


def compare(clouds, points, a, seed):
    """Return the figures of decoders trained from one start by every weighting, and the parameters learned."""
    clouds, rest = deal(clouds, points, seed)
    halves, plan = Halves(clouds, points, seed, "cpu", SILENT), Plan(rounds=a.rounds)
    rest = [halves.normalisation.normalise(x).astype(np.float32) for x in rest]
    start = {name: w.detach().clone() for name, w in halves.network.named_parameters()}

    def trained(loss):
        weights = {key: w.clone().requires_grad_() for key, w in start.items()}
        weights = train(halves.network, weights, loss, halves.train, FIRST, a.steps, plan.rate, keep=False)
        return judge(halves, weights, rest)

    rows, learned = {"the start": judge(halves, start, rest), "l1": trained(criterion("l1"))}, {}
    for family in a.families:
        common.tell(f"{family}, seed {seed}")
        weighting = Weighting(family)
        rows[f"{write(family, weighting.parameters)}, default"] = trained(weighting.criterion())
        found = learn_weighting(clouds, family, plan=plan, points=points, seed=seed, device="cpu")["parameters"]
        rows[f"{family}, learned"] = trained(Weighting(family, found).criterion())
        learned[family] = write(family, found)
    return rows, learned


def figures(a: common.Arguments) -> common.Figures:
    torch.set_num_threads(1)
    clouds = LazyClouds(find_clouds(a.clouds))
    # A third of the smallest cloud judges.
    points = min([POINTS, *(2 * len(cloud) // 3 for cloud in clouds)])
    runs, learned = zip(*(compare(clouds, points, a, seed) for seed in common.seeds(a)), strict=True)
    return {
        "clouds": len(clouds),
        "points": points,
        "rounds": a.rounds,
        "steps": a.steps,
        "seeds": list(common.seeds(a)),
        **common.versions("numpy", "torch"),
        "rows": {name: common.over_seeds([run[name] for run in runs]) for name in runs[0]},
        "learned": {family: [found[family] for found in learned] for family in a.families},
    }


def text(found: common.Figures) -> str:
    learned = [f"learned of {family}: {'; '.join(values)}" for family, values in found["learned"].items()]
    return "\n".join([common.report(found, fits.COLUMNS), "", *learned])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.options(__spec__.name, __doc__, clouds="+", seeds=1)
    parser.add_argument("--families", nargs="+", default=["gumbel", "normal"], help="[gumbel normal]")
    parser.add_argument("--rounds", type=int, default=40, help="of the learning [40]")
    parser.add_argument("--steps", type=int, default=200, help="of each training after it [200]")
    common.run(parser, arguments, figures, text)


if __name__ == "__main__":
    main()
