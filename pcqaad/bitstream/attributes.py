"""The ATTR section: what points have beside their places (formats/SPEC.md, 7.13)."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pcqaad.bitstream.tags import ATTRIBUTES_TAG, in_section
from pcqaad.decoder.attributes import (
    LARGEST_COEFFICIENT,
    LARGEST_NUMBER,
    MAX_ATTRIBUTES,
    MAX_CHANNELS,
    MAX_COMPONENTS,
    MAX_FINER,
    MIN_FINER,
    TYPES,
    Attribute,
    Coding,
    base_of,
    fit_name,
    whole,
)
from pcqaad.errors import CloudError
from pcqaad.formats.coding.fields import Cells, decode_fields_over
from pcqaad.formats.coding.labels import read_labels
from pcqaad.formats.coding.residuals import Part, model_of, read_model, read_residual
from pcqaad.formats.coding.symbols import Model, decode, encode
from pcqaad.formats.container.container import RAW, Container, Section
from pcqaad.formats.container.groups import Groups, pack_groups
from pcqaad.formats.errors import FormatError

Ints = NDArray[np.int64]

TOGETHER = 16  # clouds of a group
# Numbers that are all alike take no bytes: a section may hold this many of all points' means and components in any
# case, and more by the length of its first group.
_FREE, _PER_BYTE = 2**20, 2**12
_MAX_NUMBER = 5  # bytes of a length


@dataclass(frozen=True)
class Shared:
    """What all clouds have in common of an attribute, as bytes, and what is known of each."""

    attribute: Attribute
    mean: bytes  # fields of the mean, or the usual labels
    components: bytes  # fields
    coefficients: Ints  # (N, K)
    model: bytes  # of the clouds' streams


@dataclass(frozen=True)
class Coded:
    """An attribute of N clouds, coded up to the model of what each has by itself."""

    shared: Shared  # its model empty
    parts: list[list[Part]]  # of each cloud

    def attached(self, others: list[list[Part]], coefficients: Ints) -> Coded:
        """Return the same with more clouds behind."""
        shared = self.shared
        both = np.concatenate([shared.coefficients, coefficients])
        shared = Shared(shared.attribute, shared.mean, shared.components, both, b"")
        return Coded(shared, self.parts + others)


def attributes_section(coded: Sequence[Coded], points: int) -> tuple[Section, list[int]]:
    """Return the section, and the bytes of each attribute; raises CloudError for more than a reader accepts."""
    models = [model_of(one.parts) for one in coded]
    streams = [[model.encode_parts(p) for p in one.parts] for model, one in zip(models, coded, strict=True)]
    described = [_described(one.shared, model.to_bytes()) for model, one in zip(models, coded, strict=True)]
    first = bytes([len(coded)]) + b"".join(described)
    groups = [first]
    for low in range(0, len(streams[0]), TOGETHER):
        clouds = [s for cloud in zip(*(of[low : low + TOGETHER] for of in streams), strict=True) for s in cloud]
        groups.append(b"".join(map(_number, map(len, clouds))) + b"".join(clouds))
    if problem := _excess([one.shared.attribute for one in coded], points, len(first)):
        raise CloudError(f"attributes that are nearly all alike: {problem}")
    sizes = [len(d) + sum(len(s) + len(_number(len(s))) for s in of) for d, of in zip(described, streams, strict=True)]
    return Section(ATTRIBUTES_TAG, pack_groups(groups), RAW, version=2), sizes


def _described(shared: Shared, model: bytes) -> bytes:
    """Return an attribute as the first group holds it."""
    a = shared.attribute
    name = a.name.encode()
    out = bytes([len(name)]) + name + bytes([TYPES.index(a.type), a.channels, a.coding])
    parts = [shared.mean]
    if a.coding is not Coding.LABELS:
        pairs = zip(a.offsets, a.units, strict=True)
        out += bytes([a.finer - MIN_FINER, a.components]) + b"".join(struct.pack("<dd", *pair) for pair in pairs)
        if a.components:
            parts += [shared.components, encode(shared.coefficients.ravel().astype(np.int32))]
    return out + b"".join(_number(len(part)) + part for part in (*parts, model))


def _number(value: int) -> bytes:
    """Return a number of 32 bits, seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


