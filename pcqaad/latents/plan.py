"""How the latents of new clouds are fitted: every choice, with its default and its reason. Loads no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pcqaad.errors import SettingsError


@dataclass(frozen=True)
class Plan:
    """What fits of whole and of partial clouds share. A first stage moves all starts, a second the best of them."""

    steps: int | None = 200  # of each latent: more gain less than a hundredth of its error; None: minutes end the fit
    starts: int = 4  # of each latent: the mean of the file's, and those of the nearest clouds of the file
    seed: int = 0
    file_latents: int = 256  # latents of the file, spread over it, among which starts are looked for
    coarse_points: int = 1024  # template points that the first stage decodes: enough to tell starts apart
    coarse_share: float = 0.3  # part of the fit that the first stage takes
    coarse_rate: float = 0.1  # at which the first stage begins, in standard deviations a step
    fine_rate: float = 0.05  # at which the second stage begins
    last_rate: float = 0.02  # part of a rate that is left at the end
    sampled_points: int = 1024  # points of a cloud that a step looks at
    refresh_steps: int = 30  # steps between two searches for the points that belong together
    shrinkage: float | None = None  # of the prior's correlations; None: as `LatentPrior` estimates it

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("starts", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise SettingsError(f"{name} is {value}, expected at least {least}")


@dataclass(frozen=True)
class AppendPlan(Plan):
    """How the latents of whole clouds are fitted."""

    minutes: float | None = None  # wall clock until the fit of all clouds ends; None: no limit
    together: int = 8  # clouds fitted at once: few enough for the memory, enough to keep the cores busy
    rounded_from: float = 0.6  # part of the fit after which latents are rounded as the file will hold them
    tolerance: float = 0.05  # part that a first matching may cost above the optimum: later ones improve on it
    farthest_middle: float = 8.0  # distance of a cloud's middle from that of the file's; a diagonal is 4
    shrinkage: float | None = 1.0  # every dimension moves on its own

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.minutes is not None and not self.minutes > 0:
            raise SettingsError(f"minutes is {self.minutes}, expected more than 0")


@dataclass(frozen=True)
class CompletePlan(Plan):
    """How the latents of partial clouds are fitted."""

    steps: int = 150
    criterion: str = "l1"  # from the given points to the decoded cloud, of `pcqaad.losses.names`
    prior: float = 0.03  # weight of the squared standard scores; no other does better (benchmarks/RESULTS.md)
    # The criterion's unit is its value for points that all lie this far off, 1 % of a diagonal. Criteria differ by
    # orders of magnitude; in such units one weight of the prior does for all of them.
    unit_distance: float = 0.04
    # Greatest root mean square of a latent's standard scores; the file's own have 1. A latent farther out would be none
    # of their kind, whatever the points say, and its integers could saturate.
    farthest_score: float = 4.0
    # Greatest median distance of the points to the nearest start, a fifth of the diagonal. Clouds in another unit or
    # place are farther off; shapes that are merely unusual are not.
    farthest_start: float = 0.8
    coarse_points: int = 512
    fine_rate: float = 0.1
    refresh_steps: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.prior < math.inf:
            raise SettingsError(f"prior is {self.prior}, expected a weight of 0 or more")
