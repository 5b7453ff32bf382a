"""What a file says of itself: `Info`, which is the JSON of `pcqaad info --json`, and the `info` section in it.

The section says how the file was made and how good it is (formats/SPEC.md, 7.6). All of its keys are optional.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn, TypedDict, get_origin, get_type_hints

from pcqaad.bitstream.header import Header
from pcqaad.bitstream.surface import read_sizes, read_surface_header
from pcqaad.bitstream.tags import LINEAR_TAG, SURFACE_TAG
from pcqaad.decoder.architecture import MAX_POINTS
from pcqaad.errors import SettingsError
from pcqaad.formats.container.container import DEFLATE, Container, Section
from pcqaad.formats.errors import FormatError

MAX_INFO = 2**20  # bytes of the section's JSON text
_MAX_DEPTH = 8  # of objects and arrays in each other


class Bytes(TypedDict):
    """Where a file's bytes went, by sections and by parts of them.

    Parts: weights, template, components, latents, names, rest; each section is in one of them.
    """

    file: int
    raw_float32: int  # 12 for each point of each cloud
    sections: dict[str, int]
    parts: dict[str, int]
    per_cloud: dict[str, float]  # of the parts that grow with the clouds


class Sizes(TypedDict):
    """The sizes of a model, as in `pcqaad.decoder.architecture`."""

    shared: list[int]
    patch: int
    patches: int
    latent: int
    residual: bool
    weights: int
    components: int
    vertices: int  # of a template that is a surface; 0 where it is a list of points
    triangles: int  # of that
    triangle_bytes: int  # that say which vertices these join


class Normalisation(TypedDict):
    """In the data's unit: points = centre + scale * normalised."""

    centre: list[float]
    scale: float


class Quantisation(TypedDict):
    """How finely a model is stored, and the bits that this takes."""

    template_bits: int  # of a coordinate
    template_step: float  # normalised
    activation_bits: list[int]  # behind the binary point, of each hidden layer
    bits_per_weight: float
    bits_per_template_point: float
    bits_per_component_number: float  # of one of the linear part's 3 a point and component; 0 without
    bits_per_latent: float  # of one of a cloud's L numbers


class Worst(TypedDict):
    """The cloud that is farthest from its original."""

    name: str
    mean: float


class VertexErrors(TypedDict):
    """Distances between known pairs of points, over all points of the measured clouds."""

    mean: float
    rms: float
    p95: float  # 95 % of the points are no farther off
    worst: float  # of the farthest point
    mean_percent: float  # of the diagonal


class Errors(TypedDict, total=False):
    """Recorded errors of clouds; metric, cell, mean, mean_percent and worst are there. Lengths in the data's unit."""

    metric: str
    cell: int  # points
    mean: float
    rms: float
    mean_squared: float
    sum: float
    mean_percent: float  # of the diagonal
    diagonal: float
    at_least: float  # the proven bound of the mean
    worst: Worst
    rise: float  # the part by which quantisation raised the error of the float model


class Fidelity(Errors, total=False):
    """Errors of the clouds that the model was fitted to."""

    measured: int  # clouds, always there
    per_vertex: VertexErrors  # where the clouds were registered


class AppendedFidelity(Errors, total=False):
    """Errors of clouds that were appended together."""

    first: int  # position in the file
    clouds: int  # always there
    steps: int  # of optimisation, of each cloud's latent
    seed: int
    encoder: dict[str, Any]


class Info(TypedDict):
    """What a file holds and how it was made."""

    file: str  # as it was opened; empty for bytes
    version: int  # of the format
    clouds: int
    points: int  # of a cloud
    least_points: int  # of the smallest cloud, where clouds have their own numbers
    most_points: int
    unit: str  # of coordinates, as the user named it
    bytes: Bytes
    ratio: float  # raw_float32 to the file
    bits_per_point: float
    paper_ratio: float
    model: Sizes
    normalisation: Normalisation
    quantisation: Quantisation
    settings: dict[str, Any]  # of the fit
    fidelity: Fidelity  # empty where none is recorded
    encoder: dict[str, Any]  # provenance: versions, device, steps
    appended: list[AppendedFidelity]


