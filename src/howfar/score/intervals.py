"""Confidence intervals over seeds: Student's t, with the spread of a whole table where seeds are few."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from howfar.score.estimate import Estimate

FEW = 6  # seeds; with as many or more, a row knows its own spread
LOUD = 2.5  # times the variance of its table: a row that scatters more keeps its own. Of two rows, none can
HOW = (
    f"Intervals over seeds are Student's t. With fewer than {FEW} seeds they take the variance that the rows of a "
    f"table share; a row with more than {LOUD:g} times that variance keeps its own. One seed has no interval."
)  # for the page
Ends = tuple[float | None, float | None]  # of an interval; both None where one seed says nothing about the spread


@dataclass(frozen=True)
class Spread:
    """How much the rows of one table scatter between seeds.

    Attributes:
        variance: of a single value, mean over the rows.
        freedom: degrees of freedom of this mean. Less than (seeds − 1) × rows where rows rise and fall together,
            as they do if all are held against the same clean runs.
    """

    variance: float
    freedom: float


def pooled(rows: Sequence[Sequence[float]]) -> Spread | None:
    """Return the common spread of rows that were measured with the same seeds; None for fewer than two rows or seeds.

    Rows are taken to share a contribution of the seed and to add one of their own, all equally large. Satterthwaite's
    approximation (Biometrics Bulletin 2, 1946) of the two sums of squares gives the degrees of freedom.

    Args:
        rows: one per protector, one value per seed, the same seeds in the same order.
    """
    table = np.asarray(rows, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2:
        return None
    count, seeds = table.shape
    apart = table - table.mean(1, keepdims=True)
    common = apart.mean(0)
    shared = float(common @ common) / (seeds - 1)
    own = float(np.square(apart - common).sum()) / (seeds - 1) / count
    variance, freedom = shared + own, float(seeds - 1)
    if variance == 0:
        return Spread(0.0, freedom * count)
    found = freedom * variance**2 / (shared**2 + own**2 / (count - 1))
    return Spread(variance, min(max(found, freedom), freedom * count))


def mean_interval(values: Sequence[float], confidence: float = 0.95, *, spread: Spread | None = None) -> Ends:
    """Return Student's t interval of the mean of independent values, such as one per seed.

    With fewer than ``FEW`` values, the spread of their table counts instead of their own, so that values which agree by
    chance promise nothing and two or three of them are not at the mercy of their own scatter. A row that scatters more
    than its table (``LOUD``) keeps its own. One value says nothing about its spread, so it has no interval.

    Args:
        values: one per seed.
        confidence: of the interval.
        spread: of the rows of the same table, this one among them.
    """
    if len(values) < 2:
        return None, None
    mean, error = float(np.mean(values)), standard_error(values, spread=spread)
    half = error.half_width((1 + confidence) / 2)
    return mean - half, mean + half


def mean_estimate(values: Sequence[float], confidence: float = 0.95, *, spread: Spread | None = None) -> Estimate:
    """Return the mean with Student's t interval; arguments as of ``mean_interval``."""
    return Estimate(float(np.mean(values)), *mean_interval(values, confidence, spread=spread), len(values), "t")


@dataclass(frozen=True)
class Error:
    """Standard error of a mean over seeds, and how well it is known.

    Attributes:
        square: of the standard error.
        freedom: degrees of freedom.
    """

    square: float
    freedom: float

    def times(self, factor: float) -> "Error":
        """Return the error of ``factor`` times the mean."""
        return Error(self.square * factor**2, self.freedom)

    def half_width(self, quantile: float) -> float:
        """Return how far the end of a t interval at ``quantile`` lies from the mean."""
        from scipy.special import stdtrit  # many times faster than stats.t.ppf, which calls it

        return float(stdtrit(self.freedom, quantile)) * math.sqrt(self.square)


def standard_error(values: Sequence[float], *, spread: Spread | None = None) -> Error:
    """Return the standard error of the mean of at least two values, as ``mean_interval`` takes it."""
    variance, freedom = float(np.var(values, ddof=1)), float(len(values) - 1)
    if spread is not None and len(values) < FEW and variance <= LOUD * spread.variance:
        variance, freedom = spread.variance, spread.freedom
    return Error(variance / len(values), freedom)
