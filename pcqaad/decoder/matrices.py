"""The layers of an integer model as float64 matrices, whose products are exact. Numpy and torch multiply the same."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from pcqaad.decoder.architecture import SELU_ALPHA, SELU_LAMBDA
from pcqaad.decoder.integer_model import CLOUD_SCALE, HALF, POINT_SCALE, Floats, IntegerModel, Ints

# From a pre-activation to its place in the table, plus a half to round by.
_OFFSET = HALF + 0.5


@functools.cache
def selu_table(scale: int) -> Ints:
    """Return round(2**scale * selu(z / 2**scale)) for z = -HALF .. HALF - 1.

    No entry is nearer to a half than 4e-6, so any exp in double precision gives the same integers.
    """
    z = np.arange(-HALF, HALF) / 2.0**scale
    selu = SELU_LAMBDA * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0)))
    table = np.floor(selu * 2.0**scale + 0.5).astype(np.int64)
    table.setflags(write=False)
    return table


@dataclass(frozen=True)
class Matrices:
    """The layers as float64 matrices for columns of points, one product each: exact where the model's `check` passes.

    The inputs of a layer are [the features before it; 1; the template point in units of its step size], as far as it
    takes them. Its product is the pre-activation in units of the layer's scale, plus HALF, plus 1/2: rounded down, the
    index of its activation in the table.
    """

    point: Floats  # (W[0], 3) of layer 0
    bias: Floats  # (W[0],) of layer 0
    cloud: float  # the factor of a cloud's own part, which layer 0 adds to its bias
    shared: list[Floats]  # (W[i], W[i-1] + 1) each, from layer 1 on
    patch: Floats  # (K, H, W[-1] + 4)
    out: Floats  # (K, 3, H + 4), in units of 2**-POINT_SCALE, plus 1/2
    tables: list[Floats]  # activations of each hidden layer
    inputs: Floats  # (1 + 3, M) of all template points, one a column
    components: Floats | None  # (C, 3 M) of the linear part; None without

    @classmethod
    def of(cls, model: IntegerModel) -> Matrices:
        """Put a model's step sizes, scales and offsets into matrices."""

        def scaled(tensor: str, scale: int, exponent: int = 0, mantissa: int = 1) -> Floats:
            step_size = model.weight_step_sizes[tensor]
            factor = math.ldexp(mantissa * step_size.mantissa, exponent + step_size.exponent + scale)
            numbers = model.multiples(tensor).astype(np.float64) * factor
            return numbers if "bias" in tensor else np.moveaxis(numbers, -1, -2)

        template, scales = model.step_size, model.scales
        last = len(scales) - 1
        of_template = template.exponent, template.mantissa
        shared = []
        for i in range(1, last):
            bias = scaled(f"bias {i}", scales[i]) + _OFFSET
            shared.append(np.column_stack([scaled(f"shared {i}", scales[i], -scales[i - 1]), bias]))
        patch = [
            scaled("patch", scales[last], -scales[last - 1]),
            scaled("patch bias", scales[last])[..., None] + _OFFSET,
            scaled("patch point", scales[last], *of_template),
        ]
        again = math.ldexp(template.mantissa, template.exponent + POINT_SCALE) * model.architecture.residual
        out = [
            scaled("out", POINT_SCALE, -scales[last]),
            scaled("out bias", POINT_SCALE)[..., None] + 0.5,
            np.broadcast_to(np.eye(3) * again, (model.architecture.patches, 3, 3)),
        ]
        first = scaled("point", scales[0], *of_template), scaled("bias 0", scales[0]) + _OFFSET
        cloud = math.ldexp(1, scales[0] - CLOUD_SCALE)
        tables = [selu_table(scale).astype(np.float64) for scale in scales]
        inputs = np.concatenate([np.ones((1, model.architecture.points)), model.template().T])
        components = None if model.components is None else model.components.matrix()
        of_patches = np.concatenate(patch, -1), np.concatenate(out, -1)
        return cls(*first, cloud, shared, *of_patches, tables, inputs, components)
