"""MPEG's G-PCC by its reference software TMC13: octree and trisoup, all clouds as the frames of one stream.

The user gives the binary: https://github.com/MPEGGroup/mpeg-pcc-tmc13, built as its README says (cmake, make), tested
with release 23. Options are those of its common test conditions (`cfg/octree-raht-ctc-lossy-geom-lossy-attrs.yaml` and
`trisoup-...`), with one change: the octree keeps points that fall on one another, so that EM-kD can be measured.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.clouds.ply import read_ply, write_ply

_SAME = ("--neighbourAvailBoundaryLog2=8", "--intra_pred_max_node_size_log2=6", "--planarEnabled=1")
_OCTREE = ("--trisoupNodeSizeLog2=0", "--mergeDuplicatedPoints=0", "--inferredDirectCodingMode=1")
_TRISOUP = ("--mergeDuplicatedPoints=1", "--inferredDirectCodingMode=0", "--trisoupQuantizationBits=2")


def code(clouds: NDArray[np.float32], bits: int, tmc3: str, node: int = 0) -> tuple[list[NDArray[np.float32]], int]:
    """Code clouds (N, M, 3) on the grid of 2**bits steps along the longest side of all.

    Args:
        clouds: what to code.
        bits: of the grid.
        tmc3: path of TMC13's binary.
        node: log2 of trisoup's node size; 0 for the octree.

    Returns the decoded clouds, of as many points as the codec makes of each, and the bytes of the stream. Ends the run
    where the binary fails.
    """
    low = clouds.min((0, 1))
    step = np.float32(max(float((clouds.max((0, 1)) - low).max()), 1e-30) / (2**bits - 1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i, cloud in enumerate(clouds):
            write_ply(folder / f"given_{i:04d}.ply", np.round((cloud - low) / step))
        stream = folder / "stream.bin"
        way = (*_TRISOUP, f"--trisoupNodeSizeLog2={node}") if node else _OCTREE
        given = (f"--uncompressedDataPath={folder}/given_%04d.ply", f"--frameCount={len(clouds)}")
        _run(tmc3, "--mode=0", *given, f"--compressedStreamPath={stream}", *_SAME, *way)
        _run(tmc3, "--mode=1", f"--compressedStreamPath={stream}", f"--reconstructedDataPath={folder}/decoded_%04d.ply")
        decoded = [read_ply(folder / f"decoded_{i:04d}.ply")[0] for i in range(len(clouds))]
        return [(x * step + low).astype(np.float32) for x in decoded], stream.stat().st_size


def _run(tmc3: str, *options: str) -> None:
    try:
        done = subprocess.run([tmc3, *options], capture_output=True, text=True, check=False)
    except OSError as error:
        sys.exit(f"{tmc3}: {error.strerror}")
    if done.returncode:
        sys.exit(f"{tmc3}: {(done.stderr or done.stdout).strip()[-300:]}")
