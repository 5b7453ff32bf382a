"""The sections of a file by their tags, and errors that say in which of them they arose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pcqaad.formats.errors import FormatError

TAGS = {
    "HEAD": "sizes, denormalisation, scales and step sizes",
    "GAIN": "weight scales of inputs and neurons",
    "WGTS": "weights",
    "TMPL": "template",
    "COMP": "displacement components of the template",
    "SURF": "triangles of the template",
    "LMOD": "the latents' model",
    "LATS": "latents, in groups of clouds",
    "NAME": "names of the clouds",
    "info": "how the file was made and how good it is",
}
RAW_TAGS = ("HEAD", "GAIN", "WGTS", "TMPL", "LMOD", "LATS")
# Raw as well, where a file has them.
LINEAR_TAG, SURFACE_TAG = "COMP", "SURF"


@contextmanager
def in_section(tag: str) -> Iterator[None]:
    """Put a section's tag before the place of an error that arises within."""
    try:
        yield
    except FormatError as error:
        if error.where.startswith(tag):
            raise
        where = ": ".join(part for part in (tag, error.where) if part)
        raise FormatError(error.problem, file=error.file, where=where) from error
