"""SELU as training computes it: torch's values and derivatives, by compiled code where that can be."""

import numpy as np
import pytest
import torch

from pcqaad.compiled import why_absent
from pcqaad.decoder import selu as activation
from pcqaad.decoder.selu import selu


@pytest.fixture
def calls(monkeypatch):
    """Count the calls of the two kernels, forward and backward."""
    counts, kernels = [0, 0], activation._kernels()

    def counted(i):
        def call(*arrays):
            counts[i] += 1
            kernels[i](*arrays)

        return call

    found = counted(0), counted(1)
    monkeypatch.setattr(activation, "_kernels", lambda: found)
    return counts


def numbers():
    """Return numbers of all sizes, both signs, and those around which an exponential is put together anew."""
    sizes = torch.logspace(-37, 37, 5000)
    halves = (torch.arange(80) - 0.5) * float(np.log(2))
    near = torch.cat([torch.nextafter(halves, halves + sign) for sign in (-1, 1)])
    return torch.cat([-sizes, torch.linspace(-110, 5, 20001), -near, sizes])


def with_gradient(function, x):
    x = x.clone().requires_grad_()
    y = function(x)
    y.backward(torch.linspace(-2, 3, x.numel(), dtype=x.dtype).reshape(x.shape))
    return y.detach(), x.grad


def test_values_and_gradients_are_those_of_torch_in_double_precision(calls):
    x = numbers()
    y, gradient = with_gradient(selu, x)
    expected, expected_gradient = with_gradient(torch.selu, x.double())
    assert calls == [1, 1]
    assert ((y - expected).abs() <= 4e-7 * expected.abs()).all()
    # The slope follows from the result, which cannot say how far below -25 its argument was.
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-6, atol=1e-6)


def test_infinity_and_the_ends_of_float32_come_out_as_from_torch(calls):
    x = torch.tensor([torch.inf, -torch.inf, 0.0, -0.0, 3e38, -3e38, 1e-44, -1e-44])
    for found, expected in zip(with_gradient(selu, x), with_gradient(torch.selu, x), strict=True):
        torch.testing.assert_close(found, expected)
    assert calls == [1, 1]


def test_what_is_no_number_has_no_value_and_no_gradient(calls):
    for result in with_gradient(selu, torch.full((40,), torch.nan)):
        assert result.isnan().all()
    assert calls == [1, 1]


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (2, 3, 5, 7), (4099,)])
def test_shapes_stay_and_equal_inputs_give_equal_bytes(shape, calls):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    first, again = with_gradient(selu, x), with_gradient(selu, x)
    for found, same, expected in zip(first, again, with_gradient(torch.selu, x), strict=True):
        assert found.shape == shape and torch.equal(found, same)
        torch.testing.assert_close(found, expected)
    assert calls == [2, 2]


def test_a_gradient_may_lie_in_memory_as_it_likes(calls):
    x = torch.linspace(-3, 3, 35).reshape(5, 7)
    for weights in (torch.ones(()).expand(5, 7), torch.linspace(1, 2, 35).reshape(7, 5).mT):
        one, other = (x.clone().requires_grad_() for _ in range(2))
        selu(one).backward(weights)
        torch.selu(other).backward(weights)
        torch.testing.assert_close(one.grad, other.grad)
    assert calls == [2, 2]


def test_all_other_tensors_are_left_to_torch(calls):
    x = torch.linspace(-3, 3, 35).reshape(5, 7)
    for change in (torch.Tensor.double, torch.Tensor.bfloat16, lambda x: x.mT, lambda x: x[:, ::2]):
        leaves = [x.clone().requires_grad_() for _ in range(2)]
        results = [f(change(leaf)) for f, leaf in zip((selu, torch.selu), leaves, strict=True)]
        for result in results:
            result.sum().backward()
        assert torch.equal(*results) and torch.equal(*(leaf.grad for leaf in leaves))
    assert calls == [0, 0]


def test_without_numba_it_is_torch_s(monkeypatch):
    assert not why_absent()
    monkeypatch.setattr(activation, "_kernels", lambda: None)
    x = torch.linspace(-3, 3, 35)
    for found, expected in zip(with_gradient(selu, x), with_gradient(torch.selu, x), strict=True):
        assert torch.equal(found, expected)


def test_derivatives_of_derivatives_are_those_of_torch(calls):
    def third(function):
        x = torch.linspace(-3, 3, 34).requires_grad_()
        value = (function(function(x)) ** 2).sum()
        for _ in range(3):
            (gradient,) = torch.autograd.grad(value, x, create_graph=True)
            value = (gradient**2).sum()
        return gradient

    torch.testing.assert_close(third(selu), third(torch.selu), rtol=1e-4, atol=1e-4)
    assert calls[0] == 2


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own, of forward derivatives
def test_torch_s_transforms_and_forward_derivatives_go_through():
    x = torch.linspace(-3, 3, 12).reshape(3, 4)
    for through in (
        lambda f: torch.func.vmap(torch.func.grad(lambda row: f(row).sum()))(x),
        lambda f: torch.func.jvp(f, (x,), (x,))[1],
        lambda f: torch.func.jacrev(f)(x),
        lambda f: torch.autograd.functional.jacobian(f, x, vectorize=True),
    ):
        torch.testing.assert_close(through(selu), through(torch.selu))
    assert torch.equal(torch.compile(selu, backend="eager")(x), torch.selu(x))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x)
        tangents = [torch.autograd.forward_ad.unpack_dual(f(dual)).tangent for f in (selu, torch.selu)]
    torch.testing.assert_close(*tangents)
