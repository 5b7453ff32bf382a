"""All patches as one batched product against a loop over patches, as the paper claims it (section 3.4).

    python benchmarks/patches.py [--patches 16 32 64 128 256 512] [--clouds 16] [--points 2048] [--device auto] [--json]

A step of the paper's Skulls: 16 clouds, 2,048 points of each, latents of 10 numbers. The decoder is ours with the
paper's widths (only two layers belong to a patch) and AtlasNetV2 with four layers of 128, once as `fold` computes
them and once patch after patch, as AtlasNetV2's released code does. The same points are shared among more and more
patches: the arithmetic stays the same, calls and weights grow. Backward includes the gradients of all weights.

Loop and batched products take turns; what is shown is the median of the turns' ratios, and of the seconds: of one
thread's CPU time, or of the wall on a GPU. Ends with status 1 where the two do not compute the same.
"""

import argparse
import json
import platform
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import selu

from pcqaad import devices
from pcqaad.baselines.atlasnet import AtlasNet, AtlasNetShape
from pcqaad.decoder.module import Decoder

LATENT = 10
SHARED, PATCH = (256, 128, 128, 128), 64
TURNS = 5


def separate(weights):
    """Return, for every patch, leaves of its own that hold the weights (K, ...) of a batched layer."""
    return [part.detach().clone().requires_grad_() for part in weights]


class Ours:
    """The paper's decoder; its shared layers see all points at once either way."""

    def __init__(self, patches, points, device):
        self.net = Decoder(torch.randn(points, 3), torch.zeros(1, LATENT), SHARED, PATCH, patches, False).to(device)
        self.patch = list(zip(*map(separate, self.net.patch), *map(separate, self.net.patch_bias), strict=True))
        self.leaves = [*self.net.parameters(), *(leaf for patch in self.patch for leaf in patch)]

    def loop(self, latents, points):
        """Do as `fold` does, patch after patch where that makes a difference: (B, L), (K, S, 3) -> (K, B, S, 3)."""
        w, (k, s, _), b = self.net, points.shape, len(latents)
        x = (latents @ w.shared[0][:LATENT] + w.shared_bias[0])[None, :, None] + (points @ w.shared[0][LATENT:])[
            :, None
        ]
        x = selu(x).reshape(k * b * s, -1)
        for weight, bias in zip(w.shared[1:], w.shared_bias[1:], strict=True):
            x = selu(torch.addmm(bias, x, weight))
        out = []
        for one, again, (first, last, bias, last_bias) in zip(x.view(k, b * s, -1), points, self.patch, strict=True):
            hidden = (one @ first[:-3]).view(b, s, -1) + torch.addmm(bias, again, first[-3:])
            out.append(torch.addmm(last_bias, selu(hidden).view(b * s, -1), last).view(b, s, 3))
        return torch.stack(out)


class Atlas:
    """AtlasNetV2: a patch shares nothing with another."""

    def __init__(self, patches, points, device):
        self.net = AtlasNet(AtlasNetShape(LATENT, patches), points).to(device)
        layers = zip(self.net.layers, self.net.biases, strict=True)
        self.patch = list(zip(*(zip(separate(w), separate(b), strict=True) for w, b in layers), strict=True))
        self.leaves = [*self.net.parameters(), *(leaf for patch in self.patch for pair in patch for leaf in pair)]

    def loop(self, latents, points):
        """Do as `fold` does, patch after patch: (B, L), (K, S, 3) -> (K, B, S, 3)."""
        out = []
        for mine, layers in zip(points, self.patch, strict=True):
            (weight, bias), *inner, (last, last_bias) = layers
            x = (latents @ weight[:LATENT])[:, None] + torch.addmm(bias, mine, weight[LATENT:])
            x = selu(x)
            b, s, width = x.shape
            x = x.view(b * s, width)
            for weight, bias in inner:
                x = selu(torch.addmm(bias, x, weight))
            out.append(torch.addmm(last_bias, x, last).view(b, s, 3))
        return torch.stack(out)


@dataclass(frozen=True)
class Clock:
    """CPU seconds of this process, or seconds of the wall once the GPU is done."""

    device: torch.device

    def __call__(self):
        """Return them."""
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


def measure(model, latents, points, clock):
    """Return the seconds of every turn, by way and what was done."""
    ways = {"batched": model.net.fold, "loop": model.loop}
    seconds = {(way, kind): [] for way in ways for kind in ("forward", "both")}
    with torch.no_grad():
        a, b = (fold(latents, points) for fold in ways.values())
    if not torch.allclose(a, b, rtol=1e-3, atol=1e-4):
        sys.exit(f"the ways differ by {(a - b).abs().max():.3g}")
    for turn in range(TURNS + 1):
        for way, fold in ways.items():
            for leaf in model.leaves:
                leaf.grad = None
            began = clock()
            with torch.no_grad():
                fold(latents, points)
            middle = clock()
            fold(latents, points).square().mean().backward()
            end = clock()
            if turn:  # the first warms caches up
                seconds[way, "forward"].append(middle - began)
                seconds[way, "both"].append(end - middle)
    return seconds


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, nargs="+", default=[16, 32, 64, 128, 256, 512])
    parser.add_argument("--clouds", type=int, default=16)
    parser.add_argument("--points", type=int, default=2048, help="of a cloud, in all patches together")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args(arguments)
    if min(*a.patches, a.clouds) < 1 or a.points < max(a.patches):
        parser.error("expected at least one cloud, one patch, and a point for every patch")
    device = devices.choose(a.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    rows = []
    for patches in a.patches:
        row = {"patches": patches}
        for name, kind in (("ours", Ours), ("atlasnet", Atlas)):
            torch.manual_seed(0)
            model = kind(patches, a.points, device)
            latents = torch.randn(a.clouds, LATENT, device=device)
            points = torch.randn(patches, a.points // patches, 3, device=device)
            seconds = measure(model, latents, points, Clock(device))
            for what in ("forward", "both"):
                loop, batched = (np.array(seconds[way, what]) for way in ("loop", "batched"))
                found = {"ratio": np.median(loop / batched), "loop": np.median(loop), "batched": np.median(batched)}
                row[f"{name} {what}"] = {key: float(value) for key, value in found.items()}
        rows.append(row)
    about = {"clouds": a.clouds, "points": a.points, "device": devices.describe(device)}
    about |= {"torch": torch.__version__, "python": platform.python_version()}
    if a.json:
        print(json.dumps({**about, "rows": rows}, indent=2))
        return
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    print("\nSeconds of the loop : seconds batched (seconds batched)\n")
    print("| patches | ours, forward | ours, and backward | AtlasNetV2, forward | AtlasNetV2, and backward |")
    print("|---:|---:|---:|---:|---:|")
    for row in rows:
        cells = [row[f"{name} {what}"] for name in ("ours", "atlasnet") for what in ("forward", "both")]
        print(f"| {row['patches']} | " + " | ".join(f"{c['ratio']:.2f} ({c['batched']:.3f})" for c in cells) + " |")


if __name__ == "__main__":
    main()
