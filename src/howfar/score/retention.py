"""Retention: the share of the clean quality above chance that is reached with protected data."""

from collections.abc import Sequence

from howfar.errors import UsageError
from howfar.score.estimate import Estimate
from howfar.score.intervals import mean_interval, pooled


def retention(
    clean: Sequence[float],
    protected: Sequence[float],
    *,
    chance: float,
    confidence: float = 0.95,
    higher_is_better: bool = True,
    others: Sequence[Sequence[float]] = (),
) -> Estimate:
    """Return (protected − chance) ÷ (clean − chance): 1 where protection takes nothing, 0 where nothing is learned.

    The value is the ratio of the means over seeds.
    The interval is Student's t of protected − value × clean, paired by seed (the delta method). It is given only where
    the t interval of the clean models leaves out chance: elsewhere Fieller's interval of the same ratio has no ends.

    Args:
        clean: quality of the models of clean data, one per seed; higher or lower may be better.
        protected: quality of the models of protected data, of the same seeds.
        chance: quality of the best image-independent baseline.
        confidence: of the interval.
        higher_is_better: direction of the quality.
        others: protected qualities of the other protectors of the same table, whose spread is pooled with this one.

    Raises:
        UsageError: for numbers of runs that differ, or clean models that are no better than chance.
    """
    if len(clean) != len(protected) or not clean:
        raise UsageError(f"retention needs pairs of runs, not {len(clean)} clean and {len(protected)} protected.")
    learned = sum(clean) / len(clean) - chance
    if learned <= 0 if higher_is_better else learned >= 0:
        raise UsageError("the clean models learned nothing, so nothing can be retained. Train for longer.")
    value = (sum(protected) / len(protected) - chance) / learned
    low, high = mean_interval(clean, confidence)
    if low is None or high is None or low <= chance <= high:
        return Estimate(value, None, None, len(clean), "delta")
    rests = _rests(clean, protected, chance, learned, value)
    spread = pooled([rests, *(_rests(clean, other, chance, learned) for other in others)])
    low, high = (None if end is None else value + end for end in mean_interval(rests, confidence, spread=spread))
    return Estimate(value, low, high, len(clean), "delta")


def _rests(
    clean: Sequence[float], protected: Sequence[float], chance: float, learned: float, value: float | None = None
) -> list[float]:
    """Return what single seeds retain beyond the ratio of the means."""
    ratio = (sum(protected) / len(protected) - chance) / learned if value is None else value
    return [((b - chance) - ratio * (a - chance)) / learned for a, b in zip(clean, protected, strict=True)]
