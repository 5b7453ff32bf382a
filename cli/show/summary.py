"""The text that commands end with, from the mappings that `--json` prints for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pcqaad.cli.show.beside import beside, of_diagonal, per_vertex
from pcqaad.cli.show.metric import metrics_of
from pcqaad.cli.show.text import METRICS, columns, figure, length, pairs, plural, points_of, seconds, size

if TYPE_CHECKING:
    from pcqaad.bitstream.info import Info, Sizes

_WORST = 5  # clouds listed for each metric


def compressed(result: Mapping[str, Any]) -> str:
    """Return the table that `compress` and `append` end with: `info` with the `seconds` the command took."""
    return pairs([*_sizes(result), *_fidelity(result), ("time", seconds(result["seconds"]))])


def described(info: Info) -> str:
    """Return the text of `info`: the file, where its bytes went, how it was made."""
    made = ("format", f"version {info['version']}"), ("model", _model(info["model"])), *_surface(info["model"])
    sections = [[tag, f"{count:,}"] for tag, count in info["bytes"]["sections"].items()]
    paragraphs = [
        pairs([*_sizes(info), *made, *_fidelity(info)]),
        columns(["section", "bytes"], sections),
        columns(["part", "bytes", "of the file", "that is"], _parts(info)),
    ]
    if info["attributes"]:
        paragraphs.append(columns(["attribute", "kind", "type", "bytes", "bits per point"], _attributes(info)))
    details = {"settings": info["settings"], "quantisation": info["quantisation"], "encoder": info["encoder"]}
    for name, values in details.items():
        paragraphs.append(f"{name}\n" + pairs([(f"  {key}", _plain(value)) for key, value in values.items()]))
    return "\n\n".join(paragraphs)


def _model(model: Sizes) -> str:
    layers, count = "-".join(map(str, model["shared"])), model["components"]
    # A network as small as that stands for none: its file has components instead.
    network = (
        "no network"
        if model["shared"] == [1] and model["patch"] == 1 and count
        else f"layers {layers} and {model['patch']} per patch{', added to the template' * model['residual']}; "
        f"{model['weights']:,} weights"
    )
    linear = f", and {plural(count, 'displacement component')}" if count else ""
    return f"{plural(model['patches'], 'patch', 'es')}, {model['latent']} latents a cloud, {network}{linear}"


def _surface(model: Sizes) -> list[tuple[str, str]]:
    """Return a row for a template that is a surface, none for another."""
    if not model["vertices"]:
        return []
    triangles, stored = plural(model["triangles"], "triangle"), plural(model["triangle_bytes"], "byte")
    rate = figure(8 * model["triangle_bytes"] / max(model["triangles"], 1))
    return [("surface", f"{model['vertices']:,} vertices, {triangles} in {stored}, {rate} bits each")]


def _attributes(info: Info) -> list[list[str]]:
    """Return a row for every attribute of points."""
    return [
        [
            a["name"],
            a["kind"],
            a["type"] + (f" x {a['channels']}" if a["channels"] > 1 else ""),
            f"{a['bytes']:,}",
            figure(a["bits_per_point"]),
        ]
        for a in info["attributes"]
    ]


def _parts(info: Info) -> list[list[str]]:
    """Return a row for every part of the file: bytes, share, and the cost of one of its numbers or clouds."""
    stored, rates = info["bytes"], info["quantisation"]
    costs = {
        "weights": f"{figure(rates['bits_per_weight'])} bits per weight",
        "template": f"{figure(rates['bits_per_template_point'])} bits per template point",
        "components": f"{figure(rates['bits_per_component_number'])} bits per number",
        "latents": f"{figure(rates['bits_per_latent'])} bits per latent number",
    }
    costs["attributes"] = f"{figure(sum(a['bits_per_point'] for a in info['attributes']))} bits per point"
    costs |= {part: f"{figure(stored['per_cloud'][part])} bytes per cloud" for part in ("names", "rest")}
    labels = {"latents": "latents and their model", "rest": "all else"}
    rows = [
        [labels.get(part, part), f"{count:,}", f"{100 * count / stored['file']:.1f} %", costs[part]]
        for part, count in stored["parts"].items()
        if count or part != "components"
    ]
    return [*rows, ["sum", f"{stored['file']:,}", "", ""]]


def completed(result: Mapping[str, Any]) -> str:
    """Return the text of `complete`: one row a cloud, the errors of the points that were given."""
    labels = ["cloud", "points given", "their mean error", "of diagonal", "deviations", "started from"]
    rows = []
    for cloud in result["clouds"]:
        error, percent = length(cloud["mean"], result["unit"]), f"{figure(cloud['mean_percent'])} %"
        start = cloud["start"] or "the mean"
        rows.append([cloud["name"], f"{cloud['given']:,}", error, percent, f"{cloud['deviations']:.2f}", start])
    totals = [
        ("written to", str(result["output"])),
        ("given points", _mean(result, result["unit"])),
        ("criterion", f"{result['criterion']}, prior {figure(result['prior'])}"),
        ("time", seconds(result["seconds"])),
    ]
    return f"{columns(labels, rows)}\n\n{pairs(totals)}"


def verified(file: str, result: Mapping[str, Any]) -> str:
    """Return the text of `verify`: sizes, one row a metric, and the worst clouds where all were measured."""
    metrics = metrics_of(result)
    parts = [pairs([*_sizes({**result, "file": file}), ("integrity", "every section and cloud read and checked")])]
    if metrics:
        found = [metric.summary() for metric in metrics]
        order = ("mean", "of diagonal", "rms", "psnr", "worst cloud")
        labels = [label for label in order if any(label in figures for figures in found)]
        rows = [
            [metric.title, *(figures.get(label, "") for label in labels), metric.source]
            for metric, figures in zip(metrics, found, strict=True)
        ]
        parts.append(columns(["metric", *labels, "source"], rows))
    if figures_beside := beside(result):
        parts.append(pairs(figures_beside))
    worst = (metric.worst(_WORST) for metric in metrics)
    return "\n\n".join([*parts, *(columns(labels, rows) for labels, rows in worst if len(rows) > 1)])


def _sizes(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    raw, stored = info["bytes"]["raw_float32"], info["bytes"]["file"]
    return [
        ("file", str(info["file"])),
        ("clouds", f"{info['clouds']:,} of {points_of(info)}"),
        ("size", f"{size(raw)} as float32 -> {size(stored)}"),
        ("ratio", f"{figure(info['ratio'])} : 1"),
        ("bits per point", figure(info["bits_per_point"])),
        ("paper's ratio", f"{figure(info['paper_ratio'])} (counts float32 weights and latents)"),
    ]


def _fidelity(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the recorded errors of the fit's clouds, then a row for every time that clouds were appended."""
    recorded, unit, rows = info["fidelity"], info["unit"], []
    if recorded:
        name = METRICS.get(recorded["metric"], recorded["metric"])
        over = "" if recorded["measured"] == info["clouds"] else f", over {plural(recorded['measured'], 'cloud')}"
        rows += [
            (f"{name} (cell {recorded['cell']:,})", f"{_mean(recorded, unit)}{over}"),
            ("worst cloud", f"{recorded['worst']['name']}, mean {length(recorded['worst']['mean'], unit)}"),
        ]
        rows += per_vertex(recorded, unit)
        if (rise := recorded.get("rise")) is not None:
            side = "above" if rise >= 0 else "below"
            rows.append(("quantised", f"{figure(100 * abs(rise))} % {side} the error of the float model"))
    for record in info["appended"]:
        text = f"{plural(record['clouds'], 'cloud')}, {_mean(record, unit)}"
        if recorded.get("mean"):
            text += f", {figure(record['mean'] / recorded['mean'])} times the fit's"
        text += f"; worst {record['worst']['name']}"
        if record["clouds"] != 1:
            text += f", mean {length(record['worst']['mean'], unit)}"
        rows.append(("appended", text))
    return rows


def _mean(errors: Mapping[str, Any], unit: str) -> str:
    return f"mean {of_diagonal(errors, unit)}"


def _plain(value: Any) -> str:
    match value:
        case None:
            return "auto"
        case bool():
            return "yes" if value else "no"
        case float():
            return figure(value)
        case list() | tuple():
            return ", ".join(_plain(item) for item in value)
        case dict():
            return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
        case _:
            return str(value)
