"""Whole files: random access, their description, and refusal of damaged ones."""

import json
import math
import struct
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np
import pytest

import pcqaad
from pcqaad.bitstream import latent_coding
from pcqaad.bitstream.info import Info
from pcqaad.formats.container.container import Container, Section, pack


class Counting:
    """Bytes that remember which ranges were read."""

    def __init__(self, data):
        self.data, self.size, self.read = data, len(data), set()

    def get_bytes(self, offset, length):
        self.read |= set(range(offset, offset + length))
        return self.data[offset : offset + length]


def resection(data, **changed):
    """Forge a file: the same sections, some with other bytes, all checksums right."""
    with Container.open(data) as c:
        return pack([Section(e.tag, changed.get(e.tag, c.section(e.tag)), e.coding) for e in c.entries])


def test_a_file_reads_as_a_sequence(fitted_file, originals):
    with pcqaad.open(fitted_file) as c:
        assert len(c) == len(list(c)) == 6
        assert c[-1].dtype == np.float32
        assert c[0].shape == originals[0].shape
        assert np.array_equal(c[-1], c[5])
        assert np.array_equal(c.decode(c.latents[4]), c[4])
        assert pcqaad.Collection(fitted_file.read_bytes())[0].tobytes() == c[0].tobytes()


@pytest.mark.parametrize(
    ("index", "positions"),
    [
        (slice(1, 3), [1, 2]),
        (slice(None, None, -2), [5, 3, 1]),
        (slice(4, 4), []),
        ([1, 4], [1, 4]),
        ((-1, 0, 0), [5, 0, 0]),
        (range(2), [0, 1]),
        (np.array([3, -6], np.int8), [3, 0]),
        (np.arange(6) % 2 == 1, [1, 3, 5]),
        ([False] * 6, []),
        ([], []),
        (["ellipsoid 2", 0], [2, 0]),
    ],
)
def test_several_clouds_are_one_array(fitted_file, index, positions):
    with pcqaad.open(fitted_file) as c:
        clouds = list(c)
        chosen = c[index]
    assert (chosen.shape, chosen.dtype) == ((len(positions), 256, 3), np.float32)
    assert chosen.tobytes() == b"".join(clouds[position].tobytes() for position in positions)


def test_clouds_by_name(fitted_file):
    with pcqaad.open(fitted_file) as c:
        assert [c[name].tobytes() for name in c.names] == [cloud.tobytes() for cloud in c]
        assert "ellipsoid 3" in c
        assert "ellipsoid 33" not in c


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (6, IndexError, "expected a position from -6 to 5, found 6"),
        (-7, IndexError, "expected a position from -6 to 5, found -7"),
        ([0, 6], IndexError, "expected a position from -6 to 5, found 6"),
        ([True] * 5, IndexError, "expected 6 booleans, found 5"),
        ("elipsoid 3", KeyError, "no cloud is named 'elipsoid 3'; near are 'ellipsoid 3', "),
        ("y" * 100, KeyError, f"no cloud is named '{'y' * 80}'; `names` lists all 6"),
        (1.5, TypeError, "'float' object cannot be interpreted as an integer"),
        (np.zeros((2, 2), int), TypeError, ""),
    ],
)
def test_clouds_that_are_not_there(fitted_file, monkeypatch, index, error, message):
    # Before any cloud is decoded.
    monkeypatch.setattr(pcqaad.Collection, "_cloud", None)
    with pcqaad.open(fitted_file) as c, pytest.raises(error) as raised:
        c[index]
    if error is not TypeError:
        assert f"{fitted_file}: {message}" in raised.value.args[0]
    assert "\n" not in str(raised.value)


def conforms(value: Any, kind: Any) -> None:
    """Check a value of JSON against a type, key by key."""
    if is_typeddict(kind):
        hints = get_type_hints(kind)
        assert set(value) == set(hints) if kind.__total__ else set(value) <= set(hints)
        for key in value:
            conforms(value[key], hints[key])
    elif get_origin(kind) is list:
        for item in value:
            conforms(item, get_args(kind)[0])
    elif kind is not Any:
        assert type(value) is (get_origin(kind) or kind)


def test_info_is_what_its_type_says(fitted_file, fitted):
    with pcqaad.open(fitted_file) as c:
        found = json.loads(json.dumps(c.info))
        assert found == c.info
        conforms(found, Info)
        record = {**c.info["fidelity"], "clouds": 1, "first": 6, "encoder": {"steps": 1}, "unheard of": 1}
        data = pack(c.appended_sections(fitted.encoded.quantised.latents[:1], ["a"], record))
    grown = pcqaad.Collection(data).info
    conforms(grown, Info)
    (appended,) = grown["appended"]
    assert appended == {key: value for key, value in record.items() if key not in ("measured", "unheard of")}


def test_info_accounts_for_every_byte(fitted_file):
    with pcqaad.open(fitted_file) as c:
        sizes = c.info["bytes"]
        assert sizes["file"] == fitted_file.stat().st_size == sum(sizes["parts"].values())
        overhead = 16 + 17 * len(sizes["sections"])
        assert sum(sizes["sections"].values()) + overhead == sizes["file"]
        head = overhead + sizes["sections"]["HEAD"] + sizes["sections"]["info"]
        latents = sizes["sections"]["LMOD"] + sizes["sections"]["LATS"]
        linear = sizes["sections"].get("COMP", 0)
        assert list(sizes["parts"]) == ["weights", "template", "components", "latents", "names", "rest"]
        assert list(sizes["parts"].values())[2:] == [linear, latents, sizes["sections"]["NAME"], head]
        assert sizes["per_cloud"] == {name: sizes["parts"][name] / 6 for name in ("latents", "names", "rest")}
        assert sizes["raw_float32"] == 6 * 256 * 12
        assert c.info["ratio"] == sizes["raw_float32"] / sizes["file"]
        assert c.info["unit"] == "mm"


