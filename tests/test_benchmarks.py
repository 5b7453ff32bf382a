"""The benchmarks' figures keep to the laws that their columns state."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

import pcqaad
from benchmarks import (
    ablation,
    assignment,
    bilevel,
    common,
    completion,
    criteria,
    decoding,
    distillation,
    judging,
    rate_distortion,
    recipe,
    scales,
    size,
    stages,
    step,
    throughput,
)
from benchmarks.peers import levels, pca, zstd
from examples.bodies import write_mesh
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.evaluation.reference import Reference
from pcqaad.formats.clouds.ply import write_ply
from pcqaad.points.collect import collect, diagonal
from tests.generators import population


def figures(benchmark, capsys, *arguments):
    """Run a benchmark, and return the figures that it prints."""
    benchmark.main([*map(str, arguments), "--json"])
    return json.loads(capsys.readouterr().out)


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
    printed = figures(assignment, capsys, tmp_path / "two.npy", "--points", 500, "--cells", 1)
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
    printed = figures(throughput, capsys, tmp_path / "two.npy", "--points", 200, 500, "--count", 3)
    assert printed["clouds"] == 3
    rows = [row for row in printed["rows"] if row["device"] == "cpu"]
    assert [row["points"] for row in rows] == [200, 350]  # the clouds' halves hold no more
    for row in rows:
        assert row["clouds_per_second"] == pytest.approx(3 / row["seconds"])


def test_decoders_take_turns_and_agree(monkeypatch, capsys):
    monkeypatch.setattr(decoding, "TURNS", 1)
    found = figures(decoding, capsys, "--points", 100)
    assert found["rows"][decoding.BASE]["ratio"] == 1
    assert all(row["seconds"] > 0 for row in found["rows"].values())
    assert 0 < found["apart_percent"] < 0.1


def test_steps_with_either_selu_make_the_same_products(monkeypatch, capsys):
    monkeypatch.setattr(step, "TURNS", 1)
    monkeypatch.setattr(step, "SQUARE", 64)
    monkeypatch.setattr(step, "NETWORKS", (((5, 4), 3, 2, 6),))
    rows = figures(step, capsys, "--steps", 1)["rows"]
    assert [(row["network"], row["selu"]) for row in rows] == [("5-4, 3 x 2, 6", name) for name in step.SELUS]
    # A layer of 5 x 4, and per patch 4 x 3 and 3 x 3: for outputs, gradients of inputs and of weights.
    flop = 3 * 2 * 16 * 128 * (5 * 4 + 4 * 3 + 3 * 3)
    for row in rows:
        assert row["products"] * row["milliseconds"] * 1e6 == pytest.approx(flop)
        assert min(row["forward"], row["backward"], row["of_core"]) > 0


def test_finer_scales_are_nearer_to_float32(fitted_file, originals, names, tmp_path, capsys):
    for name, cloud in zip(names, originals, strict=True):
        write_ply(tmp_path / f"{name}.ply", cloud)
    rows = figures(scales, capsys, fitted_file, tmp_path, "--count", 3)["rows"]
    apart = [rows[str(f)]["apart_percent"] for f in scales.SCALES]
    assert apart == sorted(apart, reverse=True)
    assert abs(rows["12"]["emkd_rise_percent"]) < 0.5
    with pytest.raises(SystemExit) as refused:
        scales.main([str(fitted_file), str(tmp_path / f"{names[0]}.ply")])
    assert refused.value.code == 2
    assert f"the original of {names[1]!r} is not among the inputs" in capsys.readouterr().err


def test_what_is_found_is_nearer_than_what_was_released(capsys):
    rows = [row for row in figures(distillation, capsys)["rows"] if "released" in row]
    assert {row["family"] for row in rows} == set(distillation.RELEASED)
    for row in rows:
        assert row["loss"] <= row["released_loss"] <= row["unshifted_loss"]
        # Those without a mode at 0 are other losses without the shift; the two others are the same.
        moved = row["family"] in ("chi2", "log-logistic", "gamma")
        assert (row["released_loss"] < row["unshifted_loss"]) == moved


def test_criteria_are_compared_by_what_each_fit_decodes_to(tmp_path, capsys):
    clouds = population(3, points=128)
    np.save(tmp_path / "clouds.npy", np.stack(clouds))
    given = (tmp_path / "clouds.npy", "--latent", 2, "--device", "cpu", "--seed", 1, "--seeds", 2)
    printed = figures(criteria, capsys, *given, "--epochs", 5, "--criteria", "matched", "l2")
    assert (printed["clouds"], printed["points"], printed["steps"], printed["seeds"]) == (3, 128, 5, [1, 2])
    matched, nearest = (printed["rows"][name] for name in ("matched", "l2"))
    # No bijection is nearer than the nearest points.
    assert all(row["emkd_percent"][0] > row["chamfer_percent"][0] > 0 for row in (matched, nearest))
    means = []
    for seed in (1, 2):
        settings = pcqaad.Settings(epochs=5, latent=2, device="cpu", tune=0, measure=1, criterion="l2", seed=seed)
        fitted = pcqaad.fit(clouds, settings)
        targets = collect(clouds, None, None, seed).targets
        pairs = zip(targets, map(FloatDecoder(fitted.model).decode, fitted.model.latents), strict=True)
        errors = [pcqaad.emkd(cloud, decoded).mean for cloud, decoded in pairs]
        means.append(25 * np.mean(errors))
    assert nearest["emkd_percent"] == pytest.approx([np.mean(means), np.std(means, ddof=1)], rel=1e-2)
    assert matched["emkd_percent"] != nearest["emkd_percent"]


def test_rows_of_the_ablation_differ_in_their_matching_alone(tmp_path, capsys):
    np.save(tmp_path / "clouds.npy", np.stack(population(3, points=128)))
    given = (tmp_path / "clouds.npy", "--latent", 2, "--device", "cpu", "--epochs", 10, "--seeds", 2)
    printed = figures(ablation, capsys, *given)
    assert (printed["clouds"], printed["points"], printed["steps"], printed["seeds"]) == (3, 128, 10, [0, 1])
    means = {name: row["emkd_percent"][0] for name, row in printed["rows"].items()}
    assert list(means) == list(ablation.ROWS)
    assert means["random matching"] > means["+ QAAD_GREEDY"]
    # Every cloud here is near the template.
    assert means["+ by way of clouds between"] == means["optimal matching for GREEDY"]
    assert all(row["emkd_percent"][1] > 0 for row in printed["rows"].values())


def test_one_seed_has_no_deviation_and_says_none():
    assert common.spread([2.0]) == (2.0, None)
    assert common.cell((2.0, None), ".2f") == "2.00"
    mean, deviation = common.spread([1.0, 2.0, 4.0])
    assert (mean, deviation) == pytest.approx((7 / 3, (7 / 3) ** 0.5))
    assert common.cell((mean, deviation), ".1f") == "2.3 ± 1.5"


def test_a_report_has_a_summary_and_the_columns_that_some_row_has():
    found = {
        "clouds": 1200,
        "seeds": [0, 1],
        "size": 0.12345,
        "rows": {"a": {"x": 2.0, "w": "so"}, "long": {"x": None}},
    }
    columns = {"": "name", "x, %": "x:.1f", "y": "y:.1f", "word": "w"}
    assert common.report(found, columns).splitlines() == [
        "clouds 1,200, seeds 0 1, size 0.1235",
        "",
        "|      | x, % | word |",
        "| ---- | ---: | ---- |",
        "| a    |  2.0 | so   |",
        "| long |      |      |",
    ]


def test_learned_weightings_are_judged_beside_their_start(tmp_path, capsys):
    np.save(tmp_path / "clouds.npy", np.stack(population(3, points=780)))
    quick = ("--families", "normal", "--rounds", 1, "--steps", 8)
    printed = figures(bilevel, capsys, tmp_path / "clouds.npy", *quick)
    rows = printed["rows"]
    assert list(rows) == ["the start", "l1", "normal:sigma=2.64, default", "normal, learned"]
    (learned,) = printed["learned"]["normal"]
    assert learned.startswith("normal:sigma=") and learned != "normal:sigma=2.64"
    start, *trained = rows.values()
    for key in ("emkd_percent", "chamfer_percent"):
        assert all(row[key][0] < start[key][0] for row in trained)
    assert all(row["emkd_percent"][0] > row["chamfer_percent"][0] for row in rows.values())


def test_rates_and_distortions_are_of_the_files_and_points(tmp_path, capsys):
    pytest.importorskip("DracoPy")
    np.save(tmp_path / "six.npy", np.stack(population(6)))
    few = ("--points", 200, "--bits", 4, 7, 10, "--zstd-bits")
    options = (*few, "--ratios", 5, 100000, "--epochs", 2, "--latent", 2)
    printed = figures(rate_distortion, capsys, tmp_path / "six.npy", *options, "-o", tmp_path / "c.png")
    assert json.loads((tmp_path / "c.json").read_text()) == printed
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    ours, impossible, *draco = printed["rows"]
    assert "a file of 0 bytes cannot be made" in impossible["refused"]
    assert "\n100000 : 1: a file of 0 bytes" in rate_distortion.text(printed)
    assert (ours["codec"], [row["asked"] for row in draco]) == ("pcqaad", ["10 bits", "7 bits", "4 bits"])
    for row in (ours, *draco):
        assert row["ratio"] == pytest.approx(12 * 6 * 200 / row["bytes"])
        assert row["bits_per_point"] == pytest.approx(96 / row["ratio"])
        assert row["d1_percent"] <= row["emkd_percent"]
    assert ours["ratio"] >= 5
    for fine, coarse in zip(draco, draco[1:], strict=False):
        assert fine["bytes"] > coarse["bytes"]
        assert fine["emkd_percent"] < coarse["emkd_percent"]
        assert fine["d1_psnr"] > coarse["d1_psnr"] + 10


def test_another_number_of_points_has_no_emkd():
    cloud = population(1)[0]
    original, across = [Reference(cloud, 5.0)], 5.0
    row = judging.judge(original, [cloud[:-1]], 100, across)
    assert row["emkd_percent"] is None and "vertex_percent" not in row
    assert row["d1_percent"] > row["d2_percent"] > 0
    same = judging.judge(original, [cloud[::-1]], 100, across)
    assert (same["emkd_percent"], same["d1_percent"], same["d1_psnr"], same["far_percent"]) == (0, 0, None, 0)
    moved = judging.judge(original, [cloud + np.float32([3, 0, 4])], 100, across, coded=1200, paired=True)
    assert moved["vertex_percent"] == pytest.approx(100, rel=1e-4)
    assert moved["far_percent"] > 90 and moved["ratio"] == 144


def test_rows_are_marked_by_what_no_smaller_one_beats():
    rows = [
        {"bytes": 10, "d1_percent": 3, "d2_percent": 1},
        {"bytes": 20, "d1_percent": 2, "d2_percent": 1},
        {"bytes": 30, "d1_percent": 2.5, "emkd_percent": 4},
    ]
    judging.mark(rows)
    assert [row["unbeaten"] for row in rows] == ["D1, D2", "D1", "EM-kD"]


def moving(count=12, points=400, seed=0):
    """Return registered clouds (count, points, 3) that three smooth fields move."""
    rng = np.random.default_rng(seed)
    still = population(1, points=points)[0].astype(np.float64)
    fields = np.stack([np.sin(still @ rng.standard_normal((3, 3)) + rng.standard_normal(3)) for _ in range(3)])
    weights = np.cumsum(rng.standard_normal((count, 3)), 0) * (0.2, 0.1, 0.05)
    return (still + np.tensordot(weights, fields, 1)).astype(np.float32)


def test_components_decode_from_their_bytes_to_the_error_they_state(monkeypatch):
    clouds = moving()
    across = diagonal(list(clouds))
    monkeypatch.setattr(pca, "STEPS", (0.001, 0.004, 0.016))
    files = pca.frontier(clouds, across)
    assert len(files) > 2
    for small, large in zip(files, files[1:], strict=False):
        assert len(small.data) < len(large.data) and small.error > large.error
    for file in files:
        decoded = pca.decode_clouds(file.data)
        apart = np.linalg.norm(decoded - clouds[:, file.order], axis=2).mean()
        assert apart == pytest.approx(file.error, rel=1e-4)
        assert len(np.unique(file.order)) == clouds.shape[1]
    # Three fields are all that there is: what is left is rounding.
    assert files[-1].choice.fields == 3 and files[-1].error < 0.001 * across
    raw = clouds[:, :, 0].size * 12
    assert len(files[-1].data) < raw / 20


def test_smooth_fields_are_predicted_from_coarser_points():
    points = np.random.default_rng(0).random((500, 3))
    plan = levels.plan(points)
    assert sorted(np.concatenate([level.points for level in plan])) == list(range(500))
    known = set(plan[0].points)
    for level in plan[1:]:
        assert set(level.neighbours.ravel()) <= known
        np.testing.assert_allclose(level.weights.sum(1), 1, atol=1e-9)
        known |= set(level.points)
    field = np.sin(points @ [1.0, 2.0, 3.0])
    finest = plan[-1]
    missed = field[finest.points] - (field[finest.neighbours] * finest.weights).sum(1)
    assert np.abs(missed).mean() < 0.1 * field.std()


FAKE_TMC3 = """#!{python}
import pathlib, pickle, sys
given = dict(each[2:].split("=", 1) for each in sys.argv[1:])
stream = pathlib.Path(given["compressedStreamPath"])
if given["mode"] == "0":
    names = [given["uncompressedDataPath"] % i for i in range(int(given["frameCount"]))]
    stream.write_bytes(pickle.dumps([pathlib.Path(name).read_bytes() for name in names]))
