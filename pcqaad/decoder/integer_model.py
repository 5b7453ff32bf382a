"""A model in integers, and the rules under which every decoder computes the same points of it (SPEC.md, 7.7).

Symbols times steps of four significant bits are integers times powers of two, and activations are integers times a
power of two. So every sum of a layer is an integer times a power of two as well; where it stays below 2^53 times
the smallest one involved, float64 holds it and all partial sums exactly, in whatever order they are added.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.architecture import Architecture, Array, Model
from pcqaad.decoder.step_sizes import StepSize, in_common, round_shift, step_size_values
from pcqaad.decoder.weight_scales import WeightScales
from pcqaad.formats.errors import FormatError

Symbols = NDArray[np.int32]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# The activation function is a table over the pre-activations -HALF .. HALF - 1; beyond, its ends continue.
HALF = 2**15
LARGEST_SCALE = 14
# What no activation exceeds: 1.05 * (HALF - 1). Below zero it is 1.76 * 2**scale at most.
_LARGEST_ACTIVATION = 34428
# A cloud's own part of the first layer is rounded to 2**-CLOUD_SCALE and ends at _CLOUD_LIMIT of these.
CLOUD_SCALE, _CLOUD_LIMIT = 24, 2**36
# Decoded coordinates are counted in 2**-POINT_SCALE of the normalised unit: a cloud spans 2**22 of them.
POINT_SCALE = 20
# float64 holds every integer below.
_EXACT = 2**53
# Below these the sums of a cloud's part stay within 64 bits, with room for latents between the file's.
LARGEST_LATENT_WEIGHT = 2**16
LARGEST_LATENT = 2**36
# A latent that is given as floats is taken to this part of a step.
_FINE = 10


@dataclass(frozen=True)
class Term:
    """What a sum has from one tensor: whole multiples of 2**exponent, `bound` of them at most; no name: a constant."""

    tensor: str
    exponent: int
    bound: int


@dataclass(frozen=True)
class Sum:
    """The sums of one layer, rounded to whole multiples of 2**-scale."""

    scale: int
    terms: tuple[Term, ...]

    @property
    def exponent(self) -> int:
        """Of the smallest power of two involved; half a unit of the result, added to round, is one of them."""
        return min(-self.scale - 1, *(term.exponent for term in self.terms))

    @property
    def bound(self) -> int:
        """What no sum exceeds, in units of 2**exponent; 2**16 units of the result are left for a table's offset."""
        return sum(t.bound << (t.exponent - self.exponent) for t in self.terms) + (1 << 16 - self.scale - self.exponent)

    @property
    def exact(self) -> bool:
        """Whether float64 holds all of it."""
        return self.bound < _EXACT


