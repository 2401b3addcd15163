"""The worst case: protection left when the learner uses the best of several defenses."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from howfar.errors import UsageError
from howfar.score.estimate import Estimate, to_json
from howfar.score.intervals import Error, pooled, standard_error

CONFIDENCE = 0.95
BASELINES = frozenset({"clean-only"})  # what learns nothing from protected images undoes no protection


@dataclass(frozen=True)
class Trials:
    """One defense, tried several times.

    Attributes:
        validation: quality on clean images kept back to choose by, one entry per seed.
        test: quality of the same networks on clean test images.
    """

    validation: Sequence[float]
    test: Sequence[float]


@dataclass(frozen=True)
class Best:
    """What the best of several defenses gets.

    Attributes:
        defense: the one that does best on validation images.
        quality: its mean on test images over seeds; the interval allows for the best of several having been taken.
        tried: number of defenses.
    """

    defense: str
    quality: Estimate
    tried: int

    def __repr__(self) -> str:
        """Return the defense, its quality with interval, and n."""
        return f"Best({self.defense} of {self.tried}: {self.quality.text})"


@dataclass(frozen=True)
class WorstCase:
    """What is left of protection when the learner chooses its defense.

    Attributes:
        clean: what the best defense gets from the clean images.
        poisoned: what the best one gets from the protected images.
        kept: protection kept, (clean − poisoned) ÷ (clean − chance): 1 leaves nothing to learn, 0 protects nothing. It
            has no interval with one seed, or where the clean images were hardly learned; n is of the quality with
            fewer seeds.
    """

    clean: Best
    poisoned: Best
    kept: Estimate

    def __repr__(self) -> str:
        """Return the protection kept with its interval, n, and both qualities."""
        return f"WorstCase(kept {self.kept.text}; clean {self.clean}, poisoned {self.poisoned})"

    def as_dict(self) -> dict[str, Any]:
        """Return the values that files hold."""
        sides = {"clean": _written(self.clean), "poisoned": _written(self.poisoned)}
        return {**sides, **to_json(self.kept, names=("kept", "low", "high"))}


def _written(best: Best) -> dict[str, Any]:
    quality = to_json(best.quality, names=("quality", "low", "high"))
    return {"defense": best.defense, **quality, "tried": best.tried, "seeds": best.quality.n}


def kept_text(found: WorstCase, *, stopped: bool = False) -> str:
    """Return the protection kept in percent with its interval, or what leaves it open.

    More than 100 % means that the learner is worse than chance. Where the interval reaches 0, the clean
    and the protected images are not told apart, and there is no protection of which a share could be kept.

    Args:
        found: the worst case.
        stopped: not every defense was tried, so that the value is an upper bound.
    """
    kept = found.kept
    most = "≤ " if stopped and kept.value >= 0 else ""
    if kept.n == 1:
        return f"{most}{100 * kept.value:.0f} % (1 seed)"
    if kept.ends is None:
        return "– (clean not told apart from chance)"
    low, high = kept.ends
    if low <= 0:
        return f"{at_most(found)}, not told apart from 0"
    return f"{most}{100 * kept.value:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def at_most(found: WorstCase) -> str:
    """Return the upper end of the protection kept in percent, as a bound from 0 to 100 %: ``≤ 30 %``."""
    return f"≤ {100 * min(max(found.kept.high or 0.0, 0.0), 1.0):.0f} %"


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
    The same networks are judged on both, so one that was lucky in its training is lucky twice: the true quality of the
    best of many is rather below its mean than above. The interval is Student's t, with the spread of all defenses
    pooled where seeds are few; its end on the worse side holds at once for all defenses that could as well have been
    the best (Šidák). The interval of the protection kept takes both errors together, with Welch and Satterthwaite's
    degrees of freedom. ``clean-only`` is a baseline and no defense, and left out.

    Args:
        clean: what every defense gets from clean images.
        poisoned: what every defense gets from the protected images.
        chance: quality of the best image-independent baseline.
        confidence: of the intervals.
        higher_is_better: direction of the quality.

    Raises:
        UsageError: if a defense has no trials, or the clean images were not learned at all.

    Example:
        >>> from howfar import worst_case
        >>> from howfar.score import Trials
        >>> clean = {"none": Trials([85, 84, 86], [84, 84, 85]), "jpeg": Trials([80, 79, 80], [79, 79, 80])}
        >>> poisoned = {"none": Trials([12, 11, 12], [12, 11, 13]), "jpeg": Trials([70, 71, 70], [69, 70, 71])}
        >>> found = worst_case(clean, poisoned, chance=10)
        >>> found.poisoned.defense, found.kept
        ('jpeg', Estimate(0.193, interval 0.170 to 0.216, n = 3))
    """
    clean, poisoned = (
        {name: runs for name, runs in trials.items() if name not in BASELINES} for trials in (clean, poisoned)
    )
    sign = 1.0 if higher_is_better else -1.0
    (first, known), (second, also) = (_best(trials, sign, confidence) for trials in (clean, poisoned))
    best, other = first.quality, second.quality
    learned = sign * (best.value - chance)
    if learned <= 0:
        raise UsageError(f"no defense learns more than chance ({chance:g}) from clean images. Train for longer.")
    kept, n = sign * (best.value - other.value) / learned, min(best.n, other.n)
    if known is None or also is None or best.ends is None or best.ends[0] <= chance <= best.ends[1]:
        return WorstCase(first, second, Estimate(kept, None, None, n, "selection"))
    slopes = abs(other.value - chance) / learned**2, 1 / learned
    down, up = _kept_widths(known, also, slopes, confidence)
    return WorstCase(first, second, Estimate(kept, kept - down, kept + up, n, "selection"))


