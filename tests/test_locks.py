"""One process at a time writes a file, and what a killed one leaves behind stops nobody."""

import os
import signal
import subprocess
import sys

import pytest

from pcqaad.formats import locks
from pcqaad.formats.errors import FormatError
from pcqaad.formats.locks import held

pytestmark = pytest.mark.skipif(locks.fcntl is None, reason="no locks of POSIX")

HOLD = """
import sys, time
from pathlib import Path
from pcqaad.formats.locks import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def holder(tmp_path):
    """A process that holds the name of `a.qaad`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "a.qaad")], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_name_is_held_by_one_process_and_by_one_block(tmp_path, holder):
    with pytest.raises(FormatError, match=rf"a\.qaad: process {holder.pid} is writing it"), held(tmp_path / "a.qaad"):
        pass
    with held(tmp_path / "b.qaad"), pytest.raises(FormatError, match=f"process {os.getpid()} is writing"):  # noqa: SIM117
        with held(tmp_path / "b.qaad"):
            pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_holds_nothing(tmp_path, holder, number):
    holder.send_signal(number)
    holder.wait()
    with held(tmp_path / "a.qaad"):
        assert len(files(tmp_path)) == 1
    assert files(tmp_path) == []


def test_a_link_and_its_target_are_one_name(tmp_path, holder):
    (tmp_path / "link").symlink_to(tmp_path / "a.qaad")
    with pytest.raises(FormatError, match="is writing it"), held(tmp_path / "link"):
        pass


def test_a_lock_that_went_while_it_was_waited_for_is_made_anew(tmp_path, monkeypatch):
    """Its holder may remove it between the opening and the lock of another."""
    lock, removed = locks.fcntl.flock, []

    def late(stream, how):
        if not removed:
            removed.append(stream.name)
            os.unlink(stream.name)  # noqa: PTH108
        lock(stream, how)

    monkeypatch.setattr(locks.fcntl, "flock", late)
    with held(tmp_path / "a"), pytest.raises(FormatError, match="is writing"), held(tmp_path / "a"):
        pass
    assert files(tmp_path) == []


def test_where_the_file_system_has_no_locks_nothing_is_held(tmp_path, monkeypatch):
    def none(stream, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks.fcntl, "flock", none)
    with held(tmp_path / "a"), held(tmp_path / "a"):
        pass
    assert files(tmp_path) == []


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FormatError, match=r"no/a\.qaad: cannot lock: No such file"), held(tmp_path / "no" / "a.qaad"):
        pass
