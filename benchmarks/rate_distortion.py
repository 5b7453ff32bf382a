"""Bytes against error: pcqaad at several sizes, and Draco at its quantisation bits, on the same clouds.

    python -m benchmarks.rate_distortion CLOUDS... [--ratios 80 120 180 270] [--epochs 150] [--bits 3 ... 12]
                                         [--points M] [--seed S] [--device auto] [-o CURVE.png] [--json]

pcqaad is fitted anew for every ratio (`compress --ratio R`). Its clouds are decoded from the file as written, and the
whole file counts. Draco (the package DracoPy, in the extra `benchmarks`) codes every cloud by itself in its point-cloud
mode at compression level 10, its strongest. The bytes of all clouds count; an archive that would hold them costs
nothing. Bits per point count the points that were coded, against 96 of float32.

The same measures judge both on the same points. One is EM-kD in cells of 1,024: Draco's points are a bijection too as
long as it keeps their number. The other is D1, the point-to-point error of `verify --metric d1`. Beside them stands the
sampling floor, the EM-kD between two halves of a cloud at half the points. With -o the curves are drawn, and their
numbers written beside, to CURVE.json.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import pcqaad
from benchmarks import common
from benchmarks.fits import shown
from pcqaad.evaluation.metrics import measure, percent
from pcqaad.formats.clouds.find import LazyClouds, find_clouds
from pcqaad.points.collect import diagonal, subsample

# Of Draco's compression, 0 to 10.
LEVEL = 10
COLUMNS = {
    "codec": "codec",
    "asked for": "asked",
    "bytes": "bytes:,",
    "ratio": "ratio:.1f",
    "bits a point": "bits_per_point:.3f",
    "EM-kD, %": "emkd_percent:.3f",
    "D1, %": "d1_percent:.3f",
    "D1, dB": "d1_psnr:.2f",
    "seconds": "seconds:.0f",
}


def judge(clouds, decoded, size):
    """Return the figures of a codec that wrote `size` bytes; EM-kD is None where the numbers of points differ."""
    bijective = all(len(a) == len(b) for a, b in zip(clouds, decoded, strict=True))
    found = measure(zip(clouds, decoded, strict=True), ("emkd", "d1") if bijective else ("d1",))
    across, points = diagonal(clouds), sum(map(len, clouds))
    squared = float(np.mean([e.mean_squared for e in found["d1"]]))
    return {
        "bytes": size,
        "ratio": 12 * points / size,
        "bits_per_point": 8 * size / points,
        "emkd_percent": percent(common.mean(found["emkd"]), across) if bijective else None,
        "d1_percent": percent(common.mean(found["d1"]), across),
        "d1_psnr": float(10 * np.log10(across**2 / squared)) if squared > 0 else None,
    }


def by_draco(clouds, bits):
    """Code each cloud by itself; return the decoded clouds and the bytes of all."""
    import DracoPy

    coded = [DracoPy.encode(x, quantization_bits=bits, compression_level=LEVEL) for x in clouds]
    return [np.asarray(DracoPy.decode(data).points) for data in coded], sum(map(len, coded))


def by_pcqaad(clouds, names, settings):
    """Fit, save and decode; return the decoded clouds and the bytes of the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fitted.qaad"
        pcqaad.fit(clouds, settings, names=names, monitor=shown(f"ratio {settings.ratio:g}")).save(path)
        with pcqaad.open(path) as collection:
            return list(collection), path.stat().st_size


def figures(a: common.Arguments) -> common.Figures:
    sources = find_clouds(a.clouds)
    given = LazyClouds(sources)
    points = a.points or min(map(len, given))
    # All in memory, and in float32 for both: Draco takes no other.
    clouds = [subsample(x, points, a.seed, i).astype(np.float32) for i, x in enumerate(given)]
    names = [source.name for source in sources]
    epochs = a.epochs or (None if a.minutes else 150)
    same = {"minutes": a.minutes, "epochs": epochs, "latent": a.latent, "seed": a.seed, "device": a.device}
    rows = []

    def add(codec, asked, work, *arguments):
        began = time.monotonic()
        decoded, size = work(clouds, *arguments)
        seconds = time.monotonic() - began
        rows.append({"codec": codec, "asked": asked, "seconds": seconds, **judge(clouds, decoded, size)})

    for ratio in sorted(a.ratios):
        settings = pcqaad.Settings(ratio=ratio, **same)
        try:
            add("pcqaad", f"{ratio:g} : 1", by_pcqaad, names, settings)
        except pcqaad.GoalError as error:
            rows.append({"codec": "pcqaad", "asked": f"{ratio:g} : 1", "refused": str(error)})
    for bits in sorted(a.bits, reverse=True):
        add("Draco", f"{bits} bits", by_draco, bits)
    result = {
        "clouds": len(clouds),
        "points": points,
        "seed": a.seed,
        "minutes": a.minutes,
        "epochs": epochs,
        **common.versions("torch", *(["DracoPy"] if a.bits else [])),
        "sampling_floor_percent": common.sampling_floor(clouds, diagonal(clouds)),
        "rows": rows,
    }
    if a.output:
        draw(result, a.output)
        a.output.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    return result


def draw(result, path):
    """Draw both errors over the bits per point."""
    from matplotlib.figure import Figure

    figure = Figure((9, 3.6), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    for codec, colour, marker in (("pcqaad", "tab:blue", "o"), ("Draco", "tab:orange", "s")):
        for axes, key in ((left, "emkd_percent"), (right, "d1_psnr")):
            there = [row for row in result["rows"] if row["codec"] == codec and row.get(key) is not None]
            x, y = [row["bits_per_point"] for row in there], [row[key] for row in there]
            axes.plot(x, y, marker=marker, color=colour, markersize=4, label=codec)
    left.axhline(result["sampling_floor_percent"], color="0.4", linestyle=":", label="two halves of a cloud")
    left.set(xscale="log", yscale="log", xlabel="bits per point", ylabel="EM-kD, % of the diagonal")
    right.set(xscale="log", xlabel="bits per point", ylabel="D1 PSNR, dB")
    left.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.suptitle(f"{result['clouds']} clouds of {result['points']:,} points", fontsize=10)
    figure.savefig(path)


def text(result):
    refused = [f"\n{row['asked']}: {row['refused']}" for row in result["rows"] if "refused" in row]
    return "\n".join([common.report(result, COLUMNS), *refused])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.options(__spec__.name, __doc__, clouds="+", seeds=0)
    parser.add_argument("--ratios", type=float, nargs="*", default=[80, 120, 180, 270], help="[80 120 180 270]")
    parser.add_argument("--epochs", type=int, help="of each fit [150, where --minutes is not given]")
    parser.add_argument("--minutes", type=float, help="instead: the figures then depend on how fast the machine is")
    parser.add_argument("--latent", type=int, help="numbers of each cloud [chosen from the data]")
    parser.add_argument("--bits", type=int, nargs="*", default=list(range(3, 13)), help="of Draco [3 to 12]")
    parser.add_argument("--points", type=int, help="of each cloud [the smallest's]")
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", type=Path, metavar="CURVE.png")
    common.run(parser, arguments, figures, text)


if __name__ == "__main__":
    main()