@dataclass(frozen=True)
class _Known:
    """How well the quality of the best of several defenses is known.

    Attributes:
        error: of its mean over seeds.
        rivals: defenses that could as well have been the best, itself included.
    """

    error: Error
    rivals: int

    def half_widths(self, confidence: float) -> tuple[float, float]:
        """Return the half widths on the worse and on the better side."""
        plain = (1 + confidence) / 2
        lucky = max(plain, confidence ** (1 / self.rivals))
        return self.error.half_width(lucky), self.error.half_width(plain)


def _best(trials: Mapping[str, Trials], sign: float, confidence: float) -> tuple[Best, _Known | None]:
    """Return the defense that does best on validation images, and how well its quality is known; None with one seed."""
    for name, runs in trials.items():
        if not runs.test or len(runs.test) != len(runs.validation):
            raise UsageError(f"defense '{name}' needs as many validation as test results, at least one of each.")
    if not trials:
        raise UsageError("no defense was tried.")
    validation = {name: sign * float(np.mean(runs.validation)) for name, runs in trials.items()}
    chosen = max(validation, key=lambda name: validation[name])
    test = trials[chosen].test
    mean = float(np.mean(test))
    if len(test) < 2:
        return Best(chosen, Estimate(mean, None, None, len(test), "selection"), len(trials)), None
    spread = pooled([runs.test for runs in trials.values() if len(runs.test) == len(test)])
    error = standard_error(test, spread=spread)
    apart = 2 * error.half_width((1 + confidence) / 2)  # intervals that touch
    known = _Known(error, sum(validation[chosen] - value <= apart for value in validation.values()))
    worse, better = known.half_widths(confidence)
    low, high = sorted((mean - sign * worse, mean + sign * better))
    return Best(chosen, Estimate(mean, low, high, len(test), "selection"), len(trials)), known


def _kept_widths(
    clean: _Known, poisoned: _Known, slopes: tuple[float, float], confidence: float
) -> tuple[float, float]:
    """Return how far the ends of the protection kept lie below and above it.

    It is less if the best of the clean was lucky or the best of the poisoned was not.

    Args:
        clean: the best from clean images.
        poisoned: the best from protected images.
        slopes: of the protection kept along the quality of either, without their signs.
        confidence: of the interval.
    """
    errors = [known.error.times(slope) for known, slope in zip((clean, poisoned), slopes, strict=True)]
    variance = sum(error.square for error in errors)
    if variance == 0:
        return 0.0, 0.0
    freedom = variance**2 / sum(error.square**2 / error.freedom for error in errors)
    first, second = (
        replace(known, error=replace(error, freedom=freedom)).half_widths(confidence)
        for known, error in zip((clean, poisoned), errors, strict=True)
    )
    return math.hypot(first[0], second[1]), math.hypot(first[1], second[0])
