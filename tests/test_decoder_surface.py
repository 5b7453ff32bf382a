"""Laws of templates that are surfaces: shares of points, cuts of equal area, meshes, and what a file of one gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pcqaad
from pcqaad.decoder.exact_torch import BatchDecoder
from pcqaad.decoder.surface import LARGEST_VERTEX, MAX_LEVEL, ONE, Surface, areas, shares, subdivided
from pcqaad.errors import CloudError, SettingsError
from pcqaad.formats.container.container import pack
from pcqaad.latents.append import append
from tests import reference, reference_surface
from tests.mutate import little_file
from tests.surface_files import ring, surface_file, surface_model

Ints = npt.NDArray[np.int64]
SIZES = np.array([100, 90, 140, 1, 100])


@st.composite
def surfaces(draw: st.DrawFn) -> tuple[Ints, Surface]:
    """Vertices on a grid of any depth, some at one place, and any triangles between them; points on some of them."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    bits, count = draw(st.integers(1, 16)), draw(st.integers(3, 12))
    grid = rng.integers(0, 1 << draw(st.integers(0, bits)), (count, 3))
    if draw(st.booleans()):
        grid[:, rng.integers(3)] >>= bits  # flat, or slivers
    triangles = np.array([rng.permutation(count)[:3] for _ in range(draw(st.integers(1, 12)))])
    counts = rng.integers(0, draw(st.sampled_from([2, 30, 200])), len(triangles))
    counts[rng.integers(len(triangles))] += 1
    return grid.astype(np.int64), Surface(triangles, counts.astype(np.int64))


@settings(deadline=None, max_examples=40)
@given(surfaces(), st.integers(1, 500), st.booleans())
def test_as_many_points_as_asked_for_lie_on_the_triangles(drawn: tuple[Ints, Surface], points: int, even: bool) -> None:
    grid, surface = drawn
    for asked in (None, points):
        draw = surface.draw(grid, asked, even)
        assert len(draw) == (surface.points if asked is None else asked)
        assert (draw.weights >= 0).all() and (draw.weights.sum(1) == ONE).all()
        known = {tuple(t) for t in surface.triangles.tolist()}
        assert {tuple(t) for t in draw.corners.tolist()} <= known
    draw = surface.draw(grid)
    np.testing.assert_array_equal(draw.corners, np.repeat(surface.triangles, surface.counts, 0))


@settings(deadline=None, max_examples=40)
@given(surfaces())
def test_points_are_the_centres_of_parts_of_equal_area(drawn: tuple[Ints, Surface]) -> None:
    grid, surface = drawn
    weights = iter(surface.draw(grid).weights.tolist())
    for triangle, count in zip(surface.triangles.tolist(), surface.counts.tolist(), strict=True):
        if not count:
            continue
        corners = [(x, y, z) for x, y, z in grid[triangle].tolist()]
        for part in reference_surface.parts(reference_surface.WHOLE, count, corners):
            centre = np.array(part).mean(0)
            assert np.abs(centre - next(weights)).max() <= 2
            # Each cut is off by a unit, and the shortest side of a part may be as short as a part of the whole.
            area = abs(np.linalg.det(np.array(part) / ONE))
            assert abs(area * count - 1) <= 4 * count.bit_length() * count / 2**18
    assert next(weights, None) is None


def test_a_triangle_of_many_points_in_a_line_has_no_weight_below_zero() -> None:
    grid = np.array([[0, 0, 0], [65535, 65535, 65535], [2, 2, 2]])
    for corners in ([0, 1, 2], [1, 2, 0], [2, 0, 1]):
        draw = Surface(np.array([corners]), np.array([2**18])).draw(grid)
        assert draw.weights.min() >= 0 and draw.weights.max() <= ONE


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 2**30), min_size=1, max_size=50), st.integers(1, 2**24))
def test_shares_are_proportional_within_one_point(masses: list[int], points: int) -> None:
    found = shares(np.array(masses), points).tolist()
    assert sum(found) == points and min(found) >= 0
    total = sum(masses) or len(masses)
    for share, mass in zip(found, masses if any(masses) else [1] * len(masses), strict=True):
        assert abs(share - points * mass / total) <= 1 + 1e-6


