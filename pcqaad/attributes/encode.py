"""Attributes of a collection -> integers: means, components where they pay, and what each cloud has beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcqaad.bitstream.attributes import Coded, Shared
from pcqaad.decoder.attributes import (
    COEFFICIENT_BITS,
    LARGEST_COEFFICIENT,
    MIN_FINER,
    Attribute,
    Coding,
    base_of,
    to_luma,
    whole,
)
from pcqaad.errors import CloudError
from pcqaad.formats.coding.fields import DEAD_ZONE, FRACTION_BITS, Cells, encode_fields_over
from pcqaad.formats.coding.labels import label_parts
from pcqaad.formats.coding.residuals import Part, Residual, exact_residual, model_of, round_residual

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
# Returns the values (M, channels) that a cloud's decoded points have of an attribute.
Carried = Callable[[int], NDArray[Any]]
# Returns the mean squared error of luma of a cloud that decodes to colours (M, 3).
Error = Callable[[int, NDArray[Any]], float]

_SAMPLE = 16  # clouds on which steps and numbers of components are chosen
_ROUNDS = 9  # of the search for a step, at most
_NEAR = 0.05  # dB that a quality may be better than asked for
# Of a field: its steps times the square root of its points stay below.
_LARGEST_FIELD = 2.0**22
_MOST_COMPONENTS = 16  # that are tried
_LEAST_CLOUDS = 8  # for components
# A bit is worth so many squared steps of error: about what halving the steps buys.
_LAMBDA = 0.15
_COARSER_CHROMA = 2.0  # the eye sees less of it


@dataclass(frozen=True)
class Basis:
    """What clouds have in common of an attribute, as a file holds it, and as it decodes."""

    shared: Shared
    mean: Ints  # (M, C), or the usual labels (M,)
    components: Ints  # (K, M, C)

    def base(self, cloud: int) -> Ints:
        """Return what is foretold of a cloud's numbers (M, C)."""
        return base_of(self.mean, self.components, self.shared.coefficients[cloud], self.shared.attribute.finer)


def encode_attribute(
    attribute: Attribute, carried: Carried, clouds: int, cells: Cells, quality: float, error: Error | None = None
) -> Coded:
    """Code an attribute of N clouds; of colours at a `quality` in dB of their `error`, that of coding alone where None.

    Raises CloudError for values that no file holds at such steps.
    """
    try:
        if attribute.coding is Coding.LABELS:
            return _labels(attribute, carried, clouds, cells)
        if attribute.coding is Coding.COLOURS:
            attribute = _colour_steps(attribute, carried, clouds, cells, quality, error)
        attribute = replace(attribute, finer=_finer(attribute, carried, clouds, len(cells)))
        basis = _with_components(attribute, carried, clouds, cells)
        parts = [residual(attribute, carried(i), basis.base(i), cells).parts for i in range(clouds)]
    except ValueError as error:
        raise CloudError(f"attribute {attribute.name!r} cannot be coded: {error}") from error
    return Coded(basis.shared, parts)


def residual(attribute: Attribute, values: NDArray[Any], base: Ints, cells: Cells) -> Residual:
    """Code a cloud's values (M, C) beside what is foretold of its numbers (M, C); raises ValueError."""
    steps = to_steps(attribute, values)
    if attribute.coding is Coding.EXACT:
        return exact_residual(np.floor(steps + 0.5).astype(np.int64) - whole(base), cells)
    return round_residual(steps - np.ldexp(base.astype(np.float64), -FRACTION_BITS), cells, DEAD_ZONE)


def to_steps(attribute: Attribute, values: NDArray[Any]) -> Floats:
    """Return values (..., channels) in steps, not rounded."""
    exact = to_luma(values) if attribute.coding is Coding.COLOURS else values.astype(np.float64)
    steps: Floats = (exact - np.array(attribute.offsets)) / np.array(attribute.units)
    return steps


def decoded(attribute: Attribute, base: Ints, coded: Residual) -> NDArray[Any]:
    """Return the values (M, C) that a reader gets."""
    return attribute.values((whole(base) if attribute.coding is Coding.EXACT else base) + coded.decoded)


def luma_error(values: NDArray[Any], others: NDArray[Any]) -> float:
    """Return the mean squared difference of luma."""
    return float(np.square(to_luma(values)[..., 0] - to_luma(others)[..., 0]).mean())


