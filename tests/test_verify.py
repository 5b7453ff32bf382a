"""`pcqaad.verify`: the same originals give the same figures, however they are handed over."""

import weakref
from collections.abc import Sequence

import numpy as np
import pytest

import pcqaad
from pcqaad.formats.clouds.find import find_clouds
from pcqaad.parallel import AHEAD, cores
from tests.generators import population
from tests.layouts import globe, halves, write_mesh

TINY = {"epochs": 1, "tune": 0, "latent": 2, "device": "cpu"}


@pytest.fixture(scope="module")
def meshes():
    """Four globes of different shapes, (vertices, triangles) each."""
    vertices, quads = globe()
    scales = np.random.default_rng(2).uniform(0.7, 1.3, (4, 3)).astype(np.float32)
    return [(vertices * scale, halves(quads)) for scale in scales]


@pytest.fixture(scope="module")
def drawn_file(meshes, tmp_path_factory):
    """A file of points that were drawn from the globes."""
    path = tmp_path_factory.mktemp("drawn") / "globes.qaad"
    pcqaad.fit(meshes, pcqaad.Settings(**TINY, surface=200, seed=5), names=list("abcd")).save(path)
    return path


def test_files_sources_and_arrays_are_the_same_originals(fitted_file, folder, originals):
    expected = pcqaad.verify(fitted_file, originals, ("emkd", "d1"))
    assert expected["source"] == "measured"
    ways = [folder, [str(folder)], sorted(folder.iterdir()), find_clouds([folder]), np.stack(originals)]
    for references in ways:
        assert pcqaad.verify(fitted_file, references, ("emkd", "d1")) == expected
    with pcqaad.open(fitted_file) as opened:
        assert pcqaad.verify(opened, originals, ("emkd", "d1")) == expected
    # Arrays come in order: each is compared with the cloud at its place.
    means = [cloud["mean"] for cloud in expected["metrics"]["emkd"]["per_cloud"]]
    with pcqaad.open(fitted_file) as opened:
        assert means == pytest.approx([pcqaad.emkd(a, b).mean for a, b in zip(originals, opened, strict=True)])
    swapped = [originals[1], originals[0], *originals[2:]]
    assert pcqaad.verify(fitted_file, swapped)["metrics"]["emkd"]["mean"] > 1.2 * expected["metrics"]["emkd"]["mean"]


def test_arrays_of_more_points_are_subsampled_as_in_the_fit(tmp_path):
    clouds = population(3, 400)
    pcqaad.fit(clouds, pcqaad.Settings(**TINY), points=100).save(tmp_path / "x.qaad")
    recorded, measured = (pcqaad.verify(tmp_path / "x.qaad", x)["metrics"]["emkd"] for x in (None, clouds))
    assert measured["mean"] == pytest.approx(recorded["mean"], rel=1e-3)


def test_arrays_are_read_when_they_are_needed_and_not_kept(tmp_path):
    alive = []

    class Lazy(Sequence):
        def __len__(self):
            return 24

        def __getitem__(self, index):
            cloud = np.random.default_rng(index).standard_normal((50, 3))
            alive.append(weakref.ref(cloud))
            most.append(sum(kept() is not None for kept in alive))
            return cloud

    most = []
    pcqaad.fit(Lazy(), pcqaad.Settings(**TINY)).save(tmp_path / "x.qaad")
    most.clear()
    found = pcqaad.verify(tmp_path / "x.qaad", Lazy())
    assert len(found["metrics"]["emkd"]["per_cloud"]) == 24
    assert max(most) <= cores() + AHEAD + 3


def test_meshes_give_the_points_that_were_fitted(drawn_file, meshes, tmp_path):
    recorded = pcqaad.verify(drawn_file)["metrics"]["emkd"]
    measured = pcqaad.verify(drawn_file, meshes)
    assert measured["metrics"]["emkd"]["mean"] == pytest.approx(recorded["mean"], rel=1e-3)
    for name, (vertices, triangles) in zip("abcd", meshes, strict=True):
        write_mesh(tmp_path / f"{name}.ply", vertices, triangles)
    assert pcqaad.verify(drawn_file, tmp_path) == measured


def test_without_originals_the_record_is_returned(fitted_file):
    found = pcqaad.verify(str(fitted_file))
    with pcqaad.open(fitted_file) as opened:
        assert (found["source"], found["metrics"]) == ("recorded", {"emkd": opened.info["fidelity"]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda clouds: clouds[1:], r"small\.qaad: expected the originals of all 6 clouds in order, found 5"),
        (lambda clouds: [], r"small\.qaad: expected the originals of all 6 clouds in order, found 0"),
        (lambda clouds: [clouds[0][:255], *clouds[1:]], "ellipsoid 0: the original holds 255 points, the file 256"),
        (lambda clouds: [clouds[0][:, :2], *clouds[1:]], r"ellipsoid 0: expected points of shape \(n, 3\)"),
        (lambda clouds: [np.inf * clouds[0], *clouds[1:]], "ellipsoid 0: expected finite coordinates"),
        (lambda clouds: [(x, np.array([[0, 1, 2]])) for x in clouds], r"ellipsoid 0: expected points .*, found a mesh"),
    ],
)
def test_arrays_that_are_not_the_originals_are_refused(fitted_file, originals, change, message):
    with pytest.raises(pcqaad.CloudError, match=message):
        pcqaad.verify(fitted_file, change(originals))


def test_points_are_no_originals_of_what_was_drawn_from_meshes(drawn_file, meshes):
    with pytest.raises(pcqaad.CloudError, match="a: expected a mesh, its vertices"):
        pcqaad.verify(drawn_file, [vertices for vertices, _ in meshes])


def test_an_unknown_metric_is_refused(fitted_file):
    with pytest.raises(
        pcqaad.SettingsError, match="unknown metric 'hausdorff', expected one of emkd, emd, chamfer, d1, d2, surf"
    ):
        pcqaad.verify(fitted_file, metrics=("hausdorff",))
