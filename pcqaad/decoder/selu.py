"""SELU for training (Klambauer et al., 2017): torch's, or on a CPU a compiled one that is many times as fast."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from pcqaad.compiled import why_absent
from pcqaad.decoder.architecture import SELU_ALPHA, SELU_LAMBDA


def selu(x: Tensor) -> Tensor:
    """Return SELU, elementwise: compiled for contiguous float32 tensors on a CPU, where numba is; else torch's."""
    if not _is_plain(x) or not x.is_contiguous() or _kernels() is None:
        return torch.selu(x)
    y: Tensor = _Compiled.apply(x)  # type: ignore[no-untyped-call]
    return y


def _is_plain(x: Tensor) -> bool:
    """Return whether a tensor is no more than an array: float32, on a CPU, nothing traced nor transformed."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return False
    return (
        type(x) in (Tensor, torch.nn.Parameter)
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and not torch._C._are_functorch_transforms_active()
        and not torch._C._functorch.is_legacy_batchedtensor(x)
    )


@cache
def _kernels() -> tuple[Callable[..., None], Callable[..., None]] | None:
    if why_absent():
        return None
    # Here, not above: numba takes a second to load, and is not always installed.
    from pcqaad.decoder import selu_kernels

    return selu_kernels.forward, selu_kernels.backward


def _flat(x: Tensor) -> Any:
    """Return a contiguous tensor as an array (n,) of the same memory."""
    return x.detach().view(-1).numpy()


class _Compiled(torch.autograd.Function):
    """Keeps the results alone: the slope follows from them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        kernels = _kernels()
        assert kernels
        y = torch.empty_like(x)
        kernels[0](_flat(x), _flat(y))
        ctx.save_for_backward(y)
        ctx.save_for_forward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        kernels = _kernels()
        # With gradients on, somebody asks for the derivative of this one too.
        if torch.is_grad_enabled() or not _is_plain(gradient) or kernels is None:
            return gradient * _slope(y)
        out = torch.empty_like(y)
        kernels[1](_flat(y), _flat(gradient.contiguous()), _flat(out))
        return out

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return tangent * _slope(y)


def _slope(y: Tensor) -> Tensor:
    """Return the derivative of SELU where its results are y."""
    return torch.where(y > 0, SELU_LAMBDA, y + SELU_LAMBDA * SELU_ALPHA)
