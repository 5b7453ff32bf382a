"""Per-channel weight scales: one for each input, and for each hidden neuron of a patch (the gains of SPEC.md, 7.2).

What an error of a weight does grows with the mean square of its input, and with how far its output moves the points.
Between neurons both differ by much, in the patch layers most: one step for a whole matrix would be too coarse for some
and too fine for the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.architecture import Architecture

Codes = NDArray[np.int32]

# What a code stands for: half octaves, nearly, and whole numbers, so that sums stay exact.
LEVELS = np.array([2, 3, 4, 6, 8, 12, 16, 24], np.int64)


def scaled_inputs(shape: Architecture) -> dict[str, int]:
    """Return the tensors whose inputs have weight scales, and how many inputs, in the order they are stored."""
    of_shared = {f"shared {i}": shape.shared[i - 1] for i in range(1, len(shape.shared))}
    return of_shared | {"patch": shape.shared[-1]}


@dataclass(frozen=True)
class WeightScales:
    """Codes of the weight scales, each an index of LEVELS.

    Attributes:
        rows: of each tensor's inputs (n,); the patches share theirs.
        columns: of the patches' hidden neurons, (K, H).
    """

    rows: dict[str, Codes]
    columns: Codes

    @classmethod
    def of_codes(cls, shape: Architecture, codes: Codes) -> WeightScales:
        """Return the weight scales of `codes` in a row."""
        inputs = scaled_inputs(shape)
        *rows, columns = np.split(codes, np.cumsum([*inputs.values()]))
        return cls(dict(zip(inputs, rows, strict=True)), columns.reshape(shape.patches, shape.patch))

    @staticmethod
    def count(shape: Architecture) -> tuple[int, int]:
        """Return how many inputs and how many hidden neurons have gains."""
        return sum(scaled_inputs(shape).values()), shape.patches * shape.patch

    def codes(self) -> Codes:
        """Return all codes in a row."""
        return np.concatenate([*self.rows.values(), self.columns.ravel()])

    def classes(self, tensor: str) -> Codes:
        """Return the sum of the codes that apply to each weight, to broadcast against the tensor."""
        if tensor not in self.rows:
            return np.zeros((), np.int32)
        rows = self.rows[tensor][:, None]
        return rows + self.columns[:, None] if tensor == "patch" else rows

    def factors(self, tensor: str) -> NDArray[np.int64]:
        """Return what each symbol is multiplied with, to broadcast against the tensor."""
        if tensor not in self.rows:
            return np.ones((), np.int64)
        rows = LEVELS[self.rows[tensor]][:, None]
        return rows * LEVELS[self.columns][:, None] if tensor == "patch" else rows
