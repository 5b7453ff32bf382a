"""Every choice of a fit, with its default and its reason, and the presets of the paper."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from pcqaad.decoder.architecture import MAX_LATENT, MAX_LAYERS, MAX_PATCHES, MAX_POINTS, MAX_WIDTH
from pcqaad.errors import SettingsError
from pcqaad.losses.names import parse

# Random generators and the file's info hold no larger seed.
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Settings:
    """What a fit is asked for. None stands for `auto`: chosen from the data by `training.sizing.resolve`.

    A `criterion` other than "matched" is a loss of `pcqaad.losses.names`: `landau`, `gamma:shape=2.5,rate=0.5`. A step
    then compares the decoded points of each cloud with an equal number of the cloud's own, drawn at random, in
    coordinates in which the median diagonal is 4. Nothing is trained towards an assignment then, but there is one all
    the same. Template and latents start from it, and re-matching keeps it near to the decoded points. Progress and the
    search for step sizes look at the distances to it. EM-kD decides the file whatever was trained.
    """

    # The decoder (paper, section 3.3).
    patches: int | None = None  # K, parts of the template with layers of their own
    latent: int | None = None  # L, numbers per cloud
    shared: tuple[int, ...] | None = None  # widths of the layers that all patches share
    patch: int | None = None  # width of a patch's own hidden layer
    residual: bool = True  # the network moves the template point instead of placing it: it learns far faster

    # The start.
    registered: bool = False  # point j of every cloud is the same point: nothing is matched, nor re-matched
    template: str = "medoid"  # the cloud nearest to all others; registered ones' mean; "random": any, as in the paper
    matching: str = "nonrigid"  # see CHOICES; "optimal" tears where poses differ, "greedy" everywhere
    intermediates: int = 64  # clouds by way of which those far from the template may be matched; 0: none
    greedy_cell: int = 256  # points of a cell of QAAD_GREEDY: smaller is faster and looser
    latent_init: str = "components"  # principal ones of the matched coordinates; "random"; "encoder": a PointNet's

    # The steps.
    criterion: str = "matched"  # squared distance to the assigned point; or a loss of nearest neighbours, see above
    epochs: int | None = None  # passes in which every cloud is drawn once; None: as many as `minutes` holds
    minutes: float | None = None  # wall clock of the whole fit, from reading to the file
    batch: int = 16  # clouds of a step (paper, section 4.2)
    sample: int = 128  # points of a cloud at a step: on a CPU more steps beat more points, down to this many
    optimiser: str = "muon"  # of the matrices, with Adam for all else, halves the error; "adam" for all, the paper's
    learning_rate: float = 5e-3  # of Adam, at the start; Muon's is four times that
    warmup: int = 30  # steps in which the rate grows to that: latents and weights do not fit each other yet
    schedule: str = "cosine"  # how the rate falls; "constant", the paper's, which names none
    pretrain: float = 0.25  # first part of a fit that starts from the encoder: Chamfer, PointNet (paper, section 4.2)
    reassign: bool = False  # QAAD_REASSIGNMENT on the sampled points of every step: a fifth of its time
    rematch: int = 1024  # pairs re-matched to decoded points at a step, whole clouds in turn; 0: none

    # The file.
    tune: float = 0.0  # last part of the fit, at a low rate that falls: rest for a schedule that is constant
    components: bool = True  # whether a linear part may help the network or stand in for it, where that saves bytes
    # Part by which quantisation may raise the float model's EM-kD. The first percents cost most bytes.
    tolerance: float = 0.05
    measure: int = 16  # clouds on which that is measured, spread over the collection

    # Instead of the tolerance, at most one of these.
    max_bytes: int | None = None  # of the file, never more
    ratio: float | None = None  # raw float32 coordinates to file, at least
    max_emkd: float | None = None  # percent of the diagonal: the coarsest step sizes that keep to it

    surface: int | None = None  # points drawn from the faces of each mesh; None: clouds are taken as they are
    seed: int = 0  # of all random choices
    device: str = "auto"  # a GPU where there is one

    def __post_init__(self) -> None:
        for holds, rule, names in _RULES:
            for name in names:
                value, may_be_open = getattr(self, name), getattr(Settings, name) is None
                if not (value is None and may_be_open) and not holds(value):
                    raise SettingsError(f"{name} is {value!r}, expected {rule}")
        if len(given := [name for name in _GOALS if getattr(self, name) is not None]) > 1:
            raise SettingsError(f"{given[0]} and {given[1]} cannot both be asked for; give one")
        if self.criterion != "matched":
            parse(self.criterion)
        if self.registered:
            for name, agrees in _REGISTERED.items():
                if not agrees(value := getattr(self, name)):
                    text = f"registered and {name} {value!r} cannot both be asked for"
                    raise SettingsError(f"{text}: one keeps the given pairs, the other makes its own")
        if self.latent_init == "encoder" and self.latent is None:
            raise SettingsError("latent_init from the encoder needs a latent size, which it cannot choose: give latent")
        if self.latent_init == "encoder" and self.batch < 2:
            raise SettingsError("batch is 1, expected at least 2 clouds for the encoder's batch norm")

    def budget(self, clouds: int, points: int) -> int | None:
        """Return the bytes that a file may take, for clouds of 12 bytes a point; None where nothing limits them."""
        if self.ratio is None:
            return self.max_bytes
        return math.floor(min(12 * clouds * points / self.ratio, 2.0**62))

    def as_json(self) -> dict[str, Any]:
        """Return the settings as a JSON-able mapping."""
        return asdict(self)


CHOICES = {
    "template": ("medoid", "random"),
    # All points at once, checked for tears and mended; all points at once within 5 % of the optimum, tears and all;
    # QAAD_GREEDY, by exact cells or by the paper's auction in them; or none, the paper's first ablation.
    "matching": ("nonrigid", "optimal", "greedy", "paper", "random"),
    "latent_init": ("components", "random", "encoder"),
    "optimiser": ("muon", "adam"),
    "schedule": ("cosine", "constant"),
    "device": ("auto", "cpu", "cuda"),
}
_GOALS = ("max_bytes", "ratio", "max_emkd")
# What goes with known pairs: choices by which no others are made.
_REGISTERED: dict[str, Callable[[Any], bool]] = {
    "criterion": "matched".__eq__,
    "matching": "nonrigid".__eq__,
    "latent_init": ("components", "random").__contains__,
    "reassign": lambda value: not value,
    "surface": lambda value: value is None,
}


def _are_widths(widths: tuple[int, ...]) -> bool:
    return 1 <= len(widths) <= MAX_LAYERS and 1 <= min(widths) <= max(widths) <= MAX_WIDTH


# What has to hold, in words, and for which settings. What a file has no room for is refused here, not after the fit.
_RULES: tuple[tuple[Callable[[Any], bool], str, tuple[str, ...]], ...] = (
    (range(1, MAX_PATCHES + 1).__contains__, f"1 to {MAX_PATCHES:,}", ("patches",)),
    (range(1, MAX_LATENT + 1).__contains__, f"1 to {MAX_LATENT:,}", ("latent",)),
    (range(1, MAX_WIDTH + 1).__contains__, f"1 to {MAX_WIDTH:,}", ("patch",)),
    (range(1, MAX_POINTS + 1).__contains__, f"1 to {MAX_POINTS:,}", ("surface",)),
    (_are_widths, f"1 to {MAX_LAYERS} widths of 1 to {MAX_WIDTH:,}", ("shared",)),
    (lambda value: value >= 1, "at least 1", ("epochs", "batch", "sample", "greedy_cell", "measure", "warmup")),
    (lambda value: value >= 0, "0 or more", ("rematch", "intermediates")),
    (lambda value: 0 <= value <= MAX_SEED, f"0 to {MAX_SEED}", ("seed",)),
    (lambda value: 0 < value < math.inf, "more than 0 and finite", ("minutes", "learning_rate", *_GOALS)),
    (lambda value: 0 < value <= 1, "a fraction above 0", ("tolerance",)),
    (lambda value: 0 <= value < 1, "a fraction of the fit", ("tune",)),
    (lambda value: 0 < value < 1, "a fraction of the fit above 0", ("pretrain",)),
    *((choices.__contains__, " or ".join(choices), (name,)) for name, choices in CHOICES.items()),
)

# Paper, section 4.2: layers 256-128-128-128 shared and 64-3 per patch, Adam at 1e-3, 16 clouds a step, 600
# epochs, one random cloud as the template, swaps only. The patch layers stand alone (no residual).
_PAPER = Settings(
    shared=(256, 128, 128, 128),
    patch=64,
    residual=False,
    template="random",
    matching="greedy",
    greedy_cell=1024,
    latent_init="random",
    epochs=632,
    components=False,
    tune=0.05,  # which leaves the paper's 600 before it
    sample=4096,
    optimiser="adam",
    learning_rate=1e-3,
    warmup=1,
    schedule="constant",
    reassign=True,
    rematch=0,
)

PRESETS: dict[str, Settings] = {
    "auto": Settings(),
    "paper-skulls": replace(_PAPER, patches=16, latent=10, sample=2048),
    "paper-dfaust": replace(_PAPER, patches=128, latent=256),
    "paper-coma": replace(_PAPER, patches=128, latent=256),
}
