"""Drop in quality caused by protection."""

from collections.abc import Sequence

from howfar.errors import UsageError
from howfar.score.estimate import Estimate
from howfar.score.intervals import Spread, mean_interval


def drops(clean: Sequence[float], poisoned: Sequence[float], *, higher_is_better: bool = True) -> list[float]:
    """Return clean − poisoned of every seed, or poisoned − clean where less is better.

    Args:
        clean: quality of the clean model, one entry per seed.
        poisoned: quality of the poisoned model of the same seeds, in the same order.
        higher_is_better: direction of the quality.

    Raises:
        UsageError: if the runs do not pair.
    """
    if not isinstance(clean, Sequence) or not isinstance(poisoned, Sequence):
        raise UsageError("a drop is between two lists of qualities, one entry per seed. Pass drop([0.9], [0.2]).")
    if len(clean) != len(poisoned) or not clean:
        raise UsageError(f"a paired drop needs equal numbers of runs, not {len(clean)} clean and {len(poisoned)}.")
    sign = 1.0 if higher_is_better else -1.0
    return [sign * (a - b) for a, b in zip(clean, poisoned, strict=True)]


def drop(
    clean: Sequence[float],
    poisoned: Sequence[float],
    *,
    confidence: float = 0.95,
    higher_is_better: bool = True,
    spread: Spread | None = None,
) -> Estimate:
    """Return clean − poisoned quality, paired by seed, with Student's t interval; positive where protection hurts.

    Args:
        clean: quality of the clean model, one entry per seed.
        poisoned: quality of the poisoned model of the same seeds, in the same order.
        confidence: of the interval.
        higher_is_better: direction of the quality; for errors the drop is poisoned − clean.
        spread: of the drops of all protectors of the same victim, from ``pooled``.

    Example:
        >>> from howfar import drop
        >>> drop(clean=[84.0, 83.5, 84.2], poisoned=[12.0, 11.1, 13.4])
        Estimate(71.733, interval 69.665 to 73.802, n = 3)
    """
    differences = drops(clean, poisoned, higher_is_better=higher_is_better)
    n = len(differences)
    return Estimate(sum(differences) / n, *mean_interval(differences, confidence, spread=spread), n, "t")
