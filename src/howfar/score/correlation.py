"""Rank correlation of two measures of the same things, such as drop and UD of several protectors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from howfar.errors import UsageError
from howfar.score.estimate import Estimate
from howfar.score.intervals import Ends, mean_estimate

LEAST = 8  # things; with fewer, no known interval of a rank correlation covers what it promises


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of means over seeds.

    Attributes:
        rank: −1 to 1, 0 where one of the measures is the same everywhere; its interval is over things like these, and
            there is none for fewer than ``LEAST`` things.
        monotone: whether the second measure never turns back while the first grows.
    """

    rank: Estimate
    monotone: bool

    @property
    def direction(self) -> Literal["rises", "falls", "open"] | None:
        """How the second measure follows the first; ``open`` where the interval contains 0, None where it has none."""
        if self.rank.ends is None:
            return None
        low, high = self.rank.ends
        return "rises" if low > 0 else "falls" if high < 0 else "open"


def rank_correlation(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], *, confidence: float = 0.95
) -> Correlation:
    """Return how well the order of ``second`` follows that of ``first``.

    The interval is about the population that the things are drawn from, not about seeds: how the two measures, as they
    were taken here, would correlate over many more such protectors. It is Bonett and Wright's (Psychometrika 65,
    2000): Fisher's z with variance (1 + value² ÷ 2) ÷ (things − 3).

    Args:
        first: one row per thing (a protector, a noise strength), one entry per seed.
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
    return Correlation(Estimate(value, low, high, len(x), "bonett-wright"), monotone)


def mean_correlation(values: Sequence[float], things: int, *, confidence: float = 0.95) -> Estimate:
    """Return the mean of rank correlations of several seeds with Student's t interval over seeds, by Fisher's z.

    Args:
        values: one per seed.
        things: over how many things each is taken.
        confidence: of the interval.
    """
    if things < 2:
        return Estimate(math.nan, None, None, len(values), "fisher")
    scores = [_score(value, things) for value in values]
    return mean_estimate(scores, confidence).mapped(math.tanh, "fisher")


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
