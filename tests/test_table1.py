"""The benchmarks of the baselines run, resume, and compare like with like."""

import json

import numpy as np
import pytest

from benchmarks import partners, patches, table1, table1_pictures
from tests.generators import population
from tests.test_benchmarks import figures

COLUMNS = ("atlasnet-matched", "chamfer", "reassignment", "converged")


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    monkeypatch.setattr(table1_pictures, "PIXELS", 24)


def test_the_papers_reductions_are_those_it_states():
    # Section 4.3: 78 % for Skulls, 86 % for D-FAUST and, overall, 90 to 91 % for COMA.
    there = [table1.against(values[0], values[-1]) for values in table1.PAPER.values()]
    assert [round(100 * part) for part in there] == [-78, -87, -91]


def test_columns_run_once_and_compare_like_with_like(tmp_path, capsys):
    np.save(tmp_path / "some.npy", np.stack(population(4)))
    given = (tmp_path / "some.npy", "--steps", 4, "-o", tmp_path / "out", "--columns", *COLUMNS)
    found = figures(table1, capsys, *given)[str(tmp_path / "some.npy")]
    assert tuple(found["rows"]) == COLUMNS
    rows, folder = {name: row["runs"][0] for name, row in found["rows"].items()}, tmp_path / "out" / "some"
    assert [row["emkd_percent"] for row in found["rows"].values()] == [
        [row["emkd"]["mean_percent"], None] for row in rows.values()
    ]
    assert {name for name, row in rows.items() if row["steps"] == 4} >= set(COLUMNS) - {"converged"}
    # It is the best of its fit, and that began with the column before.
    assert rows["converged"]["steps"] >= 4
    assert rows["converged"]["emkd"]["mean"] <= rows["reassignment"]["emkd"]["mean"]
    weights = [row["weights"] for row in rows.values()]
    assert max(weights) < 1.02 * min(weights)
    assert all(0 < row["emkd"]["mean_percent"] < 50 for row in rows.values())
    assert found["sampling_floor_percent"] > 0
    assert all((folder / name).stat().st_size > 0 for name in ("reconstructions.png", "templates.png"))

    # A finished column is read, not fitted again.
    (folder / "seed_0" / "reassignment.json").write_text(json.dumps(rows["reassignment"] | {"seconds": 12345}))
    table1.main([*map(str, given), "--no-pictures"])
    again = capsys.readouterr().out
    (line,) = (line for line in again.splitlines() if "REASSIGNMENT" in line)
    assert "12345" in line and "-66%" in line
    assert len({line.count("|") for line in again.splitlines() if line.startswith("|")}) == 1
    with pytest.raises(SystemExit) as refused:
        table1.main([*map(str, given), "--latent", "5"])
    assert refused.value.code == 2
    assert "holds figures of another run" in capsys.readouterr().err


def test_fewer_points_a_step_are_a_run_of_their_own(tmp_path, capsys):
    np.save(tmp_path / "some.npy", np.stack(population(4)))
    given = (tmp_path / "some.npy", "--steps", 2, "-o", tmp_path / "out", "--columns", "atlasnet", "auto")
    table1.main([*map(str, given), "--samples", "32", "64", "--seed", "3", "--seeds", "2"])
    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if line.startswith(("|            32 ", "|            64 "))]
    assert len(rows) == 2
    assert "seeds 3 4" in out
    folder = tmp_path / "out" / "some"
    for row, sample in zip(rows, (32, 64), strict=True):
        errors = []
        for seed in (3, 4):
            own = folder / f"seed_{seed}" / f"sample_{sample}"
            kept = json.loads((own / "run.json").read_text())["settings"]
            assert (kept["sample"], kept["seed"]) == (sample, seed)
            errors.append(json.loads((own / "auto.json").read_text())["emkd"]["mean_percent"])
        assert row.endswith(f"{sum(errors) / 2:.3f} ± {abs(errors[0] - errors[1]) / 2**0.5:.3f} |")
    assert (folder / "sampling.png").stat().st_size > 0


def test_a_loop_over_patches_computes_what_the_batched_products_do(monkeypatch, capsys):
    monkeypatch.setattr(patches, "TURNS", 1)
    rows = figures(patches, capsys, "--patches", 3, 5, "--count", 2, "--points", 60)["rows"]
    assert [row["patches"] for row in rows] == [3, 5]
    assert all(row[f"{name} both"]["loop"] > 0 for row in rows for name in ("ours", "atlasnet"))
    # It can tell: one weight of one patch, changed.
    monkeypatch.setattr(patches, "separate", lambda weights: [part.detach() * 1.1 for part in weights])
    with pytest.raises(SystemExit, match="the ways differ"):
        patches.main(["--patches", "3", "--count", "2", "--points", "60"])


def test_without_swaps_no_pair_changes(monkeypatch, capsys):
    start = "the same, residual"
    monkeypatch.setattr(partners, "STARTS", {start: partners.STARTS[start]})
    runs = []
    for epochs in (1, 3):
        runs.append(figures(partners, capsys, "--count", 4, "--points", 700, "--epochs", epochs)["rows"][start])
    kept, longer = runs
    assert kept["right_percent"] == longer["right_percent"]
    assert kept["right_percent"][0] > 50
    assert kept["emkd_percent"] != longer["emkd_percent"]
    assert longer["swapped_right_percent"] != longer["right_percent"]
