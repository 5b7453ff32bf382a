"""What decoding in integers changes: the clouds of a file at several scales F of the activations.

    python -m benchmarks.scales FILE.qaad CLOUDS... [--count 16] [--json]

CLOUDS are the file's originals. EM-kD (cells of 1,024) of the clouds decoded in integers stands over that of the same
weights in float32. Beside it stands the largest distance of a point between the two.

Ends with status 1 where the file's own scales do not give the file's own points.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

import pcqaad
from benchmarks import common
from pcqaad.decoder.architecture import Array
from pcqaad.decoder.exact import IntegerDecoder
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.evaluation.metrics import measure, percent
from pcqaad.evaluation.originals import read_originals
from pcqaad.formats.clouds.find import find_clouds

SCALES = (4, 6, 8, 10, 12)
COLUMNS = {
    "scale F": "name",
    "EM-kD over float32's, %": "emkd_rise_percent:+.3f",
    "largest distance of a point, % of the diagonal": "apart_percent:.4f",
}


def figures(a: common.Arguments) -> common.Figures:
    with pcqaad.open(a.file) as collection:
        return compare(collection, a)


def compare(collection: pcqaad.Collection, a: common.Arguments) -> common.Figures:
    """Compare clouds of a file, decoded at several scales, with the float32 decoding of the same weights."""
    shared, model, info = collection.integers, collection.model, collection.info
    drawn = np.unique(np.linspace(0, len(collection) - 1, min(a.count, len(collection))).round()).astype(int).tolist()
    originals = enumerate(read_originals(collection, find_clouds(a.clouds)))
    references = [original.points for i, original in originals if i in drawn]
    centre, scale = (np.array(x) for x in info["normalisation"].values())
    floating = FloatDecoder(model)
    floats = [(floating.decode(model.latents[i]) * scale + centre).astype(np.float32) for i in drawn]
    diagonal = info["fidelity"]["diagonal"]

    def emkd(decoded: Sequence[Array]) -> float:
        return common.mean(measure(zip(references, decoded, strict=True))["emkd"])

    base = emkd(floats)
    rows = {}
    tried = {str(f): (f,) * len(shared.scales) for f in SCALES}
    for name, scales in {**tried, f"the file's: {', '.join(map(str, shared.scales))}": shared.scales}.items():
        changed = replace(shared, scales=scales)
        changed.check()
        decoder = IntegerDecoder(changed, collection.denormalisation)
        decoded = [decoder.decode(model.latents[i]) for i in drawn]
        apart = max(float(np.linalg.norm(x - y, axis=1).max()) for x, y in zip(decoded, floats, strict=True))
        rows[name] = {"emkd_rise_percent": 100 * (emkd(decoded) / base - 1), "apart_percent": percent(apart, diagonal)}
    if any(x.tobytes() != collection[i].tobytes() for x, i in zip(decoded, drawn, strict=True)):
        sys.exit("the file's own scales do not give the file's own points")
    return {
        "clouds": len(drawn),
        "emkd_float32_percent": percent(base, diagonal),
        **common.versions("numpy"),
        "rows": rows,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.options(__spec__.name, __doc__)
    parser.add_argument("file", metavar="FILE.qaad")
    parser.add_argument("clouds", nargs="+", metavar="CLOUDS", help="its originals")
    parser.add_argument("--count", type=common.positive, default=16, help="clouds of the file to compare [16]")
    common.run(parser, arguments, figures, COLUMNS)


if __name__ == "__main__":
    main()
