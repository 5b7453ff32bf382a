"""Numbers in text: many at once, every one of them checked."""

from __future__ import annotations

import re
import warnings
from array import array
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pcqaad.formats.errors import FormatError

_REAL = np.dtype(float)
_MAX_QUOTED = 60  # characters of the file in a message


class Words(NamedTuple):
    """The words of a text, by white space: where each begins and where it ends."""

    text: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, text: bytes) -> Words:
        """Find the words."""
        ink = np.zeros(len(text) + 2, bool)
        ink[1:-1] = np.frombuffer(text, np.uint8) > 0x20
        return cls(text, np.flatnonzero(ink[1:] & ~ink[:-1]), np.flatnonzero(ink[:-1] & ~ink[1:]))

    def numbers(self, low: int, count: int, dtype: DTypeLike, where: str) -> NDArray[Any]:
        """Return words as numbers of a type, from the word `low` on; raises `FormatError` where they are none."""
        if count > len(self.starts) - low:
            raise FormatError(f"expected {count} numbers, found {len(self.starts) - low}", where=where)
        if count == 0:
            return np.zeros(0, dtype)
        some = self.text[self.starts[low] : self.ends[low + count - 1]]
        return numbers(some, count, dtype, where)


def numbers(text: bytes, count: int, dtype: DTypeLike, where: str) -> NDArray[Any]:
    """Return the numbers of a text of this many words; raises `FormatError` where one is none of the type."""
    kind = np.dtype(dtype)
    wide = kind if kind.kind == "f" else np.dtype("u8" if kind == np.uint64 else "i8")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # older versions of numpy warn where a newer one raises
            found = np.fromstring(text, np.float64 if kind.kind == "f" else wide, sep=" ")
    except (ValueError, DeprecationWarning):
        found = None
    if found is None or len(found) != count:
        wrong = next((word for word in text.split() if not is_number(word, kind)), text)
        raise FormatError(f"expected {_NAMES[kind.kind]}, found {quoted(wrong)}", where=where)
    if kind.kind != "f":
        limits = np.iinfo(kind)
        # numpy takes the largest integer for any that is larger.
        most = limits.max - (limits.bits == 64)
        if len(found) and not (int(found.min()) >= limits.min and int(found.max()) <= most):
            raise FormatError(f"expected integers from {limits.min} to {most}, found others", where=where)
    with np.errstate(over="ignore"):
        return found.astype(kind)


_NAMES = {"f": "numbers", "i": "integers", "u": "integers of 0 and more"}


def is_number(word: bytes, kind: np.dtype[Any] = _REAL) -> bool:
    """Say whether a word is a number of a kind of types."""
    try:
        float(word) if kind.kind == "f" else int(word)
    except ValueError:
        return False
    return kind.kind != "u" or not word.startswith(b"-")


class Lines:
    """Lines of a text file, each with its number from 1."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.places = array("q")  # not a list: it takes a fifth of the bytes

    def add(self, place: int, text: bytes) -> None:
        """Add a line."""
        self.texts.append(text)
        self.places.append(place)

    def __len__(self) -> int:
        return len(self.texts)

    def part(self, low: int, high: int) -> Lines:
        """Return some of the lines."""
        some = Lines()
        some.texts, some.places = self.texts[low:high], self.places[low:high]
        return some

    def error(self, problem: str, index: int) -> FormatError:
        """Return the error of a line, told by its index in these; `{}` in the problem stands for its text."""
        text = quoted(self.texts[index])
        return FormatError(problem.replace("{}", text), where=f"line {self.places[index]}")


def table(lines: Lines, separator: bytes | None = None) -> NDArray[np.float64]:
    """Return the numbers of lines (n, c), all of as many; raises `FormatError` with the line where one differs.

    Args:
        lines: without empty ones.
        separator: of numbers; white space where None.
    """
    if not len(lines):
        return np.zeros((0, 0))
    width = len(lines.texts[0].split(separator))
    text = b"\n".join(lines.texts)
    if separator is not None:
        text = text.replace(separator, b" ")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            flat = np.fromstring(text, np.float64, sep=" ")
    except (ValueError, DeprecationWarning):
        flat = np.zeros(0)
    if len(flat) != width * len(lines) or not _even(text, width):
        raise _odd_line(lines, width, separator)
    return flat.reshape(len(lines), width)


def _even(text: bytes, width: int) -> bool:
    """Say whether every line of a text has as many words."""
    return bool((words_of_lines(text) == width).all())


def words_of_lines(text: bytes) -> NDArray[np.int64]:
    """Return how many words each line of a text has."""
    letters = np.frombuffer(text, np.uint8)
    ends = np.append(np.flatnonzero(letters == 0x0A), len(letters))
    return np.diff(np.searchsorted(Words.of(text).starts, ends), prepend=0)


def _odd_line(lines: Lines, width: int, separator: bytes | None) -> FormatError:
    odd = 0
    for index, text in enumerate(lines.texts):
        words = text.split(separator)
        if len(words) != width or not all(is_number(word) for word in words):
            odd = index
            break
    return lines.error(f"expected {width} numbers, found {{}}", odd)


def quoted(text: bytes) -> str:
    """Return text of a file for a message: short, on one line, and of characters that a terminal shows."""
    plain = re.sub(r"[^\x20-\x7e]", "?", text[: _MAX_QUOTED + 1].decode("latin-1"))
    return repr(plain if len(plain) <= _MAX_QUOTED else f"{plain[: _MAX_QUOTED - 4]} ...")
