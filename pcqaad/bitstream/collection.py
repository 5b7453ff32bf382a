"""An opened .qaad file: a lazy, read-only sequence of clouds. numpy only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from pcqaad.bitstream import latent_coding as latent_stream
from pcqaad.bitstream import sections as storage
from pcqaad.bitstream.info import known, read_info, read_names
from pcqaad.decoder.architecture import Model
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.exact import IntegerDecoder
from pcqaad.decoder.integer_model import IntegerModel, Ints, Symbols, dequantise_latents
from pcqaad.formats.coding.symbols import Model as SymbolModel
from pcqaad.formats.container.container import VERSION, Container, Section
from pcqaad.formats.container.groups import Groups
from pcqaad.formats.errors import FormatError

if TYPE_CHECKING:
    import torch

    from pcqaad.decoder.exact_torch import BatchDecoder
    from pcqaad.decoder.module import Decoder


Result = TypeVar("Result")


class Collection(Sequence[NDArray[np.float32]]):
    """The clouds of a file, decoded when asked for: `collection[i]` is (points, 3) in the data's unit.

    Opening reads the header alone; the first cloud reads the model that all share, and each cloud its own
    group of latents. Everything read is checked, and a damaged file raises FormatError.
    """

    def __init__(self, source: str | Path | bytes) -> None:
        self._file = "" if isinstance(source, bytes) else str(source)
        self._container = Container.open(source, storage.TAGS, file=self._file)
        self._groups: dict[int, Symbols] = {}
        try:
            self._header = self._named(storage.read_header, self._container)
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
        return self._header.architecture.clouds

    @overload
    def __getitem__(self, index: int) -> NDArray[np.float32]: ...

    @overload
    def __getitem__(self, index: slice) -> list[NDArray[np.float32]]: ...

    def __getitem__(self, index: int | slice) -> NDArray[np.float32] | list[NDArray[np.float32]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"cloud {index} of {len(self)}")
        group, row = divmod(index % len(self), latent_stream.GROUP)
        return self._decode(self.integers.cloud_parts(self._group(group)[row : row + 1]))

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"<{self._file or 'collection'}: {len(self)} clouds of {self._header.architecture.points} points>"

    def decode(self, latent: NDArray[np.floating]) -> NDArray[np.float32]:
        """Decode any latent (L,), from the file or not, to points (M, 3) in the data's unit.

        It is rounded to 1/1024 of the file's steps, so that `latents[i]` gives the very points of cloud i.
        Raises ValueError where it is not finite, or far larger than the file's own.
        """
        return self._decode(self.integers.cloud_parts_of(np.asarray(latent)[None]))

    @cached_property
    def names(self) -> list[str]:
        """The clouds' names."""
        return self._named(read_names, self._container, len(self))

    @property
    def latents(self) -> NDArray[np.float32]:
        """The latents (N, L) of all clouds."""
        groups = [self._group(g) for g in range(-(-len(self) // latent_stream.GROUP))]
        return dequantise_latents(np.concatenate(groups), self._header.latent_step_sizes)

    @cached_property
    def integers(self) -> IntegerModel:
        """What all clouds share, as the file holds it: symbols and steps. All sums of it are exact."""
        return self._named(storage.read_model, self._container, self._header)

    @property
    def denormalisation(self) -> Denormalisation:
        """From decoded integers to coordinates in the data's unit."""
        return self._header.denormalisation

    @property
    def model(self) -> Model:
        """The fitted model in floats: what the file's integers stand for."""
        return self.integers.dequantise(self.latents)

    def module(self) -> Decoder:
        """Return the decoder as a differentiable torch module (needs torch): latents (B, L) to (B, M, 3).

        It computes in float32, where the file's own decoding rounds activations: its points lie within about 1e-4
        of the diagonal of those of `self[i]`, which `decoder` returns. They are normalised: `info["normalisation"]`
        leads back to the data's unit.
        """
        from pcqaad.decoder.module import Decoder

        return Decoder.of(self.model)

    def decoder(self, device: str | torch.device = "cpu") -> BatchDecoder:
        """Return the file's own decoding in torch (needs torch), for many clouds at once and on any device.

        It maps latents (B, L) to points (B, M, 3) in the data's unit, byte for byte those of `decode`. Raises
        SettingsError for a GPU where there is none.
        """
        from pcqaad.decoder.exact_torch import BatchDecoder
        from pcqaad.devices import choose

        if str(device).startswith("cuda"):
            choose("cuda")
        return BatchDecoder(self.integers, self.denormalisation, device)

    @cached_property
    def info(self) -> dict[str, Any]:
        """What the file holds and how it was made, JSON-able."""
        header, made = self._header, self._named(read_info, self._container)
        fidelity, appended = known(made)
        shape = header.architecture
        centre, scale = header.denormalisation.centre_and_scale
        entries = {entry.tag: entry.length for entry in self._container.entries}
        total = self._container.size
        raw = 12 * shape.clouds * shape.points
        parts = {
            "weights": entries.get("GAIN", 0) + entries.get("WGTS", 0),
            "template": entries.get("TMPL", 0),
            "latents": entries.get("LMOD", 0) + entries.get("LATS", 0),
            "names": entries.get("NAME", 0),
        }
        # The header, the tables, what is recorded: nothing of it decodes to points.
        parts["rest"] = total - sum(parts.values())
        return {
            "file": self._file,
            "version": VERSION,
            "clouds": shape.clouds,
            "points": shape.points,
            "unit": made.get("unit", ""),
            "bytes": {
                "file": total,
                "raw_float32": raw,
                "sections": entries,
                "parts": parts,
                "per_cloud": {name: parts[name] / shape.clouds for name in ("latents", "names", "rest")},
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
            "normalisation": {"centre": centre, "scale": scale},
            "quantisation": {
                "template_bits": header.bits,
                "template_step": header.step_size.value,
                "activation_bits": list(header.scales),
                "bits_per_weight": 8 * parts["weights"] / shape.weights(),
                "bits_per_template_point": 8 * parts["template"] / shape.points,
                "bits_per_latent": 8 * parts["latents"] / (shape.clouds * shape.latent),
            },
            "settings": made.get("settings", {}),
            "fidelity": fidelity,
            "encoder": made.get("encoder", {}),
            "appended": appended,
        }

    def room_for(self, clouds: int) -> None:
        """Raise FormatError where a file cannot hold so many clouds more."""
        self._named(self._header.with_more, clouds)

    def grown(self, latents: Symbols, names: Sequence[str], record: dict[str, Any]) -> list[Section]:
        """Return the sections of a file with more clouds behind these, which decode to the same bytes as before.

        Args:
            latents: (n, L) of the new clouds, in symbols.
            names: of the new clouds, none of them taken.
            record: of them, to stand in the info behind those that are there. `pcqaad.append` makes all three.
        """
        made = self._named(read_info, self._container)
        info = {**made, "appended": [*made.get("appended", []), record]}
        everyone = [*self.names, *names]
        return self._named(storage.grown_sections, self._container, self._header, latents, everyone, info)

    def check(self) -> None:
        """Read and check every section that is known, and every cloud's latents; raises FormatError."""
        # The others below, within their bounds; what is optional and unknown is not this version's to judge.
        for tag in storage.RAW_TAGS:
            self._container.section(tag)
        _ = self.integers, self.names, self.latents, self.info

    def _decode(self, cloud_part: Ints) -> NDArray[np.float32]:
        return self.denormalisation.points(self._decoder.decode(cloud_part[0]))

    def _group(self, group: int) -> Symbols:
        if group not in self._groups:
            read = storage.read_latents
            self._groups[group] = self._named(read, self._latent_groups, self._header, self._latent_model, group)
        return self._groups[group]

    @cached_property
    def _latent_groups(self) -> Groups:
        return self._named(storage.read_groups, self._container, self._header)

    @cached_property
    def _latent_model(self) -> SymbolModel:
        return self._named(storage.read_latent_model, self._container)

    @cached_property
    def _decoder(self) -> IntegerDecoder:
        return IntegerDecoder(self.integers)

    def _named(self, read: Callable[..., Result], *arguments: Any) -> Result:
        """Call a reader, and put the file's name before what goes wrong."""
        try:
            return read(*arguments)
        except FormatError as error:
            raise error if error.file else error.in_file(self._file) from error
