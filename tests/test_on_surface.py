"""Linear models over surfaces: what projection and matching promise, and when a file gets one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

import pcqaad
from pcqaad.decoder.architecture import Model
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.evaluation.metrics import emkd
from pcqaad.monitor import SILENT
from pcqaad.points.collect import CloudSet, collect
from pcqaad.quantisation import on_surface
from pcqaad.quantisation.on_surface import Laid, drawn_targets, over_surface
from pcqaad.quantisation.principal import without_network
from pcqaad.quantisation.probe import probe

LAMBDA = 1e-8


def ellipsoids(count: int, points: int, seed: int = 0) -> list[NDArray[np.float32]]:
    """Ellipsoids that differ by their three axes, each sampled by itself."""
    rng = np.random.default_rng(seed)
    clouds = []
    for _ in range(count):
        x = rng.standard_normal((points, 3))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        clouds.append((x * [1.0, 0.8, 0.6] * rng.uniform(0.8, 1.2, 3)).astype(np.float32))
    return clouds


def matched(clouds: list[NDArray[np.float32]]) -> CloudSet:
    """The clouds as a fit has them: their points in the order of the first one's."""
    found = collect(clouds, None, None, 0)
    orders = on_surface.optimal((found.targets[0], cloud) for cloud in found.targets)
    for i, order in enumerate(orders):
        found.targets.permute(i, order)
    return found


@pytest.fixture(scope="module")
def clouds() -> CloudSet:
    return matched(ellipsoids(12, 1500))


@pytest.fixture(scope="module")
def fitted(clouds: CloudSet) -> on_surface.OverSurface:
    linear = without_network(clouds.targets, 0)
    laid = Laid.through(linear.model, clouds, [0], 200, 0)
    return over_surface(linear, clouds.targets, laid, 200, LAMBDA, SILENT)


def error(clouds: CloudSet, model: Model) -> float:
    decoder = FloatDecoder(model)
    pairs = ((clouds.targets[i], decoder.decode(model.latents[i])) for i in range(len(clouds.targets)))
    return float(np.mean([emkd(*pair, workers=1).mean for pair in pairs]))


def test_fields_that_a_surface_holds_are_found_again() -> None:
    rng = np.random.default_rng(0)
    triangles = np.array([[0, 1, 2], [1, 3, 2]])
    weights = rng.dirichlet(np.ones(3), 400)
    corners = triangles[rng.integers(2, size=400)]
    places = on_surface._Places.of(corners, weights, triangles, 4)
    # A field without a bend costs nothing for one, so it comes back as it is.
    flat = np.full((4, 2), [3.0, -1.0])
    over_points = np.einsum("mi,mix->mx", weights, flat[corners])
    assert np.allclose(places.project(over_points), flat, atol=1e-5)
    assert places.masses().sum() == pytest.approx(400)


def test_rows_find_the_same_triangles_in_another_order() -> None:
    rng = np.random.default_rng(1)
    triangles = np.unique(np.sort([rng.choice(40, 3, replace=False) for _ in range(90)], axis=1), axis=0)
    order = rng.permutation(len(triangles))
    turned = np.roll(triangles[order], 1, axis=1)
    assert np.array_equal(np.sort(triangles[on_surface._rows(triangles, turned)], 1), np.sort(turned, 1))


def test_a_surface_keeps_the_number_of_points(clouds: CloudSet, fitted: on_surface.OverSurface) -> None:
    for lambda_ in (1e-10, LAMBDA, 1e-6):
        model = fitted.at(lambda_)
        assert model.surface is not None
        assert model.surface.surface.points == len(model.surface.draw) == clouds.targets.points
        assert model.architecture.points == len(model.template) <= 200
        # Its vertices lie on its grid, and come as a file numbers them.
        steps = model.template / model.surface.step_size.value
        assert np.allclose(steps, np.rint(steps), atol=1e-3)


def test_points_are_of_the_true_shapes(clouds: CloudSet, fitted: on_surface.OverSurface) -> None:
    """No worse than a cloud of the same shape drawn once more, though 200 vertices stand for 1,500 points."""
    model = fitted.at(1e-10)
    again = matched(ellipsoids(12, 1500, 0))
    rng = np.random.default_rng(9)
    floor = []
    for cloud in again.targets:
        axes = np.abs(cloud).max(0)
        x = rng.standard_normal(cloud.shape)
        x *= axes / np.linalg.norm(x, axis=1, keepdims=True)
        floor.append(emkd(cloud, x.astype(np.float32), workers=1).mean)
    assert error(clouds, model) < np.mean(floor)


