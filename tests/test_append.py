"""Clouds appended to a file: nothing of the old ones moves, and the new ones fit about as well."""

import itertools
from functools import partial

import numpy as np
import pytest

import pcqaad
from pcqaad.bitstream import latent_coding as latent_stream
from pcqaad.bitstream import sections as storage
from pcqaad.formats.clouds.find import CloudSource
from pcqaad.formats.container.container import Container, pack
from pcqaad.latents.plan import AppendPlan
from pcqaad.monitor import Monitor
from tests.generators import population

QUICK = {"steps": 40, "device": "cpu"}


@pytest.fixture(scope="module")
def newcomers():
    """Two of the population that the file was not fitted to."""
    return population(count=8)[6:]


@pytest.fixture(scope="module")
def appended(fitted_file, newcomers, originals):
    """The file with the two, and with one of its own clouds once more."""
    with pcqaad.open(fitted_file) as c:
        clouds = [*newcomers, originals[2]]
        return pcqaad.append(c, clouds, names=["new", "newer", "again"], **QUICK)


@pytest.fixture(scope="module")
def appended_file(appended, tmp_path_factory):
    path = tmp_path_factory.mktemp("appended") / "appended.qaad"
    appended.save(path)
    return path


def sections(file):
    with Container.open(file) as c:
        return {entry.tag: c.section(entry.tag) for entry in c.entries}


def test_old_clouds_and_the_decoder_stay_byte_for_byte(fitted_file, appended_file, names):
    before, after = sections(fitted_file), sections(appended_file)
    assert list(before) == list(after)
    assert all(before[tag] == after[tag] for tag in ("WGTS", "TMPL"))
    with pcqaad.open(fitted_file) as old, pcqaad.open(appended_file) as new:
        new.check()
        assert new.names == [*names, "new", "newer", "again"]
        assert len(new) == 9
        for i in range(6):
            assert new[i].tobytes() == old[i].tobytes()
        kept = ("fidelity", "settings", "encoder", "unit", "normalisation", "model")
        assert all(new.info[key] == old.info[key] for key in kept)


def test_a_cloud_of_the_fit_is_reached_again(appended_file, newcomers, originals):
    with pcqaad.open(appended_file) as c:
        old = [pcqaad.emkd(a, c[i]).mean for i, a in enumerate(originals)]
        new = [pcqaad.emkd(a, c[6 + i]).mean for i, a in enumerate([*newcomers, originals[2]])]
        assert new[2] <= 1.05 * old[2]


@pytest.mark.parametrize(("components", "farther"), [(False, 1.7), (True, 1.8)])
def test_a_cloud_that_was_held_back_fits_nearly_as_well_as_the_others(components, farther):
    """Where the file has seen enough of the population to know its shapes.

    Of clouds of so few points, components take up some of the sampling of their own, which is not that of others.
    """
    *clouds, held, back = population(count=34, points=128)
    fitted = pcqaad.fit(clouds, pcqaad.Settings(epochs=60, latent=4, measure=4, components=components, device="cpu"))
    model = fitted.encoded.quantised
    file = pack(storage.to_sections(model.shared, model.latents, fitted.denormalisation, fitted.names, {}))
    c = pcqaad.Collection(file)
    old = [pcqaad.emkd(a, b).mean for a, b in zip(clouds, c, strict=True)]
    more = pcqaad.Collection(pack(pcqaad.append(c, [held, back], **QUICK).sections))
    for cloud, decoded in zip([held, back], more[32:], strict=True):
        error = pcqaad.emkd(cloud, decoded).mean
        assert error <= farther * np.mean(old)
        # Not one of those that were there, but another.
        assert error < 0.95 * min(pcqaad.emkd(cloud, b).mean for b in c)


