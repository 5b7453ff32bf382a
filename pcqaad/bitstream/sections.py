"""A whole file's sections: of a new model, of a file with more clouds, and the check of those that are there."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pcqaad.bitstream.components import components_sections, count_components
from pcqaad.bitstream.header import Header
from pcqaad.bitstream.info import info_section, read_info
from pcqaad.bitstream.latent_coding import LatentReader, appended_latents, check_groups_length, shortest_latents
from pcqaad.bitstream.names import names_section, read_names
from pcqaad.bitstream.network import check_lengths, network_sections
from pcqaad.bitstream.surface import read_sizes, read_surface_header, surface_sections, with_sizes
from pcqaad.bitstream.tags import LINEAR_TAG, RAW_TAGS, SURFACE_TAG
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.integer_model import IntegerModel, Ints, Symbols
from pcqaad.errors import SettingsError
from pcqaad.formats.container.container import RAW, Container, Section
from pcqaad.formats.container.groups import pack_groups
from pcqaad.formats.errors import FormatError


def to_sections(
    model: IntegerModel,
    latents: Symbols,
    denormalisation: Denormalisation,
    names: Sequence[str],
    info: dict[str, Any],
    sizes: Ints | None = None,
) -> list[Section]:
    """Return the sections of a file, of clouds with `latents` (N, L).

    Of clouds on a surface `sizes` (N,) are the numbers of their points, where these differ. Raises CloudError or
    SettingsError for a model that no reader would take.
    """
    network = [*network_sections(model), *components_sections(model), *surface_sections(model, sizes)]
    coding, latent_model, groups = shortest_latents(latents)
    grid = model.bits, model.origin, model.step_size
    step_sizes = model.weight_step_sizes, model.latent_step_sizes
    header = Header(model.architecture, denormalisation, *grid, *coding, *step_sizes, model.scales, model.points)
    try:
        Header.unpack(header.pack())
    except (struct.error, FormatError) as error:
        raise SettingsError(f"a file cannot hold such a model: {error}") from error
    return _in_order(header, network, latent_model, groups, names, info)


def appended_sections(
    container: Container,
    header: Header,
    reader: LatentReader,
    latents: Symbols,
    names: Sequence[str],
    record: Any,
    sizes: Ints | None = None,
) -> list[Section]:
    """Return the sections of a file with more clouds behind its own, which decode to the same bytes as before.

    The new clouds have `latents` (n, L) in symbols, `names` that are not taken yet, and a `record` for the info. On a
    surface they are of `sizes` (n,) points each; None is as many as the model has.
    Sections that only another version knows may speak of the old clouds alone: they are left out. Raises FormatError
    where the file is damaged, or cannot hold them.
    """
    info = read_info(container)
    info["appended"] = [*info.get("appended", []), record]
    all_names = [*read_names(container, header.architecture.clouds), *names]
    coding, latent_model, groups = appended_latents(reader, latents)
    network = [Section(tag, container.section(tag), RAW) for tag in ("GAIN", "WGTS", "TMPL")]
    if LINEAR_TAG in container:
        network.append(Section(LINEAR_TAG, container.section(LINEAR_TAG), RAW))
    if SURFACE_TAG in container:
        old = read_sizes(container, header.architecture)
        known = np.full(header.architecture.clouds, header.points) if old is None else old
        new = np.full(len(latents), header.points) if sizes is None else sizes
        section = with_sizes(container.section(SURFACE_TAG), np.concatenate([known, new]))
        network.append(Section(SURFACE_TAG, section, RAW))
    header = replace(header.appended(len(latents)), latent_contexts=coding.contexts, sequence=coding.sequence)
    return _in_order(header, network, latent_model, groups, all_names, info)


def _in_order(
    header: Header,
    network: list[Section],
    model: bytes,
    groups: list[bytes],
    names: Sequence[str],
    info: dict[str, Any],
) -> list[Section]:
    latents = [Section("LMOD", model, RAW), Section("LATS", pack_groups(groups), RAW)]
    version = max(section.version for section in network)
    of_clouds = *latents, names_section(names, version), info_section(info)
    return [Section("HEAD", header.pack(), RAW), *network, *of_clouds]


def read_header(container: Container) -> Header:
    """Return the header of a file that has all sections, each large enough for the numbers that the header promises.

    Raises FormatError.
    """
    for tag in (*RAW_TAGS, *(tag for tag in (LINEAR_TAG, SURFACE_TAG) if tag in container)):
        if container.entry(tag).coding != RAW:
            raise FormatError("expected a raw section, found a deflated one", where=tag)
    container.entry("NAME")  # raises where there is none
    header = Header.unpack(container.section("HEAD"))
    check_lengths(container, header.architecture)
    check_groups_length(container, header.architecture.clouds)
    components = count_components(container, header.architecture)
    surface = read_surface_header(container, header.architecture)
    points = header.points if surface is None else surface.points
    return replace(header, architecture=replace(header.architecture, components=components), points=points)
