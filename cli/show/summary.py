"""What the commands print for people, from the mappings that `--json` prints for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pcqaad.cli.show.text import METRICS, columns, figure, length, pairs, plural, seconds, size

_WORST = 5  # clouds listed when there are measurements of each


def compressed(result: Mapping[str, Any]) -> str:
    """Return the table that `compress` and `append` end with: `info` with the `seconds` the command took."""
    return pairs([*_sizes(result), *_fidelity(result), ("time", seconds(result["seconds"]))])


def described(info: Mapping[str, Any]) -> str:
    """Return what `info` shows: the file, where its bytes went, how it was made."""
    model, sections = info["model"], info["bytes"]["sections"]
    rows = [[tag, f"{count:,}"] for tag, count in sections.items()]
    layers = "-".join(str(width) for width in model["shared"])
    residual = ", added to the template" if model["residual"] else ""
    parts = [
        pairs(
            [
                *_sizes(info),
                ("format", f"version {info['version']}"),
                (
                    "model",
                    f"{plural(model['patches'], 'patch', 'es')}, "
                    f"{model['latent']} latents a cloud, layers {layers} and {model['patch']} per patch"
                    f"{residual}; {model['weights']:,} weights",
                ),
                *_fidelity(info),
            ]
        ),
        columns(["section", "bytes"], rows),
        columns(["part", "bytes", "of the file", "that is"], _parts(info)),
    ]
    for name in ("settings", "quantisation", "encoder"):
        parts.append(f"{name}\n" + pairs([(f"  {key}", _plain(value)) for key, value in info[name].items()]))
    return "\n\n".join(parts)


def _parts(info: Mapping[str, Any]) -> list[list[str]]:
    """Return a row for every part of the file: bytes, share, and what one of its numbers or clouds takes."""
    stored, rates = info["bytes"], info["quantisation"]
    costs = {
        "weights": f"{figure(rates['bits_per_weight'])} bits per weight",
        "template": f"{figure(rates['bits_per_template_point'])} bits per template point",
        "latents": f"{figure(rates['bits_per_latent'])} bits per latent number",
    }
    costs |= {part: f"{figure(stored['per_cloud'][part])} bytes per cloud" for part in ("names", "rest")}
    labels = {"latents": "latents and their model", "rest": "all else"}
    rows = [
        [labels.get(part, part), f"{count:,}", f"{100 * count / stored['file']:.1f} %", costs[part]]
        for part, count in stored["parts"].items()
    ]
    return [*rows, ["sum", f"{stored['file']:,}", "", ""]]


def completed(result: Mapping[str, Any]) -> str:
    """Return what `complete` shows: one row a cloud, the errors of the points that were given."""
    unit = result["unit"]
    rows = [
        [
            cloud["name"],
            f"{cloud['given']:,}",
            length(cloud["mean"], unit),
            f"{figure(cloud['mean_percent'])} %",
            f"{cloud['deviations']:.2f}",
            cloud["start"] or "the mean",
        ]
        for cloud in result["clouds"]
    ]
    head = ["cloud", "points given", "their mean error", "of diagonal", "deviations", "started from"]
    mean = f"mean {length(result['mean'], unit)}, {figure(result['mean_percent'])} % of the diagonal"
    return "\n\n".join(
        [
            columns(head, rows),
            pairs(
                [
                    ("written to", str(result["output"])),
                    ("given points", mean),
                    ("criterion", f"{result['criterion']}, prior {figure(result['prior'])}"),
                    ("time", seconds(result["seconds"])),
                ]
            ),
        ]
    )


def verified(file: str, result: Mapping[str, Any]) -> str:
    """Return what `verify` shows: sizes, one row a metric, and the worst clouds where all were measured."""
    unit = result["unit"]
    rows = []
    for name, values, source in recorded_or_measured(result):
        rows.append(
            [
                METRICS[name],
                mean_length(name, values, unit),
                mean_percent(name, values),
                length(values["rms"], unit) if "rms" in values and not bracketed(name) else "",
                f"{values['psnr']:.2f} dB" if values.get("psnr") is not None else "",
                worst_cloud(name, values, unit),
                source,
            ]
        )
    parts = [pairs([*_sizes({**result, "file": file}), ("integrity", "every section and cloud read and checked")])]
    if rows:
        head = ["metric", "mean", "of diagonal", "rms", "psnr", "worst cloud", "source"]
        kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
        parts.append(columns([head[i] for i in kept], [[row[i] for i in kept] for row in rows]))
    for name, values in result["metrics"].items():
        worst_first = sorted(values.get("per_cloud", []), key=lambda cloud: -cloud["mean"])[:_WORST]
        if len(worst_first) > 1:
            shown = {"at_least": "at least", "mean": "at most"} if bracketed(name) else {"mean": "mean"}
            listed = [[cloud["name"], *(length(cloud[key], unit) for key in shown)] for cloud in worst_first]
            parts.append(columns([f"worst by {METRICS[name]}", *shown.values()], listed))
    return "\n\n".join(parts)


def recorded_or_measured(result: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], str]]:
    """Return each metric of `verify` with its figures and their source; what was appended has a record of its own."""
    found = [(name, values, result["source"]) for name, values in result["metrics"].items()]
    return found + [(values["metric"], values, "recorded, appended") for values in result.get("appended", [])]


def bracketed(name: str) -> bool:
    """Return whether a metric is known by two ends, `at_least` and `mean`, as EMD is.

    EM-kD has an `at_least` too, but so near its mean (0.1 %) that it is not worth showing.
    """
    return name == "emd"


def mean_length(name: str, values: Mapping[str, Any], unit: str) -> str:
    """Return a metric's mean: `4.819 mm`, or for EMD `between 4.6 and 4.8 mm`."""
    mean = length(values["mean"], unit)
    return f"between {figure(values['at_least'])} and {mean}" if bracketed(name) else mean


