"""Quantisation-aware training of latents: forward through what a file will hold, backward straight through."""

from __future__ import annotations

import torch
from torch import Tensor


def straight_through(values: Tensor, step_size: Tensor) -> Tensor:
    """Round values to whole step sizes, with the gradient of the values themselves.

    This is the straight-through estimator (Bengio et al., 2013): a number moves on until the error is lower on the
    other side of its step.
    """
    return values + (torch.round(values / step_size) * step_size - values).detach()
