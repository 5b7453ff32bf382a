"""Every choice of a fit, with its default and its reason, and the presets of the paper."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from pcqaad.decoder.architecture import MAX_LATENT, MAX_LAYERS, MAX_PATCHES, MAX_POINTS, MAX_WIDTH
from pcqaad.errors import SettingsError

# Random generators and what records them take so much.
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Settings:
    """What a fit is asked for. None stands for `auto`: chosen from the data by `resolve`.

    A `criterion` other than "matched" is a loss of `pcqaad.losses.names`: `landau`, `gamma:shape=2.5,rate=0.5`. A step
    then compares the decoded points of each cloud with as many of the cloud's own, drawn at random, in coordinates
    of which the clouds' median diagonal is 4. No assignment is trained towards, but there is one all the same:
    template and latents start from it, re-matching keeps it near to what is decoded, progress and the search for
    steps look at the distances to it. EM-kD decides the file whatever was trained.
    """

    # The decoder (paper, section 3.3).
    patches: int | None = None  # K
    latent: int | None = None  # numbers per cloud
    shared: tuple[int, ...] | None = None  # widths of the layers that all patches share
    patch: int | None = None  # width of a patch's own hidden layer
    residual: bool = True  # the network moves the template point instead of placing it: learns far faster

    # The start.
    template: str = "medoid"  # or "random", the paper's: one cloud of the set
    matching: str = "optimal"  # see CHOICES; GREEDY leaves an error twice as large where true partners exist
    intermediates: int = 64  # clouds that others, far from the template, are matched by way of; 0: none
    greedy_cell: int = 256  # points per cell of QAAD_GREEDY; smaller is faster and looser
    latent_init: str = (
        "components"  # principal components of the matched coordinates, "random", or "encoder": see pretrain
    )

    # The loop.
    criterion: str = "matched"  # squared distance to the assigned point; or a loss of nearest neighbours, see above
    epochs: int | None = None  # passes in which every cloud is drawn once; None: as many as `minutes` holds
    minutes: float | None = None  # wall clock until training ends, reading and matching before it included
    batch: int = 16  # clouds a step (paper, section 4.2)
    sample: int = 1024  # points of a cloud a step; more steps beat more points on a CPU
    learning_rate: float = 5e-3
    warmup: int = 30  # steps of linear growth of the rate
    schedule: str = "cosine"  # or "constant", the paper's (it names none)
    pretrain: float = (
        0.25  # first part of the fit, with latent_init "encoder": Chamfer and a PointNet (paper, section 4.2)
    )
    reassign: bool = False  # QAAD_REASSIGNMENT on the sampled points of every step: a fifth of its time
    rematch: int = 1024  # pairs a step re-matched to what is decoded, whole clouds in turn; 0: none

    # The file.
    tune: float = 0.15  # last part of the fit, which trains what rounding will leave: a bit less a number
    tolerance: float = 0.01  # how much quantisation may raise the EM-kD over the float model's
    measure: int = 16  # clouds on which that rise is measured, spread over the collection

    # Instead of the tolerance, at most one of these.
    max_bytes: int | None = None  # of the file, never more
    ratio: float | None = None  # raw float32 coordinates to file, at least
    max_emkd: float | None = None  # percent of the diagonal: the coarsest steps that keep to it

    surface: int | None = None  # points drawn from the faces of each mesh; None: clouds are taken as they are
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        def demand(holds: bool, name: str, rule: str) -> None:
            if not holds:
                raise SettingsError(f"{name} is {getattr(self, name)!r}, expected {rule}")

        # What a file has no room for is refused here, not after the fit.
        room = {"patches": MAX_PATCHES, "latent": MAX_LATENT, "patch": MAX_WIDTH, "surface": MAX_POINTS}
        for name, most in room.items():
            value = getattr(self, name)
            demand(value is None or 1 <= value <= most, name, f"1 to {most:,}")
        demand(self.epochs is None or self.epochs >= 1, "epochs", "at least 1")
        for name in ("batch", "sample", "greedy_cell", "measure", "warmup"):
            demand(getattr(self, name) >= 1, name, "at least 1")
        for name in ("rematch", "intermediates"):
            demand(getattr(self, name) >= 0, name, "0 or more")
        demand(0 <= self.seed <= MAX_SEED, "seed", f"0 to {MAX_SEED}")
        demand(self.minutes is None or 0 < self.minutes < math.inf, "minutes", "more than 0 and finite")
        if (widths := self.shared) is not None:
            fitting = 1 <= len(widths) <= MAX_LAYERS and 1 <= min(widths) <= max(widths) <= MAX_WIDTH
            demand(fitting, "shared", f"1 to {MAX_LAYERS} widths of 1 to {MAX_WIDTH:,}")
        demand(0 < self.learning_rate < math.inf, "learning_rate", "more than 0 and finite")
        demand(0 < self.tolerance <= 1, "tolerance", "a fraction above 0")
        demand(0 <= self.tune < 1, "tune", "a fraction of the fit")
        demand(0 < self.pretrain < 1, "pretrain", "a fraction of the fit")
        for name in _GOALS:
            value = getattr(self, name)
            demand(value is None or 0 < value < math.inf, name, "more than 0 and finite")
        if len(given := [name for name in _GOALS if getattr(self, name) is not None]) > 1:
            raise SettingsError(f"{given[0]} and {given[1]} cannot both be asked for")
        if self.criterion != "matched":
            # Here, not above: they need this module.
            from pcqaad.losses.names import parse

            parse(self.criterion)
        if self.latent_init == "encoder":
            if self.latent is None:
                raise SettingsError("latent_init from the encoder needs a latent size, which it cannot choose")
            demand(self.batch > 1, "batch", "at least 2 clouds for the encoder's batch norm")
        for name, choices in CHOICES.items():
            demand(getattr(self, name) in choices, name, " or ".join(choices))

    def budget(self, clouds: int, points: int) -> int | None:
        """Return the bytes that a file of so many clouds and points may take; None where nothing limits them."""
        if self.ratio is None:
            return self.max_bytes
        return math.floor(min(12 * clouds * points / self.ratio, 2.0**62))

    def as_json(self) -> dict[str, Any]:
        """Return the settings as a JSON-able mapping."""
        return asdict(self)


_GOALS = ("max_bytes", "ratio", "max_emkd")

CHOICES = {
    "template": ("medoid", "random"),
    # All points at once within 5 % of the optimum; QAAD_GREEDY, by exact cells or by the paper's auction in
    # them; or none, the paper's first ablation.
    "matching": ("optimal", "greedy", "paper", "random"),
    "latent_init": ("components", "random", "encoder"),
    "schedule": ("cosine", "constant"),
    "device": ("auto", "cpu", "cuda"),
}

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
    tune=0.05,  # which leaves the paper's 600 before it
    sample=4096,
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