def test_one_cloud_of_many_reads_its_own_group(monkeypatch, fitted, tmp_path):
    monkeypatch.setattr(latent_coding, "GROUP", 2)
    fitted.save(tmp_path / "x.qaad")
    source = Counting((tmp_path / "x.qaad").read_bytes())
    c = pcqaad.Collection(source)
    with Container.open(source.data) as whole:
        latents = whole.entry("LATS")
    every = set(range(latents.offset, latents.offset + latents.length))
    cloud = c[3]
    own = source.read & every
    assert len(own) < latents.length
    assert cloud.tobytes() == pcqaad.Collection(source.data)[3].tobytes()
    # Its neighbour is in the same group, which is not read again; two others need one group more.
    source.read.clear()
    assert c[[2, 3]].tobytes() == b"".join(cloud.tobytes() for cloud in pcqaad.Collection(source.data)[2:4])
    assert not source.read
    assert len(c[[4, 2, 5]]) == 3
    assert source.read < every - own


def test_every_truncation_is_refused(fitted_file):
    data = fitted_file.read_bytes()
    for length in [*range(300), *range(300, len(data), 97)]:
        with pytest.raises(pcqaad.FormatError):
            pcqaad.Collection(data[:length]).check()


def test_every_flipped_bit_is_refused(fitted_file):
    data = bytearray(fitted_file.read_bytes())
    for bit in np.random.default_rng(0).choice(8 * len(data), 400, replace=False):
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(pcqaad.FormatError) as refused:
            pcqaad.Collection(bytes(data)).check()
        assert "\n" not in str(refused.value)
        data[bit // 8] ^= 1 << bit % 8
    pcqaad.Collection(bytes(data)).check()


@pytest.mark.parametrize(
    ("tag", "change", "message"),
    [
        ("HEAD", lambda b: b[:20], "HEAD: expected at least"),
        ("HEAD", lambda b: b + b"\0", "HEAD: expected"),
        (
            "HEAD",
            lambda b: b"\xff\xff\xff\xff" + b[4:],
            "HEAD: expected 2 to 16777216 clouds, found 4294967295",
        ),
        ("HEAD", lambda b: b[:4] + b"\0\0\0\0" + b[8:], "HEAD: expected 1 to 16777216 points, found 0"),
        ("HEAD", lambda b: b[:8] + b"\xff\xff" + b[10:], "HEAD: expected 1 to 256 patches, found 65535"),
        ("HEAD", lambda b: b[:20] + struct.pack("<q", 2**52 + 1) + b[28:], "HEAD: expected a centre up to 2^52"),
        ("HEAD", lambda b: b[:20] + struct.pack("<q", -(2**63)) + b[28:], "HEAD: expected a centre up to 2^52"),
        *(
            ("HEAD", lambda b, unit=unit: b[:44] + struct.pack("<d", unit) + b[52:], "HEAD: expected a unit of 24")
            for unit in (0.0, -1.0, math.nan, math.inf, 2.0**129, 2.0**-401, 1 + 2.0**-24)
        ),
        ("HEAD", lambda b: b[:64] + b"\0\4" + b[66:], "HEAD: expected steps below 1024, found 1024"),
        ("HEAD", lambda b: b[:-2] + b"\0\4", "HEAD: expected steps below 1024, found 1024"),
        ("HEAD", lambda b: b[:66] + b"\x0f" + b[67:], "HEAD: expected scales up to 14"),
        ("HEAD", lambda b: b[:64] + b"\xff\3" + b[66:], "WGTS: expected sums of layer"),
        ("NAME", lambda b: b"../x" + b[b.index(b"\0") :], "NAME: name '../x' is not safe"),
        ("NAME", lambda b: b.split(b"\0")[0], "NAME: expected 6 different names"),
        ("NAME", lambda b: b"\xff" + b, "NAME: expected UTF-8"),
        ("LMOD", lambda b: b + b"\0", "LMOD: expected"),
        ("info", lambda b: b"[" * 10**5, "info: expected JSON"),
        ("info", lambda b: b"3", "info: expected a JSON object, found int"),
    ],
)
def test_forged_sections_are_refused_by_their_rule(fitted_file, tag, change, message):
    data = fitted_file.read_bytes()
    with Container.open(data) as c:
        body = change(c.section(tag))
    with pytest.raises(pcqaad.FormatError) as refused:
        pcqaad.Collection(resection(data, **{tag: body})).check()
    assert message in str(refused.value)


def test_errors_name_the_file(fitted_file, tmp_path):
    path = tmp_path / "cut.qaad"
    path.write_bytes(fitted_file.read_bytes()[:-1])
    with pytest.raises(pcqaad.FormatError, match=r"cut\.qaad: "):
        pcqaad.open(path)
    with pytest.raises(pcqaad.FormatError, match=r"none\.qaad"):
        pcqaad.open(tmp_path / "none.qaad")


def test_a_failed_save_leaves_nothing(fitted, tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(pcqaad.FormatError, match="No space left"):
        fitted.save(tmp_path / "x.qaad")
    assert list(tmp_path.iterdir()) == []
