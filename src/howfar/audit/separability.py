"""Accuracy of linear models from features that strong JPEG compression or a median filter removes.

Protection adds features that are easier to learn than content: the noise of many methods is linearly separable (Yu et
al., KDD 2022, arXiv:2111.00898). Some clean sets, such as digits, are separable as well, so the score is the accuracy
that is lost when noise is removed.
"""

import numpy as np
from numpy.typing import NDArray

from howfar.audit.sample import Sample, Values, unit

PENALTY = 0.01  # of ridge regression, relative to the mean eigenvalue


def linear(sample: Sample) -> float:
    """Accuracy of a linear model that is lost by JPEG: (raw − purified) ÷ (1 − chance)."""
    raw, purified = (_pixels(each) for each in (sample, sample.purified))
    return (accuracy(sample, raw) - accuracy(sample, purified)) / (1 - sample.chance)


def remainder(sample: Sample) -> float:
    """Normalized accuracy of a linear model on the residuals of a median filter, minus that on its output."""
    return (accuracy(sample, sample.residuals) - accuracy(sample, unit(sample.smooth))) / (1 - sample.chance)


def filters(sample: Sample) -> float:
    """Normalized accuracy on the log power of high frequencies, minus that on low frequencies.

    Detects class-wise filters (CUDA) and autoregressive noise.
    """
    high, low = (accuracy(sample, powers) for powers in _powers(_pixels(sample)))
    return (high - low) / (1 - sample.chance)


def accuracy(sample: Sample, inputs: Values) -> float:
    """Return the accuracy of ridge regression on one-hot labels, fitted on a half and tested on the other.

    Args:
        sample: labels and splits; the mean is over both directions of all splits.
        inputs: features of every image.
    """
    rows = inputs.reshape(len(inputs), -1)
    rows = ((rows - rows.mean(0)) / (rows.std() + 1e-9)).astype(np.float32)
    kernel, wanted = (rows @ rows.T).astype(np.float64), np.eye(sample.classes)[sample.labels]
    found = [
        _held_out(kernel, wanted, sample.labels, *halves)
        for first, second in sample.splits
        for halves in ((first, second), (second, first))
    ]
    return float(np.mean(found))


def _held_out(
    kernel: NDArray[np.float64], wanted: NDArray[np.float64], labels: NDArray[np.int64],
    first: NDArray[np.int64], second: NDArray[np.int64],
) -> float:  # fmt: skip
    from scipy.linalg import solve

    own, mean = kernel[np.ix_(first, first)], wanted[first].mean(0)
    own[np.diag_indices(len(own))] += PENALTY * np.trace(own) / len(own) + 1e-9
    weights = solve(own, wanted[first] - mean, assume_a="pos", overwrite_a=True)
    outputs = kernel[np.ix_(second, first)] @ weights + mean
    return float((outputs.argmax(1) == labels[second]).mean())


def _pixels(sample: Sample) -> Values:
    return unit(sample.data.pixels.numpy())


def _powers(images: Values) -> tuple[Values, Values]:
    """Return the log power at frequencies above and below half of the highest one."""
    around = images - images.mean((2, 3), keepdims=True)
    logs = np.log(np.abs(np.fft.rfft2(around)) ** 2 + 1e-6).astype(np.float32)
    rows, columns = (np.abs(f) for f in (np.fft.fftfreq(images.shape[2]), np.fft.rfftfreq(images.shape[3])))
    above = np.maximum(rows[:, None], columns[None]) >= 0.25
    return logs[..., above], logs[..., ~above]