def test_the_record_is_what_a_reader_measures(appended, appended_file, newcomers, originals):
    with pcqaad.open(appended_file) as c:
        (record,) = c.info["appended"]
        assert record == appended.record
        errors = [pcqaad.emkd(a, c[6 + i]).mean for i, a in enumerate([*newcomers, originals[2]])]
        assert record["mean"] == pytest.approx(np.mean(errors), rel=2e-3)
        assert record["mean_percent"] == pytest.approx(100 * record["mean"] / c.info["fidelity"]["diagonal"])
        assert record["worst"]["name"] == ["new", "newer", "again"][int(np.argmax(errors))]
        assert (record["first"], record["clouds"], record["steps"]) == (6, 3, 40)


def test_the_same_seed_gives_the_same_bytes(fitted_file, newcomers):
    with pcqaad.open(fitted_file) as c:
        files = [pack(pcqaad.append(c, newcomers, steps=8, seed=3, device="cpu").sections) for _ in range(2)]
    assert files[0] == files[1]


def test_a_file_is_appended_to_twice_in_place(fitted_file, newcomers, tmp_path):
    path = tmp_path / "x.qaad"
    path.write_bytes(fitted_file.read_bytes())
    decoded = []
    for cloud, length in zip(newcomers, (7, 8), strict=True):
        with pcqaad.open(path) as c:
            more = pcqaad.append(c, [cloud], steps=8, device="cpu")
        more.save(path)
        with pcqaad.open(path) as c:
            c.check()
            assert len(c) == length
            assert [x.tobytes() for x in c][: len(decoded)] == decoded
            decoded = [x.tobytes() for x in c]
    with pcqaad.open(path) as c:
        assert c.names[6:] == ["cloud_0006", "cloud_0007"]
        assert [record["first"] for record in c.info["appended"]] == [6, 7]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("group", [2, 4, 64])
