"""Laws of the coder of triangles: any set comes back, the written law agrees, meshes cost little, damage is refused."""

from __future__ import annotations

import contextlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull, Delaunay

from pcqaad.formats.coding import triangles as coder
from pcqaad.formats.coding.apexes import FAR, nearest
from pcqaad.formats.coding.flags import FlagReader, FlagWriter
from pcqaad.formats.coding.point_sets import encode_points
from pcqaad.formats.coding.triangles import decode_triangles, encode_triangles
from pcqaad.formats.errors import FormatError
from tests import reference_triangles as reference
from tests.hostile.triangles import CORNERS, FORGED, Script

Array = npt.NDArray[np.int64]
Mesh = tuple[Array, Array, int]  # triangles, points, bits
RNG = np.random.default_rng


def mesh(positions: npt.ArrayLike, triangles: npt.ArrayLike, bits: int) -> Mesh:
    """Positions on a grid of `bits` bits, in the order in which a point set decodes."""
    x = np.asarray(positions, np.float64)
    grid = np.rint((x - x.min(0)) / np.ptp(x, axis=0).max() * ((1 << bits) - 1)).astype(np.int64)
    order = encode_points([grid], bits)[1][0]
    return np.argsort(order)[np.asarray(triangles)], grid[order], bits


def ball(n: int, seed: int = 0) -> tuple[npt.NDArray[np.float64], Array]:
    """Points drawn evenly on a sphere, and the triangles of their hull, all seen from outside."""
    x = RNG(seed).normal(size=(n, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    t = ConvexHull(x).simplices.astype(np.int64)
    inward = np.linalg.det(x[t]) < 0
    t[inward] = t[inward][:, ::-1]
    return x, t


def torus(m: int, n: int) -> tuple[npt.NDArray[np.float64], Array]:
    i, j = (k.ravel() for k in np.meshgrid(np.arange(m), np.arange(n), indexing="ij"))
    u, v = 2 * np.pi * i / m, 2 * np.pi * j / n
    x = np.column_stack([(2 + np.cos(v)) * np.cos(u), (2 + np.cos(v)) * np.sin(u), np.sin(v)])

    def at(di: int, dj: int) -> Array:
        return (i + di) % m * n + (j + dj) % n

    faces = np.concatenate([np.stack([at(0, 0), at(1, 0), at(1, 1)], 1), np.stack([at(0, 0), at(1, 1), at(0, 1)], 1)])
    return x, faces


def hills(n: int) -> tuple[npt.NDArray[np.float64], Array]:
    """A surface with a boundary and a hole."""
    x = RNG(1).random((n, 2))
    t = Delaunay(x).simplices.astype(np.int64)
    t = t[np.linalg.norm(x[t].mean(1) - 0.5, axis=1) > 0.15]
    return np.column_stack([x, 0.1 * np.sin(9 * x[:, 0]) * np.cos(7 * x[:, 1])]), t


def strip(n: int) -> tuple[npt.NDArray[np.float64], Array]:
    """A Moebius strip: a surface that no orientation fits."""
    u = 2 * np.pi * np.repeat(np.arange(n), 2) / n
    s = np.tile([-0.4, 0.4], n)
    r = 1 + s * np.cos(u / 2)
    i = np.arange(2 * n - 2)
    t = np.stack([i, i + 1 + i % 2, i + 2 - i % 2], 1)
    a, b = 2 * n - 2, 2 * n - 1
    return np.column_stack([r * np.cos(u), r * np.sin(u), s * np.sin(u / 2)]), np.vstack([t, [[a, b, 1], [b, 0, 1]]])


def touching() -> Mesh:
    """Two spheres that share a point, and points that no triangle has."""
    x, t = ball(60)
    tip = int(x[:, 0].argmax())
    other = np.where(t == tip, tip, t + len(x))
    y = x * [-1, 1, 1] + [2 * x[tip, 0], 0, 0]
    return mesh(np.vstack([x, y]), np.vstack([t, other[:, ::-1]]), 9)


def flipped() -> Mesh:
    x, t = ball(80)
    turn = RNG(2).random(len(t)) < 0.3
    t[turn] = t[turn][:, ::-1]
    return mesh(x, t, 8)


def book() -> Mesh:
    """Five pages at one spine: edges of more than two triangles."""
    angles = np.arange(5) * 1.2
    x = np.vstack([[[0, 0, 0], [0, 0, 1]], np.column_stack([np.cos(angles), np.sin(angles), 0 * angles + 0.5])])
    return mesh(x, [[0, 1, 2 + i] for i in range(5)], 6)


MESHES = {
    "one triangle": (np.array([[2, 0, 1]]), np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]]), 1),
    "points at one place": (np.array([[0, 1, 2], [2, 1, 3], [5, 6, 7]]), np.full((9, 3), 5), 16),
    "a sphere": mesh(*ball(150), 16),
    "a sphere on a coarse grid": mesh(*ball(150), 4),
    "a torus": mesh(*torus(20, 9), 10),
    "hills": mesh(*hills(150), 12),
    "a strip": mesh(*strip(30), 8),
    "spheres that touch": touching(),
    "triangles of either side": flipped(),
    "a book": book(),
}


