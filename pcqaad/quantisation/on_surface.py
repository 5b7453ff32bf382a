"""A linear model over a surface: few vertices stand for the many points of a template, their mean and components.

A field over a template's points becomes one over the vertices: that which comes nearest to it at the points' places on
the surface, least squares. Then every cloud is matched to the points that are drawn of the surface, and the model
follows anew from these pairs: the vertices move to where the clouds' points lie on the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csc_matrix, csr_matrix, identity
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree

from pcqaad.decoder.architecture import Array, Model
from pcqaad.decoder.float32 import FloatDecoder, displacements
from pcqaad.decoder.surface import ONE, DrawnSurface, Surface, shares
from pcqaad.formats.coding.point_sets import interleave
from pcqaad.formats.coding.triangles import encode_triangles
from pcqaad.matching.assign import optimal
from pcqaad.monitor import Monitor, Stage
from pcqaad.points.collect import CloudSet, allocate
from pcqaad.points.components import decomposed, has_collapsed
from pcqaad.points.fixed_point import Reordered, Targets
from pcqaad.points.surface import check_mesh
from pcqaad.quantisation.principal import Linear, kept_components
from pcqaad.quantisation.step_sizes import price, rounded, template_step_size, to_grid
from pcqaad.surfaces.fit import nearest_on
from pcqaad.surfaces.reconstruct import DenseSurface

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# How much larger lambda is for the template's vertices: a point lies between three, so half of their errors' squares
# is left.
_WIDER = 2.0
# How much a field that bends weighs beside what it misses at the points.
_STIFFNESS = 0.02
# Of a vertex that hardly any point lies near, in points.
_LEAST_MASS = 0.5
# A mesh of fewer triangles says nothing that the points do not.
_FEWEST_FACES = 1000
# Points about a vertex, with which it moves.
_MOVED_BY = 8
# The least area about a vertex that its points are spread over, in means of all.
_LEAST_AREA = 1e-3
_MASS_BITS = 32  # of all points' masses together
# Rounds of matching. The second saves 0.5 to 1 % of the error, where the first saves 5 to 10 %.
_ROUNDS = 1


@dataclass(frozen=True)
class _Places:
    """Points that have their places on a surface, and what leads from fields over them to fields over its vertices."""

    weights: csr_matrix  # (M, V) of the vertices at the points' places
    solve: Callable[[Floats], Floats]

    @classmethod
    def of(cls, corners: Ints, weights: Floats, triangles: Ints, vertices: int) -> _Places:
        """Take the corners (M, 3) of the triangle that each point lies on, and their weights (M, 3)."""
        count = len(corners)
        rows = np.repeat(np.arange(count), 3)
        matrix = csr_matrix((weights.ravel(), (rows, corners.ravel())), (count, vertices))
        bent = _bend(triangles, vertices)
        stiff = _STIFFNESS * count / vertices * (bent.T @ bent)
        # So that a vertex of no triangle has an answer too.
        system = csc_matrix(matrix.T @ matrix + stiff + 1e-9 * identity(vertices))
        return cls(matrix, splu(system).solve)

    def project(self, field: NDArray[np.floating]) -> Array:
        """Return the field (V, ...) that comes nearest to another at the points (M, ...)."""
        flat = field.reshape(len(field), -1).astype(np.float64)
        found = self.solve(self.weights.T @ flat).reshape(-1, *field.shape[1:])
        return np.ascontiguousarray(found, np.float32)

    def masses(self) -> Floats:
        """Return how many points each vertex stands for (V,)."""
        masses: Floats = np.asarray(self.weights.sum(0)).ravel()
        return masses


def _bend(triangles: Ints, vertices: int) -> csr_matrix:
    """Return the matrix (V, V) that takes a field to its differences from the mean of the neighbours."""
    return csr_matrix(identity(vertices) - _neighbours_mean(triangles, vertices))


def _neighbours_mean(triangles: Ints, vertices: int) -> csr_matrix:
    sides = triangles[:, [0, 1, 2, 1, 2, 0]].ravel(), triangles[:, [1, 2, 0, 0, 1, 2]].ravel()
    beside = coo_matrix((np.ones(len(sides[0])), sides), (vertices, vertices)).tocsr()
    beside.data[:] = 1
    each = 1 / np.maximum(np.asarray(beside.sum(1)).ravel(), 1)
    return csr_matrix((each, (range(vertices), range(vertices))), (vertices, vertices)) @ beside


@dataclass(frozen=True)
class Laid:
    """A surface that was laid through the template's points, or through those of a cloud in their order."""

    dense: DenseSurface
    points: Array  # (M, 3)
    cloud: int | None  # whose shape the template is to have; None for the mean's

    @classmethod
    def through(cls, alone: Model, clouds: CloudSet, some: Sequence[int], vertices: int, seed: int) -> Laid:
        """Lay a surface through the mean shape, the template of a model of clouds, fine enough for so many vertices.

        Where the mean is no shape any more, it goes through the nearest one of `some` clouds. Where that one has faces,
        it is theirs, moved to where the points lie. Raises CloudError where the points lie on no surface.
        """
        targets, mean = clouds.targets, alone.template
        near = min(some, key=lambda i: float(np.square(targets[i] - mean).sum()))
        shape = near if has_collapsed(mean, targets[near]) else None
        points = mean if shape is None else targets[near]
        given = None if clouds.mesh is None else clouds.mesh(near)
        mesh = None if given is None else check_mesh(given, clouds.names[near])
        if mesh is None or len(mesh[1]) < _FEWEST_FACES:
            return cls(DenseSurface.through(points, vertices, seed), points, shape)
        moved = clouds.normalisation.normalise(mesh[0])
        if shape is None:
            # Each vertex goes with the points about it.
            apart, beside = KDTree(targets[near]).query(moved, k=min(_MOVED_BY, len(points)))
            weights = 1 / np.maximum(apart.reshape(len(moved), -1), 1e-9) ** 2
            ways = (points - targets[near]).astype(np.float64)[beside.reshape(len(moved), -1)]
            moved += (weights[:, :, None] * ways).sum(1) / weights.sum(1)[:, None]
        return cls(DenseSurface.of_mesh(moved, mesh[1], points), points, shape)


