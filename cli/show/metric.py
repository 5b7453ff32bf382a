"""The figures of one metric in `verify`, as its table and its page show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pcqaad.cli.show.text import METRICS, figure, length


@dataclass(frozen=True)
class Metric:
    """One metric of a file's clouds."""

    name: str  # as the option `--metric` takes it
    values: Mapping[str, Any]  # the figures, as `--json` prints them
    unit: str  # of lengths
    source: str  # measured or recorded

    @property
    def title(self) -> str:
        """The metric's name for people."""
        return METRICS[self.name]

    @property
    def bracketed(self) -> bool:
        """Whether two ends are shown, `at_least` and `mean`, that the true mean lies between.

        EM-kD has an `at_least` too, but so near its mean (0.1 %) that it is not worth showing.
        """
        return self.name == "emd"

    @property
    def least_percent(self) -> float:
        """`at_least` in percent of the diagonal."""
        mean, percent = float(self.values["mean"]), float(self.values["mean_percent"])
        return percent * self.values["at_least"] / mean if mean else percent

    @property
    def percent(self) -> str:
        """The mean as a part of the diagonal: `1.479 %`, or for EMD `1.41 to 1.479 %`."""
        mean = f"{figure(self.values['mean_percent'])} %"
        return f"{figure(self.least_percent)} to {mean}" if self.bracketed else mean

    def summary(self) -> dict[str, str]:
        """Return the figures over all clouds that are known, by their labels."""
        values, mean = self.values, length(self.values["mean"], self.unit)
        worst = f"{values['worst']['name']}: {'at most ' * self.bracketed}{length(values['worst']['mean'], self.unit)}"
        return {
            "mean": f"between {figure(values['at_least'])} and {mean}" if self.bracketed else mean,
            "of diagonal": self.percent,
            **({"rms": length(values["rms"], self.unit)} if "rms" in values and not self.bracketed else {}),
            **({"psnr": f"{values['psnr']:.2f} dB"} if values.get("psnr") is not None else {}),
            "worst cloud": worst,
        }

    def worst(self, count: int) -> tuple[list[str], list[list[str]]]:
        """Return labels and a row for each of the `count` worst clouds; no row where no cloud was measured."""
        shown = {"at_least": "at least", "mean": "at most"} if self.bracketed else {"mean": "mean", "rms": "rms"}
        clouds = sorted(self.values.get("per_cloud", []), key=lambda cloud: -cloud["mean"])[:count]
        rows = [[cloud["name"], *(length(cloud[key], self.unit) for key in shown)] for cloud in clouds]
        return [f"worst by {self.title}", *shown.values()], rows


def metrics_of(result: Mapping[str, Any]) -> list[Metric]:
    """Return the metrics of `verify`; clouds that were appended have a record of their own."""
    unit = result["unit"]
    found = [Metric(name, values, unit, result["source"]) for name, values in result["metrics"].items()]
    appended = result.get("appended", [])
    return found + [Metric(values["metric"], values, unit, "recorded, appended") for values in appended]
