"""How well simple models tell held-out images by features that a strong JPEG takes away.

Protection adds features that are easier than what images show: noise of many methods is linearly separable (Yu et al.,
KDD 2022, arXiv:2111.00898), a two-layer network finds it (Zhu et al., AAAI 2024, arXiv:2312.08898). Some clean sets
are separable too (digits, say), so what counts is how much is lost when noise is taken away.
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
    """Accuracy that linear models lose by the JPEG: (raw − purified) ÷ (1 − chance)."""
    return (_held_out(sample, pixels_of) - _held_out(sample.purified, pixels_of)) / (1 - sample.chance)


def remainder(sample: Sample) -> float:
    """By how much a linear model tells more from what a median filter removes than from what it leaves."""
    removed = _held_out(sample, lambda data: residual(pixels_of(data)))
    left = _held_out(sample, lambda data: pixels_of(data) - residual(pixels_of(data)))
    return (removed - left) / (1 - sample.chance)


def two_layers(sample: Sample) -> float:
    """Accuracy that a network of two layers loses by the JPEG: (raw − purified) ÷ (1 − chance)."""
    return (_two_layers(sample) - _two_layers(sample.purified)) / (1 - sample.chance)


def filters(sample: Sample) -> float:
    """By how much high frequencies tell more than low ones, by their power alone.

    Filters of one kernel a class (CUDA) and autoregressive noise leave their mark there.
    """
    high = _held_out(sample, lambda data: _powers(pixels_of(data), high=True))
    low = _held_out(sample, lambda data: _powers(pixels_of(data), high=False))
    return (high - low) / (1 - sample.chance)


def accuracy(first: tuple[Values, NDArray[np.int64]], second: tuple[Values, NDArray[np.int64]], classes: int) -> float:
    """Return the accuracy of ridge regression on one-hot labels, learned on the first and judged on the second."""
    (inputs, labels), (others, truth) = first, second
    middle, scale = inputs.mean(0), inputs.std() + 1e-9
    inputs, others = (inputs - middle) / scale, (others - middle) / scale
    wished = np.eye(classes)[labels]
    mean = wished.mean(0)
    kernel = inputs @ inputs.T
    penalty = PENALTY * np.trace(kernel) / len(kernel)
    weights = np.linalg.solve(kernel + penalty * np.eye(len(kernel)), wished - mean)
    said = others @ inputs.T @ weights + mean
    return float((said.argmax(1) == truth).mean())


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
        warnings.simplefilter("ignore", ConvergenceWarning)  # so many steps are meant
        network.fit(inputs, labels)
    return float((network.predict(others) == truth).mean())


def _powers(images: Values, *, high: bool) -> Values:
    """Return log power at the frequencies below or above half of the highest one."""
    around = images - images.mean((2, 3), keepdims=True)
    power = np.abs(np.fft.rfft2(around)) ** 2
    rows, columns = (np.abs(f) for f in (np.fft.fftfreq(images.shape[2]), np.fft.rfftfreq(images.shape[3])))
    above = np.maximum(rows[:, None], columns[None]) >= 0.25
    logs: Values = np.log(power + 1e-6)
    return logs[..., above if high else ~above]
