"""Is a learned weighting worth it: the same decoder, trained from the same start by several weightings.

    python benchmarks/bilevel.py CLOUDS... [--families gumbel normal] [--rounds 40] [--steps 200] [--seed S] [--json]

CLOUDS is anything `pcqaad compress` takes, 512 points each at least. A weighting is learned with
`pcqaad distill --bilevel` (judge: EM-kD). Then a decoder is trained from the start by plain gradient descent with
the Chamfer distance, with each family's default parameters and with what was learned, and is judged on half of the
points that none of this has seen. Weightings are divided by f(m), so that none has another rate.
"""

import argparse
import json

import numpy as np
import torch
from torch.func import functional_call

from pcqaad.formats.clouds import LazyClouds, find_clouds
from pcqaad.losses.bilevel import Plan, Weighting, train
from pcqaad.losses.criteria import criterion
from pcqaad.losses.names import write
from pcqaad.progress import silent
from pcqaad.training.weighting import POINTS, Halves, emd_loss, learn_weighting

# Batches of held-out points that a decoder is judged on, beyond those that the learning saw.
JUDGED, FIRST = 16, 10**6


def judge(halves, weights):
    """Return EM-kD and the mean of both directed Chamfer distances, in percent of the diagonal."""
    found = []
    for i in range(JUDGED):
        inputs, target = halves.held_out(FIRST + i)
        predicted = functional_call(halves.network, weights, inputs).detach()
        found.append([float(emd_loss(predicted, target)), float(criterion("l1")(predicted, target)) / 2])
    # The diagonal of normalised clouds is 4.
    emd, chamfer = 25 * np.mean(found, 0)
    return {"emkd": emd, "chamfer": chamfer}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clouds", nargs="+")
    parser.add_argument("--families", nargs="+", default=["gumbel", "normal"])
    parser.add_argument("--rounds", type=int, default=40, help="of the learning")
    parser.add_argument("--steps", type=int, default=200, help="of each training after it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args(arguments)

    clouds = LazyClouds(find_clouds(a.clouds))
    points = min([POINTS, *(len(cloud) for cloud in clouds)])
    plan = Plan(rounds=a.rounds)
    halves = Halves(clouds, points, a.seed, "cpu", silent)
    start = {name: w.detach().clone() for name, w in halves.network.named_parameters()}

    rows = {"the start": judge(halves, start)}

    def add(name, loss):
        weights = {key: w.clone().requires_grad_() for key, w in start.items()}
        weights = train(halves.network, weights, loss, halves.train, FIRST, a.steps, plan.rate, keep=False)
        rows[name] = judge(halves, weights)

    add("l1", criterion("l1"))
    for family in a.families:
        weighting = Weighting(family)
        before = weighting.parameters
        add(f"{write(family, before)}, default", weighting.criterion())
        learned = learn_weighting(clouds, family, plan=plan, points=points, seed=a.seed, device="cpu").parameters
        add(f"{write(family, learned)}, learned", Weighting(family, learned).criterion())
    if a.json:
        print(json.dumps({"clouds": len(clouds), "points": points, "seed": a.seed, "rows": rows}, indent=2))
        return
    print(f"{len(clouds)} clouds x {points:,} points, {a.rounds} rounds, {a.steps} steps, seed {a.seed}")
    print(f"{'trained by':36} {'EM-kD, %':>9} {'Chamfer, %':>11}")
    for name, row in rows.items():
        print(f"{name:36} {row['emkd']:9.3f} {row['chamfer']:11.3f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
