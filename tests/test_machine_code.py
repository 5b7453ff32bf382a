"""Kept machine code: what is damaged, stale or cannot be kept is compiled anew, and nothing ends for it."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from numba import config

from pcqaad import compiled
from pcqaad.compiled import jit
from pcqaad.decoder import selu_kernels
from pcqaad.matching.cpu import auction, price_tree

HOME = Path(auction.__file__).parent


def triple(x):
    return 3 * x


@pytest.fixture
def warnings(monkeypatch):
    """Collect the warnings."""
    given = []
    monkeypatch.setattr(jit, "warn_once", lambda message, *arguments: given.append((message, message % arguments)))
    return given


@pytest.fixture
def folder(tmp_path, monkeypatch, warnings):
    """Keep machine code in a folder of its own, and nowhere else."""
    found = tmp_path / "code"
    monkeypatch.setattr(config, "CACHE_DIR", str(found))
    monkeypatch.setattr(jit, "_home", lambda _: tmp_path / "no package")
    monkeypatch.setattr(jit, "AppDirs", lambda *_: type("None", (), {"user_cache_dir": str(tmp_path / "home")}))
    return found


def compiles(warnings):
    """Call a function as a new process would; return whether it had to be compiled."""
    warnings.clear()
    assert jit.kept(triple)(14) == 42
    return (jit._COMPILING, jit._COMPILING) in warnings


def code_in(folder):
    (path,) = folder.iterdir()
    return path


def test_machine_code_is_kept_and_found(folder, warnings):
    assert compiles(warnings)
    kept = code_in(folder).read_bytes()
    assert not compiles(warnings)
    assert code_in(folder).read_bytes() == kept
    assert jit.kept(triple)(0.5) == 1.5  # another signature, another file
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("size", [0, 1, 31, 32, 100, 2000, -1])
def test_a_file_that_was_cut_short_is_compiled_anew(size, folder, warnings):
    compiles(warnings)
    path = code_in(folder)
    os.truncate(path, size if size >= 0 else path.stat().st_size - 1)
    assert compiles(warnings)
    assert not compiles(warnings)


def test_a_file_of_zeros_or_with_one_wrong_bit_is_compiled_anew(folder, warnings):
    compiles(warnings)
    path = code_in(folder)
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    for damaged in (bytes(len(good)), bytes(flipped), good + b"\0"):
        path.write_bytes(damaged)
        assert compiles(warnings)
        assert not compiles(warnings)


def test_code_of_other_sources_is_never_used(folder, warnings, tmp_path):
    (tmp_path / "no package").mkdir()
    source = tmp_path / "no package" / "called.py"
    for text in ("x = 1\n", "x = 2\n"):
        source.write_text(text)
        assert compiles(warnings)
        assert not compiles(warnings)
    assert code_in(folder)  # the new code has taken the place of the old


def test_every_source_is_in_the_digest():
    """What is compiled must not depend on a file outside of the two folders whose digest seals it."""
    seen = set()
    for start in (auction, price_tree, selu_kernels):
        here, todo = set(), [start]
        while todo:
            module = todo.pop()
            here.add(module.__name__)
            used = {getattr(thing, "__module__", None) for thing in vars(module).values()}
            todo += [sys.modules[name] for name in used if name and name.startswith("pcqaad.") and name not in here]
        home = Path(start.__file__).parent
        assert {Path(sys.modules[name].__file__).parent for name in here} <= {home, jit._HERE}
        seen |= here
    assert {"pcqaad.matching.cpu.auction", "pcqaad.matching.cpu.simd", "pcqaad.matching.cpu.schedule"} <= seen
    assert {"pcqaad.decoder.selu_kernels", "pcqaad.compiled.jit"} <= seen


def test_where_the_first_folder_takes_nothing_the_next_does(folder, warnings, tmp_path):
    folder.write_text("a file, where a folder should be")
    assert compiles(warnings)
    assert not compiles(warnings)
    assert list((tmp_path / "no package" / "__pycache__").glob("*.code"))


def test_where_no_folder_takes_it_it_compiles_in_memory_and_says_why(folder, warnings, tmp_path):
    for path in (folder, tmp_path / "no package", tmp_path / "home"):
        path.write_text("a file, where a folder should be")
    for _ in range(2):
        assert compiles(warnings)
        ((_, said),) = [w for w in warnings if w[0] == jit._NOT_KEPT]
        assert said.startswith(f"no folder keeps what is compiled ({folder}: File exists; ")
        assert "NUMBA_CACHE_DIR=FOLDER" in said


FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))  # as on a disk that is full: files are cut short
import os, pathlib
from pcqaad.compiled import jit
from tests.test_machine_code import triple
jit._home = lambda _: pathlib.Path(os.environ["HOME"])
assert jit.kept(triple)(14) == jit.kept(triple)(14) == 42
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_a_full_disk_ends_nothing_and_each_warning_comes_once(tmp_path):
    # Nor is a cache without a name taken for the working folder.
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "HOME": str(tmp_path), "XDG_CACHE_HOME": ""}
    run = [sys.executable, "-B", "-c", FULL]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    compiling, not_kept = done.stderr.splitlines()
    assert compiling == jit._COMPILING
    refusals = f"{tmp_path}: File too large; {tmp_path / '__pycache__'}: File too large"
    assert not_kept.startswith(f"no folder keeps what is compiled ({refusals}): NUMBA_CACHE_DIR=FOLDER")


def test_importing_the_matcher_touches_no_file(tmp_path):
    before = {path: path.stat().st_mtime_ns for path in HOME.rglob("*") if path.is_file()}
    stale = tmp_path / "solve_cells-0.code"
    stale.touch()
    os.utime(stale, (1, 1))
    script = "import pcqaad.matching.cpu.auction"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-B", "-c", script], env=environment, check=True)
    assert [path.name for path in tmp_path.iterdir()] == [stale.name]
    assert before == {path: path.stat().st_mtime_ns for path in HOME.rglob("*") if path.is_file()}


def test_a_warning_comes_once_whichever_thread_gives_it(caplog):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: compiled.warn_once("said %s", "once"), range(200)))
    assert [(record.name, record.getMessage()) for record in caplog.records] == [("pcqaad", "said once")]
