import numpy as np
import pytest
import torch

import pcqaad
from tests.conftest import SMALL

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def test_a_fit_on_the_gpu_is_as_good_and_decodes_anywhere(originals, fitted_file, tmp_path):
    path = tmp_path / "gpu.qaad"
    pcqaad.fit(originals, pcqaad.Settings(**SMALL, device="cuda")).save(path)
    with pcqaad.open(path) as gpu, pcqaad.open(fitted_file) as cpu:
        assert gpu.info["encoder"]["device"] != "cpu"
        assert gpu.info["fidelity"]["mean"] <= 1.2 * cpu.info["fidelity"]["mean"]


def test_the_integer_decoder_gives_the_same_bytes_on_the_gpu(fitted_file):
    with pcqaad.open(fitted_file) as c:
        there = c.decoder("cuda")(torch.from_numpy(c.latents).cuda())
        assert there.is_cuda
        assert there.cpu().numpy().tobytes() == np.stack(list(c)).tobytes()


def test_the_module_decodes_alike_on_the_gpu(fitted_file):
    with pcqaad.open(fitted_file) as c:
        module = c.module().cuda()
        latents = torch.from_numpy(c.latents).cuda()
        frame = c.info["normalisation"]
        there = module(latents).detach().cpu().numpy() * frame["scale"] + frame["centre"]
        for cloud, other in zip(c, there, strict=True):
            assert np.abs(cloud - other).max() <= 1e-4 * c.info["fidelity"]["diagonal"]
