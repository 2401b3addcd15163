"""Marks of noise where images are flat: there, residuals are noise and little else.

A sky, a wall or the ground of a digit shows what a budget of some 255ths hides elsewhere.
"""

import numpy as np
from scipy.ndimage import maximum_filter, median_filter, minimum_filter

from howfar.audit.noise import alike
from howfar.audit.sample import Sample, Values, labels_of, pixels_of
from howfar.audit.separability import accuracy
from howfar.data import Data

RANGE = 16 / 255  # between neighbours after a median filter, at most: flat
MOST = 32 / 255  # residuals are cut here
LAGS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))


def flat(sample: Sample) -> float:
    """How alike mean residuals of one class are in flat places, less how alike those of two classes are: cosines."""
    (first, labels), (second, others) = ((_residuals(half), labels_of(half)) for half in sample.halves)
    return alike(first, labels, second, others)


def texture(sample: Sample) -> float:
    """Accuracy of a linear model on how residuals in flat places correlate with their neighbours: ÷ (1 − chance).

    Autoregressive noise has correlations of its own for every class, whatever its place.
    """
    halves = [(_correlations(_residuals(half)), labels_of(half)) for half in sample.halves]
    return (accuracy(halves[0], halves[1], sample.classes) - sample.chance) / (1 - sample.chance)


def _residuals(data: Data) -> Values:
    """Return what a median over 3×3 pixels takes away in flat places, 0 elsewhere."""
    images = pixels_of(data)
    window = (1, 1, 3, 3)
    smooth = median_filter(images, size=window, mode="nearest")
    calm = maximum_filter(smooth, size=window) - minimum_filter(smooth, size=window) <= RANGE
    residuals: Values = np.clip(images - smooth, -MOST, MOST) * calm
    return residuals


def _correlations(residuals: Values) -> Values:
    """Return one row an image: correlation of its residuals with themselves at some lags, and between channels."""
    energy = (residuals**2).sum((2, 3)) + 1e-4
    found = [(residuals * np.roll(residuals, lag, (2, 3))).sum((2, 3)) / energy for lag in LAGS]
    channels = residuals.shape[1]
    for one in range(channels):
        for other in range(one):
            mixed = (residuals[:, one] * residuals[:, other]).sum((1, 2))
            found.append((mixed / np.sqrt(energy[:, one] * energy[:, other]))[:, None])
    return np.concatenate(found, 1)