def canonical(triangles: npt.ArrayLike) -> list[tuple[int, ...]]:
    """The set of triangles, each from its least corner on."""
    turned = ([*t[(i := t.index(min(t))) :], *t[:i]] for t in np.asarray(triangles).tolist())
    return sorted(map(tuple, turned))


def tuples(points: Array) -> list[tuple[int, int, int]]:
    return [(x, y, z) for x, y, z in points.tolist()]


def check(triangles: Array, points: Array, bits: int) -> bytes:
    data, coded = encode_triangles(triangles, points, bits)
    assert canonical(coded) == canonical(triangles)
    np.testing.assert_array_equal(decode_triangles(data, points, bits, len(triangles)), coded)
    return data


@pytest.mark.parametrize("name", MESHES)
def test_what_is_coded_is_decoded_by_the_written_law_too(name: str) -> None:
    triangles, points, bits = MESHES[name]
    data = check(triangles, points, bits)
    law = reference.decode_triangles(data, tuples(points), bits, len(triangles))
    assert law == tuples(decode_triangles(data, points, bits, len(triangles)))


@st.composite
def soups(draw: st.DrawFn) -> Mesh:
    bits = draw(st.integers(1, 16))
    rng = RNG(draw(st.integers(0, 999)))
    count = draw(st.integers(3, 40))
    points = rng.integers(0, 1 << draw(st.integers(0, bits)), (count, 3))
    drawn = rng.integers(0, count, (draw(st.integers(0, 60)), 3))
    kept = {frozenset(t): t for t in drawn.tolist() if len(set(t)) == 3}
    return np.array(list(kept.values()), np.int64).reshape(-1, 3), points, bits


@settings(deadline=None, max_examples=40)
@given(soups())
def test_any_triangles_come_back_and_by_the_written_law(drawn: Mesh) -> None:
    triangles, points, bits = drawn
    data = check(triangles, points, bits)
    assert bool(data) == bool(len(triangles))
    law = reference.decode_triangles(data, tuples(points), bits, len(triangles))
    assert canonical(np.array(law).reshape(-1, 3)) == canonical(triangles)


def test_more_triangles_than_are_ranked_together(monkeypatch: pytest.MonkeyPatch) -> None:
    triangles, points, bits = MESHES["spheres that touch"]
    whole = check(triangles, points, bits)
    monkeypatch.setattr(coder, "_TOGETHER", 3)
    assert check(triangles, points, bits) == whole


def test_the_order_of_the_input_does_not_matter_where_it_is_a_surface() -> None:
    triangles, points, bits = MESHES["a torus"]
    # But for the triangle that the walk begins with: at the lowest point, the first of those there.
    first = encode_triangles(triangles, points, bits)[1][0]
    begins = (np.sort(triangles, 1) == np.sort(first)).all(1)
    shuffled = np.vstack([triangles[begins], RNG(3).permutation(triangles[~begins])])
    assert encode_triangles(shuffled, points, bits)[0] == encode_triangles(triangles, points, bits)[0]


@pytest.mark.parametrize(
    ("shape", "bits", "most"),
    [(ball(600), 12, 1.1), (ball(600), 8, 1.2), (torus(40, 20), 10, 0.2), (hills(700), 12, 1.2), (ball(160), 8, 1.4)],
)
def test_a_mesh_costs_little(shape: tuple[npt.NDArray[np.float64], Array], bits: int, most: float) -> None:
    drawn = mesh(*shape, bits)
    assert 8 * len(check(*drawn)) < most * len(drawn[0])


def test_each_triangle_shares_an_edge_with_one_before_it() -> None:
    for name in ("a sphere", "a torus", "a strip"):
        coded = encode_triangles(*MESHES[name])[1].tolist()
        known = {frozenset(coded[0][:2]), frozenset(coded[0][1:]), frozenset(coded[0][::2])}
        lone = 0
        for a, b, c in coded[1:]:
            edges = {frozenset((a, b)), frozenset((b, c)), frozenset((c, a))}
            lone += not edges & known
            known |= edges
        assert lone == 0


