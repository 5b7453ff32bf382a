"""Bytes against error: pcqaad beside what people use, at several sizes, on the same clouds, in one table.

    python -m benchmarks.rate_distortion CLOUDS... [--ratios 80 120 180 270 | --sizes 10 20 40 80] [--registered]
        [--epochs 150 | --minutes T] [--latent L] [--points M] [--bits 3 ... 12] [--tmc3 PATH] [--measure N]
        [--seed S] [--device auto] [-o CURVE.png] [--json]

pcqaad is fitted anew for every goal (`compress --ratio R`, or `--max-bytes` with `--sizes` in KB of 1,000). Its clouds
are decoded from the file as written, and the whole file counts. Beside it stand, each decoded from its own bytes:

- PCA, where `--registered` says that point j of every cloud is the same point: principal components, quantised and
  entropy-coded (`benchmarks.peers.pca`), for every goal the file of least vertex error that keeps to it. pcqaad is told
  the pairs too, unless `--untold`.
- Zstandard at level 19: of float32, and of integers on grids of `--zstd-bits`, in the smallest of several orders.
- Draco at compression level 10, each cloud by itself, on `--bits`: of points, and of meshes where there are faces.
- G-PCC, octree on `--octree-bits` and trisoup on `--trisoup` (bits and log2 of the node size), where `--tmc3` names
  MPEG's reference software.

An empty list leaves a codec out. Bytes are those of all clouds; an archive that would hold them costs nothing. Bits per
point count the points that were coded, against 96 of float32.

The same judge measures all (`benchmarks.judging`): EM-kD in cells of 1,024 where the number of points is kept, the mean
distance of pairs where they are known, D1 and D2 (point to point, point to plane) as `verify` does, the distance to the
surface where there are faces, and the share of points that are 1 % of the diagonal off. `--measure N` judges N clouds,
spread over the set. The sampling floor is the EM-kD between two halves of a cloud, at half the points. `unbeaten` names
the errors by which no smaller row is better. With -o the curves are drawn, and their numbers written to CURVE.json.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import pcqaad
from benchmarks import common
from benchmarks.fits import shown
from benchmarks.judging import COLUMNS, judge, mark
from benchmarks.peers import draco, gpcc, pca, zstd
from pcqaad.errors import CloudError, FormatError, SettingsError
from pcqaad.evaluation.reference import Reference
from pcqaad.formats.clouds.find import LazyClouds, LazyMeshes, find_clouds
from pcqaad.points.collect import diagonal, subsample

CURVES = (("emkd_percent", "EM-kD"), ("vertex_percent", "vertex error"), ("d1_percent", "D1"), ("d2_percent", "D2"))


class Table:
    """Clouds (N, M, 3), and a row for every codec that codes them."""

    def __init__(self, a: common.Arguments) -> None:
        sources = find_clouds(a.clouds)
        given = LazyClouds(sources)
        sizes = list(map(len, given))
        if a.registered and len(set(sizes)) > 1:
            raise CloudError(f"registered clouds have the same points: expected one number, found {sorted(set(sizes))}")
        points = a.points or min(sizes)
        # All in memory, and in float32 for all: Draco takes no other. Registered clouds keep the same points.
        kept = [subsample(x, points, a.seed, i, a.registered) for i, x in enumerate(given)]
        self.clouds = np.stack([x.astype(np.float32) for x in kept])
        self.names = [source.name for source in sources]
        self.across = diagonal(list(self.clouds))
        # Faces tell of all vertices: none where points were drawn from them.
        self.meshes = _meshes(sources) if set(sizes) == {points} else None
        judged = np.linspace(0, len(sources) - 1, min(a.measure or len(sources), len(sources)))
        self.judged = np.unique(np.round(judged).astype(int))
        self.rows: list[common.Figures] = []

    def references(self, order: np.ndarray | slice = slice(None)) -> list[Reference]:
        """Return the judged originals, their points in some order."""
        mesh = (lambda i: self.meshes[i]) if self.meshes else (lambda i: None)
        return [Reference(self.clouds[i][order], diagonal([self.clouds[i]]), mesh(i)) for i in self.judged]

    def add(self, codec: str, asked: str, work: Callable, *arguments, paired: bool = False) -> None:
        """Run a codec and judge what it decodes."""
        common.tell(f"{codec}, {asked}")
        began = time.monotonic()
        decoded, size = work(*arguments)
        self.judge(codec, asked, decoded, size, paired=paired, seconds=time.monotonic() - began)

    def judge(self, codec, asked, decoded, size, order=slice(None), paired=False, **more) -> None:
        """Add the row of a codec, whose decoded clouds have their points in some order."""
        coded, found = self.clouds.shape[0] * self.clouds.shape[1], [decoded[i] for i in self.judged]
        figures = judge(self.references(order), found, size, self.across, coded, paired)
        self.rows.append({"codec": codec, "asked": asked, **more, **figures})

    def refuse(self, codec: str, asked: str, why: str) -> None:
        """Add a row that says why there is none."""
        self.rows.append({"codec": codec, "asked": asked, "refused": why})


def _meshes(sources):
    try:
        return [(vertices.astype(np.float32), faces) for vertices, faces in LazyMeshes(sources)]
    except FormatError:
        return None


def by_pcqaad(table, settings, asked):
    """Fit, save and decode; add the row of the file."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fitted.qaad"
        fitted = pcqaad.fit(table.clouds, settings, names=table.names, monitor=shown(asked))
        fitted.save(path)
        seconds = time.monotonic() - began
        with pcqaad.open(path) as collection:
            decoded, size, fidelity = list(collection), path.stat().st_size, collection.info["fidelity"]
    # The file does not keep the order of points: errors of pairs are those on record.
    known = {"vertex_percent": fidelity["per_vertex"]["mean_percent"]} if "per_vertex" in fidelity else {}
    table.judge("pcqaad", asked, decoded, size, seconds=seconds, **known)


