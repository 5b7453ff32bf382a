"""Failures of commands: one line on stderr and an exit code, no traceback."""

from __future__ import annotations

import errno
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

import click

from pcqaad.errors import Error, Interrupted, SettingsError


class CommandError(click.ClickException):
    """A failure that the user can act on: `pcqaad: error: MESSAGE`, exit code 1."""

    _kind = "error: "

    def show(self, file: object = None) -> None:
        """Print the line on stderr."""
        click.echo(f"pcqaad: {self._kind}{self.format_message()}", err=True)

    def format_message(self) -> str:
        """Return the message as one line that a terminal can show."""
        return printable(self.message)


class StoppedError(CommandError):
    """The user, or the system, asked the command to stop: no error, and yet no result; exit code 1."""

    _kind = ""


def need_torch(what: str) -> None:
    """Raise CommandError where torch, which an extra brings, is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise CommandError(f"{what} needs torch: pip install 'pcqaad[fit]'")


@contextmanager
def misuse() -> Iterator[None]:
    """Turn a choice that no fit or search can use into wrong usage, exit code 2."""
    try:
        yield
    except SettingsError as error:
        raise click.UsageError(str(error)) from error


def printable(text: str) -> str:
    """Return text from a file as one line without control characters, which a terminal might obey."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn failures that are no fault of the program into a `CommandError`; any other passes with its traceback."""
    try:
        yield
    except (KeyboardInterrupt, Interrupted) as error:
        raise StoppedError("interrupted") from error
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise  # click ends quietly: `pcqaad info x.qaad | head -1` is no failure
        reason = error.strerror or str(error) or type(error).__name__
        raise CommandError(f"{error.filename}: {reason}" if error.filename else reason) from error
    except UnicodeEncodeError as error:
        # Of a file's name: `main` sees to it that any character can be printed.
        raise CommandError(
            f"{error.object}: expected a name that the system's encoding, {error.encoding}, can write; "
            "PYTHONUTF8=1 in the environment makes it UTF-8"
        ) from error
    except Error as error:
        raise CommandError(str(error)) from error
    except (MemoryError, RuntimeError) as error:
        # torch has no common type for it: a class of its own on a GPU, a message on a CPU.
        of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        if not of_memory and "can't allocate memory" not in str(error):
            raise
        # The first sentence says how much was asked for; torch goes on with paragraphs of advice.
        detail = (str(error).splitlines() or [""])[0].split(". ")[0]
        raise CommandError(f"out of memory: {detail}" if detail else "out of memory") from error
