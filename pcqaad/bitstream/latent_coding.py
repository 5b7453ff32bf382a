"""The LMOD and LATS sections: latents, group by group (formats/SPEC.md, 7.4).

Each cloud is coded by itself, or, where clouds of a sequence move little from one to the next, as the difference from
the one before. The groups stay independent, so one cloud is read from its own group alone.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcqaad.bitstream.header import Header
from pcqaad.bitstream.tags import in_section
from pcqaad.decoder.integer_model import LARGEST_LATENT, Symbols, latent_reach
from pcqaad.formats.coding.symbols import Model as SymbolModel
from pcqaad.formats.container.container import Container
from pcqaad.formats.container.groups import Groups, groups_size
from pcqaad.formats.errors import FormatError

# Clouds of a group. Reading one cloud reads its group: small enough for that, large enough that 8 bytes do not count.
GROUP = 64


class LatentCoding(NamedTuple):
    """How latents are coded: in how many contexts, and whether as differences from the cloud before."""

    contexts: int
    sequence: bool

    def context(self, clouds: int, latent: int) -> NDArray[np.intp]:
        """Return the contexts of the latents of one group (n * L,): the first of a sequence has its own."""
        contexts = np.tile(np.arange(latent) % self.contexts, clouds)
        if self.sequence:
            contexts[:latent] += self.contexts
        return contexts

    def symbols(self, latents: Symbols) -> NDArray[np.int64]:
        """Return the integers coded for the latents (n, L) of one group, (n * L,); differences may have 33 bits."""
        wide = latents.astype(np.int64)
        return (np.diff(wide, axis=0, prepend=0) if self.sequence else wide).ravel()

    def latents(self, symbols: Symbols, latent: int) -> Symbols:
        """Return the latents (n, L) that `symbols` made; raises FormatError where they do not fit 32 bits."""
        rows = symbols.reshape(-1, latent)
        if not self.sequence:
            return rows
        sums = np.cumsum(rows, 0, dtype=np.int64)
        if max(-int(sums.min()), int(sums.max()) + 1) > 2**31:
            raise FormatError(f"latents of 32 bits expected, found {sums.min()} to {sums.max()}")
        return sums.astype(np.int32)


class LatentReader:
    """The latents of a file, in symbols: a group is read when it is first asked for, and once."""

    def __init__(self, container: Container, header: Header) -> None:
        self._container, self._step_sizes = container, header.latent_step_sizes
        self.clouds, self._latent = header.architecture.clouds, header.architecture.latent
        self.coding = LatentCoding(header.latent_contexts, header.sequence)
        self._read: dict[int, Symbols] = {}

    @cached_property
    def groups(self) -> Groups:
        """The coded groups."""
        groups = self._container.groups("LATS")
        expected = _group_count(self.clouds)
        if len(groups) != expected:
            raise FormatError(f"expected {expected} groups, found {len(groups)}", where="LATS")
        return groups

    @cached_property
    def model(self) -> SymbolModel:
        """The model that all groups are coded with."""
        data = self._container.section("LMOD")
        with in_section("LMOD"):
            model, end = SymbolModel.from_bytes(data)
            if end != len(data):
                raise FormatError(f"expected {end} bytes, found {len(data)}")
        return model

    def group(self, group: int) -> Symbols:
        """Return the latents (n, L) of one group; raises FormatError."""
        if group not in self._read:
            groups, model = self.groups, self.model
            contexts = self.coding.context(min(GROUP, self.clouds - group * GROUP), self._latent)
            with in_section("LATS"):
                symbols = model.decode(groups.read(group), len(contexts), contexts)
                latents = self.coding.latents(symbols, self._latent)
            largest = max(latent_reach(latents, self._step_sizes))
            if largest >= LARGEST_LATENT:
                problem = f"expected latents below 2^36 in all, found up to 2^{largest.bit_length()}"
                raise FormatError(problem, where=f"LATS: group {group}")
            self._read[group] = latents
        return self._read[group]

    def cloud(self, index: int) -> Symbols:
        """Return the latent (L,) of one cloud, 0 <= index < N; raises FormatError."""
        group, row = divmod(index, GROUP)
        latent: Symbols = self.group(group)[row]
        return latent

    def all(self) -> Symbols:
        """Return the latents (N, L) of all clouds; raises FormatError."""
        return np.concatenate([self.group(group) for group in range(_group_count(self.clouds))])


def check_groups_length(container: Container, clouds: int) -> None:
    """Raise FormatError where the section is too short for the groups of N clouds."""
    count, length = _group_count(clouds), container.entry("LATS").length
    if length < (least := groups_size(count)):
        raise FormatError(f"expected at least {least} bytes for {count} groups, found {length}", where="LATS")


def shortest_latents(latents: Symbols) -> tuple[LatentCoding, bytes, list[bytes]]:
    """Code latents (N, L) in the fewest bytes; returns how, the model and the groups."""
    sequence, parts = _is_sequence(latents), _grouped(latents)
    streams = []
    for contexts in sorted({1, latents.shape[1]}):
        if contexts << sequence <= 256:
            coding = LatentCoding(contexts, sequence)
            symbols = np.concatenate([coding.symbols(part) for part in parts])
            model = SymbolModel.fit(symbols, np.concatenate([coding.context(*part.shape) for part in parts]))
            streams.append((coding, model.to_bytes(), latent_groups(model, latents, coding)))
    return min(streams, key=lambda coded: len(coded[1]) + sum(map(len, coded[2])))


def appended_latents(reader: LatentReader, latents: Symbols) -> tuple[LatentCoding, bytes, list[bytes]]:
    """Code latents (n, L) behind those of a file; returns how all are coded, the model and the groups.

    Model and full groups stay as they are, unless a symbol is new to the model. Raises FormatError.
    """
    full, rest = divmod(reader.clouds, GROUP)
    model, groups = reader.model, [reader.groups.read(group) for group in range(full)]
    tail = np.concatenate([reader.group(full), latents]) if rest else latents
    try:
        return reader.coding, model.to_bytes(), groups + latent_groups(model, tail, reader.coding)
    except ValueError:
        return shortest_latents(np.concatenate([reader.all(), latents]))


def latent_groups(model: SymbolModel, latents: Symbols, coding: LatentCoding) -> list[bytes]:
    """Code latents (N, L) by a model, group by group; raises ValueError for a symbol that it cannot express."""
    return [model.encode(coding.symbols(part), coding.context(*part.shape)) for part in _grouped(latents)]


def _group_count(clouds: int) -> int:
    return -(-clouds // GROUP)


def _grouped(latents: Symbols) -> list[Symbols]:
    return [latents[low : low + GROUP] for low in range(0, len(latents), GROUP)]


def _is_sequence(latents: Symbols) -> bool:
    """Whether clouds are nearer to the one before than to their mean, by the bits that this is worth."""
    numbers = latents.astype(np.float64)
    # Differences of larger numbers may leave 32 bits.
    if np.abs(numbers).max() >= 2**30:
        return False
    spread, moves = (np.sqrt(np.square(x).mean(0) + 0.1) for x in (numbers - numbers.mean(0), np.diff(numbers, axis=0)))
    return bool(np.log2(moves).sum() < np.log2(spread).sum())
