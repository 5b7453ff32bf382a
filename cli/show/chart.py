"""Errors per cloud as inline SVG: a bar a cloud in the file's order, or, for many, a falling curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pcqaad.cli.show.text import figure, length

# Of the picture and of its margins, which hold the labels; in the picture's units.
_WIDTH = 900
_HEIGHT = 260
_LEFT = 70
_TOP = 24
_BOTTOM = 30
_MOST_BARS = 300  # for more clouds, a curve
_CURVE_POINTS = 600


def chart(clouds: Sequence[Mapping[str, Any]], mean: float, unit: str) -> str:
    """Return an <svg> of the `mean` of each cloud, with a line at the collection's; the worst stands out.

    `clouds` is not empty; each has a `name`, shown when the mouse rests on its bar, and a `mean`.
    """
    values = [cloud["mean"] for cloud in clouds]
    step, top = _scale(max(values))
    parts = []
    for i in range(round(top / step) + 1):
        y = _y(i * step, top)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        label = figure(float(f"{i * step:.9g}"))
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    few = len(clouds) <= _MOST_BARS
    parts += _bars(clouds, top, unit) if few else [_curve(values, top)]
    order = "in the file's order" if few else "from the worst to the best"
    y = _y(mean, top)
    parts.append(f'<line class="mean" x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
    across = f"{len(clouds):,} clouds, {order}; dashed: their mean"
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 8}">{across}</text>')
    if unit:
        parts.append(f'<text x="{_LEFT}" y="12">mean error, {escape(unit)}</text>')
    head = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Mean error of each cloud">'
    return f"{head}{''.join(parts)}</svg>"


def _bars(clouds: Sequence[Mapping[str, Any]], top: float, unit: str) -> list[str]:
    pitch = (_WIDTH - _LEFT) / len(clouds)
    width = min(0.8 * pitch, 40)
    worst = max(range(len(clouds)), key=lambda i: clouds[i]["mean"])
    bars = []
    for i, cloud in enumerate(clouds):
        x = _LEFT + (i + 0.5) * pitch - width / 2
        y = _y(cloud["mean"], top)
        kind = "bar worst" if i == worst else "bar"
        title = escape(f"{cloud['name']}: {length(cloud['mean'], unit)}")
        box = f'x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{_y(0, top) - y:.2f}"'
        bars.append(f'<rect class="{kind}" {box}><title>{title}</title></rect>')
    return bars


def _curve(values: Sequence[float], top: float) -> str:
    falling = sorted(values, reverse=True)
    points = []
    for share in (i / (_CURVE_POINTS - 1) for i in range(_CURVE_POINTS)):
        value = falling[round(share * (len(falling) - 1))]
        points.append(f"{_LEFT + share * (_WIDTH - _LEFT):.1f},{_y(value, top):.2f}")
    return f'<polyline class="curve" points="{" ".join(points)}"/>'


def _scale(largest: float) -> tuple[float, float]:
    """Return a round step and the first multiple of it, at most five steps up, that is not below."""
    if not 0 < largest < math.inf:
        return 1.0, 1.0
    rough = largest / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))
    return step, step * math.ceil(largest / step - 1e-9)


def _y(value: float, top: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / top)
