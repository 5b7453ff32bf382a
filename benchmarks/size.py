"""Where a file's bytes go, beside the budget of each part.

    python -m benchmarks.size FILE.qaad... [--json]

Weights are to take at most 5 bits each, a template point 11, a latent number 8. All else (header, tables, names,
records) is to take 2,000 bytes and 4 for each cloud. Quantisation is to raise EM-kD by at most 1 % over that of the
model in floats, as measured when the file was made. The last figure is the size of 4,096 clouds by the same decoder.
"""

from collections.abc import Sequence

import pcqaad
from benchmarks import common

COLUMNS = {"part": "part", "bytes": "bytes:,", "figure": "figure:,.2f", "unit": "unit", "budget": "budget:,"}
# Bits a number.
WEIGHT = 5
TEMPLATE_POINT = 11
LATENT = 8
# Bytes of all else, whatever the number of clouds, and of each cloud.
REST = 2000
REST_OF_CLOUD = 4
# Percent.
RISE = 1
MANY = 4096


def of_file(path: str) -> common.Figures:
    """Return the figures of one file."""
    with pcqaad.open(path) as file:
        info = file.info
    sizes, bits, clouds = info["bytes"]["parts"], info["quantisation"], info["clouds"]
    # Of a cloud: its latents, its name and its share of the tables; the shared parts do not grow.
    many = info["bytes"]["file"] + (sizes["latents"] + sizes["names"]) / clouds * (MANY - clouds)
    rest = sizes["names"] + sizes["rest"]
    parts = {
        "weights": (sizes["weights"], bits["bits_per_weight"], "bits a weight", WEIGHT),
        "template": (sizes["template"], bits["bits_per_template_point"], "bits a point", TEMPLATE_POINT),
        "latents": (sizes["latents"], bits["bits_per_latent"], "bits a number", LATENT),
        "all else": (rest, rest, "bytes", REST + REST_OF_CLOUD * clouds),
    }
    return {
        "file": path,
        "clouds": clouds,
        "points": info["points"],
        "bytes": info["bytes"]["file"],
        "ratio": info["ratio"],
        "rise": info["fidelity"].get("rise"),
        "mean_percent": info["fidelity"].get("mean_percent"),
        "parts": {
            name: dict(zip(("bytes", "figure", "unit", "budget"), row, strict=True)) for name, row in parts.items()
        },
        "of_4096_clouds": {"bytes": many, "ratio": 12 * MANY * info["points"] / many},
    }


def text(found: list[common.Figures]) -> str:
    return "\n\n".join(map(of_one, found))


def of_one(found: common.Figures) -> str:
    """Write the figures of one file."""
    rows = [{"part": name, **part} for name, part in found["parts"].items()]
    if found["rise"] is not None:
        rows.append(
            {"part": "rise of EM-kD by quantisation", "figure": 100 * found["rise"], "unit": "%", "budget": RISE}
        )
    many = (
        f"{MANY:,} clouds: {found['of_4096_clouds']['bytes']:,.0f} bytes, {found['of_4096_clouds']['ratio']:,.0f} : 1"
    )
    return f"{common.report(found, COLUMNS, rows)}\n\n{many}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.options(__spec__.name, __doc__)
    parser.add_argument("files", nargs="+", metavar="FILE.qaad")
    common.run(parser, arguments, lambda a: [of_file(path) for path in a.files], text)


if __name__ == "__main__":
    main()
