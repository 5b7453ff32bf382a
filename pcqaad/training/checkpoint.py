"""What a fit leaves behind to go on from: one .npz beside the output, arrays and JSON, no pickle."""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.errors import CheckpointError, Error
from pcqaad.formats.atomic import atomic_path
from pcqaad.points.collect import CloudSet, allocate
from pcqaad.settings import Settings

# Settings that a continued fit may be given anew: none of them decides what the checkpoint can be loaded into. Where
# epochs, minutes or tuning change, the rate falls differently from here on than it would have done in one go.
_FREE = ("epochs", "minutes", "device", "tolerance", "measure", "tune", "max_emkd")
# Tells a checkpoint, and the version of its layout.
_KIND = "pcqaad checkpoint 6"
_UNREADABLE = "not a checkpoint that can be read: remove it, or fit without --resume"


@dataclass
class Checkpoint:
    """A fit between two steps."""

    assignments: NDArray[np.int32]  # (N, M), the matching
    step: int  # the number of the step that comes next
    elapsed: float  # seconds of wall clock spent
    prepared: float  # those of them that passed before the first step
    arrays: dict[str, NDArray[Any]]  # the network's and the optimiser's; empty before the first step

    @property
    def latent(self) -> int | None:
        """The latent size that the fit had settled on; None before the first step."""
        latents = self.arrays.get("network latents")
        return None if latents is None else int(latents.shape[1])

    def save(self, path: Path, clouds: CloudSet, settings: Settings) -> None:
        """Write the checkpoint, whole or not at all."""
        header = {"kind": _KIND, "collection": clouds.fingerprint, "settings": settings.as_json()}
        header |= {"step": self.step, "elapsed": self.elapsed, "prepared": self.prepared}
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            arrays: dict[str, Any] = {f"array {name}": value for name, value in self.arrays.items()}
            np.savez(file, header=np.array(json.dumps(header)), assignments=self.assignments, **arrays)

    @classmethod
    def load(cls, path: Path, clouds: CloudSet, settings: Settings) -> Checkpoint:
        """Read a checkpoint of these clouds and settings, but for `_FREE`; raises CheckpointError for another."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                header = json.loads(str(stored["header"]))
                arrays = {n.removeprefix("array "): stored[n] for n in stored.files if n.startswith("array ")}
            kind, collection, made = header["kind"], header["collection"], dict(header["settings"])
            step, elapsed, prepared = int(header["step"]), float(header["elapsed"]), float(header["prepared"])
            found = cls(_read_assignments(path), step, elapsed, prepared, arrays)
        except Error:
            raise
        # numpy, zipfile, json and what they parse with raise whatever a damaged byte leads them to.
        except Exception as error:
            raise CheckpointError(f"{path}: {_UNREADABLE}") from error
        count, points = len(clouds.targets), clouds.targets.points
        if kind != _KIND or found.assignments.shape != (count, points):
            raise CheckpointError(f"{path}: not a checkpoint of {count} clouds of {points} points; remove it")
        if collection != clouds.fingerprint:
            raise CheckpointError(f"{path}: made from other clouds; remove it, or give the clouds it was made from")
        # A setting that its version did not know had what is now the default.
        default, asked = (json.loads(json.dumps(given.as_json())) for given in (Settings(), settings))
        made = default | made
        if other := [f"{key} {made[key]}" for key in asked if key not in _FREE and asked[key] != made[key]]:
            text = f"fitted with other settings ({', '.join(other)}); give the same ones, or remove it"
            raise CheckpointError(f"{path}: {text}")
        sane = step >= 0 and 0 <= prepared < math.inf and 0 <= elapsed < math.inf
        sane &= arrays.get("network latents", np.zeros((1, 1))).ndim == 2
        sane &= all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays.values())
        if not (sane and all(map(_is_permutation, found.assignments))):
            raise CheckpointError(f"{path}: {_UNREADABLE}")
        return found


def _is_permutation(assignment: NDArray[np.int32]) -> bool:
    """Say whether every point is assigned once; a fit would give others to a template point twice."""
    seen = np.zeros(len(assignment), np.bool_)
    seen[assignment[(assignment >= 0) & (assignment < len(seen))]] = True
    return bool(seen.all())


def _read_assignments(path: Path) -> NDArray[np.int32]:
    """Read the matching (N, M) to where a fit keeps it: in a temporary file where it is large."""
    with zipfile.ZipFile(path) as archive, archive.open("assignments.npy") as member:
        np.lib.format.read_magic(member)
        shape, column_wise, of = np.lib.format.read_array_header_1_0(member)
        if column_wise or of != np.int32 or len(shape) != 2:
            raise ValueError(f"assignments of {of} {shape}")
        assignments: NDArray[np.int32] = allocate(shape, np.int32)
        for row in assignments:
            row[:] = np.frombuffer(member.read(row.nbytes), np.int32)
    return assignments
