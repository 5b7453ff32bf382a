"""A model in integers, and why every decoder computes the same points from it (SPEC.md, 7.7 and 7.8).

A symbol times a step size of four significant bits is an integer times a power of two, and so is an activation. Hence
every sum of a layer is one too. Where it stays below 2^53 times the smallest power involved, float64 holds it and all
its partial sums exactly, in whatever order they are added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.architecture import Architecture, Array, Model
from pcqaad.decoder.components import COEFFICIENT_SCALE, LARGEST_COEFFICIENT, LARGEST_REACH, Components
from pcqaad.decoder.step_sizes import StepSize, in_common, round_shift, step_size_values
from pcqaad.decoder.surface import Draw, DrawnSurface, Surface
from pcqaad.decoder.weight_scales import WeightScales
from pcqaad.formats.errors import FormatError

Symbols = NDArray[np.int32]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# A scale F counts numbers in units of 2**-F. Activations have one for each layer, which the file chooses up to:
LARGEST_SCALE = 14
CLOUD_SCALE = 24  # of a cloud's own part of layer 0
POINT_SCALE = 20  # of decoded coordinates, normalised: a cloud spans about 2**22 units
# The activation function is a table over the pre-activations -HALF .. HALF - 1; beyond, its ends continue.
HALF = 2**15
# No activation exceeds 1.05 * (HALF - 1), in units of its layer's scale; below zero it is 1.76 * 2**scale at most.
_LARGEST_ACTIVATION = 34428
_LARGEST_CLOUD_PART = 2**36  # units of CLOUD_SCALE; clipped there
_EXACT = 2**53  # float64 holds every integer below
# Below these a cloud's part is summed within 64 bits, with room for latents between the file's.
LARGEST_LATENT_WEIGHT = 2**16  # symbol of the tensor "latent"
LARGEST_LATENT = 2**36  # as `latent_reach` counts
_FRACTION_BITS = 10  # of a step size, to which latents between the file's are rounded


@dataclass(frozen=True)
class Term:
    """A term of a sum, from one tensor or (no name) from none: at most `bound` multiples of 2**exponent."""

    tensor: str
    exponent: int
    bound: int


@dataclass(frozen=True)
class Sum:
    """The sums of one layer, to be rounded to whole multiples of 2**-scale."""

    scale: int
    terms: tuple[Term, ...]

    @property
    def exponent(self) -> int:
        """The exponent of the smallest power of two involved; half a unit of the result, added to round, is one."""
        return min(-self.scale - 1, *(term.exponent for term in self.terms))

    @property
    def bound(self) -> int:
        """A bound of the sum, in units of 2**exponent; it leaves 2**16 units of the result for a table's offset."""
        return sum(t.bound << (t.exponent - self.exponent) for t in self.terms) + (1 << 16 - self.scale - self.exponent)

    @property
    def exact(self) -> bool:
        """Whether float64 holds the sum and all partial sums."""
        return self.bound < _EXACT


class CloudParts(NamedTuple):
    """What latents (B, L) drive."""

    first: Ints  # (B, W[0]) the clouds' own parts of layer 0, in 2**-CLOUD_SCALE
    coefficients: Ints  # (B, C) of the components, in 2**-COEFFICIENT_SCALE