def over_surface(
    linear: Linear, clouds: Targets, laid: Laid, vertices: int, lambda_: float, monitor: Monitor
) -> OverSurface:
    """Return a linear model without a network as one over a surface of about so many vertices, for lambdas near one.

    Raises Interrupted.
    """
    model = linear.model
    assert model.components is not None
    control, triangles = laid.dense.mesh(vertices)
    of, weights, _ = nearest_on(laid.points.astype(np.float64), control, triangles)
    places = _Places.of(triangles[of], weights, triangles, len(control))
    over = _Over(places.project(model.template), places.project(model.components), model.latents, linear.squares)
    over = over.about(laid.cloud)
    # Neighbours one behind the other, so that a point too many is one too few next door.
    grid, _, bits = to_grid(over.template, template_step_size(over.template, _WIDER * lambda_))
    triangles = encode_triangles(triangles, grid, bits)[1]
    counts = _counts(places.masses(), over.template, triangles, clouds.points)
    for _ in range(_ROUNDS):
        # A component that earns nothing at the lambda would only tell the points apart that a cloud happens to have.
        earning = int((over.squares > price(lambda_) * len(clouds)).sum())
        over = _matched(over.first(earning), Surface(triangles, counts), clouds, lambda_, monitor).about(laid.cloud)
    return OverSurface(model, over, Surface(triangles, counts))


@dataclass(frozen=True)
class _Over:
    """A template and components over vertices, and what clouds make of them."""

    template: Array  # (V, 3) the mean, or the shape of a cloud
    components: Array  # (V, C, 3)
    latents: Array  # (N, C)
    squares: Floats  # (C,) mean squares of how far points move by each component

    def first(self, count: int) -> _Over:
        """Return its first components alone."""
        return _Over(self.template, self.components[:, :count], self.latents[:, :count], self.squares[:count])

    def about(self, cloud: int | None) -> _Over:
        """Return the same model with the shape of a cloud for its template; None leaves it."""
        if cloud is None:
            return self
        return _Over(self.vertices(cloud), self.components, self.latents - self.latents[cloud], self.squares)

    def vertices(self, cloud: int) -> Array:
        """Return the vertices (V, 3) of a cloud."""
        return self.template + displacements(self.latents[cloud], self.components)


