"""The page of `verify --report`: one HTML file with its figures, a chart and no need of anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pcqaad.cli.show.chart import chart
from pcqaad.cli.show.summary import bracketed, mean_length, mean_percent, recorded_or_measured, worst_cloud
from pcqaad.cli.show.text import METRICS, figure, length, size

_WORST = 10

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --soft: #5b6875; --line: #d9dfe5; --paper: #fbfbf9;
  --card: #fff; --bar: #2f6f8f; --worst: #c2542d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --soft: #98a4b0; --line: #333d47;
  --paper: #14181c; --card: #1b2026; --bar: #6fb3d2; --worst: #ef8a5f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.25rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
h1 { margin: 0; font-size: 1.6rem; overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 .75rem; font-size: 1.15rem; }
p { margin: .25rem 0 1rem; color: var(--soft); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1rem 0; }
dl div { padding: .75rem 1rem; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
dt { color: var(--soft); font-size: .8rem; }
dd { margin: 0; font-size: 1.15rem; font-weight: 600; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; }
.grid { stroke: var(--line); }
.bar { fill: var(--bar); }
.bar.worst { fill: var(--worst); }
.curve { fill: none; stroke: var(--bar); stroke-width: 2; }
.mean { stroke: var(--ink); stroke-dasharray: 4 4; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .35rem .5rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 500; font-size: .85rem; }
"""


def page(file: str, result: Mapping[str, Any]) -> str:
    """Return the page for the result of `verify`, `file` being the name to head it with."""
    unit, stored = result["unit"], result["bytes"]
    sizes = [
        ("As float32", size(stored["raw_float32"])),
        ("This file", size(stored["file"])),
        ("Ratio", f"{figure(result['ratio'])} : 1"),
        ("Bits per point", figure(result["bits_per_point"])),
    ]
    body = [
        f"<h1>{escape(file)}</h1>",
        f"<p>{result['clouds']:,} clouds of {result['points']:,} points; every section and every cloud's "
        f"latents read and checked. Errors {_source(result)}.</p>",
        _cards(sizes),
        *(_section(name, values, unit) for name, values, _ in recorded_or_measured(result)),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(file)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _source(result: Mapping[str, Any]) -> str:
    if not result["metrics"]:
        return "were not recorded"
    if result["source"] == "measured":
        return "measured against the originals"
    return "as recorded when the file was made"


def _section(name: str, values: Mapping[str, Any], unit: str) -> str:
    cards = [
        ("Mean", mean_length(name, values, unit)),
        ("Of the diagonal", mean_percent(name, values)),
        *([("RMS", length(values["rms"], unit))] if "rms" in values and not bracketed(name) else []),
        ("Worst cloud", worst_cloud(name, values, unit)),
    ]
    if values.get("psnr") is not None:
        cards.append(("PSNR", f"{values['psnr']:.2f} dB"))
    # Clouds that came later have a record of their own.
    later = f", {values['clouds']:,} appended clouds" if "clouds" in values else ""
    parts = [f"<h2>{escape(METRICS[name])}{later}</h2>", _cards(cards)]
    clouds = values.get("per_cloud", [])
    if clouds:
        worst = sorted(clouds, key=lambda cloud: -cloud["mean"])[:_WORST]
        parts += [chart(clouds, values["mean"], unit), _table(name, worst, unit)]
    return "\n".join(parts)


def _cards(items: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<div><dt>{escape(term)}</dt><dd>{escape(text)}</dd></div>" for term, text in items)
    return f"<dl>{cells}</dl>"


def _table(name: str, clouds: Sequence[Mapping[str, Any]], unit: str) -> str:
    shown = {"at_least": "At least", "mean": "At most"} if bracketed(name) else {"mean": "Mean", "rms": "RMS"}
    rows = "".join(
        f"<tr><td>{escape(cloud['name'])}</td>"
        + "".join(f"<td>{escape(length(cloud[key], unit))}</td>" for key in shown)
        + "</tr>"
        for cloud in clouds
    )
    head = "".join(f"<th>{title}</th>" for title in ("Worst clouds", *shown.values()))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