@dataclass(frozen=True)
class IntegerModel:
    """What all clouds of a file share.

    Attributes:
        shape: the model's.
        bits: of the template's grid, per axis.
        origin: of the grid, three integers.
        step: of the grid; a template point is (origin + grid point) * step.
        grid: (M, 3) the template's grid points, patch after patch; the file keeps no order inside a patch.
        weight_step_sizes: per tensor.
        weight scales: of inputs and neurons, by which some tensors' symbols are multiplied.
        weights: the symbols of each tensor.
        latent_step_sizes: per latent dimension.
        scales: per hidden layer, the patches' last: its activations are counted in 2**-scale.
    """

    architecture: Architecture
    bits: int
    origin: tuple[int, int, int]
    step_size: StepSize
    grid: Symbols
    weight_step_sizes: dict[str, StepSize]
    weight_scales: WeightScales
    weights: dict[str, Symbols]
    latent_step_sizes: tuple[StepSize, ...]
    scales: tuple[int, ...]

    def check(self) -> None:
        """Raise FormatError where a sum could be too large to be exact."""
        largest = int(np.abs(self.weights["latent"].astype(np.int64)).max())
        if largest >= LARGEST_LATENT_WEIGHT:
            problem = f"expected symbols of the latent part below {LARGEST_LATENT_WEIGHT}, found {largest}"
            raise FormatError(problem, where="WGTS")
        for layer, total in enumerate(self.sums()):
            if not total.exact:
                problem = f"expected sums of layer {layer} below 2^53, found up to 2^{total.bound.bit_length()}"
                raise FormatError(problem, where="WGTS")

    def sums(self) -> Iterator[Sum]:
        """Yield the sums of each layer: the shared ones, the patches' hidden and their output layer."""

        def term(tensor: str, inputs: int = 1, mantissa: int = 1, exponent: int = 0) -> Term:
            """A tensor times inputs of at most `inputs` * mantissa * 2**exponent."""
            sizes = np.abs(self.multiples(tensor))
            step = self.weight_step_sizes[tensor]
            # A bias is added; of a matrix every output sums over all inputs.
            largest = int(sizes.max() if "bias" in tensor else sizes.sum(-2).max())
            return Term(tensor, exponent + step.exponent, largest * inputs * mantissa * step.mantissa)

        far = 2**self.bits - 1
        reach = max(max(abs(o), abs(o + far)) for o in self.origin)
        of_template = reach, *self.step_size
        last = len(self.scales) - 1
        cloud = Term("", -CLOUD_SCALE, _CLOUD_LIMIT)
        yield Sum(self.scales[0], (cloud, term("point", *of_template), term("bias 0")))
        for i in range(1, last):
            inputs = _LARGEST_ACTIVATION, 1, -self.scales[i - 1]
            yield Sum(self.scales[i], (term(f"shared {i}", *inputs), term(f"bias {i}")))
        inputs = _LARGEST_ACTIVATION, 1, -self.scales[last - 1]
        yield Sum(self.scales[last], (term("patch", *inputs), term("patch point", *of_template), term("patch bias")))
        inputs = _LARGEST_ACTIVATION, 1, -self.scales[last]
        out = [term("out", *inputs), term("out bias")]
        if self.architecture.residual:
            out.append(Term("", self.step_size.exponent, reach * self.step_size.mantissa))
        yield Sum(POINT_SCALE, tuple(out))

    def multiples(self, tensor: str) -> Ints:
        """Return a tensor in whole steps: its symbols times their weight scales.

        In 64 bits, which numpy 1 would not go to.
        """
        multiples: Ints = self.weights[tensor].astype(np.int64) * self.weight_scales.factors(tensor)
        return multiples

    def template(self) -> Ints:
        """Return the template (M, 3) in whole steps."""
        return self.grid.astype(np.int64) + np.array(self.origin, np.int64)

    def cloud_parts(self, latents: Symbols) -> Ints:
        """Return the clouds' parts of layer 0 (B, W[0]), in 2**-24, for latents (B, L) in symbols."""
        return self._cloud_parts(latents.astype(np.int64) << _FINE)

    def cloud_parts_of(self, latents: NDArray[np.floating]) -> Ints:
        """Return the same for latents (B, L) in numbers, taken to 1/1024 of a dimension's step.

        A file's own, of symbols below 2**20, give what the symbols give. Raises ValueError where they are not finite
        or too large.
        """
        if latents.ndim != 2 or latents.shape[1] != self.architecture.latent:
            raise ValueError(f"expected latents of {self.architecture.latent} numbers, found shape {latents.shape}")
        with np.errstate(over="ignore"):
            fine = np.rint(latents.astype(np.float64) / step_size_values(self.latent_step_sizes) * 2**_FINE)
        # False for NaN as well.
        within = bool((np.abs(fine) < LARGEST_LATENT << _FINE).all())
        symbols = np.where(within, fine, 0).astype(np.int64)
        if not within or (latent_reach(symbols, self.latent_step_sizes) >= LARGEST_LATENT << _FINE).any():
            raise ValueError("expected latents that are finite and of the size of the file's own")
        return self._cloud_parts(symbols)

    def _cloud_parts(self, fine: Ints) -> Ints:
        factors, low = in_common(self.latent_step_sizes)
        scaled = (fine.astype(object) * np.array(factors, object)).astype(np.int64)
        sums = scaled @ self.weights["latent"].astype(np.int64)
        step = self.weight_step_sizes["latent"]
        shift = low - _FINE + step.exponent + CLOUD_SCALE
        parts = [round_shift(int(total) * step.mantissa, shift) for total in sums.ravel()]
        return np.array([min(max(part, -_CLOUD_LIMIT), _CLOUD_LIMIT) for part in parts], np.int64).reshape(sums.shape)

    def dequantise(self, latents: Array) -> Model:
        """Return the numbers that this model stands for, in float32, with these latents (N, L)."""
        steps = {name: step.value for name, step in self.weight_step_sizes.items()}
        weights = {name: (self.multiples(name) * steps[name]).astype(np.float32) for name in self.weights}
        return Model(self.architecture, (self.template() * self.step_size.value).astype(np.float32), latents, weights)


def latent_reach(symbols: NDArray[np.signedinteger], steps: tuple[StepSize, ...]) -> NDArray[np.object_]:
    """Return how large latents (B, L) are, added up in the smallest power of two of their steps; exact, (B,)."""
    factors, _ = in_common(steps)
    reach: NDArray[np.object_] = np.abs(symbols.astype(np.int64)).astype(object) @ np.array(factors, object)
    return reach


def dequantise_latents(symbols: Symbols, steps: tuple[StepSize, ...]) -> Array:
    """Return latents (N, L) as numbers, in float32."""
    return (symbols * step_size_values(steps)).astype(np.float32)
