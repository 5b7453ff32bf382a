"""What the benchmarks print keeps to the laws its columns state."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import pcqaad
from pcqaad.errors import SettingsError
from pcqaad.formats.clouds.ply import write_ply
from tests.generators import population


def load(name):
    """Import a benchmark by its path: benchmarks are scripts, not a package."""
    path = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


assignment = load("assignment")
throughput = load("throughput")


def test_pairs_are_what_their_names_say():
    cloud, other = population(2, points=1000)
    pairs = {p.key: p for p in assignment.make_pairs([cloud.astype(float), other.astype(float)], 600, 1)}
    sizes = {key: (len(p.a), len(p.b)) for key, p in pairs.items()}
    assert sizes == {"R": (500, 500), "D": (600, 600), "N": (600, 600), "V": (600, 600)}
    both = np.concatenate([pairs["R"].a, pairs["R"].b])
    assert np.array_equal(np.unique(both, axis=0), np.unique(cloud, axis=0))
    x = pairs["D"].a
    moved = np.linalg.norm(assignment.deform(x, np.random.default_rng(2)) - x, axis=1)
    assert moved.max() == pytest.approx(0.03 * np.linalg.norm(np.ptp(x, axis=0)))
    # A shuffled side: no row meets its own image.
    assert np.linalg.norm(pairs["D"].a - pairs["D"].b, axis=1).mean() > 10 * moved.max()


def test_nothing_costs_less_than_opt_and_one_cell_costs_no_more(tmp_path, capsys):
    np.save(tmp_path / "two.npy", np.stack(population(2, points=700)))
    # No more points than a cell holds: SciPy's cell is the whole pair.
    assignment.main([str(tmp_path / "two.npy"), "--points", "500", "--cells", "1", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert any("two_0000 holds 700 points of 1,000" in note for note in printed["notes"])
    assert {key: pair["points"] for key, pair in printed["pairs"].items()} == {"R": 350, "D": 500, "N": 500, "V": 500}
    for pair in printed["pairs"].values():
        ratios = {row["matcher"]: row["cost_to_opt"] for row in pair["rows"]}
        assert all(1 - 1e-9 <= low <= high for low, high in ratios.values())
        assert max(ratios["SciPy, cells of 1,024"]) <= 1.0005 + 1e-9
        assert abs(pair["largest_excess"]) < 1e-3


def test_what_is_no_bijection_ends_the_run():
    x = np.random.default_rng(0).random((3, 3))
    with pytest.raises(SystemExit, match="not a permutation"):
        assignment.cost_of("broken", x, x, np.array([0, 1, 1]))


def test_throughput_counts_what_it_was_given(tmp_path, capsys):
    np.save(tmp_path / "two.npy", np.stack(population(2, points=700)))
    throughput.main([str(tmp_path / "two.npy"), "--points", "200", "500", "--clouds", "3", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["clouds"] == 3
    rows = [row for row in printed["rows"] if row["device"] == "cpu"]
    assert [row["points"] for row in rows] == [200, 350]  # the clouds' halves hold no more
    for row in rows:
        assert row["clouds_per_second"] == pytest.approx(3 / row["seconds"])


def test_decoders_take_turns_and_agree(monkeypatch, capsys):
    decoding = load("decoding")
    monkeypatch.setattr(decoding, "ROUNDS", 1)
    decoding.main(["--points", "100", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["rows"][decoding.BASE]["ratio"] == 1
    assert all(row["seconds"] > 0 for row in found["rows"].values())
    assert 0 < found["apart_percent"] < 0.1


def test_finer_scales_are_nearer_to_float32(fitted_file, originals, names, tmp_path, capsys):
    decoding = load("decoding")
    for name, cloud in zip(names, originals, strict=True):
        write_ply(tmp_path / f"{name}.ply", cloud)
    decoding.main([str(tmp_path), "--file", str(fitted_file), "--clouds", "3", "--json"])
    scales = json.loads(capsys.readouterr().out)["scales"]
    apart = [scales[str(f)]["apart_percent"] for f in decoding.SCALES]
    assert apart == sorted(apart, reverse=True)
    assert abs(scales["12"]["emkd_rise_percent"]) < 0.5
    with pytest.raises(SystemExit):
        decoding.main([str(tmp_path / f"{names[0]}.ply"), "--file", str(fitted_file)])
    assert "expected the originals of the file" in capsys.readouterr().err


def test_what_is_found_is_nearer_than_what_was_released(capsys):
    distillation = load("distillation")
    distillation.main(["--json"])
    rows = json.loads(capsys.readouterr().out)["families"]
    released = {row["family"]: row["released_losses"] for row in rows if "released" in row}
    assert set(released) == set(distillation.RELEASED)
    for row in rows:
        for loss in row.get("released_losses", []):
            assert row["loss"] <= loss
    # Those without a mode at 0 are other losses without the shift; the two others are the same.
    assert all(
        (here > there) == (name in ("chi2", "log-logistic", "gamma")) for name, (there, here) in released.items()
    )


def test_criteria_are_compared_by_what_each_fit_decodes_to(tmp_path, capsys):
    criteria = load("criteria")
    clouds = population(3, points=128)
    np.save(tmp_path / "clouds.npy", np.stack(clouds))
    common = [str(tmp_path / "clouds.npy"), "--latent", "2", "--device", "cpu", "--json"]
    criteria.main([*common, "--epochs", "5", "--criteria", "matched", "l2", "--seed", "1", "--seeds", "2"])
    printed = json.loads(capsys.readouterr().out)
    assert (printed["clouds"], printed["points"], printed["steps"], printed["seeds"]) == (3, 128, 5, [1, 2])
    matched, nearest = (printed["rows"][name] for name in ("matched", "l2"))
    # No bijection is nearer than the nearest points.
    assert all(row["emkd"][0] > row["chamfer"][0] > 0 for row in (matched, nearest))
    means = []
    for seed in (1, 2):
        settings = pcqaad.Settings(epochs=5, latent=2, device="cpu", tune=0, measure=1, criterion="l2", seed=seed)
        fitted = pcqaad.fit(clouds, settings)
        decode = fitted.evaluator.floats(fitted.model)
        errors = [pcqaad.emkd(cloud, decode(i)).mean for i, cloud in enumerate(fitted.clouds.targets)]
        means.append(25 * np.mean(errors))
    assert nearest["emkd"] == pytest.approx([np.mean(means), np.std(means, ddof=1)], rel=1e-2)
    assert matched["emkd"] != nearest["emkd"]


def test_rows_of_the_ablation_differ_in_their_matching_alone(tmp_path, capsys):
    ablation = load("ablation")
    np.save(tmp_path / "clouds.npy", np.stack(population(3, points=128)))
    common = [str(tmp_path / "clouds.npy"), "--latent", "2", "--device", "cpu", "--epochs", "10", "--json"]
    ablation.main([*common, "--seeds", "2"])
    printed = json.loads(capsys.readouterr().out)
    assert (printed["clouds"], printed["points"], printed["steps"], printed["seeds"]) == (3, 128, 10, [0, 1])
    means = {name: row["emkd_percent"][0] for name, row in printed["rows"].items()}
    assert list(means) == list(ablation.ROWS)
    assert means["random matching"] > means["+ QAAD_GREEDY"]
    # Every cloud here is near the template.
    assert means["+ by way of clouds between (our default)"] == means["optimal matching for GREEDY"]
    assert all(row["emkd_percent"][1] > 0 for row in printed["rows"].values())


def test_one_seed_has_no_deviation_and_says_none():
    spread = load("spread")
    assert spread.spread([2.0]) == (2.0, None)
    assert spread.number((2.0, None), 2, 6) == "  2.00"
    mean, deviation = spread.spread([1.0, 2.0, 4.0])
    assert (mean, deviation) == pytest.approx((7 / 3, (7 / 3) ** 0.5))
    assert spread.number((mean, deviation), 1) == "2.3 ± 1.5"


def test_learned_weightings_are_judged_beside_their_start(tmp_path, capsys):
    np.save(tmp_path / "clouds.npy", np.stack(population(3, points=780)))
    quick = ["--families", "normal", "--rounds", "1", "--steps", "8", "--json"]
    load("bilevel").main([str(tmp_path / "clouds.npy"), *quick])
    printed = json.loads(capsys.readouterr().out)
    rows = printed["rows"]
    assert list(rows) == ["the start", "l1", "normal:sigma=2.64, default", "normal, learned"]
    (learned,) = printed["learned"]["normal"]
    assert learned.startswith("normal:sigma=") and learned != "normal:sigma=2.64"
    start, *trained = rows.values()
    assert all(row["emkd"][0] < start["emkd"][0] and row["chamfer"][0] < start["chamfer"][0] for row in trained)
    assert all(row["emkd"][0] > row["chamfer"][0] for row in rows.values())


def test_rates_and_distortions_are_of_the_files_and_points(tmp_path, capsys, monkeypatch):
    pytest.importorskip("DracoPy")
    curve = load("rate_distortion")
    fit = curve.by_pcqaad

    def fit_within_reason(clouds, names, settings):
        if settings.ratio > 1000:
            raise SettingsError("a file of 0 bytes cannot be made")
        return fit(clouds, names, settings)

    monkeypatch.setattr(curve, "by_pcqaad", fit_within_reason)
    np.save(tmp_path / "six.npy", np.stack(population(6)))
    options = ["--points", "200", "--bits", "4", "7", "10", "--ratios", "5", "100000", "--epochs", "2"]
    curve.main([str(tmp_path / "six.npy"), *options, "--latent", "2", "-o", str(tmp_path / "c.png"), "--json"])
    output = capsys.readouterr()
    printed = json.loads(output.out)
    assert json.loads((tmp_path / "c.json").read_text()) == printed
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    ours, *draco = printed["rows"]
    # What cannot be made is said and leaves no row.
    assert "ratio 100000: a file of 0 bytes" in output.err
    assert (ours["codec"], [row["asked"] for row in draco]) == ("pcqaad", ["10 bits", "7 bits", "4 bits"])
    for row in printed["rows"]:
        assert row["ratio"] == pytest.approx(12 * 6 * 200 / row["bytes"])
        assert row["bits_per_point"] == pytest.approx(96 / row["ratio"])
        assert row["d1_percent"] <= row["emkd_percent"]
    assert ours["ratio"] >= 5
    for fine, coarse in zip(draco, draco[1:], strict=False):
        assert fine["bytes"] > coarse["bytes"]
        assert fine["emkd_percent"] < coarse["emkd_percent"]
        assert fine["d1_psnr"] > coarse["d1_psnr"] + 10


def test_another_number_of_points_has_no_emkd():
    curve = load("rate_distortion")
    cloud = population(1)[0]
    row = curve.judge([cloud], [cloud[:-1]], 100)
    assert row["emkd_percent"] is None
    assert row["d1_percent"] > 0
    same = curve.judge([cloud], [cloud[::-1]], 100)
    assert (same["emkd_percent"], same["d1_percent"], same["d1_psnr"]) == (0, 0, None)


def test_completion_compares_criteria_on_the_same_task(tmp_path, capsys):
    completion = load("completion")
    np.save(tmp_path / "few.npy", np.stack(population(5, points=100)))
    sizes = ["--points", "50", "--held", "2", "--seeds", "1", "--epochs", "1", "--search", "2", "--steps", "4"]
    call = [str(tmp_path / "few.npy"), *sizes, "--latent", "2", "--criteria", "landau", "--prior", "0", "1"]
    completion.main([*call, "--curves", str(tmp_path / "curves.png"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert 20 < found["given_percent"] < 80
    rows = found["rows"]
    assert list(rows) == ["", "file, prior 0", "file, prior 1", "folding", "patches"]
    assert list(rows.pop("")) == ["mean", "whole", "sampled again"]
    for way, of in rows.items():
        assert list(of) == ["l1", "landau"]
        assert of["l1"]["over_l1"] == [0, None]
        for row in of.values():
            assert row["over_l1"][0] == pytest.approx(row["cd_l1"][0] - of["l1"]["cd_l1"][0])
            if not way.startswith("file"):
                assert [step for step, _ in row["curve"]] == [1, 2, 3, 4]
                assert row["curve"][-1][1] == pytest.approx(row["cd_l1"][0])
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert completion.table(rows).count("| file, prior 1 |") == 2


def test_the_parts_of_a_file_are_all_of_it(capsys):
    golden = Path(__file__).parent / "golden" / "ellipsoids.qaad"
    load("size").main([str(golden), "--json"])
    (found,) = json.loads(capsys.readouterr().out)
    assert sum(part["bytes"] for part in found["parts"].values()) == found["bytes"] == golden.stat().st_size
    assert found["parts"]["template"]["bits a point"] == 8 * found["parts"]["template"]["bytes"] / 256
    assert found["of_4096_clouds"]["bytes"] > found["bytes"]
    load("size").main([str(golden)])
    assert f"{found['parts']['weights']['bytes']:,}" in capsys.readouterr().out
