"""Attributes of decoded points against those of the originals, by nearest points both ways as MPEG's pc_error does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from pcqaad.bitstream.collection import Collection
from pcqaad.decoder.attributes import Attribute, Coding, to_luma
from pcqaad.errors import CloudError

Points = NDArray[np.floating]
Values = NDArray[Any]


class AttributeErrors(TypedDict, total=False):
    """How far an attribute of all clouds is from the originals'. Which keys there are depends on its kind.

    A point is compared with the nearest one of the other cloud. Both ways are measured, and the worse one counts.
    """

    name: str
    kind: str
    psnr: list[float | None]  # of colours: of luma and of the differences of blue and red, in dB; None where all agree
    worst: float  # of scalars, the largest error
    rms: float  # of scalars
    range: float  # of scalars: the originals' largest value less the least
    equal: float  # of labels, the part of points with the same one


class AttributeMeasure:
    """Compares clouds one by one."""

    def __init__(self, collection: Collection) -> None:
        """Take the file; the attributes of its clouds are read when they are compared."""
        self._attributes = collection.attributes
        self._read = [collection.attribute_of(a.name) for a in self._attributes]
        self._found: list[list[NDArray[np.float64]]] = [[] for _ in self._attributes]
        self._limits = [(np.inf, -np.inf)] * len(self._attributes)

    def compare(self, cloud: int, decoded: Points, original: Points, given: Mapping[str, Values], name: str) -> None:
        """Compare a cloud (m, 3) with its original (n, 3), by the original's attributes; raises CloudError."""
        if not self._attributes:
            return
        _, there = KDTree(original).query(decoded)
        _, back = KDTree(decoded).query(original)
        for i, (a, read) in enumerate(zip(self._attributes, self._read, strict=True)):
            if a.name not in given:
                raise CloudError(f"{name}: the original has no attribute {a.name!r}")
            own, true = read(cloud), given[a.name].reshape(len(original), -1)
            if true.shape[1] != a.channels:
                raise CloudError(f"{name}: expected {a.channels} numbers of attribute {a.name!r} a point")
            ways = (own, true[there]), (own[back], true)
            self._found[i].append(np.array([_differences(a, *way) for way in ways]))
            low, high = self._limits[i]
            self._limits[i] = min(low, float(true.min())), max(high, float(true.max()))

    def summary(self) -> list[AttributeErrors]:
        """Return the figures of all clouds together."""
        return [
            _summary(a, np.array(found), high - low)
            for a, found, (low, high) in zip(self._attributes, self._found, self._limits, strict=True)
            if found
        ]


def _differences(attribute: Attribute, values: Values, others: Values) -> list[float]:
    """Return mean squares, per channel of colours; of labels the part of equal ones; of scalars the largest, too."""
    if attribute.coding is Coding.LABELS:
        return [float((values == others).mean())]
    if attribute.coding is Coding.COLOURS:
        squares: list[float] = np.square(to_luma(values) - to_luma(others)).mean(0).tolist()
        return squares
    apart = np.abs(values.astype(np.float64) - others.astype(np.float64))
    return [float(np.square(apart).mean()), float(apart.max())]


def _summary(attribute: Attribute, found: NDArray[np.float64], span: float) -> AttributeErrors:
    """Return the figures of differences (clouds, 2 ways, numbers)."""
    result: AttributeErrors = {"name": attribute.name, "kind": attribute.kind}
    if attribute.coding is Coding.LABELS:
        return {**result, "equal": float(found.mean(0).min())}
    squares = found.mean(0).max(0)
    if attribute.coding is Coding.COLOURS:
        largest = 1.0 if attribute.type.kind == "f" else float(np.iinfo(attribute.type).max)
        psnr = [10 * float(np.log10(largest**2 / square)) if square > 0 else None for square in squares]
        return {**result, "psnr": psnr}
    return {**result, "worst": float(found[..., 1].max()), "rms": float(np.sqrt(squares[0])), "range": span}
