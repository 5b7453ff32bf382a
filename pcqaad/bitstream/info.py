"""What a file says of its clouds beside their points: their names, and how it was made (SPEC.md, 7.5 and 7.6)."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from pcqaad.decoder.architecture import MAX_POINTS
from pcqaad.formats.clouds.names import MAX_NAME, safe_name
from pcqaad.formats.container.container import Container
from pcqaad.formats.errors import FormatError

# Bytes of the JSON text, and how deep objects and arrays may lie in each other.
MAX_INFO, _MAX_DEPTH = 2**20, 8
# What a record of errors may hold.
_FIGURES = ("mean", "rms", "mean_squared", "sum", "mean_percent", "diagonal", "at_least", "rise")
_OF_ANY = ("metric", "cell", "worst", *_FIGURES)
_COUNTS = ("first", "clouds", "steps", "seed")
_OF_APPENDED = (*_COUNTS, "encoder")


def read_names(container: Container, clouds: int) -> list[str]:
    """Return the names of so many clouds; raises FormatError."""
    size, most = container.entry("NAME").size, (MAX_NAME + 1) * clouds - 1
    if size > most:
        raise FormatError(f"expected at most {most} bytes for {clouds} names, found {size}", where="NAME")
    data = container.section("NAME")
    # Counted first: where all bytes are zero, the names are many more than the file promised.
    found = data.count(b"\0") + 1
    if found != clouds:
        raise FormatError(f"expected {clouds} different names, found {found}", where="NAME")
    try:
        names = data.decode().split("\0")
    except UnicodeDecodeError as error:
        raise FormatError("expected UTF-8 text", where="NAME") from error
    if len(set(names)) != clouds:
        raise FormatError(f"expected {clouds} different names, found {len(set(names))} of {clouds}", where="NAME")
    for name in names:
        if not safe_name(name):
            raise FormatError(f"name {name[:80]!r} is not safe as the name of a file", where="NAME")
    return names


def read_info(container: Container) -> dict[str, Any]:
    """Return the JSON of the optional info section, its keys checked; empty where there is none."""
    if "info" not in container:
        return {}
    size = container.entry("info").size
    if size > MAX_INFO:
        raise FormatError(f"expected at most {MAX_INFO} bytes, found {size}", where="info")
    try:
        info = json.loads(container.section("info").decode(), parse_constant=_no_number)
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError("expected JSON text", where="info") from error
    if not isinstance(info, dict):
        raise FormatError(f"expected a JSON object, found {type(info).__name__}", where="info")
    if problem := _not_plain(info, _MAX_DEPTH):
        raise FormatError(problem, where="info")
    if not isinstance(info.get("unit", ""), str):
        raise FormatError("expected text as unit", where="info")
    for key in ("settings", "encoder", "fidelity"):
        if not isinstance(info.get(key, {}), dict):
            raise FormatError(f"expected an object as {key}", where="info")
    settings = info.get("settings", {})
    if not _is_integer(settings.get("seed", 0)):
        raise FormatError("expected an integer as seed", where="info")
    surface = settings.get("surface")
    if surface is not None and not (_is_integer(surface) and surface >= 1):
        raise FormatError("expected an integer of at least 1 as surface", where="info")
    if info.get("fidelity") and not _is_record(info["fidelity"], "measured"):
        raise FormatError("expected numbers and names as fidelity, found others or none", where="info")
    appended = info.get("appended", [])
    if not (isinstance(appended, list) and all(_is_record(record, "clouds") for record in appended)):
        raise FormatError("expected a list of numbers and names of what was appended, found others", where="info")
    return info


def known(info: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what is known of an info's records of errors, of the fit's and of appended clouds.

    Nothing of those whose metric is not known.
    """

    def kept(record: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
        return {key: value for key, value in record.items() if key in keys} if record.get("metric") == "emkd" else {}

    appended = (kept(record, (*_OF_ANY, *_OF_APPENDED)) for record in info.get("appended", []))
    return kept(info.get("fidelity", {}), (*_OF_ANY, "measured")), [record for record in appended if record]


def sampling(info: dict[str, Any]) -> tuple[int, int | None]:
    """Return the seed that the points of an info's clouds were drawn with, and how many of each surface, if of any.

    Raises FormatError for numbers that no fit takes.
    """
    settings = info.get("settings", {})
    seed, surface = int(settings.get("seed", 0)), settings.get("surface")
    if seed < 0:
        raise FormatError(f"expected a seed of 0 or more, found {seed}", where="info")
    if surface is not None and surface > MAX_POINTS:
        raise FormatError(f"expected a surface of at most {MAX_POINTS} points, found {surface}", where="info")
    return seed, surface


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _not_plain(value: Any, depth: int) -> str:
    """Return what keeps a value of JSON from being shown to a person; nothing where it can be."""
    if isinstance(value, (dict, list)):
        if not depth:
            return f"expected at most {_MAX_DEPTH} levels of objects and arrays, found more"
        if isinstance(value, dict):
            for key in value:
                if not _is_plain_text(key):
                    return f"expected keys that can be printed, found {key[:80]!r}"
            value = list(value.values())
        return next(filter(None, (_not_plain(item, depth - 1) for item in value)), "")
    if (isinstance(value, int) and value.bit_length() > 1023) or (isinstance(value, float) and math.isinf(value)):
        return "expected numbers of double precision, found a larger one"
    return ""


def _is_plain_text(text: str) -> bool:
    return all(" " <= character <= "~" for character in text)


def _is_record(recorded: Any, counted: str) -> bool:
    """Say whether a value is a record of errors, with the number of clouds that it counts."""
    if not isinstance(recorded, dict):
        return False
    worst = recorded.get("worst")
    return (
        isinstance(recorded.get("metric"), str)
        and _is_plain_text(recorded["metric"])
        and all(_is_integer(recorded.get(key)) for key in ("cell", counted))
        and all(_is_integer(recorded.get(key, 0)) for key in ("measured", *_COUNTS))
        and all(_is_number(recorded.get(key)) for key in ("mean", "mean_percent"))
        and all(_is_number(recorded.get(key, 0.0)) for key in _FIGURES)
        and isinstance(recorded.get("encoder", {}), dict)
        and isinstance(worst, dict)
        and isinstance(worst.get("name"), str)
        and _is_number(worst.get("mean"))
    )
