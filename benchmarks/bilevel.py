"""Is a learned weighting worth it: the same decoder, trained from the same start by several weightings.

    python benchmarks/bilevel.py CLOUDS... [--families gumbel normal] [--rounds 40] [--steps 200] [--seeds 3] [--json]

CLOUDS is anything `pcqaad compress` takes, 768 points each at least. A weighting is learned with
`pcqaad distill --bilevel` (judge: EM-kD) from two thirds of their points. Then a decoder is trained from the start by
plain gradient descent with the Chamfer distance, with each family's default parameters and with what was learned, and
is judged by the other third, which none of this has seen. Weightings are divided by f(m), so that none has another
rate. Several seeds give means, ± their standard deviation.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch.func import functional_call

sys.path.insert(0, str(Path(__file__).parent))
from spread import add_seeds, named, number, seeds, spread

from pcqaad.distillation.bilevel import Plan, Weighting, train
from pcqaad.distillation.learn import POINTS, Halves, emd_loss, learn_weighting
from pcqaad.formats.clouds.find import LazyClouds, find_clouds
from pcqaad.losses.criteria import criterion
from pcqaad.losses.names import write
from pcqaad.progress import silent

# Batches of held-out points that a decoder is judged on, beyond those that the learning saw.
JUDGED, FIRST = 16, 10**6


def deal(clouds, points, seed):
    """Deal each cloud's points out: `points` to learn a weighting and to train by, the others to judge by."""
    orders = [np.random.default_rng([seed, i]).permutation(len(cloud)) for i, cloud in enumerate(clouds)]
    dealt = [(cloud[order[:points]], cloud[order[points:]]) for cloud, order in zip(clouds, orders, strict=True)]
    return [learned for learned, _ in dealt], [rest for _, rest in dealt]


def judge(halves, weights, rest):
    """Return EM-kD and the mean of both directed Chamfer distances to points of `rest`, in percent of the diagonal."""
    found = []
    for i in range(JUDGED):
        inputs, target = halves.held_out(FIRST + i)
        rng, size = np.random.default_rng([FIRST, i]), target.shape[1]
        some = [rest[cloud][rng.choice(len(rest[cloud]), size, replace=False)] for cloud in inputs[0].tolist()]
        target = torch.from_numpy(np.stack(some))
        predicted = functional_call(halves.network, weights, inputs).detach()
        found.append([float(emd_loss(predicted, target)), float(criterion("l1")(predicted, target)) / 2])
    # The diagonal of normalised clouds is 4.
    emd, chamfer = 25 * np.mean(found, 0)
    return {"emkd": emd, "chamfer": chamfer}


def compare(clouds, points, families, plan, steps, seed):
    """Return the figures of decoders trained from one start by every weighting, and the parameters learned."""
    clouds, rest = deal(clouds, points, seed)
    halves = Halves(clouds, points, seed, "cpu", silent)
    rest = [halves.normalisation.normalise(x).astype(np.float32) for x in rest]
    start = {name: w.detach().clone() for name, w in halves.network.named_parameters()}

    def trained(loss):
        weights = {key: w.clone().requires_grad_() for key, w in start.items()}
        trained = train(halves.network, weights, loss, halves.train, FIRST, steps, plan.rate, keep=False)
        return judge(halves, trained, rest)

    rows, learned = {"the start": judge(halves, start, rest), "l1": trained(criterion("l1"))}, {}
    for family in families:
        weighting = Weighting(family)
        rows[f"{write(family, weighting.parameters)}, default"] = trained(weighting.criterion())
        found = learn_weighting(clouds, family, plan=plan, points=points, seed=seed, device="cpu")["parameters"]
        rows[f"{family}, learned"] = trained(Weighting(family, found).criterion())
        learned[family] = found
    return rows, learned


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clouds", nargs="+")
    parser.add_argument("--families", nargs="+", default=["gumbel", "normal"])
    parser.add_argument("--rounds", type=int, default=40, help="of the learning")
    parser.add_argument("--steps", type=int, default=200, help="of each training after it")
    add_seeds(parser)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args(arguments)

    clouds = LazyClouds(find_clouds(a.clouds))
    # A third of the smallest cloud judges.
    points = min([POINTS, *(2 * len(cloud) // 3 for cloud in clouds)])
    runs = [compare(clouds, points, a.families, Plan(rounds=a.rounds), a.steps, seed) for seed in seeds(a)]
    rows = {name: {key: spread([run[name][key] for run, _ in runs]) for key in row} for name, row in runs[0][0].items()}
    learned = {family: [write(family, found[family]) for _, found in runs] for family in a.families}
    if a.json:
        about = {"clouds": len(clouds), "points": points, "seeds": list(seeds(a))}
        print(json.dumps({**about, "rows": rows, "learned": learned}, indent=2))
        return
    print(f"{len(clouds)} clouds x {points:,} points, {a.rounds} rounds, {a.steps} steps, {named(a)}")
    print(f"{'trained by':32} {'EM-kD, %':>16} {'Chamfer, %':>16}")
    for name, row in rows.items():
        print(f"{name:32} {number(row['emkd'], 3, 16)} {number(row['chamfer'], 3, 16)}")
    for family, found in learned.items():
        print(f"learned of {family}: {'; '.join(found)}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
