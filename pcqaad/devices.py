"""Where a fit runs, and that it runs the same way twice."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from pcqaad._version import __version__
from pcqaad.errors import SettingsError
from pcqaad.parallel import limited
from pcqaad.settings import CHOICES


def choose(device: str) -> torch.device:
    """Turn "auto", "cpu" or "cuda" into a device, and hold torch to the process's number of threads.

    Raises SettingsError for another choice, and for "cuda" where there is no GPU.
    """
    if device not in CHOICES["device"]:
        raise SettingsError(f"device is {device!r}, expected {' or '.join(CHOICES['device'])}")
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingsError("device is 'cuda', but torch finds no GPU here; expected cpu")
    if (threads := limited()) is not None:
        torch.set_num_threads(min(threads, torch.get_num_threads()))
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def describe(device: torch.device) -> str:
    """Name the device as a reader of a benchmark would want it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def versions(device: torch.device) -> dict[str, str]:
    """Return the provenance of a fit, JSON-able: the versions and the device it ran on."""
    return {
        "pcqaad": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": describe(device),
    }


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw by a seed what torch's layers draw when they are made, and leave its generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
