"""Matching as a GPU does it. Plain torch is the same on the CPU, and Triton has an interpreter."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

import pcqaad
from pcqaad.decoder.module import Decoder
from pcqaad.evaluation.metrics import measure
from pcqaad.matching import reassignment
from pcqaad.matching.assign import greedy, match_cells, match_many, refine_many
from pcqaad.matching.gpu.auction import batched
from pcqaad.matching.solvers import TOLERANCE, exact
from pcqaad.points.fixed_point import Targets
from pcqaad.training.start import first_matching
from pcqaad.training.trainer import Trainer, decode
from tests.generators import clouds

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")),
]
triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


def is_permutation(p, n):
    return np.array_equal(np.sort(p), np.arange(n))


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=12)
@given(pair=clouds(count=2, max_points=150), cell=st.integers(1, 40), power=st.sampled_from([1, 2]))
@example(pair=[np.zeros((70, 3)), np.zeros((70, 3))], cell=70, power=1)
@example(pair=[np.eye(3)[np.arange(90) % 3], np.eye(3)[np.arange(90) % 2]], cell=45, power=2)
def test_all_cells_at_once_agree_with_scipy(device, pair, cell, power):
    a, b = pair
    found, best = (match_cells(a, b, cell, power, solver) for solver in (batched(device), exact))
    assert is_permutation(found.assignment, len(a))
    cost = (cdist(a, b) ** power)[np.arange(len(a)), found.assignment].sum()
    assert found.cost == pytest.approx(cost, 1e-9, 1e-300)
    assert found.lower_bound <= best.cost * (1 + 1e-9)
    assert found.cost - found.lower_bound <= TOLERANCE * found.cost
    assert found.cost <= best.cost * (1 + TOLERANCE) * (1 + 1e-9) + 1e-300


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_units_and_places_change_no_cost(device, unit):
    a, b = np.random.default_rng(1).random((2, 130, 3))
    one = match_cells(a, b, 65, solver=batched(device))
    far = match_cells((a + 1000) * unit, (b + 1000) * unit, 65, solver=batched(device))
    assert far.cost == pytest.approx(one.cost * unit, 2 * TOLERANCE)


@pytest.mark.parametrize("device", DEVICES)
def test_where_float32_proves_nothing_the_certified_solver_takes_over(device):
    rng = np.random.default_rng(6)
    a, b = (np.concatenate([rng.random((39, 3)) * 1e-9, [[1, 0, 0]]]) for _ in range(2))
    found = match_cells(a, b, 40, solver=batched(device))
    assert found.cost == found.lower_bound == pytest.approx(match_cells(a, b, 40, solver=exact).cost)


def test_cells_too_large_for_a_gpu_are_left_to_the_certified_solver(monkeypatch):
    monkeypatch.setattr("pcqaad.matching.gpu.auction._LARGEST_CELL", 40)
    a, b = np.random.default_rng(3).random((2, 90, 3))

    def none(cells, power):
        raise AssertionError("a phase was run")

    found = match_cells(a, b, 45, solver=batched("cpu", phase=none))
    assert np.array_equal(found.assignment, match_cells(a, b, 45).assignment)
    with pytest.raises(AssertionError, match="a phase was run"):
        match_cells(a, b, 40, solver=batched("cpu", phase=none))


@pytest.mark.parametrize("together", [1, 2, 3, 50])
def test_many_clouds_together_are_matched_as_each_alone(together):
    rng = np.random.default_rng(2)
    pairs = [tuple(rng.random((2, n, 3))) for n in (50, 120, 7, 1, 90)]
    alone = [match_cells(a, b, 30) for a, b in pairs]
    for found, one in zip(match_many(iter(pairs), 30, together=together, workers=2), alone, strict=True):
        assert np.array_equal(found.assignment, one.assignment)
        assert (found.cost, found.lower_bound) == pytest.approx((one.cost, one.lower_bound), 1e-12)


def test_greedy_by_groups_is_greedy():
    rng = np.random.default_rng(3)
    template, x = rng.random((100, 3)), rng.random((5, 100, 3))
    there = greedy(template, x, 25, solver=batched("cpu"), together=2)
    for one, other, cloud in zip(greedy(template, x, 25), there, x, strict=True):
        one, other = (np.square(template - cloud[p]).sum() for p in (one, other))
        assert other == pytest.approx(one, TOLERANCE)


@settings(max_examples=10)
@given(clouds(count=4, min_points=2, max_points=60), st.integers(2, 30))
def test_refinement_of_many_clouds_never_raises_a_cost(drawn, block):
    pairs = [(drawn[0], drawn[1]), (drawn[2], drawn[3])]
    rngs = [np.random.default_rng(i) for i in range(2)]
    for (p, t), permutation in zip(pairs, refine_many(pairs, rngs, block, batched("cpu")), strict=True):
        assert is_permutation(permutation, len(p))
        assert np.square(p - t[permutation]).sum() <= np.square(p - t).sum() * (1 + 1e-12)


def test_refinement_of_many_clouds_is_that_of_each():
    rng = np.random.default_rng(5)
    pairs = [tuple(rng.random((2, n, 3))) for n in (80, 33)]
    both = refine_many(pairs, [np.random.default_rng(i) for i in range(2)], 20)
    for i, (pair, found) in enumerate(zip(pairs, both, strict=True)):
        assert np.array_equal(found, refine_many([pair], [np.random.default_rng(i)], 20)[0])


@pytest.mark.parametrize("device", DEVICES)
def test_both_ways_to_find_the_nearest_agree(device):
    predicted, targets = torch.rand(2, 4, 500, 3, generator=torch.Generator().manual_seed(7)).unbind()
    found = reassignment._nearest_of_all(predicted.to(device), targets.to(device)).cpu()
    assert torch.equal(found, reassignment.nearest(predicted, targets))


def test_emkd_measured_in_groups_is_that_of_each_pair(monkeypatch):
    monkeypatch.setattr("pcqaad.evaluation.metrics.TOGETHER", 2)
    monkeypatch.setattr("pcqaad.evaluation.metrics._on_gpu", lambda device: device == "auto")
    rng = np.random.default_rng(8)
    pairs = [tuple(rng.random((2, 70, 3))) for _ in range(5)]
    seen = []
    found = measure(iter(pairs), ("d1", "emkd"), 35, device="auto", monitor=pcqaad.Monitor(seen.append))
    assert len(seen) == len(found["d1"]) == 5
    for pair, errors in zip(pairs, found["emkd"], strict=True):
        one = pcqaad.emkd(*pair, cell=35)
        assert errors.mean == pytest.approx(one.mean, TOLERANCE)
        assert errors.at_least <= one.mean


KERNEL = """
import numpy as np
from pcqaad.matching.assign import match_cells
from pcqaad.matching.gpu.auction import batched
from pcqaad.matching.gpu.triton_kernel import kernel_phase
from pcqaad.matching.solvers import exact

