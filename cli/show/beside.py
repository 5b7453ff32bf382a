"""The figures that metrics are read beside: the sampling floor, points that are far off, errors per vertex."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pcqaad.cli.show.text import figure, length, plural


def beside(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a label and a text for each of these figures that `verify` found."""
    rows, unit = [], result["unit"]
    if floor := result.get("floor"):
        halves = f"estimated from halves of {plural(floor['measured'], 'original')}"
        rows.append(("sampling floor of EM-kD", f"{of_diagonal(floor, unit)}; {halves}"))
    if far := result.get("beyond_one_percent"):
        shares = f"{figure(far['decoded'])} % of decoded points, {figure(far['original'])} % of original ones"
        rows.append(("over 1 % of the diagonal off", shares))
    return rows + _attributes(result) + _meshes(result, unit) + per_vertex(result, unit, " (recorded)")


def _attributes(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a row for each attribute that was measured."""
    rows = []
    for found in result.get("attributes", []):
        if "psnr" in found:
            luma, blue, red = ("no error" if of is None else f"{of:.2f} dB" for of in found["psnr"])
            text = f"PSNR of luma {luma}, of chroma {blue} and {red}"
        elif "equal" in found:
            text = f"{100 * found['equal']:.2f} % of points agree"
        else:
            text = f"rms {figure(found['rms'])}, worst {figure(found['worst'])}, in a range of {figure(found['range'])}"
        rows.append((f"attribute {found['name']}", f"{text}; by nearest points"))
    return rows


def _meshes(result: Mapping[str, Any], unit: str) -> list[tuple[str, str]]:
    """Return the rows of a file's own meshes, where they were measured."""
    if not (found := result.get("meshes")):
        return []
    ways = {"decoded mesh to original faces": "decoded", "original points to decoded mesh": "original"}
    rows = [(label, of_diagonal(found[way], unit)) for label, way in ways.items() if way in found]
    worst, count = found["worst"], result["clouds"]
    text = f"{figure(found['flipped'] / count)} flipped and {figure(found['torn'] / count)} torn a cloud"
    of_worst = f"worst {worst['name']}, {worst['flipped']:,} and {worst['torn']:,}"
    return [*rows, (f"of {plural(found['triangles'], 'triangle')}", f"{text}; {of_worst}")]


def per_vertex(result: Mapping[str, Any], unit: str, source: str = "") -> list[tuple[str, str]]:
    """Return a row for the errors per vertex, where pairs were known; none elsewhere."""
    found = result.get("per_vertex")
    if not found:
        return []
    rest = "rms {}, 95 % below {}, worst {}".format(*(length(found[key], unit) for key in ("rms", "p95", "worst")))
    return [("per vertex", f"mean {of_diagonal(found, unit)}; {rest}{source}")]


def of_diagonal(errors: Mapping[str, Any], unit: str) -> str:
    """Return a mean as a length and as a part of the diagonal."""
    return f"{length(errors['mean'], unit)}, {figure(errors['mean_percent'])} % of the diagonal"
