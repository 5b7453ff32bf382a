"""The benchmark of pairs: the true ones are known to it, and hidden from the matching."""

import json

import numpy as np

from benchmarks import pairs
from tests.generators import population


def test_pairs_hides_an_order_and_finds_it_again(tmp_path, capsys):
    np.save(tmp_path / "clouds.npy", np.stack(population(4, points=400)))
    chosen = ["--count", "3", "--points", "300", "--matching", "random", "nonrigid"]
    pairs.main([str(tmp_path / "clouds.npy"), *chosen, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["clouds"], found["points"], list(found["rows"])) == (3, 300, ["random", "nonrigid", "the true pairs"])
    random, ours, true = found["rows"].values()
    assert true["right_percent"] == true["right_worst_percent"] == 100 and true["off_percent"] == 0
    assert random["right_percent"] < 5 and random["kept_percent"] < ours["kept_percent"]
    assert random["off_percent"] > ours["off_percent"] and random["left_out_percent"] >= 0
    assert ours["kept_worst_percent"] <= ours["kept_percent"] <= 100
