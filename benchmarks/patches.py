"""All patches as one batched product against a loop over patches, as the paper claims it (section 3.4).

    python -m benchmarks.patches [--patches 16 32 64 128 256 512] [--count 16] [--points 2048] [--device auto] [--json]

A step of the paper's Skulls: 16 clouds, 2,048 points of each, latents of 10 numbers. The decoders are ours with the
paper's widths, where two layers belong to a patch, and AtlasNetV2 with four layers of 128. `fold` computes all patches
at once, a loop one after another, as AtlasNetV2's released code does. More and more patches share the same points: the
arithmetic stays the same, calls and weights grow. Backward includes the gradients of all weights.

Loop and batched products take turns. A figure is the median of the turns' ratios, or of their seconds: CPU time of one
thread, or wall time on a GPU. Ends with status 1 where the two do not compute the same.
"""

import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import selu

from benchmarks import common
from benchmarks.baselines.atlasnet import AtlasNet, AtlasNetArchitecture
from pcqaad import SettingsError, devices
from pcqaad.decoder.module import Decoder

# The paper's decoder of Skulls.
LATENT = 10
SHARED = (256, 128, 128, 128)
PATCH = 64
# Turns of either way, after one that warms it up.
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
        """Compute `fold` patch after patch in the patches' own layers: (B, L), (K, S, 3) -> (K, B, S, 3)."""
        w, (k, s, _), b = self.net, points.shape, len(latents)
        of_cloud, of_point = latents @ w.shared[0][:LATENT] + w.shared_bias[0], points @ w.shared[0][LATENT:]
        x = selu(of_cloud[None, :, None] + of_point[:, None]).reshape(k * b * s, -1)
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
        self.net = AtlasNet(AtlasNetArchitecture(LATENT, patches), points).to(device)
        layers = zip(self.net.layers, self.net.biases, strict=True)
        self.patch = list(zip(*(zip(separate(w), separate(b), strict=True) for w, b in layers), strict=True))
        self.leaves = [*self.net.parameters(), *(leaf for patch in self.patch for pair in patch for leaf in pair)]

    def loop(self, latents, points):
        """Compute `fold` patch after patch: (B, L), (K, S, 3) -> (K, B, S, 3)."""
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


def clock(device):
    """Return the CPU seconds of this process, or seconds of the wall once the GPU is done."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def times(model, latents, points):
    """Return the seconds of every turn, by way and by pass."""
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
            began = clock(points.device)
            with torch.no_grad():
                fold(latents, points)
            middle = clock(points.device)
            fold(latents, points).square().mean().backward()
            end = clock(points.device)
            if turn:  # the first warms caches up
                seconds[way, "forward"].append(middle - began)
                seconds[way, "both"].append(end - middle)
    return seconds


def figures(a: common.Arguments) -> common.Figures:
    if a.points < max(a.patches):
        raise SettingsError(f"points is {a.points}, expected at least one for each of {max(a.patches)} patches")
    device = devices.choose(a.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    rows = []
    for patches in a.patches:
        row = {"patches": patches}
        for name, kind in (("ours", Ours), ("atlasnet", Atlas)):
            common.tell(f"{name}, {patches} patches")
            with devices.seeded(0):
                model = kind(patches, a.points, device)
                latents = torch.randn(a.count, LATENT).to(device)
                points = torch.randn(patches, a.points // patches, 3).to(device)
            seconds = times(model, latents, points)
            for what in ("forward", "both"):
                loop, batched = (np.array(seconds[way, what]) for way in ("loop", "batched"))
                found = {"ratio": np.median(loop / batched), "loop": np.median(loop), "batched": np.median(batched)}
                row[f"{name} {what}"] = {key: float(value) for key, value in found.items()}
        rows.append(row)
    return {
        "clouds": a.count,
        "points": a.points,
        "device": devices.describe(device),
        **common.versions("torch"),
        "rows": rows,
    }


def text(found: common.Figures) -> str:
    kinds = [f"{name} {what}" for name in ("ours", "atlasnet") for what in ("forward", "both")]
    rows = [
        {
            "patches": row["patches"],
            **{kind: f"{row[kind]['ratio']:.2f} ({row[kind]['batched']:.3f})" for kind in kinds},
        }
        for row in found["rows"]
    ]
    heads = ("patches", "ours, forward", "ours, and backward", "AtlasNetV2, forward", "AtlasNetV2, and backward")
    report = common.report(found, dict(zip(heads, ("patches", *kinds), strict=True)), rows)
    return f"seconds of the loop : seconds batched (seconds batched)\n{report}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.options(__spec__.name, __doc__)
    parser.add_argument("--patches", type=common.positive, nargs="+", default=[16, 32, 64, 128, 256, 512])
    parser.add_argument("--count", type=common.positive, default=16, help="clouds of a step [16]")
    parser.add_argument("--points", type=common.positive, default=2048, help="of a cloud, in all patches [2048]")
    parser.add_argument("--device", default="auto")
    common.run(parser, arguments, figures, text)


if __name__ == "__main__":
    main()
