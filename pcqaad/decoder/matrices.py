"""The layers of an integer model as float64 matrices, whose products are exact."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from pcqaad.decoder.integer_model import CLOUD_SCALE, HALF, POINT_SCALE, Floats, IntegerModel, Ints

# What leads from a pre-activation to its place in the table, rounded.
_OFFSET = HALF + 0.5


@functools.cache
def selu_table(scale: int) -> Ints:
    """Return round(2**scale * selu(z / 2**scale)) for z = -HALF .. HALF - 1.

    No entry is nearer to a half than 4e-6, so that any exp in double precision gives the same integers.
    """
    z = np.arange(-HALF, HALF) / 2.0**scale
    selu = 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(np.minimum(z, 0)))
    table = np.floor(selu * 2.0**scale + 0.5).astype(np.int64)
    table.setflags(write=False)
    return table


@dataclass(frozen=True)
class Matrices:
    """The layers as float64 matrices for columns of points, each one product: exact where the model's `check` passes.

    The inputs of a layer are [the features before it; 1; the template point in steps], as far as it takes them; the
    pre-activation comes out in units of the layer's scale, plus HALF, plus 1/2: rounded down it is the index of its
    activation in the table.

    Attributes:
        point: (W[0], 3) and
        bias: (W[0],) of layer 0, to which `cloud` times the cloud's part is added.
        shared: (W[i], W[i-1] + 1) each.
        patch: (K, H, W[D-1] + 4).
        out: (K, 3, H + 4), in units of 2**-POINT_SCALE, plus 1/2.
        tables: activations of the hidden layers, as float64.
    """

    point: Floats
    bias: Floats
    cloud: float
    shared: list[Floats]
    patch: Floats
    out: Floats
    tables: list[Floats]

    @classmethod
    def of(cls, model: IntegerModel) -> Matrices:
        """Put the steps, the scales and the offsets of a model into matrices."""

        def scaled(tensor: str, scale: int, exponent: int = 0, mantissa: int = 1) -> Floats:
            step = model.weight_step_sizes[tensor]
            factor = math.ldexp(mantissa * step.mantissa, exponent + step.exponent + scale)
            numbers = model.multiples(tensor).astype(np.float64) * factor
            return numbers if "bias" in tensor else np.moveaxis(numbers, -1, -2)

        template, scales = model.step_size, model.scales
        last = len(scales) - 1
        in_steps = template.exponent, template.mantissa
        shared = [
            np.column_stack(
                [scaled(f"shared {i}", scales[i], -scales[i - 1]), scaled(f"bias {i}", scales[i]) + _OFFSET]
            )
            for i in range(1, last)
        ]
        patch = [
            scaled("patch", scales[last], -scales[last - 1]),
            scaled("patch bias", scales[last])[..., None] + _OFFSET,
            scaled("patch point", scales[last], *in_steps),
        ]
        own = np.eye(3) * (math.ldexp(template.mantissa, template.exponent + POINT_SCALE) * model.architecture.residual)
        out = [
            scaled("out", POINT_SCALE, -scales[last]),
            scaled("out bias", POINT_SCALE)[..., None] + 0.5,
            np.broadcast_to(own, (model.architecture.patches, 3, 3)),
        ]
        return cls(
            scaled("point", scales[0], *in_steps),
            scaled("bias 0", scales[0]) + _OFFSET,
            math.ldexp(1, scales[0] - CLOUD_SCALE),
            shared,
            np.concatenate(patch, -1),
            np.concatenate(out, -1),
            [selu_table(scale).astype(np.float64) for scale in scales],
        )
