"""An opened .qaad file: a lazy, read-only sequence of clouds. numpy only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from pcqaad import storage
from pcqaad.decoding import NumpyDecoder
from pcqaad.formats.container import Container
from pcqaad.formats.entropy import Model as SymbolModel
from pcqaad.formats.errors import FormatError
from pcqaad.model import Array, Model
from pcqaad.quantize import dequantise_template

if TYPE_CHECKING:
    from pcqaad.network import Decoder


Result = TypeVar("Result")


class Collection(Sequence[NDArray[np.float32]]):
    """The clouds of a file, decoded when asked for: `collection[i]` is (points, 3) in the data's unit.

    Opening reads the header alone; the first cloud reads the model that all share, and each cloud its own
    group of latents. Everything read is checked, and a damaged file raises FormatError.
    """

    def __init__(self, source: str | Path | bytes) -> None:
        self._file = "" if isinstance(source, bytes) else str(source)
        self._container = Container.open(source, storage.TAGS, file=self._file)
        self._groups: dict[int, Array] = {}
        try:
            self._head = self._named(storage.Head.unpack, self._container.section("HEAD"))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Collection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __len__(self) -> int:
        return self._head.shape.clouds

    @overload
    def __getitem__(self, index: int) -> NDArray[np.float32]: ...

    @overload
    def __getitem__(self, index: slice) -> list[NDArray[np.float32]]: ...

    def __getitem__(self, index: int | slice) -> NDArray[np.float32] | list[NDArray[np.float32]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"cloud {index} of {len(self)}")
        return self.decode(self._latent(index % len(self)))

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"<{self._file or 'collection'}: {len(self)} clouds of {self._head.shape.points} points>"

    def decode(self, latent: NDArray[np.floating]) -> NDArray[np.float32]:
        """Decode any latent (L,), from the file or not, to points (M, 3) in the data's unit."""
        with np.errstate(over="ignore", invalid="ignore"):
            decoded = self._decoder.decode(np.asarray(latent, np.float32)).astype(np.float64)
            points = (decoded * self._head.scale + self._head.centre).astype(np.float32)
        if not np.isfinite(points).all():
            raise FormatError("decodes to points that are not finite", file=self._file)
        return points

    @cached_property
    def names(self) -> list[str]:
        """The clouds' names."""
        return self._named(storage.read_names, self._container, self._head)

    @property
    def latents(self) -> NDArray[np.float32]:
        """The latents (N, L) of all clouds."""
        return np.concatenate([self._group(g) for g in range(-(-len(self) // storage.GROUP))])

    @property
    def model(self) -> Model:
        """The fitted model, as the file holds it."""
        return Model(self._head.shape, self._template, self.latents, self._weights)

    def module(self) -> Decoder:
        """Return the decoder as a differentiable torch module (needs torch): latents (B, L) to (B, M, 3).

        Its points are normalised: `info["normalisation"]` leads back to the data's unit.
        """
        from pcqaad.network import Decoder

        return Decoder.of(self.model)

    @cached_property
    def info(self) -> dict[str, Any]:
        """What the file holds and how it was made, JSON-able."""
        head, made = self._head, self._named(storage.read_info, self._container)
        shape = head.shape
        entries = {entry.tag: entry.length for entry in self._container.entries}
        total = self._container.size
        raw = 12 * shape.clouds * shape.points
        parts = {
            "weights": entries.get("WGTS", 0),
            "template": entries.get("TMPL", 0),
            "latents": entries.get("LMOD", 0) + entries.get("LATS", 0),
        }
        return {
            "file": self._file,
            "version": 0,
            "clouds": shape.clouds,
            "points": shape.points,
            "unit": made.get("unit", ""),
            "bytes": {
                "file": total,
                "raw_float32": raw,
                "sections": entries,
                "parts": {**parts, "rest": total - sum(parts.values())},
            },
            "ratio": raw / total,
            "bits_per_point": 8 * total / (shape.clouds * shape.points),
            "paper_ratio": shape.paper_ratio(),
            "model": {
                "shared": list(shape.shared),
                "patch": shape.patch,
                "patches": shape.patches,
                "latent": shape.latent,
                "residual": shape.residual,
                "weights": shape.weights(),
            },
            "normalisation": {"centre": head.centre.tolist(), "scale": head.scale},
            "quantisation": {
                "template_bits": head.bits,
                "template_step": float(head.step),
                "bits_per_weight": 8 * parts["weights"] / shape.weights(),
                "bits_per_template_point": 8 * parts["template"] / shape.points,
                "bits_per_latent": 8 * parts["latents"] / (shape.clouds * shape.latent),
            },
            "settings": made.get("settings", {}),
            "fidelity": made.get("fidelity", {}),
            "encoder": made.get("encoder", {}),
        }

    def check(self) -> None:
        """Read and check every section and every cloud's latents; raises FormatError."""
        for entry in self._container.entries:
            self._container.section(entry.tag)
        _ = self._weights, self._template, self.names, self.latents, self.info

    def _latent(self, index: int) -> Array:
        group, row = divmod(index, storage.GROUP)
        latent: Array = self._group(group)[row]
        return latent

    def _group(self, group: int) -> Array:
        if group not in self._groups:
            read = storage.read_latents
            self._groups[group] = self._named(read, self._container, self._head, self._latent_model, group)
        return self._groups[group]

    @cached_property
    def _latent_model(self) -> SymbolModel:
        return self._named(storage.read_latent_model, self._container)

    @cached_property
    def _weights(self) -> dict[str, Array]:
        return self._named(storage.read_weights, self._container, self._head)

    @cached_property
    def _template(self) -> Array:
        grid = self._named(storage.read_grid, self._container, self._head)
        return dequantise_template(self._head.low, self._head.step, grid)

    @cached_property
    def _decoder(self) -> NumpyDecoder:
        return NumpyDecoder(self._head.shape, self._template, self._weights)

    def _named(self, read: Callable[..., Result], *arguments: Any) -> Result:
        """Call a reader, and put the file's name before what goes wrong."""
        try:
            return read(*arguments)
        except FormatError as error:
            raise error if error.file else error.in_file(self._file) from error
