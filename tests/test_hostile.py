"""Every rule of SPEC.md refuses the file that breaks it, by one line; and no file leads astray what reads it."""

from __future__ import annotations

import contextlib
import os
import re
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import pcqaad
from pcqaad.bitstream.sections import to_sections
from pcqaad.decoder.architecture import Architecture
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.integer_model import IntegerModel
from pcqaad.decoder.step_sizes import StepSize
from pcqaad.decoder.weight_scales import WeightScales
from pcqaad.formats.coding.fields import encode_fields
from pcqaad.formats.coding.point_sets import encode_points
from tests import mutate, reference
from tests.cli.commands import refused
from tests.hostile import small
from tests.hostile.attributes import EXACT, attribute, with_attributes
from tests.hostile.containers import Row
from tests.hostile.files import FORGERIES, Forgery
from tests.hostile.rules import NOT_OF_A_FILE, RULES
from tests.surface_files import surface_file, surface_model

ROOT = Path(__file__).resolve().parent.parent
REFUSALS = (ROOT / "tests" / "hostile" / "refusals.txt").read_text(encoding="utf-8").splitlines()
CASES = list(zip(FORGERIES, REFUSALS, strict=True))


def sections() -> dict[str, str]:
    """The text of the specification by the number of the section; what comes before the first is 0."""
    parts = re.split(r"^##+ ([0-9.]+?)\.? .*$", (ROOT / "formats" / "SPEC.md").read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(["0", *parts[1::2]], parts[0::2], strict=True))


def refusal(data: bytes) -> str:
    with pytest.raises(pcqaad.FormatError) as caught:  # noqa: PT012 some are refused when opened, some when read
        collection = pcqaad.Collection(data)
        collection.check()
    return str(caught.value)


def test_every_rule_is_stated_in_its_section() -> None:
    text = sections()
    for rule, words in {**RULES, **NOT_OF_A_FILE}.items():
        assert words in text[rule.split()[0]], rule


def test_every_rule_of_the_specification_is_in_the_list() -> None:
    listed = {**RULES, **NOT_OF_A_FILE}
    for number, text in sections().items():
        in_table = False
        for line in text.splitlines():
            words = [w for rule, w in listed.items() if rule.split()[0] == number and w in line]
            rest = line
            for w in words:
                rest = rest.replace(w, "")
            assert not re.search("MUST|refuse", rest), f"no rule in the list for: {number}: {rest}"
            cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
            in_table = bool(cells) and (in_table or cells[-1] == "rule")
            if in_table and cells[-1] not in ("", "rule") and set(cells[-1]) - set("-:"):
                assert words, f"no rule in the list for: {number}: {line}"


def test_every_rule_refuses_a_file() -> None:
    assert {forgery.rule for forgery in FORGERIES} == set(RULES)


def test_what_the_forgeries_differ_from_is_read() -> None:
    data = small.file()
    collection = pcqaad.Collection(data)
    collection.check()
    assert collection[1].tobytes() == reference.decode_file(data)[1].tobytes()
    largest = small.file(HEAD=small.head(flags=1, origin=(7, -7, 1)), WGTS=small.weight_tensors(t0=2**16 - 1, t7=2**20))
    assert pcqaad.Collection(largest)[0].tobytes() == reference.decode_file(largest)[0].tobytes()
    # The largest symbol that 7.8 lets pass at this scale: one more, or a coarser scale, is refused.
    most = (2**53 - 2**36 - 2**26 - 1) // (3 * 64 * 3 * 2**18)
    fine, coarse = small.head(scales=[14, 0]), small.head(scales=[0, 0])
    bound = small.file(HEAD=fine, WGTS=small.weight_tensors(t1=most))
    assert pcqaad.Collection(bound)[0].tobytes() == reference.decode_file(bound)[0].tobytes()
    for head, symbol in ((fine, most + 1), (coarse, most)):
        assert "sums of layer 0" in refusal(small.file(HEAD=head, WGTS=small.weight_tensors(t1=symbol)))
    linear = small.file(COMP=small.components(255, small.ONE), LMOD=small.model(9))
    assert pcqaad.Collection(linear)[0].tobytes() == reference.decode_file(linear)[0].tobytes()
    assert not np.array_equal(pcqaad.Collection(linear)[0], collection[0])
    of_one_place = small.model(0, *[None] * 62, 0)
    exact = attribute(b"b", kind=6, coding=EXACT, affine=(0.5, 2.0), of_clouds=of_one_place)
    coloured = with_attributes(attribute(), exact)
    with pcqaad.Collection(coloured) as read:
        assert [read.attribute(1, name).tolist() for name in "ab"] == [[[0]] * 4, [[0.5]] * 4]
        assert reference.decode_attributes(coloured) == {"a": [[[0]] * 4] * 2, "b": [[[0.5]] * 4] * 2}
    for row in ({"coding": 77}, {"size": 2**32 - 1}, {"coding": 1, "size": 2**31}, {"checksum": 0}):
        unknown = small.added(Row(b"xtra", **row))
        pcqaad.Collection(unknown).check()
        assert collection[1].tobytes() == reference.decode_file(unknown)[1].tobytes()


