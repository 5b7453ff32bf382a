"""`pcqaad distill` for people: the tables of a search, and of what was learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pcqaad.cli.show.text import columns, figure, pairs

_ROWS = 9  # shown of a curve, or of the rounds of learning


def learned(result: Mapping[str, Any]) -> str:
    """Return the learned parameters, and a table of some of the rounds that led to them."""
    losses, path, names = result["losses"], result["path"], list(result["parameters"])
    last = len(losses) - 1
    rounds = sorted({round(i * last / (_ROWS - 1)) for i in range(_ROWS)})
    rows = [[str(i + 1), *(figure(path[i][key]) for key in names), figure(losses[i])] for i in rounds]
    told = [("learned", result["criterion"]), ("judge", f"{result['judge']} on points that were not trained on")]
    return f"{pairs(told)}\n\n{columns(['round', *names, 'held-out loss'], rows)}"


def distilled(result: Mapping[str, Any]) -> str:
    """Return the teacher and the winner, the ranking, and the winner's curve beside the teacher's."""
    teacher, found = result["teacher"], result["families"]
    values = ", ".join(f"{key} {figure(value)}" for key, value in teacher["parameters"].items())
    winner = found[0]
    parts = [
        pairs(
            [
                ("teacher", f"{teacher['name']}{', ' if values else ''}{values}"),
                ("distances", f"{result['distances']['source']}; mean {figure(result['distances']['mean'])}"),
                ("winner", winner["criterion"]),
                ("matching loss", figure(winner["loss"])),
            ]
        )
    ]
    if len(found) > 1:
        ranked = [[m["criterion"], figure(m["loss"]), figure(m["mode"])] for m in found]
        parts.append(columns(["criterion", "matching loss", "mode"], ranked))
    edges = [f"{m['family']}: {', '.join(m['at_edge'])}" for m in found if m["at_edge"]]
    if edges:
        parts.append("at the end of the grid, where better ones may lie beyond: " + "; ".join(edges))
    head = ["d", "density", "teacher's slope", "weighted slope"]
    last = len(result["d"]) - 1
    rows = [round(i * last / (_ROWS - 1)) for i in range(_ROWS)]
    keys = (result["d"], result["density"], result["slope"], winner["slope"])
    parts.append(columns(head, [[f"{key[i]:.4f}" for key in keys] for i in rows]))
    return "\n\n".join(parts)
