"""A file's own decoding in torch: many clouds at once, on any device, and the same bytes (SPEC.md, section 7.7)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pcqaad.decoder.coordinates import LARGEST_COORDINATE, Denormalisation
from pcqaad.decoder.integer_model import HALF, IntegerModel
from pcqaad.decoder.matrices import Matrices
from pcqaad.decoder.patches import blocks, patch_sizes
from pcqaad.decoder.surface import LARGEST_VERTEX, WEIGHT_BITS

# Points in flight, of all clouds together.
_BLOCK_ON_CPU = 2**10  # their features stay in the processor's cache
_BLOCK_ON_GPU = 2**17  # some hundred megabytes of features


class BatchDecoder:
    """Decodes clouds in integers, by the matrix products of `pcqaad.decoder.exact`: exact where `check` has passed.

    So neither the device nor the number of threads or clouds matters. Nothing here is differentiable;
    `Collection.module` is.
    """

    def __init__(
        self, model: IntegerModel, denormalisation: Denormalisation, device: str | torch.device = "cpu"
    ) -> None:
        self._model, self._denormalisation, self._device = model, denormalisation, torch.device(device)

        def there(array: NDArray[np.float64]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

        m = Matrices.of(model)
        self._cloud, self._point, self._bias, self._inputs = m.cloud, there(m.point), there(m.bias), there(m.inputs)
        self._shared, self._tables = list(map(there, m.shared)), list(map(there, m.tables))
        self._patch, self._out = there(m.patch), there(m.out)
        self._components = None if m.components is None else there(m.components)
        self._sizes = patch_sizes(model.architecture.points, model.architecture.patches)
        self._draw = None
        if model.draw is not None:
            self._draw = tuple(torch.from_numpy(a).to(self._device) for a in (model.draw.corners, model.draw.weights))

    @torch.no_grad()
    def __call__(self, latents: Tensor | NDArray[np.floating]) -> Tensor:
        """Decode any latents (B, L) to points (B, M, 3) in the data's unit, float32, on the decoder's device.

        Raises ValueError for a latent that is not finite, or far larger than the file's own.
        """
        if isinstance(latents, Tensor):
            latents = latents.detach().cpu().numpy()
        parts, coefficients = (
            torch.from_numpy(part.astype(np.float64)).to(self._device) for part in self._model.clouds(latents)
        )
        clouds = parts * self._cloud + self._bias  # (B, W[0])
        decoded = torch.empty(len(clouds), self._inputs.shape[1], 3, dtype=torch.int64, device=self._device)
        together = _BLOCK_ON_CPU if self._device.type == "cpu" else _BLOCK_ON_GPU
        for patch, block in blocks(self._sizes, max(together // max(len(clouds), 1), 1)):
            decoded[:, block] = self._fold(clouds, patch, self._inputs[:, block])
        if self._components is not None:
            moved = coefficients @ self._components  # (B, 3 M)
            decoded += (moved + 0.5).floor_().to(torch.int64).view(decoded.shape)
        if self._draw is not None:
            decoded = self._drawn(decoded, *self._draw)
        # As `Denormalisation.points` does, here.
        decoded += torch.tensor(self._denormalisation.centre, device=self._device)
        points = decoded.to(torch.float64) * self._denormalisation.unit
        return points.clamp_(-LARGEST_COORDINATE, LARGEST_COORDINATE).to(torch.float32)

    def _fold(self, clouds: Tensor, patch: int, inputs: Tensor) -> Tensor:
        """Return (B, s, 3) for the clouds' parts (B, W[0]) and the inputs (1 + 3, s) of points of one patch."""
        b, s = len(clouds), inputs.shape[1]
        sums = (self._point @ inputs[1:])[:, None] + clouds.T[:, :, None]  # (W[0], B, s)
        inputs = inputs[:, None].expand(4, b, s).reshape(4, b * s)
        x = self._activate(sums.reshape(len(sums), b * s), self._tables[0], inputs)
        for weights, table in zip([*self._shared, self._patch[patch]], self._tables[1:], strict=True):
            x = self._activate(weights @ x[: weights.shape[1]], table, inputs)
        out = (self._out[patch] @ x).floor().to(torch.int64)  # (3, B * s)
        return out.view(3, b, s).permute(1, 2, 0)

    @staticmethod
    def _drawn(vertices: Tensor, corners: Tensor, weights: Tensor) -> Tensor:
        """Return points (B, M, 3) of decoded vertices (B, V, 3), as `Draw.decoded` does."""
        vertices = vertices.clamp(-LARGEST_VERTEX, LARGEST_VERTEX)
        points = torch.full((len(vertices), len(corners), 3), 1 << (WEIGHT_BITS - 1), device=vertices.device)
        for i in range(3):
            points += weights[:, i, None] * vertices[:, corners[:, i]]
        return points >> WEIGHT_BITS

    @staticmethod
    def _activate(sums: Tensor, table: Tensor, inputs: Tensor) -> Tensor:
        """Return activations and, below them, the inputs."""
        index = sums.to(torch.int64).clamp_(0, 2 * HALF - 1)
        return torch.cat([table[index], inputs])
