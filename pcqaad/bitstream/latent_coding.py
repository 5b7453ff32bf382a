"""How latents are coded: group by group, each cloud by itself or as the difference from the one before.

Clouds of a sequence move little from one to the next. The groups stay independent, so that one cloud is read from
its own group alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.integer_model import Symbols
from pcqaad.formats.coding.symbols import Model as SymbolModel
from pcqaad.formats.errors import FormatError

# Reading one cloud reads its group: small enough for that, large enough that a group's 8 bytes do not count.
GROUP = 64


class LatentCoding(NamedTuple):
    """How latents are coded: with so many contexts, and as they are or as differences from the cloud before."""

    contexts: int
    sequence: bool

    def context(self, clouds: int, latent: int) -> NDArray[np.intp]:
        """Return the contexts of the latents of one group: the first of a sequence has its own."""
        contexts = np.tile(np.arange(latent) % self.contexts, clouds)
        if self.sequence:
            contexts[:latent] += self.contexts
        return contexts

    def symbols(self, latents: Symbols) -> NDArray[np.int64]:
        """Return what is coded of the latents (n, L) of one group, (n * L,); differences may have 33 bits."""
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


def shortest_latents(latents: Symbols) -> tuple[LatentCoding, bytes, list[bytes]]:
    """Code latents (N, L) as is shortest; returns how, the model and the groups."""
    size = latents.shape[1]
    sequence = _is_sequence(latents)
    codings = [LatentCoding(contexts, sequence) for contexts in sorted({1, size}) if contexts << sequence <= 256]
    streams = [(coding, *_latent_stream(latents, coding)) for coding in codings]
    return min(streams, key=lambda coded: len(coded[1]) + sum(map(len, coded[2])))


def _is_sequence(latents: Symbols) -> bool:
    """Whether clouds are nearer to the one before than to their mean, by the bits that this is worth."""
    numbers = latents.astype(np.float64)
    # Differences of larger numbers may leave 32 bits.
    if np.abs(numbers).max() >= 2**30:
        return False
    spread, moves = (np.sqrt(np.square(x).mean(0) + 0.1) for x in (numbers - numbers.mean(0), np.diff(numbers, axis=0)))
    return bool(np.log2(moves).sum() < np.log2(spread).sum())


def _latent_stream(latents: Symbols, coding: LatentCoding) -> tuple[bytes, list[bytes]]:
    parts = _grouped(latents)
    symbols = np.concatenate([coding.symbols(part) for part in parts])
    contexts = np.concatenate([coding.context(*part.shape) for part in parts])
    model = SymbolModel.fit(symbols, contexts)
    return model.to_bytes(), latent_groups(model, latents, coding)


def latent_groups(model: SymbolModel, latents: Symbols, coding: LatentCoding) -> list[bytes]:
    """Code latents (N, L) by a model, group by group; raises ValueError for what it cannot express."""
    return [model.encode(coding.symbols(part), coding.context(*part.shape)) for part in _grouped(latents)]


def _grouped(latents: Symbols) -> list[Symbols]:
    return [latents[low : low + GROUP] for low in range(0, len(latents), GROUP)]
