"""What decoding in integers takes and changes, beside the same network in float32.

    python benchmarks/decoding.py [--points 65536] [--seed 0] [--json]
    python benchmarks/decoding.py --file FILE.qaad CLOUDS... [--clouds 16] [--json]

Without a file: the time of one cloud through the network of the preset `paper-skulls`, with random weights under
which SELU normalises itself, quantised as a fit is. All decoders take turns; the best of several rounds counts, and
a ratio is the median of those of each round. CPU seconds are of all threads: for one, set OMP_NUM_THREADS=1.

With a file and its originals, anything `pcqaad compress` takes: EM-kD (cells of 1,024) of the clouds decoded in
integers at several scales F of the activations, over that of the same weights in float32, and how far the points
lie apart.

Ends with status 1 if two decoders that are to return the same bytes do not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

import pcqaad
from pcqaad.decoder.architecture import Architecture, Array, Model
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.exact import IntegerDecoder
from pcqaad.decoder.exact_torch import BatchDecoder
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.decoder.integer_model import POINT_SCALE
from pcqaad.decoder.module import Decoder
from pcqaad.evaluation.metrics import measure
from pcqaad.formats.clouds.find import find_clouds
from pcqaad.formats.errors import FormatError
from pcqaad.points.collect import subsample
from pcqaad.quantisation.probe import probe
from pcqaad.quantisation.quantise import Quantised, quantise
from pcqaad.quantisation.step_sizes import choose_step_sizes

ROUNDS = 7
SCALES = (4, 6, 8, 10, 12)
# Step sizes of about 7 bits a weight, as in files.
SLOPE = 1e-7
BASE = "float32, numpy"


def paper_model(points: int, seed: int) -> Quantised:
    """Return the network of the paper's Skulls with random weights, and eight clouds, quantised."""
    preset = pcqaad.PRESETS["paper-skulls"]
    assert preset.latent and preset.shared and preset.patch and preset.patches
    shape = Architecture(8, points, preset.latent, preset.shared, preset.patch, preset.patches, preset.residual)
    rng = np.random.default_rng(seed)

    def tensor(name: str, size: tuple[int, ...]) -> Array:
        # Variance 1 / inputs, small biases; the parts of one layer share its inputs.
        inputs = {"latent": preset.latent + 3, "point": preset.latent + 3}.get(name, size[-2] if len(size) > 1 else 100)
        return (rng.standard_normal(size) / inputs**0.5).astype(np.float32)

    weights = {name: tensor(name, size) for name, size in shape.tensors().items()}
    template = rng.standard_normal((points, 3)).astype(np.float32)
    latents = rng.standard_normal((shape.clouds, shape.latent)).astype(np.float32)
    model = Model(shape, template, latents, weights)
    return quantise(model, choose_step_sizes(model, probe(model, seed), SLOPE), seed)


