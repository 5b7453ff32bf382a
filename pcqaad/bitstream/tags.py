"""The sections of a file by their tags, and errors that say in which of them they arose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pcqaad.formats.errors import FormatError

# Each with the first version of the format that has it.
TAGS = {
    "HEAD": 1,  # sizes, denormalisation, scales and step sizes
    "GAIN": 1,  # weight scales of inputs and neurons
    "WGTS": 1,  # weights
    "TMPL": 1,  # template
    "COMP": 1,  # displacement components of the template
    "SURF": 1,  # triangles of the template
    "LMOD": 1,  # the latents' model
    "LATS": 1,  # latents, in groups of clouds
    "NAME": 1,  # names of the clouds
    "info": 1,  # how the file was made and how good it is
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
