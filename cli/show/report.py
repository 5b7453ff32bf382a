"""The page of `verify --report`: one HTML file with figures and charts, which needs no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pcqaad.cli.show.beside import beside
from pcqaad.cli.show.chart import chart
from pcqaad.cli.show.metric import Metric, metrics_of
from pcqaad.cli.show.text import figure, points_of, size

_WORST = 10  # clouds listed for each metric
_LABELS = {"rms": "RMS", "psnr": "PSNR"}

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
dt::first-letter, th::first-letter { text-transform: uppercase; }
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
    """Return the page for the result of `verify`, with `file` as its title."""
    stored, title = result["bytes"], escape(file)
    sizes = {
        "as float32": size(stored["raw_float32"]),
        "this file": size(stored["file"]),
        "ratio": f"{figure(result['ratio'])} : 1",
        "bits per point": figure(result["bits_per_point"]),
    }
    made = "measured against the originals" if result["source"] == "measured" else "as recorded when the file was made"
    body = [
        f"<h1>{title}</h1>",
        f"<p>{result['clouds']:,} clouds of {points_of(result)}; every section and every cloud's "
        f"latents read and checked. Errors {made if result['metrics'] else 'were not recorded'}.</p>",
        _cards(sizes),
        *map(_section, metrics_of(result)),
        *(["<h2>Beside them</h2>", _cards(dict(figures))] if (figures := beside(result)) else []),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _section(metric: Metric) -> str:
    # Clouds that came later have a record of their own.
    later = f", {metric.values['clouds']:,} appended clouds" if "clouds" in metric.values else ""
    parts = [f"<h2>{escape(metric.title)}{later}</h2>", _cards(metric.summary())]
    if clouds := metric.values.get("per_cloud"):
        parts += [chart(clouds, metric.values["mean"], metric.unit), _table(*metric.worst(_WORST))]
    return "\n".join(parts)


def _cards(items: Mapping[str, str]) -> str:
    cells = (f"<div><dt>{_LABELS.get(label, label)}</dt><dd>{escape(text)}</dd></div>" for label, text in items.items())
    return f"<dl>{''.join(cells)}</dl>"


def _table(labels: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def row(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    head, body = row("th", [_LABELS.get(label, label) for label in labels]), "".join(row("td", cells) for cells in rows)
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