@pytest.mark.parametrize(("count", "side"), [(2, 1), (65, 2), (130, 3), (300, 40), (300, 2)])
def test_nearest_points_are_the_nearest(count: int, side: int) -> None:
    points = RNG(count).integers(0, side, (count, 3))
    distance = np.square(points[:, None] - points).sum(2)
    for asked in (1, FAR):
        for i, found in enumerate(nearest(points, asked).tolist()):
            others = sorted((d, j) for j, d in enumerate(distance[i].tolist()) if j != i)
            assert found == [j for _, j in others[:asked]]


@pytest.mark.parametrize(
    "triangles",
    [[[0, 1, 1]], [[0, 1, 2], [2, 1, 0]], [[0, 1, 4]], [[-1, 0, 1]], [[0.0, 1.0, 2.0]], [[0, 1]]],
)
def test_what_is_no_set_of_triangles_is_not_encoded(triangles: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="expected"):
        encode_triangles(triangles, np.eye(4, 3, dtype=np.int64), 1)


@pytest.mark.parametrize("points", [[[0, 0]], [[0, 0, 2]], [[0, -1, 0]], np.zeros((2**16 + 1, 3), np.int64)])
def test_points_out_of_range_are_a_mistake_of_the_caller(points: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="expected"):
        decode_triangles(b"", np.asarray(points), 1, 9)
    with pytest.raises(ValueError, match="expected"):
        encode_triangles([], points, 1)


@pytest.mark.parametrize("name", FORGED)
def test_what_is_no_triangle_is_refused(name: str) -> None:
    _, answers, message = FORGED[name]
    script = Script(answers)
    with pytest.raises(FormatError, match=message):
        coder._walk(CORNERS, nearest(CORNERS, FAR), 2, script, coder._Unknown())
    data = script.finish()
    with pytest.raises(FormatError, match=message):
        decode_triangles(data, CORNERS, 1, 2)
    with pytest.raises(reference.Refused):
        reference.decode_triangles(data, tuples(CORNERS), 1, 2)


def test_no_triangles() -> None:
    assert encode_triangles(np.empty((0, 3), np.int64), CORNERS, 1)[0] == b""
    assert decode_triangles(b"", CORNERS, 1, 0).shape == (0, 3)
    for few in range(3):
        assert decode_triangles(b"", CORNERS[:few], 1, 0).shape == (0, 3)
        with pytest.raises(FormatError, match=f"no bytes of triangles expected for {few} points, found 6"):
            decode_triangles(bytes(6), CORNERS[:few], 1, 9)


def test_truncation_and_tail_are_refused() -> None:
    triangles, points, bits = MESHES["a sphere on a coarse grid"]
    data = check(triangles, points, bits)
    for cut in range(1, len(data), 3):
        with pytest.raises(FormatError):
            decode_triangles(data[:cut], points, bits, len(triangles))
    for tail in (b"\0", b"\0\0"):
        with pytest.raises(FormatError, match=r"bytes of flags expected|whole words"):
            decode_triangles(data + tail, points, bits, len(triangles))
    with pytest.raises(FormatError, match="state of flags of at least"):
        decode_triangles(bytes(4), points, bits, len(triangles))
    with pytest.raises(FormatError, match="triangles expected, found more"):
        decode_triangles(data, points, bits, len(triangles) - 1)


def test_damage_is_refused() -> None:
    triangles, points, bits = MESHES["a sphere on a coarse grid"]
    data = check(triangles, points, bits)
    for bit in range(0, 8 * len(data), 7):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            decode_triangles(bytes(damaged), points, bits, len(triangles))


@settings(deadline=None, max_examples=60)
@given(st.binary(min_size=4, max_size=60), st.integers(3, 30), st.integers(0, 40))
def test_any_bytes_are_decoded_or_refused(data: bytes, count: int, most: int) -> None:
    points = RNG(count).integers(0, 64, (count, 3))
    with contextlib.suppress(FormatError):
        decoded = decode_triangles(data, points, 6, most)
        assert len(decoded) <= most
        assert len({frozenset(t) for t in decoded.tolist()}) == len(decoded)
        assert decoded.min() >= 0 and decoded.max() < count


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans())), st.lists(st.integers(0, 2**16 - 1)))
def test_flags_and_numbers_come_back(flags: list[tuple[int, bool]], numbers: list[int]) -> None:
    first = [1, 30000, 2**16 - 1]
    writer = FlagWriter(first)
    for flag in flags:
        writer.flag(*flag)
    for number in numbers:
        writer.number(16, number)
    reader = FlagReader(writer.finish(), first)
    assert [reader.flag(context) for context, _ in flags] == [flag for _, flag in flags]
    assert [reader.number(16) for _ in numbers] == numbers
    reader.finish()


def test_a_flag_that_is_always_the_same_costs_next_to_nothing() -> None:
    writer = FlagWriter([1 << 15])
    for _ in range(20000):
        writer.flag(0, True)
    assert len(writer.finish()) < 60
