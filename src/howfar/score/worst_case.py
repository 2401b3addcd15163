"""The worst case: what is left of protection when the learner takes the best of several defenses."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from howfar.errors import UsageError

CONFIDENCE = 0.95
BASELINES = frozenset({"clean-only"})  # what learns nothing from protected images undoes no protection


@dataclass(frozen=True)
class Trials:
    """One defense, tried several times.

    Attributes:
        validation: quality on clean images kept back to choose by, one entry a seed.
        test: quality of the same networks on clean test images.
    """

    validation: Sequence[float]
    test: Sequence[float]


@dataclass(frozen=True)
class Best:
    """What the best of several defenses gets.

    Attributes:
        defense: the one that does best on validation images.
        quality: its mean quality on test images, over seeds.
        low: lower end of the interval, which allows for the best of several having been taken.
        high: upper end.
        tried: number of defenses.
        seeds: number of seeds.
    """

    defense: str
    quality: float
    low: float
    high: float
    tried: int
    seeds: int


@dataclass(frozen=True)
class WorstCase:
    """What is left of protection when the learner chooses its defense.

    Attributes:
        clean: what the best defense gets from the clean images.
        poisoned: what the best one gets from the protected images.
        kept: protection kept, (clean − poisoned) ÷ (clean − chance): 1 leaves nothing to learn, 0 protects nothing.
        low: lower end of its interval.
        high: upper end.
    """

    clean: Best
    poisoned: Best
    kept: float
    low: float
    high: float


def worst_case(
    clean: Mapping[str, Trials],
    poisoned: Mapping[str, Trials],
    *,
    chance: float,
    confidence: float = CONFIDENCE,
    higher_is_better: bool = True,
) -> WorstCase:
    """Return what is left of protection when the learner takes the best of several defenses.

    The defense is chosen by its mean quality over seeds on validation images; its value is the mean on test images.
    The same networks are judged on both, so one that was lucky in its training is lucky twice; therefore intervals
    hold for all defenses at once (Šidák, with one variance pooled over all defenses). That of the protection kept
    follows from both by the delta method. With a single seed all intervals are infinite. ``clean-only`` is no defense
    but a baseline, and left out.

    Args:
        clean: what every defense gets from clean images.
        poisoned: what every defense gets from the protected images.
        chance: quality of a constant guess.
        confidence: of the intervals.
        higher_is_better: direction of the quality.

    Raises:
        UsageError: if a defense has no trials, or the clean images were not learned at all.
    """
    clean, poisoned = (
        {name: runs for name, runs in trials.items() if name not in BASELINES} for trials in (clean, poisoned)
    )
    sign = 1.0 if higher_is_better else -1.0
    first, error = _best(clean, sign, confidence)
    second, other = _best(poisoned, sign, confidence)
    learned = sign * (first.quality - chance)
    if learned <= 0:
        raise UsageError(f"no defense learns more than chance ({chance:g}) from clean images. Train for longer.")
    kept = sign * (first.quality - second.quality) / learned
    by_clean = sign * (second.quality - chance) / learned**2
    reach = math.hypot(by_clean * error, other / learned) if math.isfinite(error + other) else math.inf
    return WorstCase(first, second, kept, kept - reach, kept + reach)


def _best(trials: Mapping[str, Trials], sign: float, confidence: float) -> tuple[Best, float]:
    """Return the defense that does best on validation images, and half the width of its interval."""
    for name, runs in trials.items():
        if not runs.test or len(runs.test) != len(runs.validation):
            raise UsageError(f"defense '{name}' needs as many validation as test results, at least one of each.")
    if not trials:
        raise UsageError("no defense was tried.")
    chosen = max(trials, key=lambda name: sign * float(np.mean(trials[name].validation)))
    test = trials[chosen].test
    mean, reach = float(np.mean(test)), _reach(list(trials.values()), len(test), confidence)
    return Best(chosen, mean, mean - reach, mean + reach, len(trials), len(test)), reach


def _reach(trials: Sequence[Trials], seeds: int, confidence: float) -> float:
    from scipy.special import stdtrit

    freedom = sum(len(runs.test) - 1 for runs in trials)
    if not freedom:
        return math.inf
    variance = sum(float(np.var(runs.test)) * len(runs.test) for runs in trials) / freedom
    each = confidence ** (1 / len(trials))
    return float(stdtrit(freedom, (1 + each) / 2)) * math.sqrt(variance / seeds)