@pytest.mark.parametrize("known", [True, False])
def test_latents_are_coded_with_the_file_s_model_where_it_can_express_them(fitted, tmp_path, monkeypatch, group, known):
    monkeypatch.setattr(latent_stream, "GROUP", group)
    path = tmp_path / "x.qaad"
    fitted.save(path)
    before = sections(path)
    symbols = fitted.encoded.quantised.latents
    # Far beyond any table: no old cloud has such symbols.
    new = symbols[[3, 0, 3]] + (0 if known else 2**18)
    with pcqaad.open(path) as c:
        record = {key: value for key, value in c.info["fidelity"].items() if key != "measured"} | {"clouds": 3}
        more = pack(c.appended_sections(new, ["a", "b", "c"], record))
    after = sections(more)
    assert (after["LMOD"] == before["LMOD"]) == known
    with Container.open(path) as old, Container.open(more) as there:
        groups = [x.groups("LATS") for x in (old, there)]
        assert [len(g) for g in groups] == [-(-6 // group), -(-9 // group)]
        full = range(6 // group)
        if known:
            assert [groups[0].read(i) for i in full] == [groups[1].read(i) for i in full]
    c = pcqaad.Collection(more)
    c.check()
    assert c.info["appended"] == [record]
    assert np.array_equal(c.latents[:6], pcqaad.Collection(path.read_bytes()).latents)
    steps = [step.value for step in c.integers.latent_step_sizes]
    assert np.array_equal(c.latents[6:], (new * steps).astype(np.float32))


def test_larger_clouds_are_brought_to_the_file_s_points_as_verify_does(fitted_file, caplog):
    cloud = population(count=1, points=300, seed=9)[0]
    with pcqaad.open(fitted_file) as c:
        more = pcqaad.append(c, [cloud], names=["large"], steps=8, device="cpu")
        sources = [CloudSource(name, name, len, lambda x=x: (x, ())) for name, x in zip(c.names, c, strict=True)]
    assert caplog.messages == ["1 of 1 clouds hold more points: 256 of each, drawn at random, are fitted"]
    sources.append(CloudSource("large", "large", len, lambda: (cloud, ())))
    measured = pcqaad.verify(pcqaad.Collection(pack(more.sections)), sources)["metrics"]["emkd"]["per_cloud"]
    assert measured[-1]["name"] == "large"
    assert measured[-1]["mean"] == pytest.approx(more.record["mean"], rel=2e-3)


@pytest.mark.parametrize(
    ("clouds", "choices", "message"),
    [
        ([np.ones((255, 3))], {}, "cloud_0006: holds 255 points, the clouds of the file 256"),
        ([np.ones((256, 2))], {}, r"cloud_0006: expected points of shape \(n, 3\)"),
        ([np.full((256, 3), np.nan)], {}, "cloud_0006: expected finite"),
        ([np.full((256, 3), 1e30)], {}, "cloud_0006: lies nowhere near the clouds of the file"),
        ([], {}, "at least 1 cloud to append"),
        ([np.ones((256, 3))], {}, "cloud_0006: lies nowhere near .*, found it [0-9,]+ % of a diagonal away"),
        ([np.ones((256, 3))], {"names": ["a", "b"]}, "expected 1 different names, found 2"),
        ([np.ones((256, 3))], {"names": ["ellipsoid 4"]}, "holds a cloud of the name 'ellipsoid 4' already$"),
        ([np.ones((256, 3))] * 2, {"names": ["a", "a"]}, "expected 2 different names, found 1"),
        ([np.ones((256, 3))], {"names": ["../a"]}, "'../a' is not safe"),
    ],
)
def test_what_cannot_be_appended_is_refused(fitted_file, clouds, choices, message):
    with pcqaad.open(fitted_file) as c, pytest.raises(pcqaad.Error, match=message):
        pcqaad.append(c, clouds, steps=1, **choices)


@pytest.mark.parametrize("bad", [{"steps": 0}, {"minutes": 0}, {"minutes": float("nan")}, {"seed": -1}])
def test_impossible_choices_are_refused(fitted_file, newcomers, bad):
    with pcqaad.open(fitted_file) as c, pytest.raises(pcqaad.SettingsError, match=next(iter(bad))):
        pcqaad.append(c, newcomers, **bad)


def test_more_clouds_than_a_file_holds_are_refused(fitted_file):
    with pcqaad.open(fitted_file) as c, pytest.raises(pcqaad.FormatError, match=r"small\.qaad: HEAD: .* clouds"):
        c.check_room(2**24)


def test_minutes_end_the_fit_of_every_cloud(fitted_file, newcomers, monkeypatch):
    monkeypatch.setattr("pcqaad.latents.append.AppendPlan", partial(AppendPlan, together=1))
    with pcqaad.open(fitted_file) as c:
        some = pcqaad.append(c, newcomers, minutes=0.02, device="cpu")
        none = pcqaad.append(c, newcomers, minutes=1e-9, device="cpu")
    assert some.record["steps"] > 0
    # Every cloud still gets the best of its starts.
    assert none.record["steps"] == 0
    assert len(pcqaad.Collection(pack(none.sections))) == 8


@pytest.mark.parametrize("calls", [0, 1, 3, 9, 15])
def test_stopping_leaves_nothing_behind(fitted_file, newcomers, calls):
    """Of 3 questions whether to stop while the clouds are read, 10 in their fit and 3 in their measurement."""
    counter = itertools.count()
    with pcqaad.open(fitted_file) as c, pytest.raises(pcqaad.Interrupted):
        pcqaad.append(c, newcomers, steps=10, device="cpu", monitor=Monitor(should_stop=lambda: next(counter) >= calls))
    assert next(counter) == calls + 1


def test_a_damaged_info_is_refused_before_anything_is_written(fitted_file):
    from tests.test_file import resection

    for body in (b'{"appended": 3}', b'{"fidelity": {"mean": 1e999}}'):
        c = pcqaad.Collection(resection(fitted_file.read_bytes(), info=body))
        with pytest.raises(pcqaad.FormatError, match="info: expected"):
            c.appended_sections(np.zeros((1, c.latents.shape[1]), np.int32), ["a"], {})