_FIDELITY = get_type_hints(Fidelity)
_APPENDED = get_type_hints(AppendedFidelity)
_RECORDED = {**_FIDELITY, **_APPENDED}
_ALWAYS_RECORDED = ("metric", "cell", "mean", "mean_percent", "worst")


def describe(file: str, container: Container, header: Header) -> Info:
    """Return what an open file holds and how it was made; raises FormatError."""
    section = read_info(container)
    architecture = header.architecture
    surface = read_surface_header(container, architecture)
    clouds, points = architecture.clouds, header.points
    centre, scale = header.denormalisation.centre_and_scale
    lengths = {entry.tag: entry.length for entry in container.entries}
    of_parts = {"weights": ("GAIN", "WGTS"), "template": ("TMPL", SURFACE_TAG), "components": (LINEAR_TAG,)}
    of_parts |= {"latents": ("LMOD", "LATS"), "names": ("NAME",)}
    parts = {part: sum(lengths.get(tag, 0) for tag in tags) for part, tags in of_parts.items()}
    # The header, the tables, the info: nothing of it decodes to points.
    parts["rest"] = container.size - sum(parts.values())
    sizes = read_sizes(container, architecture)
    least, most = (points, points) if sizes is None else (int(sizes.min()), int(sizes.max()))
    total = clouds * points if sizes is None else int(sizes.sum())
    raw = 12 * total
    return {
        "file": file,
        "version": container.version,
        "clouds": clouds,
        "points": points,
        "least_points": least,
        "most_points": most,
        "unit": section.get("unit", ""),
        "bytes": {
            "file": container.size,
            "raw_float32": raw,
            "sections": lengths,
            "parts": parts,
            "per_cloud": {part: parts[part] / clouds for part in ("latents", "names", "rest")},
        },
        "ratio": raw / container.size,
        "bits_per_point": 8 * container.size / total,
        "paper_ratio": architecture.paper_ratio(points),
        "model": {
            "shared": list(architecture.shared),
            "patch": architecture.patch,
            "patches": architecture.patches,
            "latent": architecture.latent,
            "residual": architecture.residual,
            "weights": architecture.weights(),
            "components": architecture.components,
            "vertices": 0 if surface is None else architecture.points,
            "triangles": 0 if surface is None else surface.triangles,
            "triangle_bytes": 0 if surface is None else surface.of_triangles,
        },
        "normalisation": {"centre": centre, "scale": scale},
        "quantisation": {
            "template_bits": header.bits,
            "template_step": header.step_size.value,
            "activation_bits": list(header.scales),
            "bits_per_weight": 8 * parts["weights"] / architecture.weights(),
            "bits_per_template_point": 8 * parts["template"] / points,
            "bits_per_component_number": 8 * parts["components"] / max(architecture.component_numbers(), 1),
            "bits_per_latent": 8 * parts["latents"] / (clouds * architecture.latent),
        },
        "settings": section.get("settings", {}),
        "fidelity": _known(section.get("fidelity", {}), _FIDELITY),
        "encoder": section.get("encoder", {}),
        "appended": [known for record in section.get("appended", []) if (known := _known(record, _APPENDED))],
    }


def _known(record: dict[str, Any], keys: Mapping[str, Any]) -> Any:
    """Return the known entries of a record of errors: none where its metric is another."""
    return {key: value for key, value in record.items() if key in keys} if record.get("metric") == "emkd" else {}


def sampling(info: Mapping[str, Any]) -> tuple[int, int | None]:
    """Return the seed that the clouds' points were drawn with, and how many of each surface, if of any.

    Raises FormatError for numbers that no fit takes.
    """
    settings = info.get("settings", {})
    seed, surface = int(settings.get("seed", 0)), settings.get("surface")
    if seed < 0:
        raise FormatError(f"expected a seed of 0 or more, found {seed}", where="info")
    if surface is not None and surface > MAX_POINTS:
        raise FormatError(f"expected a surface of at most {MAX_POINTS} points, found {surface}", where="info")
    return seed, surface


