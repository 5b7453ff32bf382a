"""A GPU that is not there: the CPU under another name, as strict about who is where.

Inside `pretend_cuda()` torch finds a GPU. Tensors that are moved to it stay in the CPU's memory and carry a mark, and
what is computed from them carries it too; `device` says what the mark says. As on a GPU, an operation on tensors of
both places is refused, and so is turning a marked one into an array. Every path for GPUs then runs anywhere, to the
same numbers as on the CPU; how fast it is there, and whether CUDA's own kernels sum alike, it does not tell.

Meanwhile this package works in one thread, the only one that the marks know.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode

from pcqaad import parallel
from pcqaad.matching.gpu import auction as batched

GPU, NAME = torch.device("cuda", 0), "a pretended GPU"
_T = torch.Tensor
_GET = {
    _T.device.__get__: lambda t: GPU if marked(t) else torch.device("cpu"),
    _T.is_cuda.__get__: lambda t: marked(t),
    _T.is_cpu.__get__: lambda t: not marked(t),
}
# Copies go either way, and a GPU takes indices and single numbers of the CPU: nothing else is of both.
_COPIES = {_T.copy_, _T.data.__set__}
_INDEXED = {_T.__getitem__, _T.__setitem__}
# Nor do these mind: what a backward pass computes inside carries no marks.
_LAX = {_T.backward, torch.autograd.backward, torch.autograd.grad, torch._has_compatible_shallow_copy_type}
_ARRAYS = {_T.numpy, _T.__array__}


def marked(tensor: torch.Tensor) -> bool:
    """Return whether a tensor lies on the GPU."""
    return getattr(tensor, "_on_gpu", False)


def _mark(result, there):
    """Mark a tensor, or all of several, and return what was given."""
    if isinstance(result, torch.Tensor):
        result._on_gpu = there
    elif isinstance(result, (tuple, list)):
        for part in result:
            _mark(part, there)
    return result


def _tensors(arguments) -> Iterator[torch.Tensor]:
    for x in arguments:
        if isinstance(x, torch.Tensor):
            yield x
        elif isinstance(x, (tuple, list)):
            yield from _tensors(x)


def _is_gpu(device) -> bool:
    return torch.device(device).type == "cuda"


class _Pretend(TorchFunctionMode):
    """Keeps the marks."""

    def __init__(self) -> None:
        super().__init__()
        self._lax = False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in _GET:
            return _GET[func](args[0])
        if func in (_T.to, _T.cuda, _T.cpu):
            return self._moved(func, args, kwargs)
        tensors = list(_tensors((*args, *kwargs.values())))
        if func in _ARRAYS and marked(args[0]):
            raise TypeError("cannot turn a tensor on a GPU into an array")
        before, self._lax = self._lax, self._lax or func in _LAX
        try:
            there = self._place(func, tensors)
            if (device := kwargs.pop("device", None)) is not None:
                there = _is_gpu(device)
            result = func(*args, **kwargs)
        finally:
            self._lax = before
        if func == _T.data.__set__:
            _mark(args[0], marked(args[1]))
        if func == torch.autograd.grad:
            inputs = _tensors([args[1] if len(args) > 1 else kwargs["inputs"]])
            return tuple(_mark(gradient, marked(x)) for gradient, x in zip(result, inputs, strict=True))
        return _mark(result, there)

    def _place(self, func, tensors) -> bool:
        """Return where the result of an operation lies; raises RuntimeError where it has none."""
        if func in _COPIES or (func in _INDEXED and marked(tensors[0])):
            return marked(tensors[0])
        # A number of the CPU goes with everything.
        places = {marked(t) for t in tensors if marked(t) or t.dim() > 0}
        if len(places) > 1 and not self._lax:
            raise RuntimeError(f"{getattr(func, '__name__', func)}: tensors on the CPU and on the GPU")
        return True in places

    @staticmethod
    def _moved(func, args, kwargs):
        """Do as `to`, `cuda` or `cpu`: the same tensor where nothing changes, else a marked copy."""
        tensor, *rest = args
        there, dtype = marked(tensor), tensor.dtype
        if func != _T.to:
            there, rest = func == _T.cuda, []
        for x in (*rest, kwargs.get("device"), kwargs.get("dtype")):
            if isinstance(x, torch.Tensor):
                there, dtype = marked(x), x.dtype
            elif isinstance(x, torch.dtype):
                dtype = x
            elif isinstance(x, (str, torch.device)):
                there = _is_gpu(x)
        if there == marked(tensor) and dtype == tensor.dtype:
            return tensor
        return _mark(tensor.to(dtype, copy=True), there)


@contextmanager
def pretend_cuda(solving: bool = False) -> Iterator[None]:
    """Let torch find a GPU; with `solving`, cells are matched there too, in plain torch: Triton needs a real one."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(torch.cuda, "is_available", return_value=True))
        stack.enter_context(mock.patch.object(torch.cuda, "get_device_name", return_value=NAME))
        stack.enter_context(parallel.limit(1))
        stack.enter_context(mock.patch.object(batched, "_phase_for", return_value=batched.torch_phase))
        if not solving:
            # No cell is small enough: plain torch takes seconds for a little cloud.
            stack.enter_context(mock.patch.object(batched, "_LARGEST_CELL", 0))
        stack.enter_context(_Pretend())
        yield
