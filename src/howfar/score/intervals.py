"""Confidence intervals."""

import math
from collections.abc import Sequence

import numpy as np


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return Student's t interval of the mean of independent values, such as one per seed.

    A single value says nothing about its spread: the interval is (−inf, inf).
    """
    from scipy.special import stdtrit  # many times faster than stats.t.ppf, which calls it

    if len(values) < 2:
        return -math.inf, math.inf
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    reach = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * spread
    return mean - reach, mean + reach


def percentile_interval(draws: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return the central interval that holds ``confidence`` of bootstrap draws."""
    low, high = np.quantile(np.asarray(draws), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
