import pytest
import torch
from hypothesis import settings

import pcqaad
from pcqaad.formats.clouds.ply import write_ply
from tests.generators import population

# The same examples on every run, so that a commit passes or fails for everyone. To look for new ones, again and
# again: pytest --hypothesis-profile search
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile("same")
# Networks of this size gain nothing from more, and wait for each other on a busy machine.
torch.set_num_threads(1)

SMALL = {"components": False, "epochs": 36}


def stop_in(stage, reports):
    """Return what stops a fit after a number of reports of a stage."""
    seen = []

    def see(progress):
        if progress.stage is stage:
            seen.append(progress.done)

    return {"monitor": pcqaad.Monitor(see, lambda: len(seen) >= reports)}


@pytest.fixture(scope="session")
def originals():
    return population()


@pytest.fixture(scope="session")
def names():
    return [f"ellipsoid {i}" for i in range(6)]


@pytest.fixture(scope="session")
def fitted(originals, names):
    return pcqaad.fit(originals, pcqaad.Settings(**SMALL, device="cpu"), names=names, unit="mm")


@pytest.fixture(scope="session")
def fitted_file(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("fitted") / "small.qaad"
    fitted.save(path)
    return path


@pytest.fixture(scope="session")
def folder(originals, names, tmp_path_factory):
    """The originals of the fitted file as PLY files."""
    path = tmp_path_factory.mktemp("originals")
    for name, cloud in zip(names, originals, strict=True):
        write_ply(path / f"{name}.ply", cloud)
    return path