def test_even_points_are_as_many_as_a_triangles_area_says() -> None:
    grid, triangles = ring(np.random.default_rng(0), 12, 8, 16)
    surface = Surface(triangles, np.arange(len(triangles)))
    corners = grid[triangles].astype(float)
    exact = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    np.testing.assert_allclose(areas(grid, triangles), exact, rtol=1e-6)
    draw = surface.draw(grid, 5000, even=True)
    order = {tuple(t): i for i, t in enumerate(triangles.tolist())}
    found = np.bincount([order[tuple(t)] for t in draw.corners.tolist()], minlength=len(triangles))
    assert np.abs(found - 5000 * exact / exact.sum()).max() <= 1.001


def directed(triangles: Ints) -> list[tuple[int, int]]:
    return [tuple(edge) for edge in triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2).tolist()]


@pytest.mark.parametrize("level", range(4))
def test_a_mesh_that_is_cut_finer_stays_the_surface_that_it_was(level: int) -> None:
    grid, triangles = ring(np.random.default_rng(1), 7, 5, 10)
    draw, fine = subdivided(triangles, len(grid), level)
    assert len(fine) == len(triangles) * 4**level
    # Closed: each edge has a triangle on either side, and these are turned alike.
    edges = set(directed(fine))
    assert len(edges) == 3 * len(fine) and {(b, a) for a, b in edges} == edges
    assert len(draw) == len(grid) + sum(3 * len(triangles) // 2 * 4**i for i in range(level))
    assert sorted(set(fine.ravel().tolist())) == list(range(len(draw)))
    vertices = draw.decoded(grid << 24)
    np.testing.assert_array_equal(vertices[: len(grid)], grid << 24)

    def normals(of: Ints, faces: Ints) -> npt.NDArray[np.float64]:
        a, b, c = (of[faces[:, i]].astype(float) for i in range(3))
        crossed: npt.NDArray[np.float64] = np.cross(b - a, c - a)
        return crossed

    parts = normals(vertices, fine).reshape(len(triangles), -1, 3).sum(1)
    np.testing.assert_allclose(parts, normals(grid << 24, triangles), rtol=1e-9, atol=1e3)
    lengths = np.linalg.norm(normals(vertices, fine), axis=1).reshape(len(triangles), -1)
    np.testing.assert_allclose(
        lengths * 4**level, np.linalg.norm(parts, axis=1)[:, None].repeat(4**level, 1), rtol=1e-5
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_file_decodes_as_the_written_law_says(seed: int) -> None:
    data = surface_file(surface_model(seed, around=6, across=4, bits=(5, 11, 16)[seed]), SIZES)
    with pcqaad.Collection(data) as clouds:
        clouds.check()
        law = reference.decode_clouds(data)
        assert [len(cloud) for cloud in law] == SIZES.tolist() == clouds.sizes.tolist()
        assert [cloud.tobytes() for cloud in clouds] == [cloud.tobytes() for cloud in law]
        for points, even in ((100, False), (100, True), (77, False), (211, True)):
            law = reference.decode_clouds(data, points, even=even)
            for i in (0, 3):
                assert clouds.read(i, points, even=even).tobytes() == law[i].tobytes()
        evenly = [reference.decode_clouds(data, int(size), even=True)[i] for i, size in enumerate(SIZES)]
        assert [clouds.read(i, even=True).tobytes() for i in range(5)] == [cloud.tobytes() for cloud in evenly]


def test_torch_gives_the_same_bytes() -> None:
    data = surface_file(surface_model(4, points=333), np.arange(331, 336))
    with pcqaad.Collection(data) as clouds:
        together = clouds[:]
        assert together.shape == (5, 333, 3)
        assert clouds.decoder()(clouds.latents).numpy().tobytes() == together.tobytes()
        assert np.stack([clouds.decode(latent) for latent in clouds.latents]).tobytes() == together.tobytes()
        draw = clouds.integers.draw
    assert draw is not None
    far = np.random.default_rng(0).integers(-(2**52), 2**52, (2, 40, 3))
    far[0] >>= 20
    parts = torch.from_numpy(draw.corners), torch.from_numpy(draw.weights)
    found = BatchDecoder._drawn(torch.from_numpy(far), *parts).numpy()
    np.testing.assert_array_equal(found, np.stack([draw.decoded(vertices) for vertices in far]))
    assert np.abs(found).max() <= LARGEST_VERTEX


def test_clouds_of_one_number_take_no_bytes() -> None:
    model = surface_model(5)
    assert surface_file(model, np.full(5, 100)) == surface_file(model)
    with pcqaad.Collection(surface_file(model)) as clouds:
        assert clouds.sizes.tolist() == [100] * 5
        assert clouds[2].tobytes() == clouds.read(2, 100).tobytes() == clouds[[2]][0].tobytes()


@pytest.mark.parametrize("sizes", [None, SIZES])
def test_appended_clouds_bring_their_own_numbers(sizes: Ints | None) -> None:
    data = surface_file(surface_model(6), sizes)
    with pcqaad.Collection(data) as clouds:
        # A median of this distance from the centre is near.
        new = [clouds.read(0, 130), clouds.read(2, 100)]
        appended = append(clouds, new, names=["a", "b"], steps=1, device="cpu")
        with pcqaad.Collection(pack(appended.sections)) as more:
            more.check()
            assert more.sizes.tolist() == [*clouds.sizes.tolist(), 130, 100]
            assert [len(cloud) for cloud in more] == more.sizes.tolist()
            assert [cloud.tobytes() for cloud in clouds] == [more[i].tobytes() for i in range(5)]


def test_meshes_share_their_triangles() -> None:
    with pcqaad.Collection(surface_file(surface_model(7), SIZES)) as clouds:
        vertices, triangles = clouds.mesh(3)
        assert vertices.dtype == np.float32 and vertices.shape == (40, 3) and triangles.shape == (80, 3)
        np.testing.assert_array_equal(triangles, clouds.integers.surface.triangles)  # type: ignore[union-attr]
        finer, cut = clouds.mesh("surface 3", level=2)
        assert len(cut) == 16 * 80
        np.testing.assert_array_equal(finer[:40], vertices)
        again, same = clouds.meshes(2)(3)
        assert again.tobytes() == finer.tobytes()
        np.testing.assert_array_equal(same, cut)
        # Points lie in the triangles' planes, to a unit of coordinates: here 2^-20 of the data's unit's scale.
        inside = clouds.read(3, 500)
        assert (inside >= vertices.min(0) - 1e-3).all() and (inside <= vertices.max(0) + 1e-3).all()


def test_what_a_surface_cannot_give_is_said() -> None:
    with pcqaad.Collection(surface_file(surface_model(8))) as clouds:
        for points in (0, -1, 2**24 + 1):
            with pytest.raises(SettingsError, match=f"points is {points}, expected 1 to 16,777,216"):
                clouds.read(0, points)
        for level in (-1, MAX_LEVEL + 1):
            with pytest.raises(SettingsError, match=f"level is {level}, expected 0 to {MAX_LEVEL}"):
                clouds.mesh(0, level)
        with pytest.raises(KeyError, match="no cloud is named 'none'"):
            clouds.read("none", 7)


def test_a_list_of_points_has_no_others() -> None:
    with pcqaad.Collection(little_file()) as clouds:
        assert clouds.sizes.tolist() == [12] * 5
        assert clouds.read(1).tobytes() == clouds.read(1, 12).tobytes() == clouds[1].tobytes()
        for call in (
            lambda: clouds.read(1, 13),
            lambda: clouds.read(1, 12, even=True),
            lambda: clouds.read(1, even=True),
            lambda: clouds.mesh(1),
        ):
            with pytest.raises(SettingsError, match="its template is a list of points"):
                call()


def test_what_a_reader_would_refuse_is_not_written() -> None:
    model = surface_model(9)
    most = 2**18 + 4096 * len(model.surface.coded)  # type: ignore[union-attr]
    surface_file(model, np.array([100, most, 1, 1, 1]))
    with pytest.raises(CloudError, match=f"expected at most {most} points"):
        surface_file(model, np.array([100, most + 1, 1, 1, 1]))
    with pytest.raises(CloudError, match="expected 1 to 16777216 points, found 0"):
        surface_file(model, np.array([100, 0, 1, 1, 1]))
    grid = np.resize(model.grid, (2**15 + 1, 3))
    many = replace(model, architecture=replace(model.architecture, points=len(grid), components=0), components=None)
    with pytest.raises(CloudError, match="expected at most 32768 vertices, found 32769"):
        surface_file(replace(many, grid=grid))
    triangles, counts = np.zeros((2**15 + 1, 3), np.int64), np.zeros(2**15 + 1, np.int64)
    with pytest.raises(CloudError, match="expected 1 to 32768 triangles, found 32769"):
        surface_file(replace(model, surface=Surface(triangles, counts)))
