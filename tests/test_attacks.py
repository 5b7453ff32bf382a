"""Attacks on whoever reads a stranger's files or is stopped half way, each kept as it once succeeded.

Those on `.qaad` files stand in `tests/hostile`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from pcqaad.formats import atomic
from pcqaad.formats.atomic import atomic_path
from pcqaad.formats.clouds.find import find_clouds
from pcqaad.formats.clouds.h5 import find_h5
from pcqaad.formats.clouds.ply import count_ply
from pcqaad.formats.errors import FormatError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="attacks by links, pipes and signals of POSIX")
SECRET = b"root:x:0:0:root:/root:/bin/bash\n"


@pytest.fixture
def secret(tmp_path):
    """A file of this machine's that no cloud may show, and an HDF5 file that holds the same."""
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["names"] = np.array([SECRET[:16], SECRET[16:]])
        file["faces"] = np.frombuffer(SECRET[:24], "<u4").reshape(2, 3)
        file["clouds"] = np.frombuffer(SECRET[:24], "<f4").reshape(2, 1, 3)
    return path


def steal(file, role, way, secret):
    """Have a dataset of a stranger's file read its data from the secret."""
    with h5py.File(f"{secret}.h5") as model:
        shape, dtype = model[role].shape, model[role].dtype
    match way:
        case "external storage":
            file.create_dataset(role, shape, dtype, external=[(str(secret), 0, len(SECRET))])
        case "virtual dataset":
            layout = h5py.VirtualLayout(shape, dtype)
            layout[:] = h5py.VirtualSource(f"{secret}.h5", role, shape, dtype)
            file.create_virtual_dataset(role, layout)
        case "external link":
            file[role] = h5py.ExternalLink(f"{secret}.h5", role)
        case "link to a link":
            file[role] = h5py.SoftLink("/a/there")
            file.create_group("a")["there"] = h5py.ExternalLink(f"{secret}.h5", role)
        case "linked group":
            file["a"] = h5py.ExternalLink(f"{secret}.h5", "/")
            file[role] = h5py.SoftLink(f"a/{role}")


