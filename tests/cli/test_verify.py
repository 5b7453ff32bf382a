"""`pcqaad verify`: what it measures, shows and judges."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcqaad.cli.commands.verify import EFFORTS
from pcqaad.cli.show.text import METRICS, figure
from pcqaad.evaluation import metrics
from tests.cli.commands import CLOUDS, refused, run


def test_verify_measures(eggs: Path, originals: Path, tmp_path: Path) -> None:
    report = tmp_path / "page.html"
    metrics = ["--metric", "emkd", "--metric", "d1", "--metric", "chamfer"]
    result = run("verify", eggs, originals, *metrics, "--json", "--report", report)
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["source"] == "measured"
    for values in found["metrics"].values():
        means = {cloud["name"]: cloud["mean"] for cloud in values["per_cloud"]}
        assert len(means) == CLOUDS
        assert values["mean"] == pytest.approx(np.mean(list(means.values())))
        assert values["worst"]["mean"] == max(means.values()) == means[values["worst"]["name"]]
        assert values["mean_percent"] == pytest.approx(100 * values["mean"] / found["diagonal"])
    # A bijection costs no less than nearest neighbours do.
    assert found["metrics"]["emkd"]["mean"] >= found["metrics"]["chamfer"]["mean"]
    text = report.read_text(encoding="utf-8")
    assert text.count("<svg") == 3
    assert text.count("<rect") == 3 * CLOUDS
    assert all(name in text for name in ("egg7", "egg12", "EM-kD", "Chamfer"))
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_verify_without_originals_shows_what_was_recorded(eggs: Path) -> None:
    recorded = json.loads(run("info", eggs, "--json").stdout)["fidelity"]
    found = json.loads(run("verify", eggs, "--json").stdout)
    assert found["source"] == "recorded"
    assert found["metrics"]["emkd"]["mean"] == recorded["mean"]
    shown = run("verify", eggs).stdout
    assert "every section and cloud read and checked" in shown
    assert recorded["worst"]["name"] in shown


def test_verify_fails_above_a_bound(eggs: Path) -> None:
    percent = json.loads(run("verify", eggs, "--json").stdout)["metrics"]["emkd"]["mean_percent"]
    assert run("verify", eggs, "--fail-above", str(1.01 * percent)).exit_code == 0
    result = run("verify", eggs, "--fail-above", "0")
    assert result.exit_code == 1
    assert result.stdout == run("verify", eggs).stdout
    line = f"pcqaad: error: mean EM-kD is {figure(percent)} % of the diagonal, above 0 %"
    assert result.stderr.splitlines()[-1] == line


def test_verify_offers_all_that_can_be_measured() -> None:
    assert set(METRICS) == set(metrics.METRICS)
    assert set(EFFORTS) == set(metrics.EFFORTS)


def measured(*arguments: str | Path) -> dict[str, Any]:
    result = run("verify", *arguments, "--quiet", "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)["metrics"]
    return found


@pytest.mark.parametrize("effort", EFFORTS)
def test_verify_brackets_the_earth_movers_distance(effort: str, eggs: Path, originals: Path) -> None:
    both = [eggs, originals, "--metric", "emkd", "--metric", "emd", "--cell", "32", "--effort", effort]
    emkd, emd = (measured(*both)[name] for name in ("emkd", "emd"))
    for of_cells, of_all in [(emkd, emd), *zip(emkd["per_cloud"], emd["per_cloud"], strict=True)]:
        least, mean = of_all["at_least"], of_all["mean"]
        assert 0 < least <= mean <= (1 + metrics.EFFORTS[effort]) * least
        # Cells leave fewer bijections to choose from.
        assert least <= of_cells["mean"]
        assert mean <= (1 + metrics.EFFORTS[effort]) * of_cells["mean"]


def test_effort_is_of_no_other_metric(eggs: Path, originals: Path) -> None:
    assert measured(eggs, originals, "--effort", "high") == measured(eggs, originals)
    assert run("verify", eggs, "--effort", "high").exit_code == 0


def test_verify_shows_and_judges_both_ends(eggs: Path, originals: Path, tmp_path: Path) -> None:
    report = tmp_path / "page.html"
    call = ["verify", eggs, originals, "--metric", "emd", "--quiet"]
    emd = measured(*call[1:])["emd"]
    least, mean, percent = emd["at_least"], emd["mean"], emd["mean_percent"]
    lengths = f"between {figure(least)} and {figure(mean)} mm"
    percents = f"{figure(percent * least / mean)} to {figure(percent)} %"

    passed = run(*call, "--report", report, "--fail-above", str(1.001 * percent))
    assert (passed.exit_code, passed.stderr) == (0, "")
    assert re.search(rf"^EMD +{lengths} +{percents} +{emd['worst']['name']}: at most ", passed.stdout, re.MULTILINE)
    worst = next(cloud for cloud in emd["per_cloud"] if cloud["name"] == emd["worst"]["name"])
    ends = [f"{figure(worst[key])} mm" for key in ("at_least", "mean")]
    assert [worst["name"], *ends] in [re.split(" {2,}", line) for line in passed.stdout.splitlines()]
    text = report.read_text(encoding="utf-8")
    assert lengths in text
    assert percents in text
    assert f"<td>{ends[0]}</td><td>{ends[1]}</td>" in text

    result = run(*call, "--fail-above", "0")
    assert result.exit_code == 1
    assert result.stderr == f"pcqaad: error: mean EMD is {percents} of the diagonal, above 0 %\n"


@pytest.mark.parametrize(("effort", "advice"), [("normal", "; try --effort high"), ("high", "")])
def test_a_bound_between_the_ends_is_not_kept(effort: str, advice: str, eggs: Path, originals: Path) -> None:
    call = [eggs, originals, "--metric", "emd", "--effort", effort]
    emd = measured(*call)["emd"]
    between = emd["mean_percent"] * (emd["at_least"] / emd["mean"] + 1) / 2
    result = run("verify", *call, "--quiet", "--fail-above", str(between))
    assert result.exit_code == 1
    assert result.stderr.endswith(f" of the diagonal, not proven to be at most {figure(between)} %{advice}\n")


def test_verify_wants_all_originals(eggs: Path, originals: Path) -> None:
    assert "egg8" in refused("verify", eggs, originals / "egg7.ply")


def test_verify_on_a_gpu_that_is_not_there(eggs: Path, originals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = refused("verify", eggs, originals, "--device", "cuda")
    assert message == "device is 'cuda', but torch finds no GPU here; expected cpu"
    monkeypatch.setitem(sys.modules, "torch", None)
    message = refused("verify", eggs, originals, "--device", "cuda")
    assert message == "--device cuda needs torch: pip install 'pcqaad[fit]'"
