"""Training that knows the rounding to come: forward through what a file will hold, backward straight through."""

from __future__ import annotations

import torch
from torch import Tensor

from pcqaad.dyadic import step_values
from pcqaad.model import Shape
from pcqaad.network import Decoder, Weights
from pcqaad.quantize import Steps


class Rounding:
    """Rounds a network's numbers to the steps that its file is to have.

    The gradient passes as if nothing had been rounded (the straight-through estimator of Bengio et al., 2013), so
    that a number moves on until the error is lower on the other side of a step. Activations are not rounded here:
    theirs are far finer.
    """

    def __init__(self, shape: Shape, steps: Steps, device: torch.device) -> None:
        values = {name: step.value for name, step in steps.weights.items()}
        layers = range(1, len(shape.shared))

        def column(rows: int, first: str, rest: str) -> Tensor:
            """Give the first rows of a matrix one tensor's step, and the last three, a point's, another's."""
            return torch.tensor([values[first]] * rows + [values[rest]] * 3, device=device)[:, None]

        def number(name: str) -> Tensor:
            return torch.tensor(values[name], device=device)

        self.template = torch.tensor(steps.template.value, device=device)
        self.latents = torch.tensor(step_values(steps.latents), dtype=torch.float32, device=device)
        self.steps = Weights(
            [column(shape.latent, "latent", "point"), *(number(f"shared {i}") for i in layers)],
            [number(f"bias {i}") for i in (0, *layers)],
            [column(shape.shared[-1], "patch", "patch point"), number("out")],
            [number("patch bias"), number("out bias")],
        )

    def weights(self, network: Decoder) -> Weights:
        """Return the layers as a file would hold them."""
        layers = zip(network.weights(), self.steps, strict=True)
        return Weights(*([straight_through(*pair) for pair in zip(*pairs, strict=True)] for pairs in layers))


def straight_through(values: Tensor, step: Tensor) -> Tensor:
    """Round values to whole steps, with the gradient of the values themselves."""
    return values + (torch.round(values / step) * step - values).detach()
