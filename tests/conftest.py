import pytest

import pcqaad
from tests.generators import population

SMALL = {"epochs": 30, "registration": 1}


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
