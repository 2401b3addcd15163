"""Noise in flat regions, where residuals contain little else.

Noise that is hidden by texture elsewhere is measurable on a sky, a wall or the background of a digit.
"""

import functools

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from howfar.audit.noise import within
from howfar.audit.sample import Sample, Values, windows
from howfar.audit.separability import accuracy

RANGE = 16  # maximum difference between neighbors in a flat region, after a median filter, of 255
MOST = 32 / 255  # larger residuals are no noise but thin lines
LAGS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))


def flat(sample: Sample) -> float:
    """Likeness of a class's mean residuals in flat regions, minus that of all residuals after strong compression."""
    return within(sample, _calm(sample)) - within(sample, sample.purified.residuals)


def texture(sample: Sample) -> float:
    """Normalized accuracy on local correlations of residuals in flat regions, minus that after strong compression.

    Autoregressive noise has class-specific correlations that do not depend on position.
    """
    compressed = sample.purified.residuals
    return (_of_correlations(sample, _calm(sample)) - _of_correlations(sample, compressed)) / (1 - sample.chance)


def fine_texture(sample: Sample) -> float:
    """Normalized accuracy on local correlations of residuals in flat regions, minus that at half the size.

    What can be seen has correlations at both sizes, noise of single pixels only at the full one.
    """
    half = Sample(sample.data.with_pixels(_halved(sample.data.pixels)), sample.seed)
    return (_of_correlations(sample, _calm(sample)) - _of_correlations(sample, half.residuals)) / (1 - sample.chance)


def _halved(pixels: Tensor) -> Tensor:
    return functional.avg_pool2d(pixels.float(), 2).round().to(torch.uint8)


def _calm(sample: Sample) -> Values:
    """Return the residuals of a 3×3 median filter in flat regions, 0 elsewhere and where they are too large."""
    around = windows(sample.smooth)
    calm = functools.reduce(np.maximum, around) - functools.reduce(np.minimum, around) <= RANGE
    residuals: Values = sample.residuals * (calm & (np.abs(sample.residuals) <= MOST))
    return residuals


def _of_correlations(sample: Sample, residuals: Values) -> float:
    return accuracy(sample, _correlations(np.clip(residuals, -MOST, MOST)))


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