def test_matching_anew_lowers_the_error(clouds: CloudSet, monkeypatch: pytest.MonkeyPatch) -> None:
    linear = without_network(clouds.targets, 0)
    laid = Laid.through(linear.model, clouds, [0], 200, 0)
    errors = []
    for rounds in (0, 1):
        monkeypatch.setattr(on_surface, "_ROUNDS", rounds)
        model = over_surface(linear, clouds.targets, laid, 200, LAMBDA, SILENT).on_grid(LAMBDA).first(3)
        errors.append(error(clouds, model))
    assert errors[1] < 0.99 * errors[0]


def test_targets_come_in_the_order_of_drawn_points(clouds: CloudSet, fitted: on_surface.OverSurface) -> None:
    model = fitted.at(LAMBDA)
    targets = drawn_targets(clouds.targets, model, [0, 3])
    decoder = FloatDecoder(model)
    for i in (0, 3):
        before, after = clouds.targets[i], targets[i]
        assert np.array_equal(np.sort(before, 0), np.sort(after, 0))
        decoded = decoder.decode(model.latents[i])
        assert np.square(decoded - after).sum() < np.square(decoded - before).sum()
    assert np.array_equal(clouds.targets[1], targets[1])


def test_a_file_of_sampled_shapes_gets_a_surface(tmp_path) -> None:
    clouds = ellipsoids(8, 1500)
    fitted = pcqaad.fit(clouds, pcqaad.Settings(epochs=40, sample=64))
    fitted.save(tmp_path / "a.qaad")
    with pcqaad.open(tmp_path / "a.qaad") as file:
        file.check()
        model = file.info["model"]
        assert model["vertices"] > 0 and model["triangles"] > 0
        assert file.info["points"] == 1500 and file[0].shape == (1500, 3)
        vertices, triangles = file.mesh(0)
        assert len(vertices) == model["vertices"] and len(triangles) == model["triangles"]


@pytest.mark.parametrize("choice", [{"components": False}, {"registered": True}])
def test_lists_of_points_stay_where_they_are_asked_for(choice: dict[str, bool]) -> None:
    fitted = pcqaad.fit(ellipsoids(6, 1100), pcqaad.Settings(epochs=2, sample=64, **choice))
    assert fitted.encoded.quantised.shared.surface is None


def test_a_template_may_have_the_shape_of_a_cloud(clouds: CloudSet) -> None:
    linear = without_network(clouds.targets, 0)
    mean = Laid.through(linear.model, clouds, [0], 200, 0)
    assert mean.cloud is None
    shaped = Laid(mean.dense, mean.points, 5)
    one, other = (over_surface(linear, clouds.targets, laid, 200, LAMBDA, SILENT).over for laid in (mean, shaped))
    assert np.allclose(other.template, other.vertices(5), atol=1e-6) and not other.latents[5].any()
    assert not np.allclose(one.template, other.template, atol=1e-3)


def test_a_mean_that_has_collapsed_is_no_shape() -> None:
    """Rods that point anywhere: their mean is a point, and the surface goes through one of them."""
    rng = np.random.default_rng(0)
    tube = np.stack([np.cos(t := np.linspace(0, 400, 1500)) * 0.1, np.sin(t) * 0.1, np.linspace(-1, 1, 1500)], 1)
    turns = [np.linalg.qr(rng.standard_normal((3, 3)))[0] for _ in range(8)]
    rods = collect([(tube @ turn).astype(np.float32) for turn in turns], None, None, 0)
    linear = without_network(rods.targets, 0)
    laid = Laid.through(linear.model, rods, [2, 4, 6], 200, 0)
    assert laid.cloud in (2, 4, 6)
    assert np.array_equal(laid.points, rods.targets[laid.cloud])


def test_faces_are_those_of_the_nearest_cloud() -> None:
    rng = np.random.default_rng(0)
    sphere = rng.standard_normal((1200, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    faces = ConvexHull(sphere).simplices.astype(np.int64)
    given = [(sphere * rng.uniform(0.8, 1.2, 3)).astype(np.float32) for _ in range(6)]
    meshes = dataclasses.replace(collect(given, None, None, 0), mesh=lambda i: (given[i].tolist(), faces.tolist()))
    model = without_network(meshes.targets, 0).model
    laid = Laid.through(model, meshes, list(range(6)), 150, 0)
    # All vertices of the mesh, which the template's points are: moved to them.
    assert len(laid.dense.triangles) == len(faces)
    assert np.allclose(np.sort(laid.dense.vertices, 0), np.sort(model.template, 0), atol=1e-3)


def test_step_sizes_are_probed_on_the_vertices(fitted: on_surface.OverSurface) -> None:
    model = fitted.at(LAMBDA)
    assert probe(model).latents == probe(dataclasses.replace(model, surface=None)).latents
