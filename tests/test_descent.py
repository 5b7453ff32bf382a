"""Muon: steps whose directions all count alike, of single matrices and of batches."""

import numpy as np
import pytest
import torch
from torch import nn

from pcqaad.errors import DivergenceError
from pcqaad.training.descent import Descent, Muon, orthogonal


@pytest.mark.parametrize("shape", [(5, 5), (12, 4), (4, 12), (3, 6, 4), (2, 4, 9)])
def test_orthogonal_matrices_have_singular_values_near_1_in_the_same_directions(shape):
    matrices = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    found = orthogonal(matrices)
    assert found.shape == matrices.shape
    u, values, v = torch.linalg.svd(matrices, full_matrices=False)
    # In the basis of the matrix's own directions only the diagonal is left.
    inside = u.mT @ found @ v.mT
    diagonal = torch.diagonal(inside, dim1=-2, dim2=-1)
    assert torch.allclose(inside, torch.diag_embed(diagonal), atol=2e-3)
    # The iteration brings up what is not far below the rest.
    large = values > 0.05 * values.amax(-1, keepdim=True)
    assert (diagonal[large] > 0.5).all() and (diagonal < 1.35).all()


def test_a_batch_is_moved_as_its_matrices_are():
    drawn = torch.Generator().manual_seed(2)
    start, gradients = torch.randn(3, 6, 4, generator=drawn), torch.randn(5, 3, 6, 4, generator=drawn)
    batch, singles = nn.Parameter(start.clone()), [nn.Parameter(matrix.clone()) for matrix in start]
    of_batch, of_singles = Muon([batch], lr=0.1), Muon(singles, lr=0.1)
    for gradient in gradients:
        batch.grad = gradient.clone()
        for single, own in zip(singles, gradient, strict=True):
            single.grad = own.clone()
        of_batch.step()
        of_singles.step()
    assert torch.allclose(batch, torch.stack(list(singles)), atol=1e-5)


def planted(seed):
    """Return a matrix, inputs of very different sizes and their outputs by it."""
    drawn = torch.Generator().manual_seed(seed)
    inputs = torch.randn(64, 8, generator=drawn) * torch.logspace(0, -1.5, 8)
    return nn.Parameter(torch.zeros(8, 6)), inputs, inputs @ torch.randn(8, 6, generator=drawn)


def test_a_planted_matrix_is_found_where_inputs_differ_in_size():
    matrix, inputs, outputs = planted(3)
    descent = Descent([matrix], [matrix])
    for step in range(300):
        descent.follow((inputs @ matrix - outputs).square().mean(), 0.02 * (1 - step / 300), step)
    assert (inputs @ matrix - outputs).square().mean() < 1e-3 * outputs.square().mean()


def test_a_descent_goes_on_from_its_state():
    def run(steps, state=None, numbers=None):
        matrix, inputs, outputs = planted(4)
        bias = nn.Parameter(torch.zeros(6))
        if numbers is not None:
            matrix.data, bias.data = (values.clone() for values in numbers)
        descent = Descent([matrix, bias], [matrix])
        descent.load_state(state or {})
        for step in range(steps):
            descent.follow((inputs @ matrix + bias - outputs).square().mean(), 0.01, step)
        return descent, (matrix.data, bias.data)

    half, numbers = run(4)
    state = {name: np.array(values) for name, values in half.state().items()}
    resumed, whole = run(4, state, numbers)[1], run(8)[1]
    assert all(torch.equal(a, b) for a, b in zip(resumed, whole, strict=True))
    with pytest.raises(ValueError, match="momentum of parameter 0"):
        run(0, {name: values[:1] for name, values in state.items() if values.ndim})


def test_numbers_that_are_none_end_a_descent():
    matrix, inputs, _ = planted(5)
    with pytest.raises(DivergenceError, match="step 7"):
        Descent([matrix], [matrix]).follow((inputs @ matrix * float("nan")).sum(), 0.1, 7)
