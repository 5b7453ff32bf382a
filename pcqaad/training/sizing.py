"""How large a model is, from the data that it is fitted to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pcqaad.decoder.architecture import Architecture, too_large
from pcqaad.errors import SettingsError
from pcqaad.settings import Settings

# Widths by size of the data set (clouds x points): shared layers, patch layer.
_SIZES: list[tuple[float, tuple[int, ...], int]] = [
    (2e5, (96, 64, 64, 64), 32),
    (3e6, (128, 80, 80, 80), 32),
    (2e7, (256, 128, 128, 128), 64),
]


_LARGEST: tuple[tuple[int, ...], int] = ((256, 160, 160, 160), 80)


# What a tuned file takes, roughly: bits a weight, a template point and a latent number, and bytes of all else.
_WEIGHT_BITS, _TEMPLATE_BITS, _LATENT_BITS, _OVERHEAD, _CLOUD_OVERHEAD = 5.0, 10.0, 7.5, 1000, 5


# Networks for a budget are so much narrower or wider than usual.
_NARROWEST, _WIDEST = 0.1, 2.5


# Updates a default fit aims at, whatever the size of the set: what the error gains flattens out there.
_STEPS = 2000


def latent_size(spectrum: NDArray[np.floating]) -> int:
    """Choose the latent size from the singular values of the matched coordinates (clouds x coordinates).

    What rises above the flat tail that sampling noise leaves is shape. The threshold is 1.43 times the median
    singular value, the optimal hard one for a matrix much wider than high and unknown noise (Gavish and
    Donoho, 2014, equation 11 at beta -> 0).
    """
    above = int((spectrum > 1.43 * np.median(spectrum)).sum())
    return int(np.clip(above, 2, 256))


def resolve(settings: Settings, clouds: int, points: int, spectrum: NDArray[np.floating]) -> Settings:
    """Fill in what is left to `auto` from the numbers of clouds and points and the matched spectrum.

    Raises SettingsError where no file could hold the model.
    """
    widths, patch = next(((w, p) for limit, w, p in _SIZES if clouds * points <= limit), _LARGEST)
    patches = min(settings.patches or choose_patches(points), points)
    latent = settings.latent or latent_size(spectrum)
    if budget := settings.budget(clouds, points):
        usual = Architecture(clouds, points, latent, widths, patch, patches, settings.residual)
        widths, patch = _widths_within(budget, usual)
    batch = min(settings.batch, clouds)
    epochs = settings.epochs
    if epochs is None and settings.minutes is None:
        # An epoch draws every cloud once and a step draws `batch` of them.
        epochs = max(1, round(_STEPS * batch / clouds))
    widths, patch = settings.shared or widths, settings.patch or patch
    if problem := too_large(Architecture(clouds, points, latent, widths, patch, patches, settings.residual)):
        raise SettingsError(f"a file cannot hold such a model: {problem}")
    return replace(
        settings,
        shared=widths,
        patch=patch,
        patches=patches,
        latent=latent,
        batch=batch,
        sample=min(settings.sample, points),
        epochs=epochs,
    )


def _widths_within(budget: int, usual: Architecture) -> tuple[tuple[int, ...], int]:
    """Scale the usual widths so that the weights take what the rest of a file of `budget` bytes leaves them.

    A prediction, by the bits that tuned files need; the steps then make up for what it is off. Where the template
    alone would take too much of the budget, a small network keeps to half of it.
    """
    rest = usual.points * _TEMPLATE_BITS + usual.clouds * usual.latent * _LATENT_BITS
    rest += 8 * (_OVERHEAD + _CLOUD_OVERHEAD * usual.clouds)
    weights = max(8 * budget - rest, 4 * budget) / _WEIGHT_BITS

    def scaled(factor: float) -> tuple[tuple[int, ...], int]:
        shared = tuple(max(8, 4 * round(width * factor / 4)) for width in usual.shared)
        return shared, max(8, 4 * round(usual.patch * factor / 4))

    def count(factor: float) -> int:
        shared, patch = scaled(factor)
        return replace(usual, shared=shared, patch=patch).weights()

    factors = np.geomspace(_NARROWEST, _WIDEST, 100)
    fitting = [factor for factor in factors if count(factor) <= weights]
    return scaled(max(fitting, default=_NARROWEST))


def choose_patches(points: int) -> int:
    """One patch for about 2,048 points, as a power of two between 1 and 128."""
    return int(2 ** np.clip(np.floor(np.log2(max(points, 1) / 2048)), 0, 7))
