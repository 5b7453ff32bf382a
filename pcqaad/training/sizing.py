"""How large a model is, from the data that it is fitted to."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.architecture import Architecture, too_large
from pcqaad.errors import SettingsError
from pcqaad.settings import Settings


@dataclass(frozen=True)
class Sizing:
    """How settings that are left open are chosen."""

    # Widths of the shared layers and of the patches', by the largest size of a data set (clouds x points) for them.
    widths: tuple[tuple[float, tuple[int, ...], int], ...] = (
        (2e5, (96, 64, 64, 64), 32),
        (3e6, (128, 80, 80, 80), 32),
        (2e7, (256, 128, 128, 128), 64),
        (math.inf, (256, 160, 160, 160), 80),
    )
    patch_points: int = 2048  # of a patch, about
    most_patches: int = 128
    smallest_latent: int = 2  # numbers
    largest_latent: int = 256  # numbers
    steps: int = 10_000  # of a fit, whatever the size of the set: one to three minutes of a core
    network: float = 0.35  # the part of a budget that weights take: the template and components compete for the rest
    weight: float = 3.5  # bits of a weight, about
    narrowest: float = 0.1  # least factor of the usual widths
    widest: float = 2.5  # largest factor of them


_SIZING = Sizing()


def resolve(settings: Settings, clouds: int, points: int, spectrum: NDArray[np.floating]) -> Settings:
    """Make the open choices from clouds, points and matched spectrum; raises SettingsError for what no file holds."""
    widths, patch = next((shared, patch) for size, shared, patch in _SIZING.widths if clouds * points <= size)
    patches = min(settings.patches or choose_patches(points), points)
    latent = settings.latent or latent_size(spectrum)
    usual = Architecture(clouds, points, latent, widths, patch, patches, settings.residual)
    if budget := settings.budget(clouds, points):
        usual = _within(budget, usual)
    chosen = replace(usual, shared=settings.shared or usual.shared, patch=settings.patch or usual.patch)
    if problem := too_large(chosen):
        raise SettingsError(f"a file cannot hold such a model: {problem}")
    batch, epochs = min(settings.batch, clouds), settings.epochs
    if epochs is None and settings.minutes is None:
        # An epoch draws every cloud once, and a step draws `batch` of them.
        epochs = max(1, round(_SIZING.steps * batch / clouds))
    rematch = 0 if settings.registered else settings.rematch
    settings = replace(settings, batch=batch, sample=min(settings.sample, points), epochs=epochs, rematch=rematch)
    return replace(settings, shared=chosen.shared, patch=chosen.patch, patches=patches, latent=latent)


def choose_patches(points: int) -> int:
    """Return the number of patches, a power of two, for clouds of this many points."""
    return min(1 << (max(points // _SIZING.patch_points, 1).bit_length() - 1), _SIZING.most_patches)


def latent_size(spectrum: NDArray[np.floating]) -> int:
    """Choose the latent size from the singular values of the matched coordinates (clouds x coordinates).

    Values above the flat tail of sampling noise tell of shapes. The threshold is 1.43 times the median singular
    value: the optimal hard one for a matrix much wider than high and unknown noise (Gavish and Donoho, 2014,
    equation 11 at beta -> 0).
    """
    above = int((spectrum > 1.43 * np.median(spectrum)).sum())
    return int(np.clip(above, _SIZING.smallest_latent, _SIZING.largest_latent))


def _within(budget: int, usual: Architecture) -> Architecture:
    """Scale the usual widths so that the weights take their part of a file of `budget` bytes.

    This predicts; the step sizes make up for the rest.
    """
    weights = 8 * budget * _SIZING.network / _SIZING.weight

    def scaled(factor: float) -> Architecture:
        *shared, patch = (max(8, 4 * round(width * factor / 4)) for width in (*usual.shared, usual.patch))
        return replace(usual, shared=tuple(shared), patch=patch)

    factors = np.geomspace(_SIZING.narrowest, _SIZING.widest, 100)
    return scaled(max((f for f in factors if scaled(f).weights() <= weights), default=_SIZING.narrowest))
