"""Positive controls: more protection should have a larger effect."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from howfar.score.correlation import Correlation, rank_correlation
from howfar.score.estimate import Estimate
from howfar.score.intervals import mean_estimate, pooled
from howfar.score.unlearnable_distance import mean_distance


@dataclass(frozen=True)
class DoseResponse:
    """How drop and UD follow a controlled amount of protection.

    Attributes:
        levels: the amounts, ascending, from 0.
        drop: of the quality at every level.
        ud: unlearnable distance at every level.
        drop_trend: rank correlation of level and drop.
        ud_trend: the same of UD.
    """

    levels: tuple[float, ...]
    drop: tuple[Estimate, ...]
    ud: tuple[Estimate, ...]
    drop_trend: Correlation
    ud_trend: Correlation


def dose_response(drops: Mapping[float, Sequence[float]], distances: Mapping[float, Sequence[float]]) -> DoseResponse:
    """Return the response to every level; level 0, the clean images, is added: drop 0, UD 1.

    Args:
        drops: drop of the quality by level, one entry per seed, the same seeds at every level.
        distances: UD of the same levels and seeds.
    """
    seeds = len(next(iter(drops.values())))
    levels = sorted({0.0, *drops})
    drop = [list(drops.get(level, [0.0] * seeds)) for level in levels]
    ud = [list(distances.get(level, [1.0] * seeds)) for level in levels]
    doses = [[level] * seeds for level in levels]
    return DoseResponse(
        levels=tuple(levels),
        drop=_means(levels, drop, mean_estimate),
        ud=_means(levels, ud, mean_distance),
        drop_trend=rank_correlation(doses, drop),
        ud_trend=rank_correlation(doses, ud),
    )


def _means(
    levels: Sequence[float], rows: Sequence[Sequence[float]], mean: Callable[..., Estimate]
) -> tuple[Estimate, ...]:  # fmt: skip
    """Return the means with their intervals; level 0 is what the others are compared with, and known exactly."""
    spread = pooled([row for level, row in zip(levels, rows, strict=True) if level])
    return tuple(mean(row, spread=spread if level else None) for level, row in zip(levels, rows, strict=True))