@dataclass(frozen=True)
class OverSurface:
    """A linear model over a surface that lies on no grid yet."""

    alone: Model  # without the surface
    over: _Over
    surface: Surface

    def at(self, lambda_: float) -> Model:
        """Return the model on the grid of a lambda, with as many of its components as earn their bits."""
        return self.on_grid(lambda_).at(lambda_)

    def on_grid(self, lambda_: float) -> Linear:
        """Return the model on the grid of a lambda, its vertices numbered as in a file."""
        over, triangles = self.over, self.surface.triangles
        step_size = template_step_size(over.template, _WIDER * lambda_)
        grid, _, bits = to_grid(over.template, step_size)
        order = np.argsort(interleave(grid.astype(np.int64), bits), kind="stable")
        number = np.empty_like(order)
        number[order] = np.arange(len(order))
        coded, triangles = encode_triangles(number[triangles], grid[order], bits)
        counts = self.surface.counts[_rows(number[self.surface.triangles], triangles)]
        surface = Surface(triangles, counts, coded)
        count = len(over.squares)
        weights = {**self.alone.weights, "latent": np.zeros((count, self.alone.architecture.shared[0]), np.float32)}
        model = Model(
            replace(self.alone.architecture, points=len(order), latent=count, components=count),
            rounded(over.template[order], step_size.value),
            over.latents,
            weights,
            np.ascontiguousarray(over.components[order]),
            DrawnSurface(surface, step_size, surface.draw(grid[order])),
        )
        return Linear(model, over.squares)


def _rows(triangles: Ints, others: Ints) -> Ints:
    """Return which of some triangles (T, 3) each of the same ones (T, 3) in another order is."""
    keys, wanted = np.sort(triangles, axis=1), np.sort(others, axis=1)
    order = np.lexsort(keys.T)
    rows = np.empty(len(keys), np.int64)
    rows[np.lexsort(wanted.T)] = order
    return rows


def _matched(over: _Over, surface: Surface, clouds: Targets, lambda_: float, monitor: Monitor) -> _Over:
    """Match every cloud to the points that are drawn of it on the surface, and return what follows from these pairs."""
    grid = to_grid(over.template, template_step_size(over.template, _WIDER * lambda_))[0]
    draw = surface.draw(grid)
    places = _Places.of(draw.corners, draw.weights / ONE, surface.triangles, len(grid))
    count = len(clouds)
    fields = allocate((count, *over.template.shape), np.float32)
    decoded = (draw.between(over.vertices(i)) for i in range(count))
    for i, order in enumerate(optimal(zip(decoded, clouds, strict=True))):
        fields[i] = places.project(clouds[i][order])
        monitor.update(Stage.QUANTISE)
    template = fields.mean(0, dtype=np.float64).astype(np.float32)
    masses = np.sqrt(places.masses() + _LEAST_MASS).astype(np.float32)
    gram = np.zeros((count, count))
    for field, mass in zip(fields.transpose(1, 0, 2), masses, strict=True):
        left = (field - field.mean(0)) * mass
        gram += left @ left.T
    values, vectors = decomposed(gram)
    squares = values / (count * clouds.points)
    kept = kept_components(squares)
    latents = (vectors[:, :kept] * np.sqrt(count)).astype(np.float32)
    components = np.einsum("nc,nvx->vcx", latents / count, fields, optimize=True)
    return _Over(template, components, latents, squares[:kept])


def _counts(masses: Floats, template: NDArray[np.floating], triangles: Ints, points: int) -> Ints:
    """Return how many points (T,) lie on each triangle, where each vertex (V, 3) stands for so many of them (V,)."""
    a, b, c = (template[triangles[:, i]].astype(np.float64) for i in range(3))
    sizes = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    area = np.bincount(triangles.ravel(), np.repeat(sizes / 3, 3), len(template))
    # Over the neighbours too: the points about one vertex are few.
    beside = _neighbours_mean(triangles, len(template)) + identity(len(template))
    # About a vertex of slivers hardly any points lie, however near one is.
    least = max(_LEAST_AREA * float(area.mean()), np.finfo(np.float64).tiny)
    rates = (beside @ masses) / np.maximum(beside @ area, least)
    mass = rates[triangles].mean(1) * sizes
    if not mass.any():
        return shares(np.ones(len(triangles), np.int64), points)
    return shares((mass * (2.0**_MASS_BITS / mass.sum())).astype(np.int64), points)


def drawn_targets(clouds: Targets, model: Model, some: Sequence[int]) -> Targets:
    """Return clouds of which some have their points in the order of those that a model over a surface decodes to."""
    decoder = FloatDecoder(model)
    orders = optimal((decoder.decode(model.latents[i]), clouds[i]) for i in some)
    return Reordered(clouds, dict(zip(some, orders, strict=True)))
