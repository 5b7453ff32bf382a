"""Laws of attributes: what is coded is decoded, by the written law too; errors keep to what was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pcqaad
from pcqaad.attributes.carry import Carrier, same_points
from pcqaad.attributes.encode import encode_attribute
from pcqaad.attributes.section import Attributes, OfFit, Originals
from pcqaad.attributes.wanted import AttributeSettings, plan
from pcqaad.decoder.attributes import TYPES, Attribute, Coding, nearest_of, places, to_luma
from pcqaad.errors import CloudError, GoalError, SettingsError
from pcqaad.formats.coding.fields import DEAD_ZONE, Cells
from pcqaad.formats.coding.labels import label_parts, read_labels
from pcqaad.formats.coding.residuals import exact_residual, model_of, read_residual, round_residual
from pcqaad.formats.container.container import Container, Section, pack
from pcqaad.formats.container.groups import pack_groups
from pcqaad.formats.errors import FormatError
from tests import reference
from tests import reference_attributes as law
from tests.mutate import mutated
from tests.reference_coding import ArrayModel
from tests.test_fields import SETS

GOLDEN = Path(__file__).parent / "golden"
MUTATIONS = 60  # of each file; 1,500 were read once


def sections_of(data: bytes) -> list[Section]:
    container = Container.open(data)
    return [Section(entry.tag, container.section(entry.tag), entry.coding) for entry in container.entries]


def originals(data: bytes, seed: int = 0) -> Originals:
    """Clouds like those of a file, with attributes of every coding."""
    with pcqaad.Collection(data) as decoded:
        clouds = [decoded.reader(decoded.points)(i) for i in range(len(decoded))]
    rng = np.random.default_rng(seed)
    given = []
    for cloud in clouds:
        x = (cloud - cloud.min(0)) / max(np.ptp(cloud, axis=0).max(), 1e-9)
        smooth = 128 + 80 * np.sin(3 * x + rng.normal(0, 0.3, 3)) + rng.normal(0, 2, x.shape)
        given.append(
            {
                "colour": smooth.clip(0, 255).astype(np.uint8),
                "heat": (x[:, 0] + rng.normal(0, 0.01, len(x))).astype(np.float32),
                "flow": (1000 * x[:, :2] + rng.normal(0, 3, (len(x), 2))).astype(np.int16),
                "part": ((x[:, 2] > 0.4 + rng.normal(0, 0.05)) * 7 - 3 * (x[:, 0] > 0.6)).astype(np.int32),
                "normal": np.zeros((len(x), 3), np.float32),
            }
        )
    return Originals([f"cloud {i}" for i in range(len(clouds))], clouds.__getitem__, given)


def with_attributes(data: bytes, of: Originals, settings: AttributeSettings | None = None) -> bytes:
    """A file with attributes beside its clouds."""
    with pcqaad.Collection(data) as decoded:
        fitted = OfFit(of, settings or AttributeSettings(), None)
        section = fitted.section(decoded.reader(decoded.points), decoded.cells, len(data))
        assert section is not None
        names = decoded.names
    front = bytes(len(names)) + "\0".join(names).encode()
    others = [s for s in sections_of(data) if s.tag != "NAME"]
    return pack([*others, section, Section("NAME", front, version=2)])


@pytest.fixture(scope="module", params=["sequence", "surface"])
def geometry(request: pytest.FixtureRequest) -> bytes:
    return (GOLDEN / f"{request.param}.qaad").read_bytes()


@pytest.fixture(scope="module")
def file(geometry: bytes) -> bytes:
    return with_attributes(geometry, originals(geometry))


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("exact", [False, True])
def test_values_are_decoded_as_they_were_coded_by_the_written_law_too(name: str, exact: bool) -> None:
    points, bits = SETS[name]
    cells, rng = Cells(points, bits, kept=True), np.random.default_rng(3)
    clouds = [np.rint(rng.laplace(0, 4, (len(points), 3))).astype(np.int64) for _ in range(2)]
    coded = [exact_residual(c, cells) if exact else round_residual(c, cells, DEAD_ZONE) for c in clouds]
    model = model_of([one.parts for one in coded])
    for one, cloud in zip(coded, clouds, strict=True):
        stream = model.encode_parts(one.parts)
        read = read_residual(model.reader(stream), cells, 3, exact)
        assert np.array_equal(read.decoded, one.decoded)
        assert all(
            np.array_equal(a, b) for x, y in zip(read.parts, one.parts, strict=True) for a, b in zip(x, y, strict=True)
        )
        if exact:
            assert np.array_equal(read.decoded, cloud)
        known = [tuple(p) for p in points.tolist()]
        written = law.decode_values(ArrayModel(model.to_bytes()), stream, known, bits, 3, exact)
        assert written == read.decoded.tolist()


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("ruled", [False, True])
def test_labels_are_decoded_as_they_were_coded_by_the_written_law_too(name: str, ruled: bool) -> None:
    points, bits = SETS[name]
    cells, rng = Cells(points, bits, kept=True), np.random.default_rng(4)
    half = points[:, 0] > np.median(points[:, 0])
    rule = np.where(half, 5, -(2**31)) if ruled else None
    labels = np.where(rng.random(len(points)) < 0.1, rng.integers(-2, 3, len(points)), np.where(half, 5, -(2**31)))
    parts = label_parts(labels, rule, cells)
    model = model_of([parts])
    stream = model.encode_parts(parts)
    read, again = read_labels(model.reader(stream), rule, cells)
    assert np.array_equal(read, labels)
    assert all(np.array_equal(a, b) for x, y in zip(again, parts, strict=True) for a, b in zip(x, y, strict=True))
    known = [tuple(p) for p in points.tolist()]
    written = law.decode_labels(
        ArrayModel(model.to_bytes()), stream, known, bits, None if rule is None else rule.tolist()
    )
    assert written == labels.tolist()


def test_a_file_is_read_as_the_written_law_says(file: bytes) -> None:
    with pcqaad.Collection(file) as clouds:
        clouds.check()
        points, bits = places(clouds.integers)
        known = [tuple(p) for p in points.tolist()]
        written = reference.decode_attributes(file)
        assert [a.name for a in clouds.attributes] == list(written)
        for a in clouds.attributes:
            for i, expected in enumerate(written[a.name]):
                values = clouds.attribute_of(a.name, clouds.points)(i)
                assert values.dtype == a.type and values.shape == (clouds.points, a.channels)
                assert values.tolist() == expected
        others = np.random.default_rng(0).integers(0, 1 << bits, (50, 3))
        assert nearest_of(points, others, bits).tolist() == law.nearest(known, others.tolist(), bits)


def test_errors_keep_to_what_was_asked_for(geometry: bytes) -> None:
    of = originals(geometry)
    settings = AttributeSettings(colour_quality=30, errors={"heat": 0.02, "flow": "1%"})
    with pcqaad.Collection(with_attributes(geometry, of, settings)) as clouds:
        kinds = {a.name: (a.kind, a.type.name, a.channels) for a in clouds.attributes}
        # Normals are left out: faces or neighbours give them.
        assert kinds == {
            "colour": ("colour", "uint8", 3),
            "heat": ("scalar", "float32", 1),
            "flow": ("scalar", "int16", 2),
            "part": ("label", "int32", 1),
        }
        read = clouds.reader(clouds.points)
        carried = Attributes(of, clouds.attributes, read, clouds.points)
        squares, span = [], np.ptp(np.concatenate([given["flow"] for given in of.given]), axis=0)
        for i in range(len(clouds)):
            found = {name: clouds.attribute_of(name, clouds.points)(i) for name in kinds}
            true = {a.name: carried.carried(j)(i) for j, a in enumerate(clouds.attributes)}
            assert np.abs(found["heat"].astype(float) - true["heat"]).max() <= 0.02
            assert (np.abs(found["flow"].astype(int) - true["flow"]) <= np.floor(span / 100)).all()
            assert np.array_equal(found["part"], true["part"])
            squares.append(np.square(to_luma(found["colour"]) - to_luma(true["colour"]))[:, 0].mean())
        assert 10 * np.log10(255**2 / np.mean(squares)) >= 29.9


@pytest.mark.parametrize("of_type", TYPES, ids=str)
def test_every_type_comes_back_within_its_error(of_type: np.dtype[Any]) -> None:
    rng = np.random.default_rng(1)
    points = rng.integers(0, 64, (60, 3))
    cells = Cells(points, 6, kept=True)
    limits = np.finfo(of_type) if of_type.kind == "f" else np.iinfo(of_type)
    low, high = (0, 1000) if of_type.kind == "f" else (limits.min // 4, limits.max // 4)
    clouds = [rng.uniform(low, high, (60, 2)).astype(of_type) for _ in range(3)]
    error = 0.5 if of_type.kind == "f" else 0
    settings = AttributeSettings(errors={"x": error})
    (planned,) = plan([{"x": c} for c in clouds], lambda i: 60, list("abc"), settings)
    coded = encode_attribute(planned, clouds.__getitem__, 3, cells, 35)
    model = model_of(coded.parts)
    assert coded.shared.attribute.coding is Coding.EXACT
    read = read_residual(model.reader(model.encode_parts(coded.parts[1])), cells, 2, exact=True)
    # Without what is foretold the numbers say nothing; a file's reader adds it.
    assert read.parts and planned.type == of_type


def test_appended_clouds_have_attributes_and_the_old_ones_keep_theirs(file: bytes) -> None:
    of = originals(file, seed=7)
    with pcqaad.Collection(file) as clouds:
        before = [clouds.attribute(0, a.name) for a in clouds.attributes]
        reader = clouds.attribute_reader
        new = Attributes(of, clouds.attributes, clouds.reader(clouds.points), clouds.points)
        section = new.behind(reader)
        latents = clouds._latents.all()
        names = [f"more {i}" for i in range(len(clouds))]
        record = {"clouds": len(names), "metric": "other"}
        data = pack(clouds.appended_sections(latents, names, {**record, **RECORD}, None, section))
    with pcqaad.Collection(data) as clouds:
        clouds.check()
        for old, a in zip(before, clouds.attributes, strict=True):
            assert np.array_equal(clouds.attribute(0, a.name), old)
        values = clouds.attribute_of("part", clouds.points)(len(names))
        assert np.array_equal(values, new.carried(3)(0))


RECORD = {"cell": 1, "mean": 1.0, "mean_percent": 1.0, "worst": {"name": "x", "mean": 1.0}}


def test_points_of_a_surface_have_the_values_of_those_near_by() -> None:
    data = (GOLDEN / "surface.qaad").read_bytes()
    with pcqaad.Collection(with_attributes(data, originals(data))) as clouds:
        own = clouds.attribute_of("colour", clouds.points)(0)
        dense = clouds.attribute(0, "colour", 3 * clouds.points)
        assert dense.shape == (3 * clouds.points, 3)
        assert {tuple(c) for c in dense.tolist()} <= {tuple(c) for c in own.tolist()}
        vertices, _ = clouds.mesh(0, 1)
        assert len(clouds.attribute(0, "part", level=1)) == len(vertices)
        assert len(clouds.attribute(0, "heat")) == len(clouds[0])


def test_a_budget_makes_colours_coarser_and_refuses_what_it_cannot_hold() -> None:
    geometry = (GOLDEN / "surface.qaad").read_bytes()
    of = originals(geometry)
    with pcqaad.Collection(geometry) as decoded:
        read = decoded.reader(decoded.points)
        keep = AttributeSettings(("colour",))
        whole = len(OfFit(of, keep, None).section(read, decoded.cells, 0).data)
        limit = 1000 + whole * 4 // 5
        assert len(OfFit(of, keep, limit).section(read, decoded.cells, 900).data) <= limit - 900
        with pytest.raises(GoalError, match="attributes take"):
            OfFit(of, AttributeSettings(("heat",)), 1000).section(read, decoded.cells, 950)


def test_what_cannot_be_kept_is_said_in_one_line() -> None:
    def planned(*clouds: dict[str, NDArray[Any]], **asked: Any) -> list[Attribute]:
        return plan(list(clouds), lambda i: 4, ["a", "b"], AttributeSettings(**asked))

    flat = np.zeros(4, np.float32)
    for clouds, problem in (
        ([{"x": flat}, {}], "b: has no attribute 'x'"),
        ([{"x": flat}, {"x": flat[:3]}], "b: attribute 'x': expected values of 4 points"),
        ([{"x": flat}, {"x": flat.astype(float)}], "b: attribute 'x': expected 1 of float32"),
        ([{"x": flat * np.nan}, {"x": flat}], "a: attribute 'x': expected finite values"),
        ([{"x": flat.astype(np.int64)}] * 2, "expected numbers of at most 32 bits"),
        ([{"x\n": flat}] * 2, "without control characters"),
        ([{"x": np.zeros((4, 5), np.float32)}] * 2, "expected 1 to 4 numbers"),
    ):
        with pytest.raises(CloudError, match=problem):
            planned(*clouds)
    with pytest.raises(CloudError, match="has no attribute 'y': found x"):
        planned({"x": flat}, {"x": flat}, names=("y",))
    for errors in ({"x": -1}, {"x": "few"}, {"x": "nan%"}):
        with pytest.raises(SettingsError, match="expected 0 or more"):
            AttributeSettings(errors=errors)
    with pytest.raises(SettingsError, match="normals are not kept"):
        planned({"normal": np.zeros((4, 3))}, {}, names=("normal",))
    with pytest.raises(SettingsError, match="of floating point: expected a largest error above 0"):
        planned({"x": flat}, {"x": flat}, errors={"x": 0})
    with pytest.raises(SettingsError, match="expected one of x"):
        planned({"x": flat}, {"x": flat}, errors={"z": 1})


def test_colours_are_carried_as_means_and_labels_as_they_are() -> None:
    original = np.array([[0.0, 0, 0], [0.1, 0, 0], [5, 0, 0]])
    carrier = Carrier(original, np.array([[0.0, 0, 0], [5, 0, 0]]))
    colours = Attribute("colour", np.dtype("u1"), 3, Coding.COLOURS)
    values = np.array([[10], [30], [70]], np.uint8) * np.ones(3, np.uint8)
    assert carrier.carry(values, colours)[:, 0].tolist() == [20, 70]
    labels = Attribute("x", np.dtype("u1"), 1, Coding.LABELS)
    assert carrier.carry(values[:, :1], labels)[:, 0].tolist() == [10, 70]


def test_points_that_are_the_same_in_all_clouds_are_known_by_all() -> None:
    rng = np.random.default_rng(0)
    mean, order = rng.normal(size=(40, 3)), rng.permutation(40)
    clouds = [mean + rng.normal(0, 0.3, mean.shape) for _ in range(6)]
    near = [cloud[order] + rng.normal(0, 0.05, mean.shape) for cloud in clouds]
    same = same_points(clouds.__getitem__, near.__getitem__, 6)
    assert same is not None and np.array_equal(same, order)


def test_damaged_bytes_are_refused(file: bytes) -> None:
    with pcqaad.Collection(file) as clouds:
        data = clouds._container.section("ATTR")
    others = [s for s in sections_of(file) if s.tag != "ATTR"]
    for cut in (0, 7, len(data) // 2, len(data) - 1):
        with (
            pytest.raises(FormatError),
            pcqaad.Collection(pack([*others, Section("ATTR", data[:cut], version=2)])) as read,
        ):
            read.check()


@pytest.mark.parametrize(
    ("middle", "spread", "error"), [(0.0, 1.0, 1e-3), (1e6, 1.0, 0.1), (1e6, 100.0, 0.04), (0, 1e-9, 1e-12)]
)
def test_floats_stay_within_their_error_where_their_type_is_coarse(middle, spread, error):
    rng = np.random.default_rng(3)
    values = [(middle + rng.uniform(-spread, spread, 60)).astype(np.float32) for _ in range(6)]
    given = [{"height": v} for v in values]
    names = [f"{i}" for i in range(6)]
    planned = plan(given, lambda i: 60, names, AttributeSettings(errors={"height": error}))
    (a,) = planned
    steps = np.round((np.stack(values).astype(np.float64) - a.offsets[0]) / a.units[0])
    decoded = (steps * a.units[0] + a.offsets[0]).astype(np.float32)
    assert np.abs(decoded.astype(np.float64) - np.stack(values)).max() <= error


def test_an_error_below_the_type_is_refused():
    given = [{"height": np.array([1e6, 1e6 + 1], np.float32)}] * 2
    with pytest.raises(SettingsError, match="too small for numbers of float32 up to 1e"):
        plan(given, lambda i: 2, ["a", "b"], AttributeSettings(errors={"height": 0.01}))


def test_mutations_with_right_checksums_are_refused_or_read(file: bytes) -> None:
    sections = sections_of(file)
    with Container.open(file) as container:
        read = container.groups("ATTR")
        groups = [read.read(i) for i in range(len(read))]
    others = [section for section in sections if section.tag != "ATTR"]
    found = {"refused": 0, "read": 0}
    rng = np.random.default_rng(7)
    for _ in range(MUTATIONS):
        changed = list(groups)
        which = int(rng.integers(len(groups)))
        changed[which] = mutated(groups[which], rng)
        data = pack([*others, Section("ATTR", pack_groups(changed), version=2)])
        try:
            with pcqaad.Collection(data) as clouds:
                clouds.check()
                for a in clouds.attributes:
                    values = clouds.attribute(len(clouds) - 1, a.name)
                    assert values.dtype == a.type and len(values) == clouds.sizes[-1]
                    assert np.isfinite(values.astype(np.float64)).all()
            found["read"] += 1
        except FormatError as error:
            assert str(error).isprintable()
            found["refused"] += 1
    assert found["refused"] > 0
