"""Numba as this package uses it: functions compiled when first called, their machine code kept for the next process."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.cloudpickle import loads
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs

from pcqaad._version import __version__
from pcqaad.compiled import warn_once

_HERE = Path(__file__).parent
_SEAL = hashlib.sha256().digest_size  # bytes
_COMPILING = "compiling for this machine: up to 15 s, once"
_NOT_KEPT = "no folder keeps what is compiled (%s): NUMBA_CACHE_DIR=FOLDER in the environment names another"


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called. Threads run it side by side, and no division checks for zero."""
    return numba.njit(nogil=True, error_model="numpy")(function)


def kept(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls, and keep its machine code, with that of all it calls, on disk."""
    dispatcher = compiled(function)
    dispatcher._cache = MachineCode(function)
    return dispatcher


def _home(function: Callable[..., Any]) -> Path:
    """Return the folder that a function's source is in."""
    return Path(function.__code__.co_filename).absolute().parent


def _sources(home: Path) -> bytes:
    """Return the digest of what machine code is made from: sources of this folder and a home, versions."""
    digest = hashlib.sha256(f"{__version__} {numba.__version__} {llvmlite.__version__}".encode())
    for folder in (_HERE, home):
        for path in sorted(folder.glob("*.py")):
            digest.update(path.read_bytes())
    return digest.digest()


class MachineCode:
    """The machine code of one function, a file for each signature: a numba dispatcher takes it for its cache.

    Numba's own cache raises where a file is damaged or the disk is full, and overlooks changes in functions that are
    compiled into others. Here a file starts with a seal: the digest of all sources in the function's folder and of the
    code itself. Code whose seal is wrong counts as absent.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = function.__name__
        self._home = _home(function)
        self._sources = _sources(self._home)
        self._key = f"{self._home} {function.__module__}.{function.__qualname__} {sys.implementation.cache_tag}"

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return the compiled function, or None where no folder holds it."""
        target.refresh()
        for path in self._paths(signature, target.codegen()):
            try:
                content = path.read_bytes()
            except OSError:
                continue
            code = content[_SEAL:]
            if content[:_SEAL] == self._seal(code):
                return CompileResult._rebuild(target, *loads(code))
        warn_once(_COMPILING)
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep a compiled function in the first folder that takes it; where none does, it lives in memory alone."""
        code, refusals = dumps(result._reduce()), []
        for path in self._paths(signature, result.codegen):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._seal(code) + code)
                return
            except OSError as error:
                refusals.append(f"{path.parent}: {error.strerror}")
        warn_once(_NOT_KEPT, "; ".join(refusals))

    def _paths(self, signature: Any, codegen: Any) -> Iterator[Path]:
        """Yield where the code may be: in NUMBA_CACHE_DIR, beside the sources, in the user's cache."""
        # Machines that share a folder need not share a processor.
        key = hashlib.sha256(f"{self._key} {signature} {codegen.magic_tuple()}".encode()).hexdigest()[:16]
        asked = [Path(numba.config.CACHE_DIR).absolute()] if numba.config.CACHE_DIR else []
        for folder in (*asked, self._home / "__pycache__", Path(AppDirs("pcqaad", False).user_cache_dir)):
            # Without a home the user's cache would be in the working folder, where anyone's code may lie.
            if folder.is_absolute():
                yield folder / f"{self._name}-{key}.code"

    def _seal(self, code: bytes) -> bytes:
        return hashlib.sha256(self._sources + code).digest()
