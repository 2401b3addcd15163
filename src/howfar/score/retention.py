"""What a protected set still teaches."""

from collections.abc import Sequence
from dataclasses import dataclass

from howfar.errors import UsageError
from howfar.score.intervals import mean_interval


@dataclass(frozen=True)
class Retention:
    """(protected − chance) ÷ (clean − chance): 1 where protection takes nothing, 0 where nothing is learned.

    Attributes:
        value: ratio of the means over seeds.
        low: lower end of its interval over seeds.
        high: upper end.
        seeds: number of pairs.
    """

    value: float
    low: float
    high: float
    seeds: int


def retention(
    clean: Sequence[float],
    protected: Sequence[float],
    *,
    chance: float,
    confidence: float = 0.95,
    higher_is_better: bool = True,
) -> Retention:
    """Return retention with an interval over seeds.

    The interval is Student's t of protected − value × clean, paired by seed (Fieller's linearisation), which stays
    sound where single ratios would scatter.

    Args:
        clean: quality of the models of clean data, one a seed; higher or lower may be better.
        protected: quality of the models of protected data, of the same seeds.
        chance: quality of who never looks at the image.
        confidence: of the interval.
        higher_is_better: direction of the quality.

    Raises:
        UsageError: for numbers of runs that differ, or clean models that are no better than chance.
    """
    if len(clean) != len(protected) or not clean:
        raise UsageError(f"retention needs pairs of runs, not {len(clean)} clean and {len(protected)} protected.")
    learned = sum(clean) / len(clean) - chance
    if learned <= 0 if higher_is_better else learned >= 0:
        raise UsageError("the clean models learned nothing, so nothing can be retained. Train for longer.")
    value = (sum(protected) / len(protected) - chance) / learned
    rests = [((b - chance) - value * (a - chance)) / learned for a, b in zip(clean, protected, strict=True)]
    low, high = mean_interval(rests, confidence)
    return Retention(value, value + low, value + high, len(clean))
