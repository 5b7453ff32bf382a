"""The house in one list: its rooms from the ground up, what belongs there, and who may load what.

`python -m tests.house` writes the table of CONTRIBUTING.md anew from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Room(NamedTuple):
    """A folder or a file of the code. It may import the rooms that stand before it in `ROOMS`, and no other.

    Attributes:
        path: from the project's root.
        purpose: what belongs there.
        packages: the libraries that it may import, beside the standard library.
    """

    path: str
    purpose: str
    packages: tuple[str, ...] = ()


ROOMS = (
    Room("formats/errors.py", "the root of all errors, and that of damaged bytes"),
    Room("formats/atomic.py", "files that are written whole or not at all"),
    Room("formats/locks.py", "files that one process at a time works on"),
    Room("formats/coding", "symbols to bits: range coding, its models, grid points, fields over them", ("numpy",)),
    Room("formats/container", "the checked table of sections, groups of records", ("numpy",)),
    Room(
        "formats/clouds",
        "files of points and meshes, one format a file",
        ("numpy", "plyfile", "h5py", "laspy", "pye57"),
    ),
    Room("formats/__init__.py", "`SPEC.md` beside it is normative"),
    Room("pcqaad/_version.py", "the version"),
    Room("pcqaad/errors.py", "every error, one tree"),
    Room("pcqaad/seeds.py", "every use of a seed, one table", ("numpy",)),
    Room("pcqaad/monitor.py", "what a long job tells, and how it is asked to stop"),
    Room("pcqaad/parallel.py", "work on all cores, or on fewer", ("threadpoolctl",)),
    Room("pcqaad/compiled", "what numba compiles, and where its machine code is kept", ("numba", "llvmlite")),
    Room("pcqaad/decoder", "one network, four ways to run it", ("numpy",)),
    Room("pcqaad/points", "arrays in: checked, sampled, normalised, kept in 16 bits; views", ("numpy", "scipy")),
    Room(
        "pcqaad/surfaces",
        "meshes of few vertices, from points or from finer meshes",
        ("numpy", "scipy", "fast_simplification"),
    ),
    Room("pcqaad/losses", "the Chamfer family: neighbours, densities, criteria", ("numpy", "scipy")),
    Room("pcqaad/settings.py", "every choice of a fit, and the paper's presets"),
    Room("pcqaad/devices.py", "where torch computes, and that it does so the same way twice", ("numpy",)),
    Room(
        "pcqaad/matching",
        "bijections: k-d cells, the auction, greedy, optimal, non-rigid, re-matching, swaps",
        ("numpy", "scipy", "numba", "llvmlite", "triton"),
    ),
    Room("pcqaad/bitstream", "integers to sections and back; `pcqaad.open`", ("numpy",)),
    Room("pcqaad/attributes", "attributes carried to decoded points, and coded at a quality", ("numpy", "scipy")),
    Room("pcqaad/evaluation", "metrics, and `pcqaad.verify`", ("numpy", "scipy")),
    Room("pcqaad/quantisation", "floats to integers: step sizes, weight scales, rate control", ("numpy", "scipy")),
    Room("pcqaad/training", "a fit: start, phases, trainer, checkpoints", ("numpy",)),
    Room("pcqaad/latents", "latents of clouds that the decoder never saw: append, complete", ("numpy", "scipy")),
    Room("pcqaad/codec.py", "`pcqaad.fit`, the story: read it first", ("numpy",)),
    Room("pcqaad/distillation", "the weighting that trains like another loss", ("numpy", "scipy")),
    Room("pcqaad/__init__.py", "the public names, each loaded when it is used"),
    Room("cli/__init__.py", "a person: parse, call, show, print, exit code", ("click",)),
    Room("cli/errors.py", "failures as one line and an exit code", ("click",)),
    Room("cli/show", "results as text, tables, pages, charts", ("click", "numpy", "matplotlib")),
    Room("cli", "options, progress, errors, exit codes", ("click", "numpy", "tqdm")),
    Room("cli/commands", "one file a command", ("click", "numpy", "tqdm")),
    Room("pcqaad/__main__.py", "`python -m pcqaad`"),
)

# Who may load torch when imported, by path. Nothing else does before it computes.
TORCH = (
    "pcqaad/codec.py",
    "pcqaad/decoder/exact_torch.py",
    "pcqaad/decoder/module.py",
    "pcqaad/decoder/selu.py",
    "pcqaad/devices.py",
    "pcqaad/distillation/bilevel.py",
    "pcqaad/distillation/learn.py",
    "pcqaad/latents",
    "pcqaad/losses/criteria.py",
    "pcqaad/losses/nearest.py",
    "pcqaad/matching/gpu",
    "pcqaad/matching/reassignment.py",
    "pcqaad/training",
)

BEGIN, END = "<!-- rooms: python -m tests.house writes what follows -->\n", "<!-- end of rooms -->\n"


def table() -> str:
    """Return the table of CONTRIBUTING.md, ground floor first."""
    rows = "".join(f"| `{room.path}` | {room.purpose} |\n" for room in ROOMS)
    torch = ", ".join(f"`{path}`" for path in TORCH)
    return f"| room | what belongs there |\n|---|---|\n{rows}\nOnly these may import torch: {torch}.\n"


def main() -> None:
    """Write the table into CONTRIBUTING.md."""
    path = ROOT / "CONTRIBUTING.md"
    before, rest = path.read_text().split(BEGIN)
    path.write_text(before + BEGIN + table() + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
