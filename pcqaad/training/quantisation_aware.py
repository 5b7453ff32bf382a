"""Training that knows the rounding to come: forward through what a file will hold, backward straight through."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pcqaad.decoder.architecture import Architecture
from pcqaad.decoder.module import Decoder, Weights
from pcqaad.decoder.step_sizes import step_size_values
from pcqaad.quantisation.step_sizes import StepSizes


class FakeQuantisation:
    """Rounds a network's numbers to the steps that its file is to have.

    The gradient passes as if nothing had been rounded (the straight-through estimator of Bengio et al., 2013), so
    that a number moves on until the error is lower on the other side of a step. Activations are not rounded here:
    theirs are far finer.
    """

    def __init__(self, shape: Architecture, steps: StepSizes, device: torch.device) -> None:
        shapes, layers = shape.tensors(), range(1, len(shape.shared))

        def within(*names: str) -> Tensor:
            """Return the steps inside a matrix whose rows are those of these tensors."""
            parts = [np.broadcast_to(steps.within(name), shapes[name]) for name in names]
            return torch.tensor(np.concatenate(parts, -2), dtype=torch.float32, device=device)

        def number(name: str) -> Tensor:
            return torch.tensor(steps.weights[name].value, device=device)

        self.template = torch.tensor(steps.template.value, device=device)
        self.latents = torch.tensor(step_size_values(steps.latents), dtype=torch.float32, device=device)
        self.steps = Weights(
            [within("latent", "point"), *(within(f"shared {i}") for i in layers)],
            [number(f"bias {i}") for i in (0, *layers)],
            [within("patch", "patch point"), number("out")],
            [number("patch bias"), number("out bias")],
        )

    def weights(self, network: Decoder) -> Weights:
        """Return the layers as a file would hold them."""
        layers = zip(network.weights(), self.steps, strict=True)
        return Weights(*([straight_through(*pair) for pair in zip(*pairs, strict=True)] for pairs in layers))


def straight_through(values: Tensor, step: Tensor) -> Tensor:
    """Round values to whole steps, with the gradient of the values themselves."""
    return values + (torch.round(values / step) * step - values).detach()