def peak(attribute: Attribute) -> float:
    """Return the largest value of a colour's channel."""
    return 1.0 if attribute.type.kind == "f" else float(np.iinfo(attribute.type).max)


def psnr(squares: float, largest: float) -> float:
    """Return the peak signal to noise ratio in dB, at most 999."""
    return 999.0 if squares <= 0 else min(10 * math.log10(largest**2 / squares), 999.0)


def _colour_steps(
    attribute: Attribute, carried: Carried, clouds: int, cells: Cells, quality: float, error: Error | None
) -> Attribute:
    """Return the attribute with the coarsest steps found that reach the quality, on the mean of some clouds.

    Where noise among the originals' own points lets no steps reach it, they are those whose error hardly adds to that.
    """
    some = sample(clouds)
    values = [carried(i) for i in some]
    mean: Floats = np.round(np.stack([to_luma(v).mean(0) for v in values]).mean(0), 6)
    offsets = tuple(mean.tolist())
    largest = peak(attribute)
    finer = _digits(clouds)

    def stepped(unit: float) -> Attribute:
        units = unit, _COARSER_CHROMA * unit, _COARSER_CHROMA * unit
        return replace(attribute, offsets=offsets, units=units, finer=finer)

    def reached(unit: float) -> float:
        one = stepped(unit)
        basis = _basis(one, [to_steps(one, v) for v in values], np.zeros((clouds, 0), np.int64), [], cells)
        base = base_of(basis.mean, basis.components, np.zeros(0, np.int64), finer)
        found = (decoded(one, base, residual(one, v, base, cells)) for v in values)
        if error is not None:
            squares = [error(i, f) for i, f in zip(some, found, strict=True)]
        else:
            squares = [luma_error(v, f) for v, f in zip(values, found, strict=True)]
        return psnr(float(np.mean(squares)), largest)

    # Such steps are too fine: of noise, they make an error of a twelfth of their square. Of what is smooth, less.
    low = largest * 10 ** (-quality / 20) * math.sqrt(12) / 2
    high, of_low, of_high = math.inf, reached(low), -math.inf
    if of_low < quality:
        return stepped(low)
    for _ in range(_ROUNDS):
        if of_low < quality + _NEAR:
            break
        if high == math.inf:
            middle = 2 * low
        else:
            # Quality falls about as the logarithm of the steps rises.
            part = (of_low - quality) / (of_low - of_high)
            middle = low * (high / low) ** min(max(part, 0.1), 0.9)
        found = reached(middle)
        if found >= quality:
            low, of_low = middle, found
        else:
            high, of_high = middle, found
    return stepped(low)


def _digits(clouds: int) -> int:
    """Return the binary digits by which the steps of what N clouds share are best finer than their own.

    An error in it is one in all of them, and its bits are paid once: so its squared steps are an Nth of theirs.
    """
    return round(0.5 * math.log2(clouds))


def _finer(attribute: Attribute, carried: Carried, clouds: int, points: int) -> int:
    """Return these digits, or fewer where the field of the mean could not hold its values."""
    reach = max(float(np.abs(to_steps(attribute, carried(i))).max()) for i in range(clouds))
    room = math.floor(math.log2(_LARGEST_FIELD / (max(reach, 1.0) * math.sqrt(points))))
    return max(min(_digits(clouds), room), MIN_FINER)


def sample(clouds: int) -> list[int]:
    """Return the clouds on which steps and components are chosen."""
    return [int(i) for i in np.unique(np.linspace(0, clouds - 1, min(clouds, _SAMPLE)).round())]


def _basis(
    attribute: Attribute, steps: Sequence[Floats], coefficients: Ints, fields: list[Floats], cells: Cells
) -> Basis:
    """Code the mean of some clouds' steps (M, C) each, and components (M, C), in steps, that belong to coefficients."""
    scale = 2.0**attribute.finer
    data, mean = encode_fields_over(np.mean(steps, 0) * scale, cells)
    none = np.zeros((0, *mean.shape), np.int64)
    attribute = replace(attribute, components=len(fields))
    if not fields:
        return Basis(Shared(attribute, data, b"", coefficients, b""), mean, none)
    packed = np.stack(fields, 1).reshape(len(cells), -1) * scale
    coded, rounded = encode_fields_over(packed, cells)
    components = rounded.reshape(len(cells), len(fields), -1).transpose(1, 0, 2)
    return Basis(Shared(attribute, data, coded, coefficients, b""), mean, components)