@pytest.mark.parametrize(("forgery", "line"), CASES, ids=[f"{i} {f.rule}" for i, (f, _) in enumerate(CASES)])
def test_a_forged_file_is_refused_by_its_rule(forgery: Forgery, line: str) -> None:
    assert f"{forgery.rule}: {refusal(forgery.data)}" == line


def test_a_refusal_takes_little_memory() -> None:
    tracemalloc.start()
    try:
        for forgery in FORGERIES[::3]:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            with contextlib.suppress(pcqaad.FormatError):
                pcqaad.Collection(forgery.data).check()
            assert tracemalloc.get_traced_memory()[1] - before < 64 << 20, forgery.rule
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("clouds", "latent", "width", "points", "count"),
    [
        (2, 1, 700, 4, 0),
        (2, 1, 16000, 4, 0),
        (2, 1, 1, 200_000, 0),
        (1000, 400, 1, 4, 0),
        (100_000, 1, 1, 4, 0),
        (2, 1, 1, 200_000, 1),
        (2, 60, 1, 5000, 60),
    ],
)
def test_reading_takes_no_more_memory_than_stated(
    clouds: int, latent: int, width: int, points: int, count: int
) -> None:
    """Files of a few bytes that ask for much: within the bounds of what they say of themselves."""
    names = b"\0".join(b"%d" % i for i in range(clouds))
    streams = small.groups(*[small.STREAM] * -(-clouds // 64))
    corner = small.point_tables(1 if points == 4 else 8, *small.weights(0, 3 if points == 4 else 18)) + small.STREAM
    # The wider, the less deep: at most 2**20 weights may be free.
    widths = [width] if width < 1000 else [1]
    header = small.head(
        clouds=clouds, latent=latent, widths=widths, width=width, points=points, latent_steps=[small.ONE] * latent
    )
    data = small.file(HEAD=header, LATS=streams, NAME=names, TMPL=corner)
    if count:
        # Points all over the place, so that the fields have something to halve.
        spread = np.random.default_rng(0).integers(0, 2**9, (points, 3))
        template, _ = encode_points([spread[::2], spread[1::2]], 9)
        fields, _ = encode_fields(np.ones((points, 3 * count)), spread, 9)
        linear = struct.pack(f"<{1 + count}H", count, *[small.ONE] * count) + fields
        header = small.head(latent=latent, points=points, latent_steps=[small.ONE] * latent, bits=9)
        data = small.file(HEAD=header, TMPL=template, COMP=linear, LATS=streams, NAME=names)
    tracemalloc.start()
    try:
        collection = pcqaad.Collection(data)
        collection.check()
        assert len(collection[-1]) == points
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < mutate.most_memory(data)


@pytest.mark.parametrize(("around", "points"), [(3, 2**18), (40, 2**11)])
def test_a_surface_takes_no_more_memory_than_stated(around: int, points: int) -> None:
    data = surface_file(surface_model(0, around=around, across=20, points=points))
    tracemalloc.start()
    try:
        collection = pcqaad.Collection(data)
        collection.check()
        before = tracemalloc.get_traced_memory()[0]
        assert len(collection[-1]) == points
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Of these files the least part that is always allowed is the most, so points are counted alone as well.
    assert peak < mutate.most_memory(data) and peak - before < 2**24 + 1000 * points


def test_the_bounds_of_memory_are_those_of_the_contributors_guide() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    of = "%s bytes for every weight, %s for every neuron of the widest layer, %s for every point and vertex, "
    of += "%s for every triangle, "
    of += "%s for every number of a component, "
    of += "%s for every latent number, %s for every cloud, %s for every byte of the file and %s for every byte of names"
    assert of % mutate.STATED in text


def test_what_a_reader_would_refuse_is_not_written() -> None:
    shape = Architecture(clouds=2, points=1, latent=1, shared=(1024,), patch=1100, patches=1, residual=False)
    step = StepSize.nearest(1.0)
    weights = {name: np.zeros(size, np.int32) for name, size in shape.tensors().items()}
    steps = dict.fromkeys(weights, step)
    weight_scales = WeightScales.of_codes(shape, np.zeros(1024 + 1100, np.int32))
    model = IntegerModel(
        shape, 1, (0, 0, 0), step, np.zeros((1, 3), np.int32), steps, weight_scales, weights, (step,), (0, 0)
    )
    with pytest.raises(pcqaad.CloudError, match="weights that are nearly all the same"):
        to_sections(model, np.zeros((2, 1), np.int32), Denormalisation((0, 0, 0), 1.0), ["a", "b"], {})
    with pcqaad.open(mutate.GOLDEN.with_suffix(".qaad")) as golden:
        latents = np.zeros((6, 2), np.int32)
        with pytest.raises(pcqaad.SettingsError, match="at most 1048576 bytes of unit"):
            to_sections(golden.integers, latents, golden.denormalisation, golden.names, {"unit": "m" * 2**20})
    with pytest.raises(pcqaad.CloudError, match=r"name '\.\./x' is not safe as the name of a file"):
        pcqaad.fit([np.zeros((4, 3))] * 2, names=["a", "../x"])


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(tmp_path / "x.qaad")
    assert refused("info", tmp_path / "x.qaad").endswith("x.qaad: expected a file, found something else")


@pytest.mark.parametrize("forgery", FORGERIES[::9], ids=lambda forgery: forgery.rule)
def test_commands_refuse_with_one_line_and_leave_nothing(forgery: Forgery, tmp_path: Path) -> None:
    path = tmp_path / "x.qaad"
    path.write_bytes(forgery.data)
    line = f"{path}: {refusal(forgery.data)}"
    assert refused("verify", path) == " ".join(line.split())
    if forgery.rule.startswith(("1 ", "7.1 ")) and forgery.rule != "1 checksum":
        assert refused("info", path) == " ".join(line.split())
        assert refused("decompress", path, "-o", tmp_path / "out") == " ".join(line.split())
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.qaad"]


@pytest.mark.parametrize("section", ["NAME", "GAIN", "WGTS", "TMPL", "LMOD", "LATS"])
@pytest.mark.parametrize("target", ["out", "out.npy", "out.h5"])
def test_decompress_of_a_damaged_section_leaves_no_file(section: str, target: str, tmp_path: Path) -> None:
    path = tmp_path / "x.qaad"
    path.write_bytes(small.lying(section, checksum=0) if section != "LATS" else small.file(LATS=small.groups(b"x")))
    assert f"x.qaad: {section}: " in refused("decompress", path, "-o", tmp_path / target)
    assert [entry for entry in tmp_path.rglob("*") if entry.is_file()] == [path]


PLY = b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n0\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"hello, world: this is a text file\n",
            r"header: not a .qaad file: b'\x93QAAD\r\n\x1a' expected, found b'hello, w'",
        ),
        (b"hello\n", "header: 16 bytes expected, found 6"),
        (b"", "header: 16 bytes expected, found 0"),
        (
            bytes(1000),
            r"header: not a .qaad file: b'\x93QAAD\r\n\x1a' expected, found b'\x00\x00\x00\x00\x00\x00\x00\x00'",
        ),
        (PLY, r"header: not a .qaad file: b'\x93QAAD\r\n\x1a' expected, found b'ply\nform'"),
    ],
)
def test_what_is_no_such_file_is_said_to_be_none(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.qaad"
    path.write_bytes(data)
    for command in (["info"], ["verify"], ["decompress", "-o", tmp_path / "out"]):
        assert refused(*command, path) == f"{path}: {message}"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    for command in (["info"], ["verify"], ["decompress", "-o", tmp_path / "out"]):
        assert refused(*command, tmp_path) == f"{tmp_path}: expected a file, found a folder"


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="no such device")
def test_a_device_is_no_file() -> None:
    assert refused("info", "/dev/null") == "/dev/null: expected a file, found something else"


def test_a_thousand_mutations_never_lead_astray() -> None:
    found = mutate.run(1000, golden=20)
    # Whatever was not mended is refused: every byte of the file is under a checksum.
    assert found["damaged"].keys() == {"refused"}
    assert found["mended"]["refused"] > 400
    assert found["mended"]["read"] > 10
