"""Bytes against error: pcqaad at several sizes, and Draco at its quantisation bits, on the same clouds.

    python benchmarks/rate_distortion.py CLOUDS... [--ratios 80 120 180 270] [--epochs 150] [--bits 3 ... 12]
                                         [--points M] [--seed S] [--device auto] [-o CURVE.png] [--json]

CLOUDS is anything `pcqaad compress` takes. pcqaad is fitted anew for every ratio (`compress --ratio R`), its
clouds are decoded from the file as written, and all of the file counts. Draco (the package DracoPy, in the extra
`benchmarks`) codes every cloud by itself in its point-cloud mode at compression level 10, its strongest; the bytes
of all clouds count, and nothing for an archive that would hold them. Bits per point count the points that were
coded, against 96 of float32.

Both are judged by the same measures on the same points: EM-kD in cells of 1,024, of which Draco's points are a
bijection too as long as it keeps their number, and D1, the point-to-point error of `verify --metric d1`. Beside
them stands the sampling floor: the EM-kD between two halves of a cloud, at half the points. With -o the curves are
drawn, and their numbers written beside, to CURVE.json.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from ablation import floor

import pcqaad
from pcqaad.evaluation.metrics import measure, percent
from pcqaad.formats.clouds.find import LazyClouds, find_clouds
from pcqaad.points.collect import diagonal, subsample
from pcqaad.progress import Progress

LEVEL = 10  # of Draco's compression, 0 to 10


def judge(clouds, decoded, size):
    """Return what a row prints of a codec that wrote `size` bytes; EM-kD is None without as many points."""
    bijective = all(len(a) == len(b) for a, b in zip(clouds, decoded, strict=True))
    found = measure(zip(clouds, decoded, strict=True), ("emkd", "d1") if bijective else ("d1",))
    across = diagonal(clouds)
    points = sum(map(len, clouds))
    squared = float(np.mean([e.mean_squared for e in found["d1"]]))
    return {
        "bytes": size,
        "ratio": 12 * points / size,
        "bits_per_point": 8 * size / points,
        "emkd_percent": percent(float(np.mean([e.mean for e in found["emkd"]])), across) if bijective else None,
        "d1_percent": percent(float(np.mean([e.mean for e in found["d1"]])), across),
        "d1_psnr": float(10 * np.log10(across**2 / squared)) if squared > 0 else None,
    }


def by_draco(clouds, bits):
    """Code each cloud by itself; returns the decoded clouds and the bytes of all."""
    import DracoPy

    coded = [DracoPy.encode(x, quantization_bits=bits, compression_level=LEVEL) for x in clouds]
    return [np.asarray(DracoPy.decode(data).points) for data in coded], sum(map(len, coded))


def by_pcqaad(clouds, names, settings):
    """Fit, save and decode; returns the decoded clouds and the bytes of the file."""

    def on_progress(p: Progress) -> None:
        if sys.stderr.isatty():
            print(f"\rratio {settings.ratio:g}: {p.stage} {p.done:.0f}/{p.total:.0f}   ", end="", file=sys.stderr)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fitted.qaad"
        pcqaad.fit(clouds, settings, names=names, on_progress=on_progress).save(path)
        with pcqaad.open(path) as collection:
            return list(collection), path.stat().st_size


def draw(result, path):
    """Draw both errors over the bits per point."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for codec, colour, marker in (("pcqaad", "tab:blue", "o"), ("Draco", "tab:orange", "s")):
        rows = [row for row in result["rows"] if row["codec"] == codec]
        for axes, key in ((left, "emkd_percent"), (right, "d1_psnr")):
            there = [row for row in rows if row[key] is not None]
            x, y = [row["bits_per_point"] for row in there], [row[key] for row in there]
            axes.plot(x, y, marker=marker, color=colour, markersize=4, label=codec)
    left.axhline(result["floor_at_half_the_points_percent"], color="0.4", linestyle=":", label="two halves of a cloud")
    left.set(xscale="log", yscale="log", xlabel="bits per point", ylabel="EM-kD, % of the diagonal")
    right.set(xscale="log", xlabel="bits per point", ylabel="D1 PSNR, dB")
    left.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.suptitle(f"{result['clouds']} clouds of {result['points']:,} points", fontsize=10)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def text(result):
    """Return the table as a person reads it."""
    half = result["floor_at_half_the_points_percent"]
    lines = [
        f"{result['clouds']} clouds x {result['points']:,} points, seed {result['seed']}",
        f"two halves of a cloud lie {half:.3f} % of the diagonal apart (EM-kD, {result['points'] // 2:,} points each)",
        f"{'codec':8}{'asked for':>12}{'bytes':>12}{'ratio':>9}{'bits/point':>12}{'EM-kD, %':>10}{'D1, %':>8}"
        f"{'D1, dB':>8}{'seconds':>9}",
    ]
    for row in result["rows"]:
        emkd = "-" if row["emkd_percent"] is None else f"{row['emkd_percent']:.3f}"
        psnr = "-" if row["d1_psnr"] is None else f"{row['d1_psnr']:.2f}"
        lines.append(
            f"{row['codec']:8}{row['asked']:>12}{row['bytes']:12,}{row['ratio']:9.1f}{row['bits_per_point']:12.3f}"
            f"{emkd:>10}{row['d1_percent']:8.3f}{psnr:>8}{row['seconds']:9.0f}"
        )
    return "\n".join(lines)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clouds", nargs="+")
    parser.add_argument("--ratios", type=float, nargs="*", default=[80, 120, 180, 270])
    parser.add_argument("--epochs", type=int, help="of each fit [150, where --minutes is not given]")
    parser.add_argument("--minutes", type=float, help="instead: the figures then depend on how fast the machine is")
    parser.add_argument("--latent", type=int, help="numbers of each cloud [chosen from the data]")
    parser.add_argument("--bits", type=int, nargs="*", default=list(range(3, 13)), help="of Draco's coordinates")
    parser.add_argument("--points", type=int, help="of each cloud [the smallest's]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", type=Path, metavar="CURVE.png")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args(arguments)

    sources = find_clouds(a.clouds)
    given = LazyClouds(sources)
    points = a.points or min(map(len, given))
    # All in memory: Draco takes float32, and so does what it is compared with.
    clouds = [subsample(x, points, a.seed, i).astype(np.float32) for i, x in enumerate(given)]
    names = [source.name for source in sources]
    epochs = a.epochs or (None if a.minutes else 150)
    rows = []

    def add(codec, asked, decoded, size, began):
        rows.append({"codec": codec, "asked": asked, "seconds": time.monotonic() - began})
        rows[-1] |= judge(clouds, decoded, size)

    for ratio in sorted(a.ratios):
        began = time.monotonic()
        settings = pcqaad.Settings(
            ratio=ratio, minutes=a.minutes, epochs=epochs, latent=a.latent, seed=a.seed, device=a.device
        )
        try:
            add("pcqaad", f"{ratio:g} : 1", *by_pcqaad(clouds, names, settings), began)
        except pcqaad.SettingsError as error:
            print(f"\nratio {ratio:g}: {error}", file=sys.stderr)
    for bits in sorted(a.bits, reverse=True):
        began = time.monotonic()
        add("Draco", f"{bits} bits", *by_draco(clouds, bits), began)
    result = {
        "clouds": len(clouds),
        "points": points,
        "seed": a.seed,
        "minutes": a.minutes,
        "epochs": epochs,
        "python": platform.python_version(),
        "torch": version("torch"),
        "DracoPy": version("DracoPy") if a.bits else None,
        "floor_at_half_the_points_percent": percent(floor(clouds), diagonal(clouds)),
        "rows": rows,
    }
    if a.output:
        draw(result, a.output)
        a.output.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2) if a.json else text(result))


if __name__ == "__main__":
    main()