def mean_percent(name: str, values: Mapping[str, Any]) -> str:
    """Return a metric's mean as a part of the diagonal: `1.479 %`, or for EMD `1.41 to 1.479 %`."""
    mean = f"{figure(values['mean_percent'])} %"
    return f"{figure(least_percent(values))} to {mean}" if bracketed(name) else mean


def least_percent(values: Mapping[str, Any]) -> float:
    """Return `at_least` in percent of the diagonal."""
    part = values["at_least"] / values["mean"] if values["mean"] else 1.0
    return float(values["mean_percent"] * part)


def worst_cloud(name: str, values: Mapping[str, Any], unit: str) -> str:
    """Return the name of a metric's worst cloud and its mean."""
    worst = values["worst"]
    return f"{worst['name']}: {'at most ' if bracketed(name) else ''}{length(worst['mean'], unit)}"


def _sizes(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    raw, stored = info["bytes"]["raw_float32"], info["bytes"]["file"]
    rows = [
        ("file", str(info["file"])),
        ("clouds", f"{info['clouds']:,} of {plural(info['points'], 'point')}"),
        ("size", f"{size(raw)} as float32 -> {size(stored)}"),
        ("ratio", f"{figure(info['ratio'])} : 1"),
        ("bits per point", figure(info["bits_per_point"])),
    ]
    if info.get("paper_ratio") is not None:
        rows.append(("paper's ratio", f"{figure(info['paper_ratio'])} (counts float32 weights and latents)"))
    return rows


def _fidelity(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    recorded, unit = info["fidelity"], info["unit"]
    if not recorded:
        return _appended(info)
    name = METRICS.get(recorded["metric"], recorded["metric"])
    mean = f"mean {length(recorded['mean'], unit)}, {figure(recorded['mean_percent'])} % of the diagonal"
    over = "" if recorded["measured"] == info["clouds"] else f", over {plural(recorded['measured'], 'cloud')}"
    worst = recorded["worst"]
    rows = [
        (f"{name} (cell {recorded['cell']:,})", f"{mean}{over}"),
        ("worst cloud", f"{worst['name']}, mean {length(worst['mean'], unit)}"),
    ]
    if (rise := recorded.get("rise")) is not None:
        side = "above" if rise >= 0 else "below"
        rows.append(("quantised", f"{figure(100 * abs(rise))} % {side} the error of the float model"))
    return [*rows, *_appended(info)]


def _appended(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a row for every time that clouds were appended: their errors, beside those of the fit's clouds."""
    rows, unit = [], info["unit"]
    for record in info["appended"]:
        mean = f"mean {length(record['mean'], unit)}, {figure(record['mean_percent'])} % of the diagonal"
        fitted = info["fidelity"].get("mean")
        beside = f", {figure(record['mean'] / fitted)} times the fit's" if fitted else ""
        worst = record["worst"]
        text = f"{plural(record['clouds'], 'cloud')}, {mean}{beside}; worst {worst['name']}"
        rows.append(("appended", text if record["clouds"] == 1 else f"{text}, mean {length(worst['mean'], unit)}"))
    return rows


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
