"""The names of a file: whole in version 1, front-coded in version 2, the same names either way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pcqaad
from examples import read_qaad as reader
from pcqaad.bitstream.names import names_section, read_names
from pcqaad.errors import FormatError
from pcqaad.formats.clouds.names import safe_name
from pcqaad.formats.container.container import RAW, Container, Section, pack
from tests.hostile import small

NAMES = st.lists(st.text("ab/ä€1", min_size=1, max_size=300).filter(safe_name), unique=True, min_size=1, max_size=20)


@given(NAMES, st.sampled_from([1, 2]))
def test_names_come_back_in_either_version(names, version):
    with Container.open(pack([names_section(names, version)])) as file:
        assert file.version == version
        assert read_names(file, len(names)) == names


def test_numbered_names_take_half_a_bit_each_and_a_version_of_their_own():
    names = [f"skull_{i:04d}" for i in range(4096)]
    data = pack([names_section(names)])
    assert len(data) < 256
    with Container.open(data) as file:
        assert file.version == 2
        assert read_names(file, 4096) == names


def test_few_names_leave_a_file_in_version_1():
    assert names_section([f"skull_{i:02d}" for i in range(48)]).version == 1


def test_a_file_of_version_2_is_read_by_the_example_reader_too(tmp_path):
    data = small.second(NAME=b"\0\5skull\0s")
    (tmp_path / "a.qaad").write_bytes(data)
    with pcqaad.Collection(data) as clouds:
        assert clouds.names == reader.read_names(tmp_path / "a.qaad") == ["skull", "skulls"]
        assert clouds.info["version"] == 2
        assert clouds[1].tobytes() == reader.read_cloud(tmp_path / "a.qaad", 1).tobytes()


def test_what_only_version_2_has_is_not_known_in_a_file_of_version_1():
    required, optional = Section("NEWS", b"a", version=2), Section("news", b"a")
    with Container.open(pack([required]), {"NEWS": 2}) as file:
        assert file.section("NEWS") == b"a"
    with pytest.raises(FormatError, match="NEWS: required section is not known to version 1"):
        Container.open(pack([Section("NEWS", b"a", RAW)]), {"NEWS": 2})
    Container.open(pack([optional]), {"news": 2}).close()
