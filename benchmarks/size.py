"""Where a file's bytes go, against the budget of each part.

    python benchmarks/size.py FILE.qaad... [--json]

Weights are to take at most 5 bits each, a template point 11, a latent number 8, and all else (header, tables, names,
records) 2,000 bytes and 4 for each cloud; and quantisation is to raise EM-kD by at most 1 % over the float model's,
as measured when the file was made. The last line is what 4,096 clouds would take with the same decoder.
"""

import argparse
import json

import pcqaad

# Bits a number; the rest in bytes, whatever the number of clouds, and for each.
WEIGHT, TEMPLATE_POINT, LATENT, REST, REST_OF_CLOUD = 5, 11, 8, 2000, 4
RISE = 0.01
MANY = 4096


def parts(path):
    """Return (part, bytes, figure, unit of it, budget) of each part, and what the file holds."""
    with pcqaad.open(path) as file:
        info = file.info
    sizes, bits, clouds = info["bytes"]["parts"], info["quantisation"], info["clouds"]
    rest = sizes["names"] + sizes["rest"]
    rows = [
        ("weights", sizes["weights"], bits["bits_per_weight"], "bits a weight", WEIGHT),
        ("template", sizes["template"], bits["bits_per_template_point"], "bits a point", TEMPLATE_POINT),
        ("latents", sizes["latents"], bits["bits_per_latent"], "bits a number", LATENT),
        ("all else", rest, rest, "bytes", REST + REST_OF_CLOUD * clouds),
    ]
    return rows, info


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args(arguments)
    found = []
    for path in a.files:
        rows, info = parts(path)
        clouds, points, fidelity = info["clouds"], info["points"], info["fidelity"]
        # Of a cloud: its latents, its name and its share of the tables; the shared parts do not grow.
        of_cloud = (rows[2][1] + info["bytes"]["parts"]["names"]) / clouds
        many = info["bytes"]["file"] + of_cloud * (MANY - clouds)
        described = {name: {"bytes": size, unit: figure, "budget": most} for name, size, figure, unit, most in rows}
        found.append(
            {
                "file": path,
                "clouds": clouds,
                "points": points,
                "bytes": info["bytes"]["file"],
                "ratio": info["ratio"],
                "parts": described,
                "rise": fidelity.get("rise"),
                "mean_percent": fidelity.get("mean_percent"),
                "of_4096_clouds": {"bytes": many, "ratio": 12 * MANY * points / many},
            }
        )
        if a.json:
            continue
        kept = f"{clouds:,} clouds of {points:,} points, {info['bytes']['file']:,} bytes, {info['ratio']:,.1f} : 1"
        print(f"{path}: {kept}\n")
        print("| part | bytes | figure | budget |\n|---|---:|---:|---:|")
        for name, size, figure, unit, most in rows:
            digits = 0 if unit == "bytes" else 2
            print(f"| {name} | {size:,} | {figure:,.{digits}f} {unit} | {most:,} |")
        if fidelity:
            print(f"| rise of EM-kD by quantisation | | {100 * fidelity['rise']:.2f} % | {100 * RISE:.0f} % |")
            print(f"\nEM-kD {fidelity['mean_percent']:.3f} % of the diagonal.", end=" ")
        print(f"{MANY:,} clouds: {many:,.0f} bytes, {12 * MANY * points / many:,.0f} : 1\n")
    if a.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
