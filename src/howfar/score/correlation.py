"""Rank correlation of two measures that were taken with several seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from howfar.errors import UsageError
from howfar.score.intervals import percentile_interval

DRAWS = 1000


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of means over seeds.

    Attributes:
        value: −1 to 1; 0 where one of the measures is the same everywhere.
        low: lower end of the bootstrap interval over seeds; None with a single seed.
        high: upper end.
        monotone: whether the second measure never turns back while the first grows.
    """

    value: float
    low: float | None
    high: float | None
    monotone: bool


def rank_correlation(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], *, confidence: float = 0.95
) -> Correlation:
    """Return how well the order of ``second`` follows that of ``first``.

    Args:
        first: one row a thing (a protector, a noise strength), one entry a seed.
        second: the other measure of the same things and seeds.
        confidence: of the interval, a bootstrap over seeds (all things keep their seeds together).

    Raises:
        UsageError: for fewer than two things, or rows of different length.
    """
    x, y = (np.asarray(rows, dtype=np.float64) for rows in (first, second))
    if x.shape != y.shape or x.ndim != 2 or len(x) < 2 or not x.shape[1]:
        raise UsageError(f"a rank correlation needs two tables of equal shape, not {x.shape} and {y.shape}.")
    steps = np.diff(y.mean(1)[x.mean(1).argsort(kind="stable")])
    monotone = bool((steps >= 0).all() or (steps <= 0).all())
    value = _spearman(x.mean(1), y.mean(1))
    if x.shape[1] < 2:
        return Correlation(value, None, None, monotone)
    rng = np.random.default_rng(0)  # the draws are part of the definition: same readings, same interval
    drawn = rng.integers(x.shape[1], size=(DRAWS, x.shape[1]))
    low, high = percentile_interval(
        [_spearman(x[:, seeds].mean(1), y[:, seeds].mean(1)) for seeds in drawn], confidence
    )
    return Correlation(value, low, high, monotone)


def _spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    from scipy.stats import rankdata

    a, b = rankdata(x), rankdata(y)
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if norm else 0.0