def by_pca(table, goals):
    """Search the best files once, and add the best within each goal."""
    files = pca.frontier(table.clouds, table.across, tell=common.tell)
    for asked, budget in goals.items():
        within = [file for file in files if len(file.data) <= budget]
        if within:
            decoded = pca.decode_clouds(within[-1].data)
            fields = f"{within[-1].choice.fields} components"
            table.judge("PCA", f"{asked}, {fields}", decoded, len(within[-1].data), within[-1].order, paired=True)
        else:
            table.refuse("PCA", asked, f"PCA: the smallest file takes {len(files[0].data):,} bytes")
    return [{"bytes": len(f.data), "vertex_percent": 100 * f.error / table.across, **f.choice._asdict()} for f in files]


def figures(a: common.Arguments) -> common.Figures:
    for package, option, wanted in (("DracoPy", "--bits", a.bits), ("zstandard", "--zstd-bits", a.zstd_bits)):
        if wanted and find_spec(package) is None:
            raise SettingsError(
                f"no {package} here: pip install 'pcqaad[benchmarks]', or give {option} without numbers"
            )
    table = Table(a)
    raw = 12 * table.clouds.shape[0] * table.clouds.shape[1]
    if a.sizes:
        goals = {f"{size:g} KB": int(1000 * size) for size in sorted(a.sizes, reverse=True)}
        choices = [{"max_bytes": size} for size in goals.values()]
    else:
        goals = {f"{ratio:g} : 1": int(raw / ratio) for ratio in sorted(a.ratios)}
        choices = [{"ratio": ratio} for ratio in sorted(a.ratios)]
    epochs = a.epochs or (None if a.minutes else 150)
    same = {"minutes": a.minutes, "epochs": epochs, "latent": a.latent, "seed": a.seed, "device": a.device}
    for asked, goal in {} if a.no_pcqaad else zip(goals, choices, strict=True):
        try:
            by_pcqaad(table, pcqaad.Settings(registered=a.registered and not a.untold, **same, **goal), asked)
        except pcqaad.GoalError as error:
            table.refuse("pcqaad", asked, str(error))
    files = by_pca(table, goals) if a.registered else None
    if a.zstd_bits:
        table.add("zstd", "float32", zstd.of_floats, table.clouds, paired=a.registered)
    for bits in sorted(a.zstd_bits, reverse=True):
        work = zstd.of_integers, table.clouds, bits, a.registered
        table.add("zstd", f"{bits} bits", *work, paired=a.registered)
    for bits in sorted(a.bits, reverse=True):
        table.add("Draco", f"{bits} bits", draco.of_points, table.clouds, bits)
    for bits in sorted(a.bits, reverse=True) if table.meshes else ():
        table.add("Draco, meshes", f"{bits} bits", draco.of_meshes, table.meshes, bits)
    if a.tmc3:
        for bits in sorted(a.octree_bits, reverse=True):
            table.add("G-PCC octree", f"{bits} bits", gpcc.code, table.clouds, bits, a.tmc3)
        for bits, node in sorted(a.trisoup, reverse=True):
            asked = f"{bits} bits, nodes of {2**node}"
            table.add("G-PCC trisoup", asked, gpcc.code, table.clouds, bits, a.tmc3, node)
    mark([row for row in table.rows if "refused" not in row])
    result = {
        "clouds": len(table.clouds),
        "judged": len(table.judged),
        "points": table.clouds.shape[1],
        "registered": a.registered,
        "pairs_told_to_pcqaad": a.registered and not a.untold,
        "seed": a.seed,
        "minutes": a.minutes,
        "epochs": epochs,
        **common.versions("torch", *(["DracoPy"] if a.bits else []), *(["zstandard"] if a.zstd_bits else [])),
        "sampling_floor_percent": common.sampling_floor([x.points for x in table.references()], table.across),
        "rows": table.rows,
        **({} if files is None else {"pca_frontier": files}),
    }
    if a.output:
        draw(result, a.output)
        a.output.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    return result