WAYS = ["external storage", "virtual dataset", "external link", "link to a link", "linked group"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("role", ["names", "faces", "clouds"])
def test_no_bytes_of_another_file_come_out_of_an_h5(tmp_path, secret, role, way):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        if role != "clouds":
            file["clouds"] = np.ones((2, 7, 3), "<f4")
        steal(file, role, way, secret)
    with pytest.raises(
        FormatError, match=f"{path}.*dataset {role}: expected .* (found them in others|a link elsewhere)"
    ):
        [source.read_mesh() for source in find_clouds([f"{path}:clouds"])]


def test_a_link_within_the_file_is_followed(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["run/points"] = np.ones((2, 4, 3))
        file["run/names"] = ["b", "c"]
        file["link"] = h5py.SoftLink("run")
        file["around"] = h5py.SoftLink("around")
        file["both"] = h5py.SoftLink("/link/./points")
    for dataset in ("link/points", "both"):
        assert [source.name for source in find_clouds([f"{tmp_path}/a.h5:{dataset}"])] == ["b", "c"]
    with pytest.raises(FormatError, match="found a link elsewhere"):
        find_clouds([f"{tmp_path}/a.h5:around"])


def test_looking_for_clouds_opens_no_other_file(tmp_path):
    """A pipe would be waited for, whoever opened it."""
    os.mkfifo(tmp_path / "pipe")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["clouds"] = np.ones((2, 4, 3), "<f4")
        file["link"] = h5py.ExternalLink("pipe", "x")
        unlimited = h5py.VirtualLayout((2, 4, 3), "<f4", maxshape=(None, 4, 3))
        source = h5py.VirtualSource("pipe", "x", (2, 4, 3), "<f4", maxshape=(None, 4, 3))
        unlimited[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
        file.create_virtual_dataset("unlimited", unlimited)
    command = "import sys; from pcqaad.formats.clouds.find import find_clouds; print(len(find_clouds(sys.argv[1:])))"
    for dataset, found in ("clouds", "2"), ("link", "found a link elsewhere"), ("unlimited", "found them in others"):
        call = [sys.executable, "-c", command, f"{tmp_path}/a.h5:{dataset}"]
        ended = subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)
        assert found in ended.stdout + ended.stderr
    with pytest.raises(FormatError, match="dataset unlimited: expected its data in the file itself"):
        find_clouds([tmp_path / "a.h5"])


def test_one_long_text_is_not_the_name_of_many_clouds(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["clouds"] = np.ones((2000, 1, 3))
        file["names"] = ["x" * 1025, *["short"] * 1999]
    with pytest.raises(FormatError, match="dataset names: expected names of at most 1024 bytes, found one of 1025"):
        find_clouds([tmp_path / "a.h5"])


def within(seconds, call, *arguments):
    """Return the message that a call is refused with, in time."""
    began = time.perf_counter()
    with pytest.raises(FormatError) as caught:
        call(*arguments)
    assert time.perf_counter() - began < seconds
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("levels", "siblings"), [(2000, 1), (1, 50_000)])
def test_groups_without_end_are_not_searched(tmp_path, levels, siblings):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        group = file
        for _ in range(levels):
            for sibling in range(siblings):
                inner = group.create_group(f"g{sibling}")
            group = inner
        group["clouds"] = np.ones((2, 4, 3))
    limits = "expected at most 2,048 groups and datasets, of 32 levels"
    assert limits in within(1, find_h5, path)
    assert "dataset nothing: expected a dataset, found none; " + limits in within(1, find_h5, path, "nothing")
    # Named, it is found all the same.
    assert find_h5(path, f"{f'g{siblings - 1}/' * levels}clouds")[0].count == 2


def test_groups_in_a_circle_are_searched_once(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a/b/clouds"] = np.ones((2, 4, 3))
        file["a/b/root"], file["a/b/a"], file["other"] = file["/"], file["a"], file["a/b"]
        file["again"] = file["a/b/clouds"]
    assert [found.dataset for found in find_h5(tmp_path / "a.h5")] == ["again"]


XYZ = "property float x\nproperty float y\nproperty float z\n"


@pytest.mark.parametrize(
    "lines",
    [
        "".join(f"element e{i} 0\nproperty int x\n" for i in range(20_000)),
        "".join(f"property int q{i}\n" for i in range(40_000)),
        "\n" * 1_000_000,
    ],
    ids=["elements", "properties", "nothing"],
)
def test_a_ply_header_of_many_lines_is_not_parsed(tmp_path, lines):
    path = tmp_path / "a.ply"
    path.write_text(f"ply\nformat ascii 1.0\nelement vertex 1\n{XYZ}{lines}end_header\n1 2 3\n")
    assert "header: expected at most 4096 lines, found " in within(0.5, count_ply, path)


@pytest.mark.parametrize("folders", [6, 40])
def test_folders_that_link_to_one_another_are_visited_once(tmp_path, folders):
    for i in range(folders):
        (tmp_path / f"f{i}").mkdir()
        for j in range(folders):
            (tmp_path / f"f{i}" / f"l{j}").symlink_to(tmp_path / f"f{j}")
    (tmp_path / "f0" / "x.ply").write_text(f"ply\nformat ascii 1.0\nelement vertex 1\n{XYZ}end_header\n1 2 3\n")
    began = time.perf_counter()
    assert [source.name for source in find_clouds([tmp_path])] == ["f0/x"]
    assert [source.name for source in find_clouds([tmp_path / "f1"])] == ["l0/x"]
    assert time.perf_counter() - began < 2


# Interpreters that are told to end at the first warning.
STRICT = [sys.executable, "-W", "error", "-m", "pcqaad", "compress", "-o", "a.qaad"]


def mesh_of_nan(path):
    vertices = np.zeros(3, [(axis, "<f4") for axis in "xyz"])
    faces = np.array([([0, 1, np.nan],)], [("vertex_indices", "<f4", (3,))])
    PlyData([PlyElement.describe(vertices, "vertex"), PlyElement.describe(faces, "face")]).write(path)


def header_beyond_64_bits(path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 3), }"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(24))


@pytest.mark.parametrize(
    ("name", "write", "problem"),
    [
        ("a.ply", mesh_of_nan, "element face: expected corners among the vertices 0 to 2, found nan (1 such corners)"),
        (
            "a.npy",
            header_beyond_64_bits,
            "shape (9223372036854775807, 3) claims 110680464442257309684 bytes, found 24",
        ),
    ],
)
def test_no_warning_of_python_reaches_the_user(tmp_path, name, write, problem):
    write(tmp_path / name)
    call = [*STRICT, name, name, "--sample-surface", "10", "--quiet"]
    ended = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"pcqaad: error: {name}: {problem}\n")


# Decodes each cloud so slowly that a signal comes while files are being written.
SLOW = """
import sys, time
from pcqaad.bitstream.collection import Collection
from pcqaad.cli.main import main
reader = Collection.reader
def slow(*given, **also):
    read = reader(*given, **also)
    def decode(index):
        print("decoding", flush=True)
        time.sleep(0.2)
        return read(index)
    return decode
Collection.reader = slow
main(["decompress", sys.argv[1], "-o", sys.argv[2], "--quiet", "--overwrite"])
"""


def stop_in_the_middle(file, target, number):
    """Send a signal to a command that decompresses, once it is at its second cloud; return its exit code and stderr."""
    call = [sys.executable, "-c", SLOW, str(file), str(target)]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert [running.stdout.readline() for _ in range(2)] == ["decoding\n"] * 2
        running.send_signal(number)
        errors = running.communicate(timeout=60)[1]
    return running.returncode, errors


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("target", ["out", "out/all.npy", "out/all.h5"])
def test_a_stopped_decompress_leaves_whole_files_alone(fitted_file, tmp_path, names, target, number):
    (tmp_path / "out").mkdir()
    assert stop_in_the_middle(fitted_file, tmp_path / target, number) == (1, "pcqaad: interrupted\n")
    written = files(tmp_path / "out")
    assert written == ([f"{name}.ply" for name in names[:2]] if target == "out" else [])
    assert all(len(find_clouds([tmp_path / "out" / name])[0].read().points) for name in written)


@pytest.mark.parametrize("name", ["all.npy", "all.h5"])
def test_the_next_command_removes_what_a_killed_one_left(fitted_file, tmp_path, name):
    assert stop_in_the_middle(fitted_file, tmp_path / name, signal.SIGKILL) == (-signal.SIGKILL, "")
    (left,) = files(tmp_path)
    assert atomic._TEMPORARY.fullmatch(left)
    call = [sys.executable, "-m", "pcqaad", "decompress", str(fitted_file), "-o", str(tmp_path / "one.npy")]
    subprocess.run(call, capture_output=True, check=True)
    assert files(tmp_path) == ["one.npy"]


WRITE = """
import sys
from pathlib import Path
from pcqaad.formats.atomic import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"new")
"""


def write_into(folder):
    """Write a file as a process does that never wrote there before."""
    atomic._remove_leftovers.cache_clear()
    with atomic_path(folder / "new") as temporary:
        temporary.write_bytes(b"new")


def test_only_leftovers_are_removed(tmp_path):
    mine = f".pcqaad-{atomic._HOST}-1-0123abcd.tmp"
    foreign, aged = (f".pcqaad-{host}-1-0123abcd.tmp" for host in ("00000000", "00000001"))
    others = [".pcqaad-1.tmp", ".pcqaad-notes.tmp", f"x{mine}", f"{mine}.ply", mine[1:], "keep.tmp"]
    for name in (mine, foreign, aged, *others):
        (tmp_path / name).write_bytes(b"half")
    for name in (aged, *others):
        os.utime(tmp_path / name, (0, 0))
    link, folder = (f".pcqaad-{atomic._HOST}-2-0000000{i}.tmp" for i in (0, 1))
    (tmp_path / link).symlink_to("keep.tmp")
    (tmp_path / folder).mkdir()
    write_into(tmp_path)
    assert files(tmp_path) == sorted([foreign, *others, link, "new"])
    assert (tmp_path / folder).is_dir()


def test_what_a_living_process_writes_is_not_removed(tmp_path):
    with atomic_path(tmp_path / "slow") as temporary:
        for how in ("w", "a"):
            with temporary.open(how) as stream:
                stream.write("half")
            os.utime(temporary, (0, 0))
            write_into(tmp_path)
            subprocess.run([sys.executable, "-c", WRITE, str(tmp_path / "new")], check=True)
            assert temporary.exists()
    assert (tmp_path / "slow").read_text() == "halfhalf"
    assert files(tmp_path) == ["new", "slow"]


def test_a_file_that_was_taken_for_a_leftover_is_made_anew(tmp_path, monkeypatch):
    """Between its creation and its lock, another process may remove it."""
    lock = atomic.fcntl.flock
    removed = []

    def late(stream, how):
        if not removed:
            removed.append(Path(stream.name))
            removed[0].unlink()
        lock(stream, how)

    monkeypatch.setattr(atomic.fcntl, "flock", late)
    with atomic_path(tmp_path / "a") as temporary:
        assert temporary != removed[0]
        temporary.write_bytes(b"whole")
    assert files(tmp_path) == ["a"]
