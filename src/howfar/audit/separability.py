"""Accuracy of simple models from features that strong JPEG compression removes.

Protection adds features that are easier to learn than content: the noise of many methods is linearly separable (Yu et
al., KDD 2022, arXiv:2111.00898) or found by a two-layer network (Zhu et al., AAAI 2024, arXiv:2312.08898). Some clean
sets, such as digits, are separable as well, so the score is the accuracy that is lost when noise is removed.
"""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from howfar.audit.sample import Sample, Values, labels_of, pixels_of, residual
from howfar.data import Data

PENALTY = 0.1  # of ridge regression, relative to the mean eigenvalue
HIDDEN = 128
PASSES = 10


def linear(sample: Sample) -> float:
    """Accuracy of a linear model that is lost by JPEG: (raw − purified) ÷ (1 − chance)."""
    return (_held_out(sample, pixels_of) - _held_out(sample.purified, pixels_of)) / (1 - sample.chance)


def remainder(sample: Sample) -> float:
    """Normalized accuracy of a linear model on the residuals of a median filter, minus that on its output."""
    removed = _held_out(sample, lambda data: residual(pixels_of(data)))
    left = _held_out(sample, lambda data: pixels_of(data) - residual(pixels_of(data)))
    return (removed - left) / (1 - sample.chance)


def two_layers(sample: Sample) -> float:
    """Accuracy of a two-layer network that is lost by JPEG: (raw − purified) ÷ (1 − chance)."""
    return (_two_layers(sample) - _two_layers(sample.purified)) / (1 - sample.chance)


def filters(sample: Sample) -> float:
    """Normalized accuracy on the log power of high frequencies, minus that on low frequencies.

    Detects class-wise filters (CUDA) and autoregressive noise.
    """
    high = _held_out(sample, lambda data: _powers(pixels_of(data), high=True))
    low = _held_out(sample, lambda data: _powers(pixels_of(data), high=False))
    return (high - low) / (1 - sample.chance)


def accuracy(first: tuple[Values, NDArray[np.int64]], second: tuple[Values, NDArray[np.int64]], classes: int) -> float:
    """Return the accuracy of ridge regression on one-hot labels, fitted on the first set and tested on the second."""
    (inputs, labels), (others, truth) = first, second
    middle, scale = inputs.mean(0), inputs.std() + 1e-9
    inputs, others = (inputs - middle) / scale, (others - middle) / scale
    wanted = np.eye(classes)[labels]
    mean = wanted.mean(0)
    kernel = inputs @ inputs.T
    penalty = PENALTY * np.trace(kernel) / len(kernel)
    weights = np.linalg.solve(kernel + penalty * np.eye(len(kernel)), wanted - mean)
    outputs = others @ inputs.T @ weights + mean
    return float((outputs.argmax(1) == truth).mean())


def _held_out(sample: Sample, view: Callable[[Data], Values]) -> float:
    first, second = ((view(half).reshape(len(half), -1), labels_of(half)) for half in sample.halves)
    return accuracy(first, second, sample.classes)


def _two_layers(sample: Sample) -> float:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    (inputs, labels), (others, truth) = (
        (pixels_of(half).reshape(len(half), -1) - 0.5, labels_of(half)) for half in sample.halves
    )
    network = MLPClassifier(
        (HIDDEN,), max_iter=15, batch_size=min(64, len(labels)), random_state=sample.seed, tol=0.0, n_iter_no_change=99
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of steps is fixed on purpose
        network.fit(inputs, labels)
    return float((network.predict(others) == truth).mean())


def _powers(images: Values, *, high: bool) -> Values:
    """Return the log power at frequencies below or above half of the highest one."""
    around = images - images.mean((2, 3), keepdims=True)
    power = np.abs(np.fft.rfft2(around)) ** 2
    rows, columns = (np.abs(f) for f in (np.fft.fftfreq(images.shape[2]), np.fft.rfftfreq(images.shape[3])))
    above = np.maximum(rows[:, None], columns[None]) >= 0.25
    logs: Values = np.log(power + 1e-6)
    return logs[..., above if high else ~above]
