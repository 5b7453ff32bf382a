"""The decoder as a differentiable torch module (paper, section 3.3 and Figure 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import selu

from pcqaad.matching.kd import patch_sizes


def _lecun(*shape: int, fan_in: int) -> nn.Parameter:
    # The initialisation SELU is self-normalising under (Klambauer et al., 2017).
    return nn.Parameter(torch.randn(*shape) / math.sqrt(fan_in))


class Decoder(nn.Module):
    """Folds template points into the cloud that a latent stands for.

    The latent and a template point go through shared layers; the shared features and the template point
    again go through two layers of the point's patch. SELU after every layer but the last. With `residual`
    the result is added to the template point instead of standing alone.

    All coordinates are normalised. B clouds, K patches, S points of each patch, L latent numbers.

    Attributes:
        template: (M, 3), patch after patch.
        latents: (N, L), one row per cloud.
        shared: the shared layers' weights, (inputs, outputs) each; the first has L + 3 inputs.
        shared_bias: their biases.
        patch: the two patch layers' weights, (K, width + 3, hidden) and (K, hidden, 3).
        patch_bias: (K, 1, hidden) and (K, 1, 3).
    """

    def __init__(
        self,
        template: Tensor,
        latents: Tensor,
        shared: Sequence[int],
        patch: int,
        patches: int,
        residual: bool,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.patches = patches
        self.template = nn.Parameter(template.clone())
        self.latents = nn.Parameter(latents.clone())
        widths = [latents.shape[1] + 3, *shared]
        self.shared = nn.ParameterList(
            _lecun(i, o, fan_in=i) for i, o in zip(widths[:-1], widths[1:], strict=True)
        )
        self.shared_bias = nn.ParameterList(torch.zeros(o) for o in shared)
        inner = shared[-1] + 3
        self.patch = nn.ParameterList(
            [_lecun(patches, inner, patch, fan_in=inner), _lecun(patches, patch, 3, fan_in=patch)]
        )
        self.patch_bias = nn.ParameterList([torch.zeros(patches, 1, patch), torch.zeros(patches, 1, 3)])
        if residual:
            # Start next to the template itself.
            self.patch[1].data.mul_(0.1)
        sizes = torch.from_numpy(patch_sizes(len(template), patches))
        self.register_buffer("patch_start", torch.cumsum(sizes, 0) - sizes, persistent=False)

    def fold(self, latents: Tensor, points: Tensor) -> Tensor:
        """Decode template points: latents (B, L), points (K, S, 3) -> (K, B, S, 3)."""
        size = latents.shape[1]
        first = self.shared[0]
        # The sum of a part per cloud and a part per point: neither is computed twice.
        x = (latents @ first[:size] + self.shared_bias[0])[None, :, None] + (points @ first[size:])[:, None]
        x = selu(x)  # (K, B, S, widths[0])
        k, b, s, width = x.shape
        x = x.reshape(k * b * s, width)
        for weight, bias in zip(self.shared[1:], self.shared_bias[1:], strict=True):
            x = selu(torch.addmm(bias, x, weight))
        width = x.shape[1]
        hidden = torch.bmm(x.view(k, b * s, width), self.patch[0][:, :width]).view(k, b, s, -1)
        again = torch.baddbmm(self.patch_bias[0], points, self.patch[0][:, width:])
        x = selu(hidden + again[:, None])
        out = torch.baddbmm(self.patch_bias[1], x.reshape(k, b * s, -1), self.patch[1]).view(k, b, s, 3)
        return out + points[:, None] if self.residual else out
