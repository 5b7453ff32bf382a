"""The network as a differentiable torch module: training fits it (paper, section 3.3 and Figure 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pcqaad.decoder.architecture import Architecture, Array, Model
from pcqaad.decoder.patches import draw_points, padded_patches, patch_sizes
from pcqaad.decoder.selu import selu


def lecun(*shape: int, fan_in: int, generator: torch.Generator | None = None) -> nn.Parameter:
    """Draw weights as SELU is self-normalising with (Klambauer et al., 2017), by torch's generator if by no other."""
    return nn.Parameter(torch.randn(*shape, generator=generator) / math.sqrt(fan_in))


class Decoder(nn.Module):
    """Folds template points into the cloud that a latent stands for; all coordinates are normalised.

    SELU follows every layer but the last.

    Attributes:
        template: (M, 3), patch after patch.
        latents: (N, L), one row a cloud.
        components: (M, C, 3), displacements that a latent's first C numbers are the coefficients of; None without.
        shared: the shared layers' weights, (inputs, outputs) each; the first has L + 3 inputs.
        shared_bias: their biases.
        patch: the two patch layers' weights, (K, W[-1] + 3, H) and (K, H, 3); the first sees the template point again.
        patch_bias: (K, 1, H) and (K, 1, 3).
        patch_index: (K, S) rows of the template in each patch, padded.
        in_patch: (K, S), False where padded.
    """

    components: nn.Parameter | None
    patch_index: Tensor
    in_patch: Tensor

    def __init__(
        self,
        template: Tensor,
        latents: Tensor,
        shared: Sequence[int],
        patch: int,
        patches: int,
        residual: bool,
        generator: torch.Generator | None = None,
        components: Tensor | None = None,
    ) -> None:
        """Start from a template, latents and components; weights are drawn, by torch's generator if by no other."""
        super().__init__()
        draw = partial(lecun, generator=generator)
        self.residual, self.patches = residual, patches
        self.template, self.latents = nn.Parameter(template.clone()), nn.Parameter(latents.clone())
        self.register_parameter("components", None if components is None else nn.Parameter(components.clone()))
        widths = [latents.shape[1] + 3, *shared]
        self.shared = nn.ParameterList(draw(i, o, fan_in=i) for i, o in zip(widths[:-1], widths[1:], strict=True))
        self.shared_bias = nn.ParameterList(torch.zeros(o) for o in shared)
        inner = shared[-1] + 3
        hidden, out = draw(patches, inner, patch, fan_in=inner), draw(patches, patch, 3, fan_in=patch)
        self.patch = nn.ParameterList([hidden, out])
        self.patch_bias = nn.ParameterList([torch.zeros(patches, 1, patch), torch.zeros(patches, 1, 3)])
        if residual:
            # Start next to the template itself.
            self.patch[1].data.mul_(0.1)
        index, inside = padded_patches(len(template), patches)
        self.register_buffer("patch_index", torch.from_numpy(index), persistent=False)
        self.register_buffer("in_patch", torch.from_numpy(inside), persistent=False)

    @classmethod
    def of(cls, model: Model) -> Decoder:
        """Return the torch module of a model in numpy arrays."""
        a = model.architecture
        template, latents = torch.from_numpy(model.template), torch.from_numpy(model.latents)
        # The weights drawn are replaced below: a generator of their own leaves torch's as it was.
        components = None if model.components is None else torch.from_numpy(model.components)
        layout = a.shared, a.patch, a.patches, a.residual
        decoder = cls(template, latents, *layout, torch.Generator(), components)
        with torch.no_grad():
            for name, values in decoder._tensors().items():
                values.copy_(torch.from_numpy(model.weights[name]))
        return decoder

    def arrays(self) -> Model:
        """Return the model in numpy arrays."""

        def array(tensor: Tensor) -> Array:
            values: Array = tensor.detach().cpu().numpy().copy()
            return values

        shared, patch = tuple(len(bias) for bias in self.shared_bias), self.patch_bias[0].shape[2]
        sizes = len(self.latents), len(self.template), self.latents.shape[1]
        components = None if self.components is None else array(self.components)
        count = 0 if components is None else components.shape[1]
        architecture = Architecture(*sizes, shared, patch, self.patches, self.residual, count)
        weights = {name: array(values) for name, values in self._tensors().items()}
        return Model(architecture, array(self.template), array(self.latents), weights, components)

    def _tensors(self) -> dict[str, Tensor]:
        """Return views of the layers, as `Architecture.tensors` names and shapes them."""
        size, width = self.latents.shape[1], self.shared_bias[-1].shape[0]
        tensors = {"latent": self.shared[0][:size], "point": self.shared[0][size:], "bias 0": self.shared_bias[0]}
        for i in range(1, len(self.shared)):
            tensors |= {f"shared {i}": self.shared[i], f"bias {i}": self.shared_bias[i]}
        return tensors | {
            "patch": self.patch[0][:, :width],
            "patch point": self.patch[0][:, width:],
            "patch bias": self.patch_bias[0][:, 0],
            "out": self.patch[1],
            "out bias": self.patch_bias[1][:, 0],
        }

    def fold(self, latents: Tensor, points: Tensor, components: Tensor | None = None) -> Tensor:
        """Decode template points: (B, L), (K, S, 3) -> (K, B, S, 3).

        `components` (K, S, C, 3) are those of the points, or what is to stand in for them; raises ValueError where the
        decoder has some and none are given.
        """
        if components is None and self.components is not None:
            raise ValueError("expected the points' components, found none")
        shared, shared_bias, patch, patch_bias = map(list, (self.shared, self.shared_bias, self.patch, self.patch_bias))
        size = latents.shape[1]
        # The sum of one part for each cloud and one for each point: neither is computed twice.
        x = (latents @ shared[0][:size] + shared_bias[0])[None, :, None] + (points @ shared[0][size:])[:, None]
        k, b, s, width = x.shape  # width is W[0]
        x = selu(x).reshape(k * b * s, width)
        for weight, bias in zip(shared[1:], shared_bias[1:], strict=True):
            x = selu(torch.addmm(bias, x, weight))
        width = x.shape[1]
        hidden = torch.bmm(x.view(k, b * s, width), patch[0][:, :width]).view(k, b, s, patch[0].shape[2])
        again = torch.baddbmm(patch_bias[0], points, patch[0][:, width:])
        x = selu(hidden + again[:, None])
        out = torch.baddbmm(patch_bias[1], x.reshape(k, b * s, patch[1].shape[1]), patch[1]).view(k, b, s, 3)
        if self.residual:
            out = out + points[:, None]
        return out if components is None else out + _displacements(latents, components)

    def fold_rows(self, latents: Tensor, rows: Tensor | NDArray[np.int64]) -> Tensor:
        """Decode rows of the template by patches: (B, L), (K, S) -> (K, B, S, 3)."""
        index = torch.as_tensor(rows, device=self.template.device)
        return self.fold(latents, self.template[index], components=self.components_of(index))

    def components_of(self, rows: Tensor) -> Tensor | None:
        """Return the components (K, S, C, 3) of rows (K, S) of the template; None where the decoder has none."""
        return None if self.components is None else self.components[rows]

    def draw(self, rng: np.random.Generator, count: int) -> Tensor:
        """Return about `count` random template points, the same number s of each patch: (K, s, 3)."""
        sizes = patch_sizes(len(self.template), self.patches)
        rows = draw_points(rng, sizes, count)
        return self.template[torch.from_numpy(rows).to(self.template.device)]

    def patch_points(self) -> Tensor:
        """Return the template by patches (K, S, 3), padded."""
        return self.template[self.patch_index]

    def forward(self, latents: Tensor) -> Tensor:
        """Decode latents (B, L) to normalised points (B, M, 3), patch after patch."""
        return self.fold_rows(latents, self.patch_index).transpose(0, 1)[:, self.in_patch]


def _displacements(latents: Tensor, components: Tensor) -> Tensor:
    """Return the linear part of clouds: (B, L), (K, S, C, 3) -> (K, B, S, 3)."""
    k, s, c, _ = components.shape
    fields = components.transpose(1, 2).reshape(k, c, s * 3)
    return (latents[:, :c] @ fields).view(k, len(latents), s, 3)