class _Bytes:
    """Bytes that are read from their beginning."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        """Return the next bytes; raises FormatError where there are fewer."""
        if count > (left := len(self._data) - self._at):
            raise FormatError(f"expected {count} bytes, found {left}")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self) -> int:
        """Return the next number; raises FormatError for one that is not written as short as can be."""
        value = 0
        for i in range(_MAX_NUMBER):
            (byte,) = self.take(1)
            value |= (byte & 127) << (7 * i)
            if byte < 128:
                if (i and not byte) or value >= 2**32:
                    break
                return value
        raise FormatError("expected a number of 32 bits in as few bytes as it takes, found another")

    def block(self) -> bytes:
        """Return bytes behind their number."""
        return self.take(self.number())

    def finish(self) -> None:
        """Raise FormatError unless all was read."""
        if left := len(self._data) - self._at:
            raise FormatError(f"expected the end, found {left} bytes more")


class AttributeReader:
    """Reads the section: the first group when something is asked for, a cloud's when it is."""

    def __init__(
        self, container: Container, clouds: int, points: int, cells: Callable[[], Cells] | None = None
    ) -> None:
        """Take the file, its numbers of clouds and of points, and what returns their cells, to read values by."""
        self._clouds, self._points, self._get_cells = clouds, points, cells
        self._container = container

    @cached_property
    def shared(self) -> list[Shared]:
        """What the clouds have in common, of each attribute; raises FormatError."""
        with in_section(ATTRIBUTES_TAG):
            data = self._groups.read(0)
            reader = _Bytes(data)
            count = reader.take(1)[0]
            if not 1 <= count <= MAX_ATTRIBUTES:
                raise FormatError(f"expected 1 to {MAX_ATTRIBUTES} attributes, found {count}")
            found = [_read_described(reader, self._clouds) for _ in range(count)]
            reader.finish()
            attributes = [shared.attribute for shared in found]
            if len({a.name for a in attributes}) != count:
                raise FormatError("expected attributes of different names, found two of one")
            if problem := _excess(attributes, self._points, len(data)):
                raise FormatError(problem)
        return found

    def read(self, cloud: int, number: int) -> NDArray[np.generic]:
        """Return the values (points, channels) of one attribute of a cloud, in its type; raises FormatError."""
        return self.attributes[number].values(self._decoded(cloud, number)[0])

    def coded(self, number: int) -> Coded:
        """Return an attribute of all clouds as it is coded, to be coded with more; raises FormatError."""
        parts = [self._decoded(cloud, number)[1] for cloud in range(self._clouds)]
        return Coded(self.shared[number], parts)

    def base(self, number: int, coefficients: Ints) -> Ints:
        """Return what is foretold of a cloud's numbers (points, channels), with coefficients (K,) of its own."""
        with in_section(ATTRIBUTES_TAG):
            mean, components = self._fields(number)
            return base_of(mean, components, coefficients, self.attributes[number].finer)

    def usual(self, number: int) -> Ints:
        """Return the usual labels (points,) of an attribute of labels; raises FormatError."""
        with in_section(ATTRIBUTES_TAG):
            return self._fields(number)[0]

    def components(self, number: int) -> Ints:
        """Return the components (K, points, channels) of an attribute, in their steps of 2**-12; raises FormatError."""
        with in_section(ATTRIBUTES_TAG):
            return self._fields(number)[1]

    @property
    def attributes(self) -> list[Attribute]:
        """The attributes; raises FormatError."""
        return [shared.attribute for shared in self.shared]

    def sizes(self) -> list[int]:
        """Return the bytes of each attribute; raises FormatError."""
        sizes = [len(_described(shared, shared.model)) for shared in self.shared]
        for group in range(1, len(self._groups)):
            for i, stream in enumerate(self._streams(group)):
                sizes[i % len(sizes)] += len(stream) + len(_number(len(stream)))
        return sizes

    @cached_property
    def cells(self) -> Cells:
        """The cells of the points."""
        assert self._get_cells is not None
        return self._get_cells()

    @cached_property
    def _groups(self) -> Groups:
        groups = self._container.groups(ATTRIBUTES_TAG)
        if len(groups) != (expected := 1 + math.ceil(self._clouds / TOGETHER)):
            raise FormatError(f"expected {expected} groups, found {len(groups)}", where=ATTRIBUTES_TAG)
        return groups

    @cached_property
    def _kept(self) -> dict[int, tuple[Ints, Ints]]:
        return {}

    @cached_property
    def _models(self) -> list[Model]:
        return [read_model(shared.model) for shared in self.shared]

    def _fields(self, number: int) -> tuple[Ints, Ints]:
        """Return the mean (M, C) and the components (K, M, C) of an attribute; of labels the usual ones (M,)."""
        if number not in self._kept:
            shared, cells = self.shared[number], self.cells
            a = shared.attribute
            none = np.zeros((0, len(cells), a.channels), np.int64)
            if a.coding is Coding.LABELS:
                model, end = Model.from_bytes(shared.mean)
                self._kept[number] = read_labels(model.reader(shared.mean[end:]), None, cells)[0], none
            else:
                mean = decode_fields_over(shared.mean, cells, a.channels)
                fields = none
                if a.components:
                    fields = decode_fields_over(shared.components, cells, a.components * a.channels)
                    fields = fields.reshape(len(cells), a.components, a.channels).transpose(1, 0, 2)
                self._kept[number] = mean, fields
        return self._kept[number]

    def _decoded(self, cloud: int, number: int) -> tuple[Ints, list[Part]]:
        """Return the numbers (M, C) of one attribute of a cloud, and the parts that hold them."""
        with in_section(ATTRIBUTES_TAG):
            shared = self.shared[number]
            a, group = shared.attribute, cloud // TOGETHER
            stream = self._streams(1 + group)[(cloud - group * TOGETHER) * len(self.shared) + number]
            reader = self._models[number].reader(stream)
            if a.coding is Coding.LABELS:
                labels, parts = read_labels(reader, self._fields(number)[0], self.cells)
                return labels[:, None], parts
            exact = a.coding is Coding.EXACT
            base = self.base(number, shared.coefficients[cloud])
            rest = read_residual(reader, self.cells, a.channels, exact)
            return (whole(base) if exact else base) + rest.decoded, rest.parts

    def _streams(self, group: int) -> list[bytes]:
        """Return the streams of a group's clouds, one of each attribute."""
        count = min(TOGETHER, self._clouds - TOGETHER * (group - 1)) * len(self.shared)
        reader = _Bytes(self._groups.read(group))
        with in_section(ATTRIBUTES_TAG):
            lengths = [reader.number() for _ in range(count)]
            streams = [reader.take(length) for length in lengths]
            reader.finish()
        return streams


