"""Rank correlation of two measures of the same things, such as drop and UD of several protectors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from howfar.errors import UsageError
from howfar.score.intervals import Ends, mean_interval

LEAST = 8  # things; with fewer, no known interval of a rank correlation covers what it promises


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of means over seeds.

    Attributes:
        value: −1 to 1; 0 where one of the measures is the same everywhere.
        low: lower end of its interval over things like these; None for fewer than ``LEAST`` things.
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

    The interval is about the population that the things are drawn from, not about seeds: how the two measures, as they
    were taken here, would correlate over many more such protectors. It is Bonett and Wright's (Psychometrika 65,
    2000): Fisher's z with variance (1 + value² ÷ 2) ÷ (things − 3).

    Args:
        first: one row a thing (a protector, a noise strength), one entry a seed.
        second: the other measure of the same things and seeds.
        confidence: of the interval.

    Raises:
        UsageError: for fewer than two things, or rows of different length.
    """
    x, y = (np.asarray(rows, dtype=np.float64) for rows in (first, second))
    if x.shape != y.shape or x.ndim != 2 or len(x) < 2 or not x.shape[1]:
        raise UsageError(f"a rank correlation needs two tables of equal shape, not {x.shape} and {y.shape}.")
    steps = np.diff(y.mean(1)[x.mean(1).argsort(kind="stable")])
    monotone = bool((steps >= 0).all() or (steps <= 0).all())
    value = _spearman(x.mean(1), y.mean(1))
    low, high = _interval(value, len(x), confidence)
    if np.ptp(x.mean(1)) == 0 or np.ptp(y.mean(1)) == 0:
        low, high = None, None
    return Correlation(value, low, high, monotone)


def mean_correlation(values: Sequence[float], things: int, *, confidence: float = 0.95) -> tuple[float, Ends]:
    """Return the mean of rank correlations of several seeds with Student's t interval over seeds, by Fisher's z.

    Args:
        values: one a seed.
        things: over how many things each is taken.
        confidence: of the interval.
    """
    if things < 2:
        return math.nan, (None, None)
    scores = [_score(value, things) for value in values]
    low, high = mean_interval(scores, confidence)
    ends: Ends = (None, None) if low is None or high is None else (math.tanh(low), math.tanh(high))
    return math.tanh(float(np.mean(scores))), ends


def _interval(value: float, things: int, confidence: float) -> Ends:
    from scipy.special import ndtri

    if things < LEAST:
        return None, None
    score = _score(value, things)
    half = float(ndtri((1 + confidence) / 2)) * math.sqrt((1 + math.tanh(score) ** 2 / 2) / (things - 3))
    return min(math.tanh(score - half), value), max(math.tanh(score + half), value)


def _score(value: float, things: int) -> float:
    """Return Fisher's z; a perfect order, where it is infinite, counts as half of the way to the next best one."""
    most = 1 - 6 / (things * (things**2 - 1)) if things > 2 else 0.5
    return math.atanh(min(max(value, -most), most))


def _spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    from scipy.stats import rankdata

    a, b = rankdata(x), rankdata(y)
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if norm else 0.0
