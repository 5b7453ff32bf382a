"""Faults on purpose: the n-th call that writes, renames or allocates fails, for all n; and disks that are full.

`python -m tests.faults` prints how many faults were injected into which commands, and what they left behind.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import resource
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import numpy as np
from click.testing import Result

from pcqaad.latents.append import Appended
from tests.cli.commands import run
from tests.hostile import small

# Functions of the interpreter, of numpy and of zlib, by what they do. What removes a file is none of them: a removal
# that fails leaves the file, of course.
KINDS: dict[str, tuple[frozenset[str], Callable[[], BaseException]]] = {
    "write": (
        frozenset({"write", "writelines", "tofile", "flush", "truncate", "fsync"}),
        lambda: OSError(errno.ENOSPC, "No space left on device"),
    ),
    "open": (frozenset({"open", "mkdir", "flock"}), lambda: OSError(errno.EMFILE, "Too many open files")),
    "rename": (frozenset({"replace", "rename", "chmod"}), lambda: OSError(errno.EIO, "Input/output error")),
    "allocate": (
        frozenset({"empty", "zeros", "concatenate", "tobytes", "compress", "frombuffer", "read", "repeat"}),
        MemoryError,
    ),
}


# Disks that take no more than so many bytes a file.
FULL = "full disk"


class Injector:
    """Lets the n-th call of a kind fail, counted from 0, and tells whether it came to that."""

    def __init__(self, kind: str, number: int) -> None:
        self._names, self._error = KINDS[kind]
        self._left = number
        self.failed = False

    def __call__(self, frame: FrameType, event: str, function: Any) -> None:
        """Look at a call; a profiler of the interpreter is told of all."""
        if event != "c_call" or self.failed or getattr(function, "__name__", "") not in self._names:
            return
        if "click" in frame.f_code.co_filename or not _within_command(frame):  # the terminal's
            return
        if isinstance(getattr(function, "__self__", None), str):  # text.replace renames no file
            return
        if self._left == 0:
            self.failed = True
            raise self._error()
        self._left -= 1


def _within_command(frame: FrameType | None) -> bool:
    while frame is not None:
        if f"{os.sep}commands{os.sep}" in frame.f_code.co_filename and frame.f_code.co_name == "command":
            return True
        frame = frame.f_back
    return False


@dataclass(frozen=True)
class Case:
    """A command in a folder, what it finds there, and the kinds of faults that are tried on it."""

    name: str
    prepare: Callable[[Path], None]
    command: Callable[[Path], Result]
    kinds: tuple[str, ...] = (*KINDS, FULL)


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _file(folder: Path) -> None:
    (folder / "a.qaad").write_bytes(small.file())


class _Saved:
    """What a fit returns, made already."""

    def save(self, path: Path) -> None:
        Appended(_more(), {}).save(path)


def _more() -> list[Any]:
    """The sections of the file with another cloud behind its own."""
    import pcqaad

    with pcqaad.Collection(small.file()) as clouds:
        errors = {"metric": "emkd", "cell": 1024, "mean": 0.0, "mean_percent": 0.0, "worst": {"name": "c", "mean": 0.0}}
        record = {"first": 2, "clouds": 1, **errors}
        return clouds.appended_sections(np.zeros((1, 1), np.int32), ["c"], record)


def _compress(folder: Path) -> Result:
    with mock.patch("pcqaad.codec.fit", return_value=_Saved()):
        return run("compress", folder / "in", "-o", folder / "a.qaad", "--overwrite", "--quiet")


def _append(folder: Path) -> Result:
    with mock.patch("pcqaad.latents.append.append", return_value=Appended(_more(), {})):
        return run("append", folder / "a.qaad", folder / "in", "--quiet")


def _prepared(folder: Path) -> None:
    from pcqaad.formats.clouds.ply import write_ply

    _file(folder)
    (folder / "in").mkdir()
    for name in "ab":
        write_ply(folder / "in" / f"{name}.ply", np.eye(3, dtype=np.float32))


def _decompress(*options: str) -> Callable[[Path], Result]:
    return lambda folder: run("decompress", folder / "a.qaad", "-o", folder / options[0], *options[1:], "--quiet")


CASES = (
    Case("compress over a file", _prepared, _compress),
    Case("append in place", _prepared, _append),
    Case("decompress to a folder", _file, _decompress("out")),
    Case("decompress to one array", _file, _decompress("all.npy")),
)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="pcqaad-faults-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def inject(case: Case, kind: str, every: int = 1) -> Counter[str]:
    """Let every call of a kind, or one of so many, fail in turn; return how often the old and the new state stood then.

    Full disks are of 32 sizes. Raises AssertionError where anything else stood, or where a failure is no line and exit
    code 1.
    """
    with _folder() as folder:
        case.prepare(folder)
        old = contents(folder)
        assert case.command(folder).exit_code == 0
        new = contents(folder)
    found: Counter[str] = Counter()
    largest = max(map(len, new.values()))
    for number in itertools.count(0, every):
        with _folder() as folder:
            case.prepare(folder)
            if kind == FULL:
                if number >= 32:
                    return found
                with _room_for(number * largest // 32):
                    result = case.command(folder)
            else:
                injector = Injector(kind, number)
                before = sys.getprofile()
                sys.setprofile(injector)
                try:
                    result = case.command(folder)
                finally:
                    sys.setprofile(before)
                if not injector.failed:
                    return found
            found[_judged(result, contents(folder), old, new, f"{case.name}: {kind} {number}")] += 1
    raise AssertionError


@contextlib.contextmanager
def _room_for(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes: what is behind them cannot be written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _judged(result: Result, left: dict[str, bytes], old: dict[str, bytes], new: dict[str, bytes], what: str) -> str:
    """Return "old" or "new", whichever state a failed command left, or "part" of the new files, each of them whole."""
    lines = result.stderr.splitlines()
    if result.exit_code != 0:
        assert result.exit_code == 1, f"{what}: exit code {result.exit_code}"
        assert isinstance(result.exception, SystemExit), f"{what}: {result.exception!r}"
        assert len(lines) == 1 and lines[0].startswith("pcqaad: error: "), f"{what}: {lines}"
    if left == new:
        return "new"
    assert result.exit_code == 1, f"{what}: exit code 0, and not what it should have written"
    if left == old:
        return "old"
    assert old.items() <= left.items() <= new.items(), f"{what}: {sorted(left)} stood"
    return "part"


def main() -> None:
    """Print the table of faults."""
    print("| command | what failed | faults | old files stood | new ones stood | part of the new ones, each whole |")
    print("|---|---|---:|---:|---:|---:|")
    for case in CASES:
        for kind in case.kinds:
            found = inject(case, kind)
            numbers = sum(found.values()), found["old"], found["new"], found["part"]
            print(f"| {case.name} | {kind} | {' | '.join(map(str, numbers))} |", flush=True)


if __name__ == "__main__":
    main()