else:
    for i, data in enumerate(pickle.loads(stream.read_bytes())):
        pathlib.Path(given["reconstructedDataPath"] % i).write_bytes(data)
"""


def test_peers_stand_in_one_table(tmp_path, capsys, monkeypatch):
    pytest.importorskip("zstandard")
    monkeypatch.setattr(pca, "STEPS", (0.002, 0.008))
    np.save(tmp_path / "moving.npy", moving(8, 200))
    binary = tmp_path / "tmc3"
    binary.write_text(FAKE_TMC3.format(python=sys.executable))
    binary.chmod(0o755)
    peers = ("--bits", "--zstd-bits", 8, 12, "--tmc3", binary, "--octree-bits", 7, 9, "--trisoup", "8:3")
    call = (tmp_path / "moving.npy", "--registered", "--no-pcqaad", "--sizes", 0.01, 5, "--measure", 3, *peers)
    printed = figures(rate_distortion, capsys, *call)
    assert (printed["clouds"], printed["judged"], printed["registered"]) == (8, 3, True)
    codecs = [row["codec"] for row in printed["rows"]]
    assert codecs == ["PCA"] * 2 + ["zstd"] * 3 + ["G-PCC octree"] * 2 + ["G-PCC trisoup"]
    small, impossible, lossless, *grids = printed["rows"]
    assert "the smallest file takes" in impossible["refused"]
    assert small["bytes"] <= 5000 and small["vertex_percent"] > 0.999 * small["emkd_percent"] > 0
    assert lossless["emkd_percent"] == lossless["vertex_percent"] == 0
    for row in grids:
        # Each axis is off by half a step at most.
        bits = int(row["asked"].split()[0])
        assert 0 < row["d1_percent"] < 100 / (2**bits - 1)
    assert printed["pca_frontier"][0]["bytes"] > 10
    text = rate_distortion.text(printed)
    assert "unbeaten" in text and "pca frontier" not in text
    binary.write_text("#!/bin/sh\necho no such option >&2\nexit 3\n")
    with pytest.raises(SystemExit, match="no such option"):
        rate_distortion.main(list(map(str, call)))


def test_meshes_are_judged_by_their_surface(tmp_path, capsys):
    pytest.importorskip("DracoPy")
    u, v = np.mgrid[0:12, 0:12] / 11
    corner = np.arange(11 * 12).reshape(11, 12)[:, :-1].ravel()
    triangles = np.concatenate([corner[:, None] + (0, 12, 1), corner[:, None] + (1, 12, 13)])
    for i in range(3):
        sheet = np.stack([u, v, (0.2 + 0.1 * i) * np.sin(5 * u) * v], -1).reshape(-1, 3)
        write_mesh(tmp_path / f"{i}.ply", sheet.astype(np.float32), triangles)
    call = (tmp_path, "--no-pcqaad", "--bits", 6, 9, "--zstd-bits")
    rows = figures(rate_distortion, capsys, *call)["rows"]
    assert [row["codec"] for row in rows] == ["Draco"] * 2 + ["Draco, meshes"] * 2
    for fine, coarse in (rows[:2], rows[2:]):
        assert 0 < fine["surface_percent"] < coarse["surface_percent"] / 4
        assert all(row["surface_percent"] <= row["d1_percent"] for row in (fine, coarse))
    # Of fewer points no faces are known.
    assert "surface_percent" not in figures(rate_distortion, capsys, *call, "--points", 100)["rows"][0]


def test_a_missing_peer_is_named_with_what_to_do(tmp_path, capsys, monkeypatch):
    np.save(tmp_path / "moving.npy", moving(2, 50))
    monkeypatch.setattr(rate_distortion, "find_spec", lambda _: None)
    with pytest.raises(SystemExit):
        rate_distortion.main([str(tmp_path / "moving.npy"), "--bits"])
    assert "no zstandard here: pip install 'pcqaad[benchmarks]'" in capsys.readouterr().err


def test_registered_clouds_of_two_sizes_are_refused(tmp_path, capsys):
    for i, cloud in enumerate((moving()[0], moving()[0][:-1])):
        write_ply(tmp_path / f"{i}.ply", cloud)
    with pytest.raises(SystemExit):
        rate_distortion.main([str(tmp_path), "--registered", "--bits", "--zstd-bits"])
    assert "expected one number, found [399, 400]" in capsys.readouterr().err


def test_integers_come_back_from_the_smallest_order():
    pytest.importorskip("zstandard")
    clouds = moving()
    sizes = {}
    for registered in (True, False):
        decoded, sizes[registered] = zstd.of_integers(clouds, 10, registered)
        step = float((clouds.max((0, 1)) - clouds.min((0, 1))).max()) / 1023
        for cloud, found in zip(clouds, decoded, strict=True):
            reach = np.abs(cloud - found).max() if registered else cKDTree(found).query(cloud)[0].max()
            assert reach < 0.9 * step
    assert sizes[True] < 0.8 * zstd.of_floats(clouds)[1]


def test_completion_compares_criteria_on_the_same_task(tmp_path, capsys):
    np.save(tmp_path / "few.npy", np.stack(population(5, points=100)))
    sizes = ("--points", 50, "--held", 2, "--seeds", 1, "--epochs", 1, "--search", 2, "--steps", 4, "--latent", 2)
    call = (tmp_path / "few.npy", *sizes, "--criteria", "landau", "--prior", 0, 1, "--keep", tmp_path / "kept")
    found = figures(completion, capsys, *call, "--curves", tmp_path / "curves.png")
    assert 20 < found["given_percent"] < 80
    assert completion.text(found).count("| file, prior 1 |") == 2
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
    # A finished figure is read again, and belongs to its settings alone.
    kept = tmp_path / "kept" / "0 patches l1.json"
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "cd_l1": 7}))
    assert figures(completion, capsys, *call)["rows"]["patches"]["l1"]["cd_l1"] == [7, None]
    with pytest.raises(SystemExit):
        completion.main([*map(str, call), "--held", "1"])
    assert "holds figures of another run" in capsys.readouterr().err


def test_recipes_are_fits_of_a_grid_at_their_seconds(tmp_path, capsys):
    np.save(tmp_path / "moving.npy", moving(4, 150))
    given = (tmp_path / "moving.npy", "--latent", 2, "--cpu-seconds", 0.1, "--registered")
    printed = figures(recipe, capsys, *given, "--over", "sample=16,64", "learning_rate=0.005")
    assert printed["registered"]
    assert sorted(row["sample"] for row in printed["rows"]) == [16, 64]
    errors = [row["emkd_percent"][0] for row in printed["rows"]]
    assert errors == sorted(errors) and all(row["steps"][0] >= 1 for row in printed["rows"])
    assert dict([recipe.read_field("schedule=cosine,constant")]) == {"schedule": ["cosine", "constant"]}
    assert recipe.read_field("reassign=true,false")[1] == [True, False]
    with pytest.raises(SystemExit):
        recipe.main([str(tmp_path / "moving.npy"), "--over", "samples=3"])
    assert "a field of pcqaad.Settings, found 'samples=3'" in capsys.readouterr().err


def test_the_parts_of_a_file_are_all_of_it(capsys):
    golden = Path(__file__).parent / "golden" / "ellipsoids.qaad"
    (found,) = figures(size, capsys, golden)
    assert sum(part["bytes"] for part in found["parts"].values()) == found["bytes"] == golden.stat().st_size
    assert found["parts"]["template"]["figure"] == 8 * found["parts"]["template"]["bytes"] / 256
    assert found["of_4096_clouds"]["bytes"] > found["bytes"]
    size.main([str(golden)])
    assert f"{found['parts']['weights']['bytes']:,}" in capsys.readouterr().out


def test_the_stages_of_a_fit_take_its_time(monkeypatch, capsys):
    monkeypatch.setattr(stages, "SETS", ((4, 256),))
    (row,) = figures(stages, capsys, "--minutes", "0.02")["rows"]
    after = row["quantising"] + row["measuring"]
    assert 0 < row["share"] <= after / (after + row["fitting"])
    assert row["asked"] == pytest.approx(1.2)
