"""Laws of the container: what goes in comes out, and nothing else is ever taken for it."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcqaad.formats.container.container import DEFLATE, RAW, Container, Section, pack, write_container
from pcqaad.formats.container.groups import pack_groups
from pcqaad.formats.errors import FormatError
from tests.hostile.containers import AT_OPEN, AT_READ, KNOWN, Row, forge

TAGS = st.from_regex(re.compile(r"[A-Za-z][A-Za-z0-9]{3}", re.ASCII), fullmatch=True)
SECTIONS = st.lists(
    st.builds(Section, TAGS, st.binary(max_size=200), st.sampled_from([RAW, DEFLATE])),
    max_size=8,
    unique_by=lambda section: section.tag,
)
SAMPLE = [Section("MODL", b"model" * 9, DEFLATE), Section("LATS", b"xyz"), Section("note", b"")]


class Counting:
    """A remote store that remembers which ranges were asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.ranges: list[tuple[int, int]] = []

    @property
    def size(self) -> int:
        return len(self.data)

    def get_bytes(self, offset: int, length: int) -> bytes:
        self.ranges.append((offset, length))
        return self.data[offset : offset + length]


def read_all(data: bytes) -> list[tuple[str, bytes]]:
    container = Container.open(data)
    return [(entry.tag, container.section(entry.tag)) for entry in container.entries]


@settings(deadline=None, max_examples=25)
@given(SECTIONS)
def test_round_trip(sections: list[Section]) -> None:
    data = pack(sections)
    assert read_all(data) == [(section.tag, section.data) for section in sections]
    assert len(data) <= 16 + 17 * len(sections) + sum(len(section.data) for section in sections)


def test_known_bytes() -> None:
    expected = bytes.fromhex("93514141440d0a1a 0100 0100 b5505758 4c415453 00 03000000 03000000 c2412435 616263")
    assert pack([Section("LATS", b"abc")]) == expected


def test_eight_sections_take_less_than_200_bytes() -> None:
    assert len(pack([Section(f"SEC{i}", b"") for i in range(8)])) < 200


def test_every_flipped_bit_is_found() -> None:
    data = pack(SAMPLE)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            read_all(bytes(damaged))


def test_every_truncation_and_every_tail_is_refused_at_opening() -> None:
    data = pack(SAMPLE)
    for length in range(len(data)):
        with pytest.raises(FormatError):
            Container.open(data[:length])
    with pytest.raises(FormatError, match=f"{len(data)} bytes expected, found {len(data) + 1}"):
        Container.open(data + b"\0")


@pytest.mark.parametrize("name", AT_OPEN)
def test_forged_container_is_refused_at_opening(name: str) -> None:
    data, where, problem = AT_OPEN[name]
    with pytest.raises(FormatError, match=re.escape(problem)) as caught:
        Container.open(data, KNOWN, file="a.qaad")
    assert (caught.value.where, caught.value.file) == (where, "a.qaad")


@pytest.mark.parametrize("name", AT_READ)
def test_forged_section_is_refused_when_read(name: str) -> None:
    data, where, problem = AT_READ[name]
    container = Container.open(data, KNOWN, file="a.qaad")
    with pytest.raises(FormatError, match=re.escape(problem)) as caught:
        container.section("MODL")
    assert (caught.value.where, caught.value.file) == (where, "a.qaad")


def test_unknown_optional_section_is_left_alone_whatever_its_coding() -> None:
    container = Container.open(forge([Row(tag=b"xtra", coding=77, size=9, checksum=0), Row()]), KNOWN)
    assert container.section("MODL") == b"body"
    assert "xtra" in container


def test_missing_section_names_what_is_there() -> None:
    with pytest.raises(FormatError, match=r"a\.qaad: LATS: section is missing, found: MODL"):
        Container.open(forge([Row()]), file="a.qaad").section("LATS")


def test_only_what_is_asked_for_is_read() -> None:
    groups = [b"a" * 50, b"", b"b" * 70]
    data = pack([Section("MODL", bytes(1000)), Section("LATS", pack_groups(groups)), Section("note", b"hi")])
    source = Counting(data)
    container = Container.open(source)
    assert source.ranges == [(0, 16), (16, 51)]
    reader = container.groups("LATS")
    source.ranges.clear()
    assert reader.read(2) == groups[2]
    assert source.ranges == [(len(data) - 72, 70)]
    assert (len(reader), reader.read(1)) == (3, b"")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.binary(max_size=40), max_size=6))
def test_groups_round_trip(groups: list[bytes]) -> None:
    reader = Container.open(pack([Section("LATS", pack_groups(groups))])).groups("LATS")
    assert [reader.read(i) for i in range(len(reader))] == groups


def test_every_flipped_bit_of_groups_is_found_by_their_own_checks() -> None:
    good = pack_groups([b"abc", b"", b"defg"])
    for bit in range(8 * len(good)):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        container = Container.open(pack([Section("LATS", bytes(damaged))]))
        with pytest.raises(FormatError, match=r"^LATS: "):  # noqa: PT012 either may find it
            reader = container.groups("LATS")
            _ = [reader.read(i) for i in range(3)]


def test_groups_refuse_a_count_that_the_section_cannot_hold() -> None:
    body = struct.pack("<II", 2**32 - 1, 0)
    with pytest.raises(FormatError, match="34359738368 bytes expected for a table of 4294967295 groups"):
        Container.open(pack([Section("LATS", body)])).groups("LATS")


def test_groups_know_their_bounds() -> None:
    reader = Container.open(pack([Section("LATS", pack_groups([b"a"]))])).groups("LATS")
    for index in (-1, 1):
        with pytest.raises(IndexError):
            reader.read(index)


def test_a_source_that_returns_too_little_is_found() -> None:
    class Short(Counting):
        def get_bytes(self, offset: int, length: int) -> bytes:
            return super().get_bytes(offset, length)[:-1]

    with pytest.raises(FormatError, match="16 bytes expected at byte 0, found 15"):
        Container.open(Short(pack(SAMPLE)))


def test_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.qaad"
    assert write_container(path, SAMPLE) == path.stat().st_size
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.qaad"]
    with Container.open(path) as container:
        assert [container.section(s.tag) for s in SAMPLE] == [s.data for s in SAMPLE]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.qaad"
    write_container(path, SAMPLE)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="twice"):
        write_container(path, [*SAMPLE, SAMPLE[0]])
    assert path.read_bytes() == before


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"none\.qaad"):
        Container.open(tmp_path / "none.qaad")


@pytest.mark.parametrize("tag", ["", "ABC", "ABCDE", "1BCD", "AB D", "ÄBCD"])
def test_malformed_tag_is_not_written(tag: str) -> None:
    with pytest.raises(ValueError, match="is not a letter"):
        pack([Section(tag, b"")])
