"""The root of all errors, and the one of this room: what was read, what was expected, what was found."""

from __future__ import annotations

from collections.abc import Sequence

_MAX_NAMED = 20  # files in one line


class Error(ValueError):
    """A failure that its reader can act on, told in one line."""


class FormatError(Error):
    """Bytes that are not what they claim to be.

    An error is a coordinate: `file` (as the user named it), `where` in it (a section, an element, a line),
    and a `problem` that says what was expected and what was found. The message is one line.
    """

    def __init__(self, problem: str, *, file: str = "", where: str = "") -> None:
        self.problem = problem
        self.file = file
        self.where = where
        super().__init__(": ".join(part for part in (file, where, problem) if part))

    def in_file(self, file: str) -> FormatError:
        """Return the same error with the file's name in front, for code that only had the bytes."""
        return FormatError(self.problem, file=file, where=self.where)


class UnusableError(FormatError):
    """Files that cannot be used: all of them in one line, or of many the first few and how many there are.

    Attributes:
        count: how many there are.
    """

    def __init__(self, errors: Sequence[FormatError]) -> None:
        # A file may have been given twice.
        errors = list({str(error): error for error in errors}.values())
        self.count = len(errors)
        first = errors[0]
        if self.count == 1:
            super().__init__(first.problem, file=first.file, where=first.where)
            return
        others = f"; and {self.count - _MAX_NAMED} others" if self.count > _MAX_NAMED else ""
        named = "; ".join(str(error) for error in errors[:_MAX_NAMED])
        super().__init__(
            f"{self.count} files or clouds cannot be used: {named}{others}; --drop-invalid leaves them out"
        )
