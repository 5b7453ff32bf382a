"""How likely a latent is beside those of a file: a Gaussian of these, its correlations shrunk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LatentPrior:
    """A Gaussian over latents: mean + scores @ factor.T with standard normal scores.

    A file often has fewer clouds than its latents have numbers. Their sample covariance is then flat in some
    directions, and a prior of it would forbid these. So the correlations are shrunk towards none, as far as the
    oracle-approximating estimate says (Chen, Wiesel, Eldar and Hero, IEEE Trans. Signal Processing 58, 2010,
    equation 23). Every dimension keeps its own variance.

    Attributes:
        mean: (L,).
        factor: (L, L), lower triangular in the order of the dimensions; zero rows where all latents agree.
        shrinkage: from 0, the sample's correlations, to 1, none.
    """

    mean: Floats
    factor: Floats
    shrinkage: float

    @classmethod
    def of(cls, latents: NDArray[np.floating], shrinkage: float | None = None) -> LatentPrior:
        """Return the prior of latents (N, L), N at least 1; `shrinkage` is estimated where it is None."""
        latents = latents.astype(np.float64)
        count, size = latents.shape
        mean, spread = latents.mean(0), latents.std(0)
        standard = (latents - mean) / np.where(spread > 0, spread, 1.0)
        correlation = standard.T @ standard / count
        # Where all latents agree, nothing is known of how others vary together.
        np.fill_diagonal(correlation, 1.0)
        if shrinkage is None:
            squares = float(np.square(correlation).sum())
            numerator = (1 - 2 / size) * squares + size**2
            denominator = (count + 1 - 2 / size) * (squares - size)
            shrinkage = 1.0 if denominator <= numerator else numerator / denominator
        shrunk = (1 - shrinkage) * correlation + shrinkage * np.eye(size)
        return cls(mean, spread[:, None] * np.linalg.cholesky(shrunk), shrinkage)

    def scores(self, latents: NDArray[np.floating]) -> Floats:
        """Return the standard scores (N, L) of latents (N, L); 0 where all latents of the file agree."""
        moves = np.flatnonzero(np.diag(self.factor) > 0)
        scores = np.zeros(latents.shape)
        inner = self.factor[np.ix_(moves, moves)]
        scores[:, moves] = np.linalg.solve(inner, (latents - self.mean)[:, moves].T).T
        return scores

    def latents(self, scores: NDArray[np.floating]) -> Floats:
        """Return the latents (N, L) of standard scores (N, L)."""
        found: Floats = self.mean + scores @ self.factor.T
        return found