def _read_described(reader: _Bytes, clouds: int) -> Shared:
    try:
        name = reader.take(reader.take(1)[0]).decode()
    except UnicodeDecodeError as error:
        raise FormatError("expected names of attributes in UTF-8") from error
    if not fit_name(name):
        raise FormatError(f"expected the name of an attribute without control characters, found {name[:80]!r}")
    of_type, channels, coding = reader.take(3)
    if of_type >= len(TYPES) or not 1 <= channels <= MAX_CHANNELS or coding > max(Coding):
        found = f"{of_type}, {channels} and {coding}"
        raise FormatError(f"expected a type, a number of channels and a coding that are known, found {found}")
    of = name, TYPES[of_type], channels, Coding(coding)
    if (coding == Coding.LABELS and channels != 1) or (coding == Coding.COLOURS and channels != 3):
        raise FormatError(f"expected 1 channel of labels, 3 of colours, found {channels}")
    if coding == Coding.LABELS:
        if of[1].kind == "f":
            raise FormatError("expected labels of whole numbers, found a type of floating point")
        return Shared(Attribute(*of), reader.block(), b"", np.zeros((clouds, 0), np.int64), reader.block())
    finer, count = reader.take(2)
    if finer > MAX_FINER - MIN_FINER or count > MAX_COMPONENTS:
        found = f"{finer} and {count}"
        raise FormatError(
            f"expected at most {MAX_FINER - MIN_FINER} digits and {MAX_COMPONENTS} components, found {found}"
        )
    numbers = np.frombuffer(reader.take(16 * channels), "<f8").reshape(channels, 2)
    offsets, units = numbers.T
    # False for NaN as well.
    if (
        not (np.abs(offsets) <= LARGEST_NUMBER).all()
        or not ((units >= 1 / LARGEST_NUMBER) & (units <= LARGEST_NUMBER)).all()
    ):
        raise FormatError("expected finite offsets and units above 0")
    mean, components, coefficients = reader.block(), b"", np.zeros((clouds, 0), np.int64)
    if count:
        components = reader.block()
        coefficients = decode(reader.block(), clouds * count).astype(np.int64).reshape(clouds, count)
        if np.abs(coefficients).max() > LARGEST_COEFFICIENT:
            raise FormatError(f"expected coefficients of at most {LARGEST_COEFFICIENT} in size")
    attribute = Attribute(*of, tuple(offsets.tolist()), tuple(units.tolist()), finer + MIN_FINER, count)
    return Shared(attribute, mean, components, coefficients, reader.block())


def _excess(attributes: Sequence[Attribute], points: int, length: int) -> str:
    """Return by what attributes hold too many numbers for the bytes of the first group; nothing where they do not."""
    found = points * sum(a.channels * (1 + a.components) for a in attributes)
    most = _FREE + _PER_BYTE * length
    return (
        f"expected at most {most} numbers of means and components in {length} bytes, found {found}"
        if found > most
        else ""
    )