rng = np.random.default_rng(0)
for power, n, cell in ((1, 10, 5), (2, 4, 4), (1, 2, 1)):
    a, b = rng.random((2, n, 3))
    phases = []
    def phase(cells, power):
        kernel_phase(cells, power)
        phases.append(cells.bids.tolist())
    found = match_cells(a, b, cell, power, batched("cpu", phase=phase, tolerance=0.05))
    assert 1 < len(phases) < 7, phases
    best = match_cells(a, b, cell, power, exact)
    assert np.array_equal(np.sort(found.assignment), np.arange(n))
    assert found.lower_bound <= best.cost * (1 + 1e-9) and best.cost * (1 - 1e-9) <= found.cost
    assert found.cost - found.lower_bound <= 0.05 * found.cost
    print(power, n, cell, found.cost / best.cost, phases)
"""


@triton
def test_the_kernel_solves_cells_in_the_interpreter():
    done = subprocess.run(
        [sys.executable, "-c", KERNEL],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3


@triton
@pytest.mark.parametrize(("capability", "power"), [(90, 1), (80, 2)])
def test_the_kernel_compiles_for_gpus_without_one(capability, power):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from pcqaad.matching.gpu import triton_kernel as kernel

    constants = kernel.sizes(1024) | {"POWER": power}
    names = kernel._phase.arg_names
    source = ASTSource(
        fn=kernel._phase,
        signature={name: kernel.TYPES.get(name, "constexpr") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
    )
    built = compile(source, target=GPUTarget("cuda", capability, 32), options=kernel.OPTIONS)
    assert built.asm["cubin"]
    # All state of a block lies in registers, in device memory and in little shared memory: many share a processor.
    assert built.metadata.shared <= 4096


def test_a_fit_on_a_gpu_rematches_by_blocks_and_never_for_the_worse():
    rng = np.random.default_rng(9)
    template = torch.from_numpy(rng.random((60, 3), np.float32))
    network = Decoder(template, torch.randn(3, 2, generator=torch.Generator().manual_seed(0)), (8,), 4, 2, True)
    targets = Targets(np.empty((3, 60, 3), np.uint16))
    for i in range(3):
        targets.put(i, rng.random((60, 3)))
    assignments = np.tile(np.arange(60, dtype=np.int32), (3, 1))
    trainer = Trainer(network, targets, assignments, pcqaad.Settings(batch=3, rematch=180))
    before, decoded = np.stack(list(targets)), np.stack(list(decode(network, [0, 1, 2])))
    trainer.solver = batched("cpu")  # as the GPU's, and deterministic
    trainer._rematch()
    after = np.stack(list(targets))
    assert np.array_equal(np.take_along_axis(before, assignments[..., None], 1), after)
    errors = [np.square(decoded - x).sum((1, 2)) for x in (before, after)]
    assert (errors[1] < 0.9 * errors[0]).all()


def test_greedy_before_a_fit_on_a_gpu():
    targets = Targets(np.empty((3, 64, 3), np.uint16))
    rng = np.random.default_rng(10)
    for i in range(3):
        targets.put(i, rng.random((64, 3)))
    settings_ = pcqaad.Settings(matching="greedy", greedy_cell=32)
    here, there = (first_matching(targets[0], targets, settings_, on_gpu=solver) for solver in (None, batched("cpu")))
    for i, cloud in enumerate(targets):
        costs = [np.square(targets[0] - cloud[p[i]]).sum(dtype=np.float64) for p in (here, there)]
        assert costs[1] == pytest.approx(costs[0], TOLERANCE, 1e-12)
