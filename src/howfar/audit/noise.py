"""Signs of noise: excess power at high frequencies, and residuals shared by a class."""

import numpy as np
from numpy.typing import NDArray

from howfar.audit.sample import Sample, Values, labels_of, pixels_of, residual


def spectrum(sample: Sample) -> float:
    """Excess of log power at the highest frequencies over a power law fitted to the middle ones, in nats.

    Photographs follow a power law, and downscaling reduces the highest frequencies.
    """
    images = pixels_of(sample.data)
    around = images - images.mean((2, 3), keepdims=True)
    power = (np.abs(np.fft.rfft2(around)) ** 2).mean((0, 1))
    rows, columns = np.fft.fftfreq(images.shape[2]), np.fft.rfftfreq(images.shape[3])
    radius = np.hypot(rows[:, None], columns[None])
    middle, end = (radius > 0.06) & (radius < 0.25), (radius > 0.4) & (radius <= 0.5)
    slope, level = np.polyfit(np.log(radius[middle]), np.log(power[middle] + 1e-9), 1)
    return float((np.log(power[end] + 1e-9) - level - slope * np.log(radius[end])).mean())


def shared(sample: Sample) -> float:
    """Cosine of a class's mean residuals between two halves, minus that of different classes.

    Class-wise noise survives averaging, content does not.
    """
    first, second = sample.halves
    return alike(residual(pixels_of(first)), labels_of(first), residual(pixels_of(second)), labels_of(second))


def one_pixel(sample: Sample) -> float:
    """Largest energy share of a single pixel in a class's mean residual, mean over classes."""
    labels = labels_of(sample.data)
    means = _means(residual(pixels_of(sample.data)), labels, np.unique(labels))
    energy = (means.reshape(len(means), sample.data.shape[0], -1) ** 2).sum(1)
    return float((energy.max(1) / (energy.sum(1) + 1e-12)).mean())


def alike(one: Values, labels: NDArray[np.int64], other: Values, others: NDArray[np.int64]) -> float:
    """Return the mean cosine between a class's mean patterns in two sets, minus that between different classes."""
    known = np.intersect1d(labels, others)
    if len(known) < 2:
        return 0.0
    first, second = (_means(*half, known) for half in ((one, labels), (other, others)))
    cosines = _unit(first) @ _unit(second).T
    own = np.eye(len(cosines), dtype=bool)
    return float(cosines[own].mean() - cosines[~own].mean())


def _means(patterns: Values, labels: NDArray[np.int64], classes: NDArray[np.int64]) -> Values:
    flat = patterns.reshape(len(patterns), -1)
    return np.stack([flat[labels == label].mean(0) for label in classes])


def _unit(rows: Values) -> Values:
    unit: Values = rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-12)
    return unit
