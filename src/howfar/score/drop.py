"""What protection takes away."""

from collections.abc import Sequence
from dataclasses import dataclass

from howfar.errors import UsageError
from howfar.score.intervals import mean_interval


@dataclass(frozen=True)
class Drop:
    """Clean quality − poisoned quality, paired by seed.

    Attributes:
        clean: mean quality of the clean models.
        poisoned: mean quality of the poisoned models.
        value: mean difference; positive where protection hurts the learner.
        low: lower end of its interval.
        high: upper end.
        seeds: number of pairs.
    """

    clean: float
    poisoned: float
    value: float
    low: float
    high: float
    seeds: int


def drop(
    clean: Sequence[float],
    poisoned: Sequence[float],
    *,
    confidence: float = 0.95,
    higher_is_better: bool = True,
) -> Drop:
    """Return the paired drop with Student's t interval over seeds.

    Args:
        clean: quality of the clean model, one entry a seed.
        poisoned: quality of the poisoned model of the same seeds, in the same order.
        confidence: of the interval.
        higher_is_better: direction of the quality; for errors the drop is poisoned − clean.
    """
    if len(clean) != len(poisoned) or not clean:
        raise UsageError(f"a paired drop needs equal numbers of runs, not {len(clean)} clean and {len(poisoned)}.")
    sign = 1.0 if higher_is_better else -1.0
    differences = [sign * (a - b) for a, b in zip(clean, poisoned, strict=True)]
    n = len(differences)
    low, high = mean_interval(differences, confidence)
    return Drop(sum(clean) / n, sum(poisoned) / n, sum(differences) / n, low, high, n)
