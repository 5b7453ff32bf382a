"""Principal components of registered clouds, quantised and entropy-coded: what keeps a set in correspondence today.

A cloud is a mean and `K` fields of displacements, each times a coefficient of the cloud's own. The mean is coded as a
set of grid points, and its order is that of the file. The fields are coded over the decoded mean from coarse to fine
(`benchmarks.peers.levels`), the coefficients plainly or as first or second differences from cloud to cloud, whichever
is smaller. Coefficients are fitted anew to the fields as they are decoded. All numbers of a kind have one step size, in
units of what they move: that is what rate-distortion theory asks for.

`frontier` writes the files of many choices and keeps those that no smaller one beats.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.levels import Floats, Ints, Level, plan, walk
from pcqaad.formats.coding.point_sets import decode_points, encode_points
from pcqaad.formats.coding.symbols import Model, decode, encode

# Clouds, points, fields, bits of the mean's grid; bytes of the mean and of the fields; origin and step sizes.
_HEAD = struct.Struct("<IIHBII3fddd")
MAGNITUDES = 6  # contexts of a level by how large its neighbours' residuals are
DEAD = 0.12  # a residual is rounded down that much more readily: zeros are cheap
FINER = 0.7  # step size of a level in terms of the next finer one's: its errors are passed on
ORDERS = 3  # coefficients are coded plainly or as first or second differences
# Of the search, in parts of the diagonal: step sizes of fields, and the others in terms of them.
STEPS = tuple(0.0008 * 2 ** (i / 2) for i in range(13))
MEANS, COEFFICIENTS = (0.35, 0.7), (0.25,)
LEFT = (0.2, 0.6)  # what the fields leave, in terms of their step size


class Choice(NamedTuple):
    """What decides a file: its fields, and the step sizes of mean, fields and coefficients in parts of a diagonal."""

    fields: int
    mean: float
    field: float
    coefficient: float


class Components(NamedTuple):
    """Mean (M, 3), fields (K, M, 3) for coefficients of mean square 1, and the clouds less the mean (N, 3M)."""

    mean: Floats
    fields: Floats
    rest: Floats


def components(clouds: NDArray[np.floating], most: int) -> Components:
    """Return the principal components of clouds (N, M, 3), at most `most`."""
    flat = np.asarray(clouds, np.float64).reshape(len(clouds), -1)
    mean = flat.mean(0)
    rest = flat - mean
    energies, axes = np.linalg.eigh(rest @ rest.T)
    kept = np.flatnonzero(energies > 1e-12 * max(float(energies.max()), 1e-300))[::-1][:most]
    fields = axes[:, kept].T @ rest / np.sqrt(len(flat))
    return Components(mean.reshape(-1, 3), fields.reshape(len(kept), -1, 3), rest)


class _Fields:
    """Fields (3K, n) over points that both sides know, as integers and back."""

    def __init__(self, mean: Floats, count: int, step: float) -> None:
        self.levels, self.count = plan(mean), 3 * count
        self.steps = step * FINER ** np.arange(len(self.levels))[::-1]
        self.residuals = np.zeros((self.count, len(mean)), np.int64)

    def contexts(self, number: int, level: Level) -> Ints:
        """Return the context (3K * n,) of each residual of a level: by its level, and by its neighbours' residuals."""
        near = np.abs(self.residuals[:, level.neighbours]).sum(-1) if number else np.zeros((self.count, len(level[0])))
        # All axes of a field tell of each other.
        size = near.reshape(-1, 3, near.shape[-1]).sum(1)
        magnitude = np.minimum(np.ceil(np.log2(1 + size)), MAGNITUDES - 1).astype(np.int64)
        coarse = min(number, 256 // MAGNITUDES - 1)
        return (coarse * MAGNITUDES + np.repeat(magnitude, 3, axis=0)).reshape(-1)

    def encode(self, fields: Floats) -> tuple[bytes, Floats]:
        """Return the bytes of fields (3K, n), and the fields as they will be decoded."""
        coded: list[tuple[Ints, Ints]] = []

        def step(number: int, level: Level, prediction: Floats) -> Floats:
            scaled = (fields[:, level.points] - prediction) / self.steps[number]
            symbols = (np.sign(scaled) * np.floor(np.abs(scaled) + 0.5 - DEAD * (number > 0))).astype(np.int64)
            coded.append((symbols.reshape(-1), self.contexts(number, level)))
            self.residuals[:, level.points] = symbols
            return prediction + symbols * self.steps[number]

        decoded = walk(self.levels, self.count, step)
        symbols, contexts = (np.concatenate(each) for each in zip(*coded, strict=True))
        model = Model.fit(symbols, contexts)
        streams = [model.encode(*each) for each in coded]
        lengths = struct.pack(f"<{len(streams)}I", *map(len, streams))
        return model.to_bytes() + lengths + b"".join(streams), decoded

    def decode(self, data: bytes) -> Floats:
        """Return the fields (3K, n) of `encode`."""
        model, at = Model.from_bytes(data)
        lengths = struct.unpack_from(f"<{len(self.levels)}I", data, at)
        starts = at + 4 * len(lengths) + np.cumsum((0, *lengths))

        def step(number: int, level: Level, prediction: Floats) -> Floats:
            contexts = self.contexts(number, level)
            stream = data[starts[number] : starts[number + 1]]
            symbols = model.decode(stream, len(contexts), contexts).astype(np.int64).reshape(prediction.shape)
            self.residuals[:, level.points] = symbols
            return prediction + symbols * self.steps[number]

        return walk(self.levels, self.count, step)


class Fitted(NamedTuple):
    """A file of clouds.

    Attributes:
        data: its bytes.
        choice: what it was written by.
        error: the mean distance of its decoded points from the given, in the data's unit.
        order: which given point each decoded one is (M,). No file says it: as a set their order is as good as another.
    """

    data: bytes
    choice: Choice
    error: float
    order: Ints


def _displaced(mean: Floats, fields: Floats, coefficients: Floats) -> NDArray[np.float32]:
    """Return the clouds (N, M, 3) of coefficients (N, K)."""
    flat = coefficients.astype(np.float32) @ fields.astype(np.float32).reshape(len(fields), mean.size)
    return flat.reshape(len(coefficients), -1, 3) + mean.astype(np.float32)


def _unit(fields: Floats, step: float) -> Floats:
    """Return the step sizes (K,) of coefficients that move points by `step` in the root mean square."""
    rms = np.sqrt(np.square(fields).sum(-1).mean(-1))
    return step / np.maximum(rms, 1e-3 * max(float(rms.max(initial=0)), 1e-300))


def _encode_coefficients(symbols: Ints) -> bytes:
    """Return the bytes of coefficients (N, K): the order of differences of each column, then all of them."""
    if not symbols.size:
        return b""
    orders, columns = [], []
    for column in symbols.T:
        tried = [np.diff(column, order, prepend=[0] * order) if order else column for order in range(ORDERS)]
        orders.append(int(np.argmin([np.log2(1 + np.abs(each)).sum() for each in tried])))
        columns.append(tried[orders[-1]])
    contexts = np.repeat(np.arange(len(columns)) % 256, len(symbols))
    return bytes(orders) + encode(np.concatenate(columns), contexts)


def _decode_coefficients(data: bytes, clouds: int, fields: int) -> Ints:
    if not fields:
        return np.zeros((clouds, 0), np.int64)
    contexts = np.repeat(np.arange(fields) % 256, clouds)
    columns = decode(data[fields:], clouds * fields, contexts).astype(np.int64).reshape(fields, clouds)
    for column, order in zip(columns, data[:fields], strict=True):
        for _ in range(order):
            column[:] = np.cumsum(column)
    return columns.T


class _Search:
    """Files of the same clouds (N, M, 3) by many choices; what they share is computed once."""

    def __init__(self, clouds: NDArray[np.floating], diagonal: float, most: int) -> None:
        self.clouds, self.diagonal = clouds, diagonal
        self.found = components(clouds, most)
        # What the first k fields leave, k from 0: in the root mean square of a point.
        energies = np.square(self.found.fields).sum((1, 2))
        left = np.square(self.found.rest).sum() / len(clouds) - np.cumsum([0, *energies])
        self.left = np.sqrt(np.maximum(left, 0) / clouds.shape[1])
        self.means: dict[float, tuple[bytes, Ints, Floats, int]] = {}

    def mean(self, step: float) -> tuple[bytes, Ints, Floats, int]:
        """Return the bytes of the mean, the order that its points come back in, how they do (M, 3), and bits."""
        if step not in self.means:
            origin = self.found.mean.min(0).astype(np.float32)
            grid = np.round((self.found.mean - origin) / (step * self.diagonal)).astype(np.int64)
            bits = max(1, int(grid.max()).bit_length())
            data, (order,) = encode_points([grid], bits)
            self.means[step] = data, order, grid[order] * (step * self.diagonal) + origin, bits
        return self.means[step]

    def files(self, fields: int, mean: float, field: float, coefficients: tuple[float, ...]) -> Iterator[Fitted]:
        """Write the files that differ in the step size of their coefficients alone."""
        first, order, decoded_mean, bits = self.mean(mean)
        second, decoded = b"", np.zeros((0, len(order), 3))
        if fields:
            wanted = np.moveaxis(self.found.fields[:fields, order], 2, 1).reshape(3 * fields, -1)
            second, flat = _Fields(decoded_mean, fields, field * self.diagonal).encode(wanted)
            decoded = np.moveaxis(flat.reshape(fields, 3, -1), 1, 2)
        originals = self.clouds[:, order]
        basis = decoded.reshape(fields, 3 * len(order))
        rest = self.found.rest.reshape(self.clouds.shape)[:, order] + (self.found.mean[order] - decoded_mean)
        fitted = np.linalg.lstsq(basis @ basis.T, basis @ rest.reshape(len(rest), -1).T, rcond=1e-9)[0].T
        for coefficient in coefficients:
            step = _unit(decoded, coefficient * self.diagonal)
            symbols = np.round(fitted / step).astype(np.int64)
            third = _encode_coefficients(symbols)
            origin = self.found.mean.min(0).astype(np.float32)
            steps = [each * self.diagonal for each in (mean, field, coefficient)]
            head = _HEAD.pack(*symbols.shape[:1], len(order), fields, bits, len(first), len(second), *origin, *steps)
            there = _displaced(decoded_mean, decoded, symbols * step)
            error = float(np.linalg.norm(there - originals, axis=2).mean())
            yield Fitted(head + first + second + third, Choice(fields, mean, field, coefficient), error, order)


def decode_clouds(data: bytes) -> NDArray[np.float32]:
    """Return the clouds (N, M, 3) of a file. Their points are in one order, but not in that of the given clouds."""
    clouds, points, count, bits, first, second, *rest = _HEAD.unpack_from(data)
    origin, (mean_step, field_step, coefficient_step) = np.array(rest[:3]), rest[3:]
    at = _HEAD.size
    (grid,) = decode_points(data[at : at + first], [points], bits)
    mean = grid * mean_step + origin
    fields = np.zeros((0, points, 3))
    if count:
        flat = _Fields(mean, count, field_step).decode(data[at + first : at + first + second])
        fields = np.moveaxis(flat.reshape(count, 3, -1), 1, 2)
    symbols = _decode_coefficients(data[at + first + second :], clouds, count)
    return _displaced(mean, fields, symbols * _unit(fields, coefficient_step))


def frontier(
    clouds: NDArray[np.floating], diagonal: float, most: int = 64, tell: Callable[[str], None] = lambda _: None
) -> list[Fitted]:
    """Return the files of registered clouds (N, M, 3) that no smaller one beats, smallest first.

    Tries up to `most` fields: for each of their step sizes, as many as leave about as much as rounding does, or less.
    """
    search = _Search(clouds, diagonal, most)
    files: list[Fitted] = []
    for step in STEPS:
        enough = [search.left <= of * step * diagonal for of in LEFT]
        counts = {int(each.argmax()) if each.any() else len(each) - 1 for each in enough}
        for count, mean in product(sorted(counts), MEANS):
            tell(f"PCA: step {step:.4f}, {count} fields")
            files += search.files(count, mean * step, step, tuple(c * step for c in COEFFICIENTS))
    best: list[Fitted] = []
    for file in sorted(files, key=lambda each: (len(each.data), each.error)):
        if not best or file.error < best[-1].error:
            best.append(file)
    return best