def _with_components(attribute: Attribute, carried: Carried, clouds: int, cells: Cells) -> Basis:
    """Return the mean of all clouds, and as many of the components as pay."""
    total, gram = np.zeros((len(cells), attribute.channels)), np.zeros((clouds, clouds))
    for i in range(clouds):
        total += to_steps(attribute, carried(i))
    mean = total / clouds
    none = np.zeros((clouds, 0), np.int64)
    best = _basis(attribute, [mean], none, [], cells)
    if clouds < _LEAST_CLOUDS:
        return best
    rows = np.stack([(to_steps(attribute, carried(i)) - mean).astype(np.float32).ravel() for i in range(clouds)])
    gram = rows.astype(np.float64) @ rows.T if rows.size < 2**24 else (rows @ rows.T).astype(np.float64)
    _, vectors = np.linalg.eigh(gram)
    scores = vectors[:, ::-1] * math.sqrt(clouds)
    some = sample(clouds)
    least = _cost(best, carried, some, cells, clouds)
    count = 1
    while count <= min(_MOST_COMPONENTS, clouds // 2):
        fields = [(scores[:, k] @ rows / clouds).reshape(mean.shape).astype(np.float64) for k in range(count)]
        draft = _basis(attribute, [mean], none, fields, cells)
        coefficients = fitted(draft.components, rows, attribute.finer)
        shared = replace(draft.shared, coefficients=coefficients)
        found = replace(draft, shared=shared)
        cost = _cost(found, carried, some, cells, clouds)
        if cost >= least:
            break
        best, least, count = found, cost, 2 * count
    return best


def fitted(components: Ints, rows: NDArray[np.float32], finer: int) -> Ints:
    """Return the coefficients (N, K) with which decoded components come nearest to rows (N, M C), in steps."""
    flat = np.ldexp(components.reshape(len(components), -1).astype(np.float64), -FRACTION_BITS - finer)
    square = flat @ flat.T
    solved = np.linalg.lstsq(square, flat @ rows.T.astype(np.float64), rcond=1e-9)[0].T
    fine = np.rint(np.ldexp(solved, COEFFICIENT_BITS))
    coefficients: Ints = fine.clip(-LARGEST_COEFFICIENT, LARGEST_COEFFICIENT).astype(np.int64)
    return coefficients


def _cost(basis: Basis, carried: Carried, some: Sequence[int], cells: Cells, clouds: int) -> float:
    """Return about the bits of all clouds, and what their errors are worth in bits."""
    shared, attribute = basis.shared, basis.shared.attribute
    errors, every = 0.0, list[list[Part]]()
    for i in some:
        values, base = carried(i), basis.base(i)
        coded = residual(attribute, values, base, cells)
        every.append(coded.parts)
        if attribute.coding is not Coding.EXACT:
            left = to_steps(attribute, values) - np.ldexp((base + coded.decoded).astype(np.float64), -FRACTION_BITS)
            errors += float(np.square(left).sum()) / _LAMBDA
    model = model_of(every)
    bits = 8.0 * sum(len(model.encode_parts(parts)) for parts in every)
    of_coefficients = 7 * shared.coefficients.size
    return (bits + errors) * clouds / len(some) + 8 * (len(shared.mean) + len(shared.components)) + of_coefficients


def _labels(attribute: Attribute, carried: Carried, clouds: int, cells: Cells) -> Coded:
    """Code labels: of each point the most common one, and where clouds have others."""
    usual = most_common(carried, clouds, len(cells))
    parts = label_parts(usual, None, cells)
    model = model_of([parts])
    shared = Shared(attribute, model.to_bytes() + model.encode_parts(parts), b"", np.zeros((clouds, 0), np.int64), b"")
    return Coded(shared, [label_parts(carried(i)[:, 0].astype(np.int64), usual, cells) for i in range(clouds)])


def most_common(carried: Carried, clouds: int, points: int) -> Ints:
    """Return the most common label of each point (M,), the least of several."""
    values = np.unique(np.concatenate([np.unique(carried(i)) for i in range(clouds)]))
    most, best = np.zeros(points, np.int64), np.zeros(points, np.int64)
    for value in values.tolist():
        count = np.sum([carried(i)[:, 0] == value for i in range(clouds)], axis=0)
        more = count > most
        best[more], most[more] = value, count[more]
    return best
