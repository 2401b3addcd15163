"""The worth of protected images to a learner: how many clean images teach as much."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from howfar.errors import UsageError
from howfar.score.estimate import Estimate
from howfar.score.intervals import Error

Numbers = NDArray[np.float64]


def worth(
    curve: Mapping[int, Sequence[float]], mixture: Sequence[float], *, clean: int, protected: int, chance: float,
    confidence: float = 0.95,
) -> Estimate:  # fmt: skip
    """Return the worth of protected images: equivalent clean images ÷ protected images.

    The learning curve of clean images, monotone (isotonic regression) and linear in the logarithm of their number,
    tells from how many clean images a learner gets the quality of the mixture. Those that the mixture holds are
    subtracted, and the rest is divided by the number of protected images. 1 is like clean images, 0 like no images;
    below 0, the learner is better off without them.

    The interval inverts a t test of the mixture's mean against the curve, with the variance between seeds that all
    points share. Its ends are cut at the curve's largest number and at no images.

    Args:
        curve: quality by number of clean images, one value per seed; the largest number should be ``clean`` +
            ``protected`` or more. Higher is better.
        mixture: quality of training on the mixture, one value per seed.
        clean: clean images in the mixture.
        protected: protected images in the mixture.
        chance: quality without images.
        confidence: of the interval.

    Returns:
        the worth; no interval with one seed.

    Raises:
        UsageError: for an empty curve or mixture, or no protected image.

    Example:
        >>> curve = {100: [0.40, 0.42], 1000: [0.60, 0.62], 10_000: [0.80, 0.82]}  # 20 points per factor of ten
        >>> worth(curve, [0.60, 0.62], clean=100, protected=9900, chance=0.1)  # as 1,000: 900 more than without
        Estimate(0.091, interval 0.054 to 0.149, n = 2)
    """
    if not curve or not mixture or protected < 1:
        raise UsageError("worth needs a learning curve, a mixture and at least one protected image.")
    counts, qualities = _inverse(curve, chance)

    def at(quality: float) -> float:
        images = float(np.expm1(np.interp(quality, qualities, counts)))
        return (images - clean) / protected

    mean = float(np.mean(mixture))
    half = _half_width([*curve.values(), mixture], mixture, min(len(v) for v in curve.values()), confidence)
    low, high = (None, None) if half is None else (at(mean - half), at(mean + half))
    return Estimate(at(mean), low, high, len(mixture), "t")


def _inverse(curve: Mapping[int, Sequence[float]], chance: float) -> tuple[Numbers, Numbers]:
    """Return log(1 + images) and the strictly rising quality at each point, chance first.

    Of equal qualities, the smallest number of images is kept.
    """
    from scipy.optimize import isotonic_regression  # loading scipy takes longer than a dry run

    sizes = sorted(curve)
    means = [float(np.mean(curve[size])) for size in sizes]
    weights = [float(len(curve[size])) for size in sizes]
    rising = np.maximum(isotonic_regression(means, weights=weights).x, chance)
    qualities = np.concatenate([[chance], rising])
    kept = np.concatenate([[True], np.diff(qualities) > 0])
    counts = np.log1p(np.concatenate([[0.0], np.array(sizes, dtype=np.float64)]))
    return counts[kept], qualities[kept]


def _half_width(
    points: Sequence[Sequence[float]], mixture: Sequence[float], seeds: int, confidence: float
) -> float | None:  # fmt: skip
    """Return half of the interval of mixture − curve; None with one seed."""
    groups = [np.asarray(values, dtype=np.float64) for values in points]
    freedom = sum(len(values) - 1 for values in groups)
    if freedom < 1 or len(mixture) < 2:
        return None
    variance = sum(float(np.square(values - values.mean()).sum()) for values in groups) / freedom
    return Error(variance * (1 / len(mixture) + 1 / seeds), freedom).half_width((1 + confidence) / 2)