def registered(info: Mapping[str, Any]) -> bool:
    """Say whether point j of every cloud was given as the same point: then the same ones of larger clouds stayed."""
    return info.get("settings", {}).get("registered", False) is True


def info_section(info: dict[str, Any]) -> Section:
    """Return the section of an object; raises SettingsError where its text is too long."""
    text = json.dumps(info, separators=(",", ":"), allow_nan=False).encode()
    if len(text) > MAX_INFO:
        raise SettingsError(f"expected at most {MAX_INFO} bytes of unit, settings and records, found {len(text)}")
    return Section("info", text, DEFLATE)


def read_info(container: Container) -> dict[str, Any]:
    """Return the section's object, its known keys checked; empty where there is none. Raises FormatError."""
    if "info" not in container:
        return {}
    size = container.entry("info").size
    if size > MAX_INFO:
        raise FormatError(f"expected at most {MAX_INFO} bytes, found {size}", where="info")
    text = container.section("info")
    try:
        info = json.loads(text.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise FormatError("expected JSON text", where="info") from error
    if problem := _problem(info):
        raise FormatError(problem, where="info")
    return dict(info)


def _problem(info: Any) -> str:
    """Return why no reader may show an info; nothing where it may."""
    if not isinstance(info, dict):
        return f"expected a JSON object, found {type(info).__name__}"
    if problem := _not_plain(info, _MAX_DEPTH):
        return problem
    for key, kind in (("unit", str), ("settings", dict), ("encoder", dict), ("fidelity", dict)):
        if not isinstance(info.get(key, kind()), kind):
            return f"expected {'text' if kind is str else 'an object'} as {key}"
    settings = info.get("settings", {})
    if not _is_a(settings.get("seed", 0), int):
        return "expected an integer as seed"
    surface = settings.get("surface")
    if surface is not None and not (_is_a(surface, int) and surface >= 1):
        return "expected an integer of at least 1 as surface"
    if not isinstance(settings.get("registered", False), bool):
        return "expected true or false as registered"
    if info.get("fidelity") and not _is_record(info["fidelity"], "measured"):
        return "expected numbers and names as fidelity, found others or none"
    appended = info.get("appended", [])
    if not (isinstance(appended, list) and all(_is_record(record, "clouds") for record in appended)):
        return "expected a list of numbers and names of what was appended, found others"
    return ""


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _not_plain(value: Any, depth: int) -> str:
    """Return why a value of JSON cannot be shown to a person; nothing where it can be."""
    if isinstance(value, (dict, list)):
        if not depth:
            return f"expected at most {_MAX_DEPTH} levels of objects and arrays, found more"
        if isinstance(value, dict):
            if strange := [key for key in value if not _is_plain_text(key)]:
                return f"expected keys that can be printed, found {strange[0][:80]!r}"
            value = list(value.values())
        return next(filter(None, (_not_plain(item, depth - 1) for item in value)), "")
    if (isinstance(value, int) and value.bit_length() > 1023) or (isinstance(value, float) and math.isinf(value)):
        return "expected numbers of double precision, found a larger one"
    return ""


def _is_plain_text(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _is_record(record: Any, counted: str) -> bool:
    """Say whether a value is a record of errors, with the number of clouds under `counted`."""
    return (
        isinstance(record, dict)
        and all(key in record for key in (*_ALWAYS_RECORDED, counted))
        and all(_is_a(record[key], kind) for key, kind in _RECORDED.items() if key in record)
        and _is_plain_text(record["metric"])
    )


def _is_a(value: Any, kind: Any) -> bool:
    """Say whether a value of JSON is of a type: true is no number, and an integer is a float too."""
    if kind is VertexErrors:
        return isinstance(value, dict) and all(_is_a(value.get(key), float) for key in get_type_hints(VertexErrors))
    if kind is Worst:
        return isinstance(value, dict) and _is_a(value.get("name"), str) and _is_a(value.get("mean"), float)
    if isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else get_origin(kind) or kind)
