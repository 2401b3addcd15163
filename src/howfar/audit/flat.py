"""Noise in flat regions, where residuals contain little else.

Noise that is hidden by texture elsewhere is measurable on a sky, a wall or the background of a digit.
"""

import numpy as np
from scipy.ndimage import maximum_filter, median_filter, minimum_filter

from howfar.audit.noise import alike
from howfar.audit.sample import Sample, Values, labels_of, pixels_of
from howfar.audit.separability import accuracy
from howfar.data import Data

RANGE = 16 / 255  # maximum difference between neighbors in a flat region, after a median filter
MOST = 32 / 255  # residuals are clipped to it
LAGS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))


def flat(sample: Sample) -> float:
    """Cosine of a class's mean residuals in flat regions between two halves, minus that of different classes."""
    (first, labels), (second, others) = ((_residuals(half), labels_of(half)) for half in sample.halves)
    return alike(first, labels, second, others)


def texture(sample: Sample) -> float:
    """Normalized accuracy of a linear model on local correlations of residuals in flat regions.

    Autoregressive noise has class-specific correlations that do not depend on position.
    """
    halves = [(_correlations(_residuals(half)), labels_of(half)) for half in sample.halves]
    return (accuracy(halves[0], halves[1], sample.classes) - sample.chance) / (1 - sample.chance)


def _residuals(data: Data) -> Values:
    """Return the residuals of a 3×3 median filter in flat regions, 0 elsewhere."""
    images = pixels_of(data)
    window = (1, 1, 3, 3)
    smooth = median_filter(images, size=window, mode="nearest")
    calm = maximum_filter(smooth, size=window) - minimum_filter(smooth, size=window) <= RANGE
    residuals: Values = np.clip(images - smooth, -MOST, MOST) * calm
    return residuals


def _correlations(residuals: Values) -> Values:
    """Return autocorrelations of the residuals at some lags and correlations between channels, one row per image."""
    energy = (residuals**2).sum((2, 3)) + 1e-4
    found = [(residuals * np.roll(residuals, lag, (2, 3))).sum((2, 3)) / energy for lag in LAGS]
    channels = residuals.shape[1]
    for one in range(channels):
        for other in range(one):
            mixed = (residuals[:, one] * residuals[:, other]).sum((1, 2))
            found.append((mixed / np.sqrt(energy[:, one] * energy[:, other]))[:, None])
    return np.concatenate(found, 1)