def draw(result, path):
    """Draw every error that was measured over the bits per point."""
    from matplotlib.figure import Figure

    rows = [row for row in result["rows"] if "refused" not in row]
    curves = [(key, name) for key, name in CURVES if any(row.get(key) is not None for row in rows)]
    figure = Figure((4.2 * len(curves), 3.8), dpi=110, layout="constrained")
    axes = figure.subplots(1, len(curves), squeeze=False)[0]
    for each, (key, name) in zip(axes, curves, strict=True):
        for i, codec in enumerate(dict.fromkeys(row["codec"] for row in rows)):
            # What is lossless has no place on a logarithmic axis.
            there = [row for row in rows if row["codec"] == codec and row.get(key)]
            x, y = [row["bits_per_point"] for row in there], [row[key] for row in there]
            each.plot(x, y, marker="osD^vPX*"[i % 8], color=f"C{i}", markersize=4, label=codec)
        each.set(xscale="log", yscale="log", xlabel="bits per point", ylabel=f"{name}, % of the diagonal")
        each.grid(alpha=0.3)
    axes[0].axhline(result["sampling_floor_percent"], color="0.4", linestyle=":", label="two halves of a cloud")
    axes[0].legend(frameon=False, fontsize=7)
    figure.suptitle(f"{result['clouds']} clouds of {result['points']:,} points", fontsize=10)
    figure.savefig(path)


def text(result):
    rows = result["rows"]
    refused = [f"\n{row['asked']}: {row['refused']}" for row in rows if "refused" in row]
    return "\n".join([common.report({**result, "pca_frontier": None}, COLUMNS), *refused])


def trisoup(text: str) -> tuple[int, int]:
    """Read an option: bits and log2 of a node's size, as in 9:3."""
    bits, _, node = text.partition(":")
    return int(bits), int(node)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.options(__spec__.name, __doc__, clouds="+", seeds=0)
    goals = parser.add_mutually_exclusive_group()
    goals.add_argument("--ratios", type=float, nargs="*", default=[80, 120, 180, 270], help="[80 120 180 270]")
    goals.add_argument("--sizes", type=float, nargs="+", metavar="KB", help="of files, instead of ratios")
    parser.add_argument("--registered", action="store_true", help="point j of every cloud is the same point")
    parser.add_argument("--untold", action="store_true", help="pcqaad is not told so")
    parser.add_argument("--no-pcqaad", action="store_true", help="the others alone")
    parser.add_argument("--epochs", type=int, help="of each fit [150, where --minutes is not given]")
    parser.add_argument("--minutes", type=float, help="instead: the figures then depend on how fast the machine is")
    parser.add_argument("--latent", type=int, help="numbers of each cloud [chosen from the data]")
    parser.add_argument("--bits", type=int, nargs="*", default=list(range(3, 13)), help="of Draco [3 to 12]")
    parser.add_argument("--zstd-bits", type=int, nargs="*", default=[6, 8, 10, 12], help="[6 8 10 12]")
    parser.add_argument("--tmc3", metavar="PATH", help="MPEG's reference software of G-PCC")
    parser.add_argument("--octree-bits", type=int, nargs="*", default=list(range(4, 11)), help="of G-PCC [4 to 10]")
    nodes = [(8, 4), (8, 3), (9, 3), (10, 3)]
    parser.add_argument("--trisoup", type=trisoup, nargs="*", default=nodes, help="BITS:NODE [8:4 8:3 9:3 10:3]")
    parser.add_argument("--points", type=int, help="of each cloud [the smallest's]")
    parser.add_argument("--measure", type=common.positive, help="clouds that are judged [all]")
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", type=Path, metavar="CURVE.png")
    common.run(parser, arguments, figures, text)


if __name__ == "__main__":
    main()
