"""Positive controls: more protection should take more away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from howfar.score.correlation import Correlation, rank_correlation
from howfar.score.intervals import mean_interval

Bounds = tuple[float, float, float]  # mean over seeds, lower and upper end of its 95 % interval


@dataclass(frozen=True)
class DoseResponse:
    """How drop and UD follow a controlled amount of protection.

    Attributes:
        levels: the amounts, ascending, from 0.
        drop: of the quality at every level; infinite bounds with a single seed.
        ud: unlearnable distance at every level.
        drop_trend: rank correlation of level and drop.
        ud_trend: the same of UD.
    """

    levels: tuple[float, ...]
    drop: tuple[Bounds, ...]
    ud: tuple[Bounds, ...]
    drop_trend: Correlation
    ud_trend: Correlation


def dose_response(drops: Mapping[float, Sequence[float]], distances: Mapping[float, Sequence[float]]) -> DoseResponse:
    """Return the response to every level; level 0, the clean images, is added: drop 0, UD 1.

    Args:
        drops: drop of the quality by level, one entry a seed, the same seeds at every level.
        distances: UD of the same levels and seeds.
    """
    seeds = len(next(iter(drops.values())))
    levels = sorted({0.0, *drops})
    drop = [list(drops.get(level, [0.0] * seeds)) for level in levels]
    ud = [list(distances.get(level, [1.0] * seeds)) for level in levels]
    doses = [[level] * seeds for level in levels]
    return DoseResponse(
        levels=tuple(levels),
        drop=tuple(_bounds(values) for values in drop),
        ud=tuple(_bounds(values) for values in ud),
        drop_trend=rank_correlation(doses, drop),
        ud_trend=rank_correlation(doses, ud),
    )


def _bounds(values: Sequence[float]) -> Bounds:
    return (float(np.mean(values)), *mean_interval(values))
