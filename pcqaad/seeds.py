"""Every use of a seed, in one table: no two uses share a stream of random numbers."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Use(IntEnum):
    """What a stream of random numbers is for. A number is never given to another use."""

    # The start of a fit.
    TEMPLATE = 1
    RANDOM_MATCHING = 2
    INTERMEDIATES = 4
    LATENTS = 5
    WEIGHTS = 6
    # Its steps.
    CLOUDS = 7
    POINTS = 8
    COMPARED_POINTS = 9
    BLOCK_ROTATION = 10
    # Pretraining.
    PRETRAIN_CLOUDS = 11
    PRETRAIN_POINTS = 12
    EMBEDDED_POINTS = 13
    ENCODER_WEIGHTS = 14
    # Quantisation.
    PROBE = 15
    # Latents of clouds that the decoder has not seen.
    APPEND_TEMPLATE = 16
    APPEND_CLOUD = 17
    APPEND_POINTS = 18
    COMPLETE_TEMPLATE = 19
    COMPLETE_CLOUD = 20
    COMPLETE_POINTS = 21
    # Distillation.
    HALVES = 22
    TRAINED_HALF = 23
    JUDGING_HALF = 24
    # Baselines.
    PAIRS = 25
    GIVEN_POINTS = 26
    LEFTOVER_COLUMNS = 27
    # Known pairs.
    DOUBTED_PAIRS = 28
    # Verifying.
    FLOOR_HALVES = 29
    # Quantisation.
    CALIBRATION = 30
    JUDGED_POINTS = 31
    COMPONENT_POINTS = 32
    # The start, continued.
    BENT_POINTS = 33
    # Surfaces.
    NUDGED_POINTS = 40
    SURFACE_POINTS = 41


def generator(seed: int, use: Use, *at: int) -> np.random.Generator:
    """Return the generator of one use of a seed, `at` a step, a cloud or another place of it.

    A spawn key keeps them apart. A list of numbers as the seed would not: numpy pads it with zeros, so [7, 2] and
    [7, 2, 0] are the same stream.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(use, *at)))


def torch_seed(seed: int, use: Use) -> int:
    """Return the seed of a torch generator for one use."""
    return int(np.random.SeedSequence(seed, spawn_key=(use,)).generate_state(1, np.uint64)[0])


# A file records its seed, and `verify` draws its points again by it: these two streams never change.


def subsample_generator(seed: int, cloud: int) -> np.random.Generator:
    """Return the generator that draws which points of a larger cloud stay."""
    return np.random.default_rng([seed, cloud])


def surface_generator(seed: int, cloud: int) -> np.random.Generator:
    """Return the generator that draws points from the faces of a mesh."""
    return np.random.default_rng([seed, 8, cloud])