@dataclass(frozen=True)
class IntegerModel:
    """The part of a model that all clouds of a file share."""

    architecture: Architecture
    bits: int  # of the template's grid, per axis
    origin: tuple[int, int, int]  # of the grid
    step_size: StepSize  # of the grid; a template point is (origin + grid point) * step size
    grid: Symbols  # (M, 3) the template's grid points, patch after patch; a file keeps no order inside a patch
    weight_step_sizes: dict[str, StepSize]  # of each tensor
    weight_scales: WeightScales  # of inputs and neurons, by which some tensors' symbols are multiplied
    weights: dict[str, Symbols]  # of each tensor
    latent_step_sizes: tuple[StepSize, ...]  # (L,) of each latent dimension
    scales: tuple[int, ...]  # F of each hidden layer's activations, the patches' last
    components: Components | None = None  # the linear part, of as many components as the architecture says
    surface: Surface | None = None  # of which the template's points are the vertices

    @property
    def points(self) -> int:
        """The number of points of a cloud."""
        return self.architecture.points if self.surface is None else self.surface.points

    @cached_property
    def draw(self) -> Draw | None:
        """The points of a cloud on the surface; None where they are the template's."""
        return None if self.surface is None else self.surface.draw(self.grid)

    def check(self) -> None:
        """Raise FormatError where a sum could be too large to be exact."""
        largest = int(np.abs(self.weights["latent"].astype(np.int64)).max())
        if largest >= LARGEST_LATENT_WEIGHT:
            problem = f"expected symbols of the latent part below {LARGEST_LATENT_WEIGHT}, found {largest}"
            raise FormatError(problem, where="WGTS")
        if self.components is not None and (reach := self.components.reach) > LARGEST_REACH:
            raise FormatError(f"expected components below 2^27 in all, found 2^{reach.bit_length()}", where="COMP")
        for layer, total in enumerate(self.sums()):
            if not total.exact:
                problem = f"expected sums of layer {layer} below 2^53, found up to 2^{total.bound.bit_length()}"
                raise FormatError(problem, where="WGTS")

    def sums(self) -> Iterator[Sum]:
        """Yield the sums of each layer: the shared ones, the patches' hidden and their output layer."""

        def term(tensor: str, inputs: int = 1, mantissa: int = 1, exponent: int = 0) -> Term:
            """A tensor times inputs of at most `inputs` * mantissa * 2**exponent."""
            sizes = np.abs(self.multiples(tensor))
            step_size = self.weight_step_sizes[tensor]
            # A bias is added; of a matrix every output sums over all inputs.
            largest = int(sizes.max() if "bias" in tensor else sizes.sum(-2).max())
            return Term(tensor, exponent + step_size.exponent, largest * inputs * mantissa * step_size.mantissa)

        far = 2**self.bits - 1
        reach = max(max(abs(o), abs(o + far)) for o in self.origin)
        of_template = reach, *self.step_size
        last = len(self.scales) - 1
        cloud = Term("", -CLOUD_SCALE, _LARGEST_CLOUD_PART)
        yield Sum(self.scales[0], (cloud, term("point", *of_template), term("bias 0")))
        features = [(_LARGEST_ACTIVATION, 1, -scale) for scale in self.scales]
        for i in range(1, last):
            yield Sum(self.scales[i], (term(f"shared {i}", *features[i - 1]), term(f"bias {i}")))
        patch = term("patch", *features[last - 1]), term("patch point", *of_template), term("patch bias")
        yield Sum(self.scales[last], patch)
        template = Term("", self.step_size.exponent, reach * self.step_size.mantissa)
        out = [term("out", *features[last]), term("out bias")]
        if self.architecture.residual:
            out.append(template)
        if self.components is not None:
            out.append(Term("", -POINT_SCALE, self.components.displacement_bound))
        yield Sum(POINT_SCALE, tuple(out))

    def multiples(self, tensor: str) -> Ints:
        """Return a tensor in units of its step size: its symbols times their weight scales."""
        # numpy 1 would stay within 32 bits.
        multiples: Ints = self.weights[tensor].astype(np.int64) * self.weight_scales.factors(tensor)
        return multiples

    def template(self) -> Ints:
        """Return the template (M, 3) in units of its step size."""
        return self.grid.astype(np.int64) + np.array(self.origin, np.int64)

    def clouds_of_symbols(self, symbols: Symbols) -> CloudParts:
        """Return what latents (B, L) of a file drive."""
        return self._cloud_parts(symbols.astype(np.int64) << _FRACTION_BITS)

    def clouds(self, latents: NDArray[np.floating]) -> CloudParts:
        """Return what any latents (B, L) drive, rounded to 1/1024 of a dimension's step size.

        A file's own latents, of symbols below 2**20, give what their symbols give. Raises ValueError for latents that
        are not finite or too large.
        """
        if latents.ndim != 2 or latents.shape[1] != self.architecture.latent:
            raise ValueError(f"expected latents of {self.architecture.latent} numbers, found shape {latents.shape}")
        with np.errstate(over="ignore"):
            steps = latents.astype(np.float64) / step_size_values(self.latent_step_sizes)
            fine = np.rint(steps * 2**_FRACTION_BITS)
        # False for NaN as well.
        within = bool((np.abs(fine) < LARGEST_LATENT << _FRACTION_BITS).all())
        symbols = np.where(within, fine, 0).astype(np.int64)
        if not within or (latent_reach(symbols, self.latent_step_sizes) >= LARGEST_LATENT << _FRACTION_BITS).any():
            raise ValueError("expected latents that are finite and of the size of the file's own")
        return self._cloud_parts(symbols)

    def _cloud_parts(self, fine: Ints) -> CloudParts:
        factors, low = in_common(self.latent_step_sizes)
        scaled = (fine.astype(object) * np.array(factors, object)).astype(np.int64)
        sums = scaled @ self.weights["latent"].astype(np.int64)
        mantissa, exponent = self.weight_step_sizes["latent"]
        shift = low - _FRACTION_BITS + exponent + CLOUD_SCALE
        # In Python's integers: a shift to the left may leave 64 bits.
        parts = (round_shift(int(total) * mantissa, shift) for total in sums.ravel())
        driven = fine[:, : self.architecture.components]
        coefficients = (
            round_shift(int(number) * mantissa, exponent - _FRACTION_BITS + COEFFICIENT_SCALE)
            for row in driven
            for number, (mantissa, exponent) in zip(row, self.latent_step_sizes, strict=False)
        )
        return CloudParts(
            _clipped(parts, _LARGEST_CLOUD_PART).reshape(sums.shape),
            _clipped(coefficients, LARGEST_COEFFICIENT).reshape(driven.shape),
        )

    def dequantise(self, latents: Array) -> Model:
        """Return the numbers that this model stands for, in float32, with these latents (N, L)."""
        weights = {
            name: (self.multiples(name) * step.value).astype(np.float32)
            for name, step in self.weight_step_sizes.items()
        }
        template = (self.template() * self.step_size.value).astype(np.float32)
        components = None if self.components is None else self.components.dequantise()
        surface = None
        if self.surface is not None and self.draw is not None:
            surface = DrawnSurface(self.surface, self.step_size, self.draw)
        return Model(self.architecture, template, latents, weights, components, surface)


def _clipped(numbers: Iterable[int], largest: int) -> Ints:
    """Return integers of any size in an array (n,), clipped to a size."""
    return np.array([min(max(number, -largest), largest) for number in numbers], np.int64)


def latent_reach(symbols: NDArray[np.signedinteger], step_sizes: tuple[StepSize, ...]) -> NDArray[np.object_]:
    """Return the exact sums (B,) of the sizes of latents (B, L), in the least power of two of the step sizes."""
    factors, _ = in_common(step_sizes)
    reach: NDArray[np.object_] = np.abs(symbols.astype(np.int64)).astype(object) @ np.array(factors, object)
    return reach


def dequantise_latents(symbols: Symbols, step_sizes: tuple[StepSize, ...]) -> Array:
    """Return latents (N, L) as numbers, in float32."""
    return (symbols * step_size_values(step_sizes)).astype(np.float32)