def times(points: int, seed: int) -> dict[str, Any]:
    """Time the decoders of one cloud, in turns."""
    quantised = paper_model(points, seed)
    shared, latents, model = quantised.shared, quantised.latents[:1], quantised.model()
    denormalisation = Denormalisation((0, 0, 0), 2.0**-POINT_SCALE)
    floating = FloatDecoder(model.architecture, model.template, model.weights)
    integer, batch, module = IntegerDecoder(shared), BatchDecoder(shared, denormalisation), Decoder.of(model)
    numbers = torch.from_numpy(model.latents[:1])
    decoders: dict[str, Callable[[], Any]] = {
        BASE: lambda: floating.decode(model.latents[0]),
        "integers, numpy": lambda: denormalisation.points(integer.decode(shared.cloud_parts(latents)[0])),
        "float32, torch": lambda: module(numbers).detach(),
        "integers, torch": lambda: batch(numbers),
    }
    here, there = decoders["integers, numpy"](), decoders["integers, torch"]().numpy()[0]
    if here.tobytes() != there.tobytes():
        sys.exit("numpy and torch decode the same integers to different bytes")
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in decoders}
    for name, decode in list(decoders.items()) * (ROUNDS + 1):
        cpu, wall = time.process_time(), time.perf_counter()
        decode()
        spent[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    rows = {}
    for name, seconds in spent.items():
        turns = list(zip(seconds, spent[BASE], strict=True))[1:]  # the first one warms up
        ratios = [statistics.median(mine[i] / base[i] for mine, base in turns) for i in (0, 1)]
        cpu, wall = (min(mine[i] for mine, _ in turns) for i in (0, 1))
        rows[name] = {"cpu_seconds": cpu, "seconds": wall, "cpu_ratio": ratios[0], "ratio": ratios[1]}
    away = np.linalg.norm(here - floating.decode(model.latents[0]), axis=1)
    size = float(np.linalg.norm(np.ptp(here, axis=0)))
    return {
        "points": points,
        "weights": model.architecture.weights(),
        "scales": shared.scales,
        "rows": rows,
        "apart_percent": 100 * float(away.max()) / size,
    }


def fidelity(
    parser: argparse.ArgumentParser, collection: pcqaad.Collection, inputs: Sequence[str], count: int
) -> dict[str, Any]:
    """Compare the clouds of a file, decoded at several scales, with the float32 decoding of the same weights."""
    originals = {source.name: source for source in find_clouds(inputs)}
    drawn = [int(i) for i in np.unique(np.linspace(0, len(collection) - 1, min(count, len(collection))).round())]
    missing = [collection.names[i] for i in drawn if collection.names[i] not in originals]
    if missing:
        parser.error(f"expected the originals of the file, found none of {missing[0]}")
    clouds = {i: originals[collection.names[i]].read().points for i in drawn}
    settings, shared, model = collection.info["settings"], collection.integers, collection.model
    points, seed = model.architecture.points, settings.get("seed", 0)
    references = [subsample(clouds[i], points, seed, i) for i in drawn]
    centre, scale = (np.array(x) for x in collection.info["normalisation"].values())
    floating = FloatDecoder(model.architecture, model.template, model.weights)
    floats = [(floating.decode(model.latents[i]) * scale + centre).astype(np.float32) for i in drawn]
    diagonal = collection.info["fidelity"]["diagonal"]

    def emkd(decoded: Sequence[Array]) -> float:
        return float(np.mean([e.mean for e in measure(zip(references, decoded, strict=True))["emkd"]]))

    base = emkd(floats)
    rows = {}
    own = ", ".join(map(str, shared.scales))
    tried = {str(f): (f,) * len(shared.scales) for f in SCALES}
    for name, scales in {**tried, f"the file's: {own}": shared.scales}.items():
        changed = replace(shared, scales=scales)
        changed.check()
        decoder, denormalisation = IntegerDecoder(changed), collection.denormalisation
        parts = changed.cloud_parts_of(model.latents[drawn])
        decoded = [denormalisation.points(decoder.decode(part)) for part in parts]
        away = max(float(np.linalg.norm(a - b, axis=1).max()) for a, b in zip(decoded, floats, strict=True))
        rows[name] = {"emkd_rise_percent": 100 * (emkd(decoded) / base - 1), "apart_percent": 100 * away / diagonal}
    if any(a.tobytes() != collection[i].tobytes() for a, i in zip(decoded, drawn, strict=True)):
        sys.exit("the file's own scales do not give the file's own points")
    return {"clouds": len(drawn), "emkd_float32_percent": 100 * base / diagonal, "scales": rows}


def show_times(found: dict[str, Any]) -> str:
    """Return the times in Markdown."""
    lines = [
        f"One cloud of {found['points']:,} points, {found['weights']:,} weights, scales {found['scales']}:",
        "",
        "| decoder | CPU seconds | : float32 numpy | seconds | : float32 numpy |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in found["rows"].items():
        cpu, wall = f"{row['cpu_seconds']:.3f} | {row['cpu_ratio']:.2f}", f"{row['seconds']:.3f} | {row['ratio']:.2f}"
        lines.append(f"| {name} | {cpu} | {wall} |")
    return "\n".join([*lines, "", f"Integers and float32 lie {found['apart_percent']:.4f} % of the diagonal apart."])


def show_fidelity(found: dict[str, Any]) -> str:
    """Return the comparison in Markdown."""
    lines = [
        f"EM-kD of {found['clouds']} clouds in float32: {found['emkd_float32_percent']:.4f} % of the diagonal.",
        "",
        "| scale F | EM-kD over float32's | largest distance of a point, % of the diagonal |",
        "|---|---:|---:|",
    ]
    for name, row in found["scales"].items():
        lines.append(f"| {name} | {row['emkd_rise_percent']:+.3f} % | {row['apart_percent']:.4f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="*", help="originals of the file")
    parser.add_argument("--file")
    parser.add_argument("--clouds", type=int, default=16, help="clouds of the file to compare (16)")
    parser.add_argument("--points", type=int, default=65536, help="points of the cloud to time (65536)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args(arguments)
    if a.points < 16 or a.clouds < 1 or a.seed < 0 or bool(a.file) != bool(a.inputs):
        parser.error("expected at least 16 points, 1 cloud, a seed of at least 0, and originals with a file")
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    about = {"threads": threads, "seed": a.seed, "python": platform.python_version()}
    about |= {module.__name__: module.__version__ for module in (np, torch)}
    if a.file:
        try:
            with pcqaad.open(a.file) as collection:
                found = fidelity(parser, collection, a.inputs, a.clouds)
        except FormatError as error:
            parser.error(str(error))
    else:
        found = times(a.points, a.seed)
    if a.json:
        print(json.dumps({**about, **found}, indent=2))
        return
    print(", ".join(f"{name} {value}" for name, value in about.items()), "", sep="\n")
    print(show_fidelity(found) if a.file else show_times(found))


if __name__ == "__main__":
    main()
