"""Seeds: no two uses share a stream, what a file records is drawn again for ever, and nobody else's draws move."""

import itertools

import numpy as np
import torch

import pcqaad
from pcqaad.points.collect import subsample
from pcqaad.seeds import Use, generator, subsample_generator, surface_generator, torch_seed
from tests.generators import population


def test_no_two_uses_share_a_stream():
    places = [(), (0,), (1,), (2**31,), (0, 0), (0, 1), (1, 0)]
    streams = [generator(seed, use, *at) for seed in (0, 1) for use in Use for at in places]
    streams += [
        draw(seed, cloud) for draw in (subsample_generator, surface_generator) for seed in (0, 1) for cloud in range(4)
    ]
    drawn = {tuple(stream.integers(0, 2**63, 4).tolist()) for stream in streams}
    assert len(drawn) == len(streams)
    assert len({torch_seed(seed, use) for seed, use in itertools.product((0, 1), Use)}) == 2 * len(Use)


def test_what_files_record_is_drawn_as_ever():
    """The seed of a file leads to the same points of its originals, whatever else of the seeds may change."""
    assert subsample_generator(7, 3).integers(0, 1000, 5).tolist() == [727, 975, 538, 884, 347]
    assert surface_generator(7, 3).integers(0, 1000, 5).tolist() == [183, 909, 76, 749, 729]
    kept = subsample(np.arange(30.0).reshape(10, 3), 4, 5, 2)
    assert kept[:, 0].tolist() == [3.0, 12.0, 15.0, 18.0]


def test_a_fit_leaves_torch_s_generator_as_it_was(fitted_file):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    settings = pcqaad.Settings(epochs=2, latent=2, batch=3, latent_init="encoder", device="cpu")
    pcqaad.fit(population(3, 64), settings)
    with pcqaad.open(fitted_file) as collection:
        collection.module()
        pcqaad.append(collection, population(1, 256, seed=4), names=["new"], steps=1, device="cpu")
    assert torch.equal(before, torch.random.get_rng_state())
