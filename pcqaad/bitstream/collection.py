"""`pcqaad.open`: a file as a lazy, read-only sequence of clouds. numpy only."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar

import numpy as np
from numpy.typing import NDArray

from pcqaad.bitstream import limits, network, sections
from pcqaad.bitstream.attributes import AttributeReader
from pcqaad.bitstream.info import Info, describe
from pcqaad.bitstream.latent_coding import LatentReader
from pcqaad.bitstream.names import read_names
from pcqaad.bitstream.surface import read_sizes
from pcqaad.bitstream.tags import ATTRIBUTES_TAG, RAW_TAGS, TAGS
from pcqaad.decoder.architecture import MAX_POINTS, Array, Model
from pcqaad.decoder.attributes import Attribute, nearest_of, places
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.exact import IntegerDecoder
from pcqaad.decoder.integer_model import IntegerModel, Symbols, dequantise_latents
from pcqaad.decoder.surface import MAX_LEVEL, Draw, Surface, subdivided
from pcqaad.errors import SettingsError
from pcqaad.formats.coding.fields import Cells
from pcqaad.formats.container.container import Container, Section
from pcqaad.formats.errors import FormatError

if TYPE_CHECKING:
    import torch

    from pcqaad.decoder.exact_torch import BatchDecoder
    from pcqaad.decoder.module import Decoder

Result = TypeVar("Result")

# Names that an unknown one is compared with: a tenth of a second's work.
_COMPARED = 10_000


class Collection(Sequence[Array]):
    """The clouds of a file, decoded when asked for: float32, in the data's unit.

    `clouds[3]`, `clouds[-1]` and `clouds["skull_0031"]` are one cloud (M, 3). `clouds[2:5]`, `clouds[[1, 4]]` and
    `clouds[mask]`, with N booleans, are clouds (n, M, 3). Where the template is a surface, `read` gives a cloud any
    number of points, `mesh` its triangles; and where clouds have their own numbers of points, one has its own, and
    several together have M.

    Opening reads the header alone. The first cloud reads the model that all share, and each cloud the group of latents
    that holds its own. Everything read is checked, and a damaged file raises FormatError. So does one that asks for far
    more points or work than files of its size do (`pcqaad.bitstream.limits`), unless it is opened with `trust`.
    """

    def __init__(self, source: str | Path | bytes, *, trust: bool = False) -> None:
        self._file = "" if isinstance(source, bytes) else str(source)
        self._trust = trust
        self._container = Container.open(source, TAGS, file=self._file)
        try:
            self._header = self._named(sections.read_header, self._container)
        except BaseException:
            self.close()
            raise
        self._latents = LatentReader(self._container, self._header)
        self._attributes: AttributeReader | None = None
        if ATTRIBUTES_TAG in self._container:
            sizes = len(self), self._header.points
            self._attributes = AttributeReader(self._container, *sizes, lambda: self.cells)

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __len__(self) -> int:
        return self._header.architecture.clouds

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    # Several clouds are one array, not a sequence of them as mypy expects.
    def __getitem__(self, index: SupportsIndex | str | slice | Iterable[SupportsIndex | str]) -> Array:  # type: ignore[override]
        if isinstance(index, str) or not isinstance(index, (slice, Iterable)):
            return self._cloud(self._position(index))
        positions = self._positions(index)
        self.check_cost(self.points * len(positions))
        clouds = np.empty((len(positions), self.points, 3), np.float32)
        for cloud, position in zip(clouds, positions, strict=True):
            cloud[:] = self._cloud(position, self.integers.draw)
        return clouds

    def __iter__(self) -> Iterator[Array]:
        return (self._cloud(position) for position in range(len(self)))

    def __repr__(self) -> str:
        return f"<{self._file or 'collection'}: {len(self)} clouds of {self.points} points>"

    def decode(self, latent: NDArray[np.floating]) -> Array:
        """Decode any latent (L,), from the file or not, to points (M, 3) in the data's unit.

        It is rounded to 1/1024 of the file's step sizes, so `latents[i]` gives the very points of cloud i. Raises
        ValueError for a latent that is not finite, or far larger than the file's own.
        """
        return self._decoder.decode(np.asarray(latent))

    @property
    def points(self) -> int:
        """The number of points of a cloud, M; where the clouds have numbers of their own, that of their model."""
        return self._header.points

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """The numbers of points (N,) of the clouds: M, unless the template is a surface and they differ."""
        own = self._named(read_sizes, self._container, self._header.architecture)
        return np.full(len(self), self.points) if own is None else own

    def read(self, index: SupportsIndex | str, points: int | None = None, *, even: bool = False) -> Array:
        """Decode one cloud to a number of points (points, 3), in the data's unit; None takes the cloud's own.

        They lie as densely as the originals' did or, with `even`, alike everywhere. The same points of all clouds
        belong together. Raises SettingsError for another number, or `even`, where the file's template is a list of
        points and no surface.
        """
        return self.reader(points, even=even)(index)

    def reader(self, points: int | None = None, *, even: bool = False) -> Callable[[SupportsIndex | str], Array]:
        """Return what reads clouds as `read` does, its points drawn once for all of them."""
        if points is not None and not 1 <= points <= MAX_POINTS:
            raise SettingsError(f"points is {points}, expected 1 to {MAX_POINTS:,}")
        if points is None or (points == self.points and self.integers.surface is None):
            if not even:
                return lambda index: self._cloud(self._position(index))
            surface, grid = self._surface(), self.integers.grid

            def evenly(index: SupportsIndex | str) -> Array:
                position = self._position(index)
                return self._cloud(position, surface.draw(grid, int(self.sizes[position]), even=True))

            return evenly
        draw = self._surface().draw(self.integers.grid, points, even)
        return lambda index: self._cloud(self._position(index), draw)

    def mesh(self, index: SupportsIndex | str, level: int = 0) -> tuple[Array, NDArray[np.int64]]:
        """Decode one cloud to a mesh: vertices (v, 3) in the data's unit and triangles (t, 3), the same for all clouds.

        At a higher level every triangle is cut into 4**level, where they lie. Raises SettingsError where the file's
        template is a list of points, or the level is too high.
        """
        return self.meshes(level)(index)

    def meshes(self, level: int = 0) -> Callable[[SupportsIndex | str], tuple[Array, NDArray[np.int64]]]:
        """Return what decodes clouds as `mesh` does, its triangles cut once for all of them."""
        surface = self._surface()
        if not 0 <= level <= MAX_LEVEL:
            raise SettingsError(f"level is {level}, expected 0 to {MAX_LEVEL}")
        if (cut := len(surface.triangles) * 4**level) > MAX_POINTS:
            raise SettingsError(
                f"level {level} cuts the surface into {cut:,} triangles, expected at most {MAX_POINTS:,}"
            )
        draw, triangles = subdivided(surface.triangles, self._header.architecture.points, level)
        return lambda index: (self._cloud(self._position(index), draw), triangles)

    @cached_property
    def attributes(self) -> list[Attribute]:
        """What points have beside their places: the name, type, channels and kind of each; none in most files."""
        return [] if self._attributes is None else self._named(lambda: self.attribute_reader.attributes)

    def attribute(
        self,
        index: SupportsIndex | str,
        name: str,
        points: int | None = None,
        *,
        even: bool = False,
        level: int | None = None,
    ) -> NDArray[Any]:
        """Decode an attribute of one cloud: values (points, channels) in their own type.

        They are of the points that `self[index]` decodes to; of those of `read` where `points` or `even` are given; and
        of the vertices of `mesh` where a `level` is. Points of a surface other than the file's own have the value of
        one near by. Raises KeyError for another name, and SettingsError as `read` and `mesh` do.
        """
        return self.attribute_of(name, points, even=even, level=level)(index)

    def attribute_of(
        self, name: str, points: int | None = None, *, even: bool = False, level: int | None = None
    ) -> Callable[[SupportsIndex | str], NDArray[Any]]:
        """Return what reads an attribute of clouds as `attribute` does, points found once for all of them."""
        numbers = {a.name: number for number, a in enumerate(self.attributes)}
        if name not in numbers:
            has = ", ".join(map(repr, numbers)) or "none"
            raise KeyError(f"{self._file or 'the file'}: no attribute is named {name[:80]!r}; it has {has}")
        rows: dict[tuple[int, bool], NDArray[np.int64] | None] = {}

        def read(index: SupportsIndex | str) -> NDArray[Any]:
            position = self._position(index)
            count = int(self.sizes[position]) if points is None else points
            if (count, even) not in rows:
                rows[count, even] = self._rows_of(count, even, level)
            values = self._named(self.attribute_reader.read, position, numbers[name])
            there = rows[count, even]
            return values if there is None else values[there]

        return read

    @cached_property
    def attribute_reader(self) -> AttributeReader:
        """What reads the attributes as they are coded; raises SettingsError where the file has none."""
        if self._attributes is None:
            raise SettingsError(f"{self._file or 'the file'}: has no attributes")
        return self._attributes

    @cached_property
    def cells(self) -> Cells:
        """The cells of the places of the template's points, which attributes lie over."""
        return Cells(*places(self.integers), kept=True)

    @cached_property
    def names(self) -> list[str]:
        """The clouds' names."""
        return self._named(read_names, self._container, len(self))

    @property
    def latents(self) -> Array:
        """The latents (N, L) of all clouds."""
        return dequantise_latents(self._named(self._latents.all), self._header.latent_step_sizes)

    @cached_property
    def integers(self) -> IntegerModel:
        """The integers that all clouds share, as the file holds them: symbols and step sizes."""
        if not self._trust:
            points = max(self.points, int(self.sizes.max()))
            self._named(limits.check_cloud, self._header.architecture, points, self._container.size)
        return self._named(network.read_model, self._container, self._header)

    @property
    def denormalisation(self) -> Denormalisation:
        """From decoded integers to coordinates in the data's unit."""
        return self._header.denormalisation

    @property
    def model(self) -> Model:
        """The fitted model in floats: the numbers that the file's integers stand for."""
        return self.integers.dequantise(self.latents)

    def module(self) -> Decoder:
        """Return the network as a differentiable torch module (needs torch): latents (B, L) to (B, M, 3).

        It computes in float32, where the file's own decoding rounds activations: its points lie within about 1e-4 of
        the diagonal of those of `self[i]`, which `decoder` returns. They are normalised: `info["normalisation"]` leads
        back to the data's unit.
        """
        from pcqaad.decoder.module import Decoder

        return Decoder.of(self.model.of_points())

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
    def info(self) -> Info:
        """What the file holds and how it was made, JSON-able."""
        return self._named(describe, self._file, self._container, self._header)

    def check_cost(self, points: int) -> None:
        """Raise FormatError where so many points of all clouds together are more than a file of this size may ask for.

        A file that is trusted may ask for any number.
        """
        if not self._trust:
            self._named(limits.check_clouds, points, self._container.size)

    def check_room(self, clouds: int) -> None:
        """Raise FormatError where the file cannot hold this many clouds more."""
        self._named(self._header.appended, clouds)

    def appended_sections(
        self,
        latents: Symbols,
        names: Sequence[str],
        record: dict[str, Any],
        sizes: NDArray[np.int64] | None = None,
        attributes: Section | None = None,
    ) -> list[Section]:
        """Return the sections of a file with more clouds behind these, as `sections.appended_sections` does."""
        append = sections.appended_sections
        of_clouds = latents, names, record, sizes, attributes
        return self._named(append, self._container, self._header, self._latents, *of_clouds)

    def check(self) -> None:
        """Read and check every section that is known, and every cloud's latents; raises FormatError."""
        # The other two below, within their bounds. An unknown optional section is not this version's to judge.
        for tag in RAW_TAGS:
            self._container.section(tag)
        _ = self.integers, self.sizes, self.names, self.latents, self.info
        for number in range(len(self.attributes)):
            for cloud in range(len(self)):
                self._named(self.attribute_reader.read, cloud, number)

    @cached_property
    def _decoder(self) -> IntegerDecoder:
        return IntegerDecoder(self.integers, self.denormalisation)

    @cached_property
    def _by_name(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.names)}

    def _rows_of(self, points: int, even: bool, level: int | None) -> NDArray[np.int64] | None:
        """Return which default point's attributes those of a reader have (n,); None where they are these points."""
        surface = self.integers.surface
        if level is not None:
            draw, _ = subdivided(self._surface().triangles, self._header.architecture.points, level)
        elif points == self.points and (not even or surface is None):
            return None
        else:
            draw = self._surface().draw(self.integers.grid, points, even)
        own, bits = places(self.integers)
        return nearest_of(own, places(self.integers, draw)[0], bits)

    def _surface(self) -> Surface:
        if self.integers.surface is None:
            file = self._file or "the file"
            text = "its template is a list of points: it decodes to these alone, and has no triangles"
            raise SettingsError(f"{file}: {text}")
        return self.integers.surface

    def _cloud(self, position: int, draw: Draw | None = None) -> Array:
        if draw is None and self.integers.surface is not None and self.sizes[position] != self.points:
            draw = self.integers.surface.draw(self.integers.grid, int(self.sizes[position]))
        return self._decoder.decode_symbols(self._named(self._latents.cloud, position), draw)

    def _position(self, index: SupportsIndex | str) -> int:
        """Return the position 0 <= i < N of a cloud; raises IndexError, or KeyError for a name."""
        file = self._file or "the file"
        if isinstance(index, str):
            if index not in self._by_name:
                near = ", ".join(map(repr, get_close_matches(index, self.names[:_COMPARED])))
                found = f"near are {near}" if near else f"`names` lists all {len(self):,}"
                raise KeyError(f"{file}: no cloud is named {index[:80]!r}; {found}")
            return self._by_name[index]
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"{file}: expected a position from {-len(self)} to {len(self) - 1}, found {position}")
        return position % len(self)

    def _positions(self, index: slice | Iterable[SupportsIndex | str]) -> Sequence[int]:
        if isinstance(index, slice):
            return range(len(self))[index]
        items = list(index)
        if items and all(isinstance(item, (bool, np.bool_)) for item in items):
            if len(items) != len(self):
                raise IndexError(f"{self._file or 'the file'}: expected {len(self)} booleans, found {len(items)}")
            return [position for position, chosen in enumerate(items) if chosen]
        return [self._position(item) for item in items]

    def _named(self, read: Callable[..., Result], *arguments: Any) -> Result:
        """Call a reader, and put the file's name before what goes wrong."""
        try:
            return read(*arguments)
        except FormatError as error:
            raise error if error.file else error.in_file(self._file) from error
