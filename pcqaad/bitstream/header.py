"""The HEAD section: all that a decoder must know before it reads another (formats/SPEC.md, 7.1)."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace

import numpy as np

from pcqaad.decoder.architecture import MAX_BITS, MAX_CLOUDS, MAX_LAYERS, MAX_POINTS, MAX_WIDTH, Architecture, too_large
from pcqaad.decoder.coordinates import LARGEST_CENTRE, UNIT_EXPONENTS, Denormalisation
from pcqaad.decoder.integer_model import LARGEST_SCALE
from pcqaad.decoder.step_sizes import CODES, StepSize
from pcqaad.formats.errors import FormatError

# The fields of fixed size, in the specification's order.
_FIXED = struct.Struct("<IIHHHBBBBH3qd3iH")


@dataclass(frozen=True)
class Header:
    """All that a decoder must know first.

    The section does not say how many components there are, nor how many points are drawn of a surface: COMP and SURF
    do.
    """

    architecture: Architecture
    denormalisation: Denormalisation  # from decoded integers to the data's unit
    bits: int  # of the template's grid
    origin: tuple[int, int, int]  # of the grid, in units of its step size
    step_size: StepSize  # of the grid
    latent_contexts: int  # 1, or L where every latent dimension has a table of its own
    sequence: bool  # whether latents are coded as differences from the cloud before
    weight_step_sizes: dict[str, StepSize]  # of each tensor
    latent_step_sizes: tuple[StepSize, ...]  # (L,) of each latent dimension
    scales: tuple[int, ...]  # of each hidden layer's activations
    points: int  # of a cloud

    def pack(self) -> bytes:
        """Return the bytes of the section; raises struct.error for a number that no field holds."""
        a, to_data = self.architecture, self.denormalisation
        sizes = a.clouds, a.points, a.patches, a.latent, a.patch, len(a.shared)
        rest = int(a.residual) | 2 * int(self.sequence), self.bits, 0, self.latent_contexts
        fixed = _FIXED.pack(*sizes, *rest, *to_data.centre, to_data.unit, *self.origin, self.step_size.code)
        step_sizes = [*(self.weight_step_sizes[name] for name in a.tensors()), *self.latent_step_sizes]
        numbers = np.array([*a.shared, *(step_size.code for step_size in step_sizes)], "<u2").tobytes()
        return fixed + bytes(self.scales) + numbers

    def appended(self, clouds: int) -> Header:
        """Return the header of the file with more clouds; raises FormatError where a file cannot hold them."""
        more = replace(self.architecture, clouds=min(self.architecture.clouds + clouds, 2**32 - 1))
        Header.unpack(replace(self, architecture=more).pack())
        return replace(self, architecture=more)

    @classmethod
    def unpack(cls, data: bytes) -> Header:
        """Read the HEAD section; raises FormatError where it breaks a rule of the specification."""

        def demand(holds: bool, problem: str) -> None:
            if not holds:
                raise FormatError(problem, where="HEAD")

        demand(len(data) >= _FIXED.size, f"expected at least {_FIXED.size} bytes, found {len(data)}")
        n, m, k, latent, patch, layers, flags, bits, zero, contexts, *numbers = _FIXED.unpack_from(data)
        demand(2 <= n <= MAX_CLOUDS, f"expected 2 to {MAX_CLOUDS} clouds, found {n}")
        demand(1 <= m <= MAX_POINTS, f"expected 1 to {MAX_POINTS} points, found {m}")
        demand(1 <= k <= m, f"expected 1 to {m} patches, found {k}")
        demand(latent >= 1, f"expected latents of at least 1 number, found {latent}")
        demand(1 <= patch <= MAX_WIDTH, f"expected patch layers 1 to {MAX_WIDTH} wide, found {patch}")
        demand(1 <= layers <= MAX_LAYERS, f"expected 1 to {MAX_LAYERS} shared layers, found {layers}")
        demand(flags <= 3 and zero == 0, f"expected flags of 0 to 3 and a zero, found {flags} and {zero}")
        demand(1 <= bits <= MAX_BITS, f"expected a grid of 1 to {MAX_BITS} bits, found {bits}")
        one_or_each = contexts == 1 or contexts == latent <= 256
        demand(one_or_each, f"expected 1 context of latents or, up to 256, {latent}, found {contexts}")
        sequence = bool(flags & 2)
        demand(contexts << sequence <= 256, f"expected at most 128 contexts of a sequence, found {contexts}")
        centre, unit, origin, code = tuple(numbers[:3]), numbers[3], tuple(numbers[4:7]), numbers[7]
        demand(max(map(abs, centre)) <= LARGEST_CENTRE, f"expected a centre up to 2^52 in size, found {centre}")
        lowest, highest = (2.0**exponent for exponent in UNIT_EXPONENTS)
        # False for NaN and infinity.
        is_unit = lowest <= unit <= highest and math.ldexp(math.frexp(unit)[0], 24).is_integer()
        demand(is_unit, f"expected a unit of 24 significant bits, 2^-400 to 2^128, found {unit!r}")
        at = _FIXED.size
        demand(len(data) >= at + 3 * layers + 1, f"expected the sizes of {layers} layers, found {len(data) - at} bytes")
        scales = tuple(data[at : at + layers + 1])
        demand(max(scales) <= LARGEST_SCALE, f"expected scales up to {LARGEST_SCALE}, found {scales}")
        at += layers + 1
        widths = tuple(int(w) for w in np.frombuffer(data, "<u2", layers, at))
        at += 2 * layers
        demand(all(1 <= w <= MAX_WIDTH for w in widths), f"expected widths of 1 to {MAX_WIDTH}, found {widths}")
        architecture = Architecture(n, m, latent, widths, patch, k, bool(flags & 1))
        demand(not (problem := too_large(architecture)), problem)
        names = list(architecture.tensors())
        size = at + 2 * (len(names) + latent)
        demand(len(data) == size, f"expected {size} bytes, found {len(data)}")
        codes = [code, *np.frombuffer(data, "<u2", len(names) + latent, at).tolist()]
        demand(max(codes) < CODES, f"expected steps below {CODES}, found {max(codes)}")
        of_grid, *step_sizes = (StepSize.of(code) for code in codes)
        to_data, weights = Denormalisation(centre, unit), dict(zip(names, step_sizes, strict=False))
        latents = tuple(step_sizes[len(names) :])
        return cls(architecture, to_data, bits, origin, of_grid, contexts, sequence, weights, latents, scales, m)
