"""Residuals that the images of a class share."""

import numpy as np
from numpy.typing import NDArray

from howfar.audit.sample import Sample, Values

Patterns = NDArray[np.float32] | NDArray[np.float64]


def shared(sample: Sample) -> float:
    """Likeness of a class's mean residuals, minus that of the residuals after strong JPEG compression.

    Class-wise noise survives averaging and is removed by JPEG. Content that a class has at fixed places survives both.
    """
    return within(sample, sample.residuals) - within(sample, sample.purified.residuals)


def one_pixel(sample: Sample) -> float:
    """Largest energy share of a single pixel in a class's mean residual, mean over classes."""
    means = _means(sample.residuals, sample.labels, np.arange(sample.classes))
    energy = (means.reshape(len(means), sample.data.shape[0], -1) ** 2).sum(1)
    return float((energy.max(1) / (energy.sum(1) + 1e-12)).mean())


def within(sample: Sample, patterns: Values) -> float:
    """Return ``alike`` of two halves, mean over the splits of a sample."""
    labels = sample.labels
    found = [alike(patterns[one], labels[one], patterns[other], labels[other]) for one, other in sample.splits]
    return float(np.mean(found))


def alike(one: Patterns, labels: NDArray[np.int64], other: Patterns, others: NDArray[np.int64]) -> float:
    """Return the mean cosine between a class's mean patterns in two sets, minus that between different classes."""
    known = np.intersect1d(labels, others)
    if len(known) < 2:
        return 0.0
    first, second = (_means(*half, known) for half in ((one, labels), (other, others)))
    cosines = _unit(first) @ _unit(second).T
    own = np.eye(len(cosines), dtype=bool)
    return float(cosines[own].mean() - cosines[~own].mean())


def _means(patterns: Patterns, labels: NDArray[np.int64], classes: NDArray[np.int64]) -> Patterns:
    flat = patterns.reshape(len(patterns), -1)
    return np.stack([flat[labels == label].mean(0) for label in classes])


def _unit(rows: Patterns) -> Patterns:
    unit: Patterns = rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-12)
    return unit
