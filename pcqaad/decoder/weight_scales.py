"""Per-channel weight scales: one for each input, and one for each hidden neuron of a patch. SPEC.md (7.2): gains.

An error of a weight matters more the larger the mean square of its input is, and the farther its output moves the
points. Both differ much between neurons, in the patch layers most: one step size for a whole matrix would be too coarse
for some and too fine for the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.architecture import Architecture

Codes = NDArray[np.int32]

# The factor of each code: about half an octave apart, and whole numbers, so that sums stay exact.
LEVELS = np.array([2, 3, 4, 6, 8, 12, 16, 24], np.int64)


def scaled_inputs(architecture: Architecture) -> dict[str, int]:
    """Return how many inputs have a weight scale in each tensor that has any, in the order they are stored."""
    widths = architecture.shared
    return {f"shared {i}": widths[i - 1] for i in range(1, len(widths))} | {"patch": widths[-1]}


@dataclass(frozen=True)
class WeightScales:
    """Codes of the weight scales, each an index of LEVELS."""

    rows: dict[str, Codes]  # of each tensor's inputs (n,); the patches share theirs
    columns: Codes  # (K, H) of the patches' hidden neurons

    @classmethod
    def of_codes(cls, architecture: Architecture, codes: Codes) -> WeightScales:
        """Return the weight scales of `codes` in a row."""
        inputs = scaled_inputs(architecture)
        *rows, columns = np.split(codes, np.cumsum([*inputs.values()]))
        return cls(dict(zip(inputs, rows, strict=True)), columns.reshape(architecture.patches, architecture.patch))

    @staticmethod
    def count(architecture: Architecture) -> tuple[int, int]:
        """Return how many inputs and how many hidden neurons have a weight scale."""
        return sum(scaled_inputs(architecture).values()), architecture.patches * architecture.patch

    def codes(self) -> Codes:
        """Return all codes in a row."""
        return np.concatenate([*self.rows.values(), self.columns.ravel()])

    def classes(self, tensor: str) -> Codes:
        """Return the sum of the codes that apply to each weight, to broadcast against the tensor."""
        return sum(self._applied(tensor), np.zeros((), np.int32))

    def factors(self, tensor: str) -> NDArray[np.int64]:
        """Return the factor of each symbol, to broadcast against the tensor."""
        return math.prod((LEVELS[codes] for codes in self._applied(tensor)), start=np.ones((), np.int64))

    def _applied(self, tensor: str) -> list[Codes]:
        rows = [self.rows[tensor][:, None]] if tensor in self.rows else []
        return [*rows, self.columns[:, None]] if tensor == "patch" else rows
