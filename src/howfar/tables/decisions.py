"""The rule by which a protection holds, does not hold, or is left open; terminal, Markdown and page all follow it.

The unit is one protector against one victim: data, task, network and recipe. Victims that differ in any of these are
judged apart. Let r be the retention, (protected − chance) ÷ (clean − chance), the expectation over seeds and over test
images; a model worse than chance retains nothing.

- **holds**: the null hypothesis r ≥ 1/2 is rejected, as the whole interval of r lies below 1/2;
- **does not hold**: the null hypothesis r ≤ 1/2 is rejected, as the whole interval lies above 1/2;
- **cannot tell**: everything else.

The interval is the 98 % interval of the retention over seeds (``howfar.score.retention``, with the variance pooled over
the rows of a table where seeds are few), widened by what the choice of test images adds (``widened``). Each of the two
errors then has a nominal rate of 1 %. Pooled variance is too small for the protector that scatters most in its table;
98 % rather than 95 % keeps its rate near 5 % too (``benchmarks/verdict_error.py``). The rate is that of one sentence
about one protector and one victim; several sentences of a page are not corrected for each other.

With several defenses the learner takes the best one. Where clean images were held out to choose it by, r is that of the
chosen defense, and the interval allows for the choice (``howfar.score.worst_case``). Otherwise a protector holds if it
holds against every defense (an intersection-union test, which needs no correction), and does not hold if it fails
against one of them at an error divided by their number (Bonferroni).

Nothing follows, whatever the interval says, where

- there is one seed;
- the clean victim did not learn (``has_learned``), or its interval contains chance;
- there are fewer than ``LEAST_IMAGES`` test images and the metric does not tell how much they scatter;
- the interval is wider than all that can be retained.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from howfar.score import Estimate
from howfar.score.metrics import LEARNED, SHARES

BROKEN = 0.5  # a protection holds where less than this share of (clean − chance) is retained
CONFIDENCE = 0.98
QUANTILE = 2.326348  # of the standard normal distribution, at (1 + CONFIDENCE) / 2
LEAST_IMAGES = 50  # of a test set whose metric is no mean of right and wrong answers
FEW = 3  # seeds; with fewer, clean victims may look like chance because their interval is wide
WIDEST = 1.0  # of an interval that is printed, above 0: all that the clean images teach
LEAST_GAIN = {"mIoU": 0.05}  # of a clean victim; of other shares ``LEARNED``
COUNTED = ("accuracy", "label accuracy")  # metrics that are shares of right answers

Outcome = Literal["holds", "does not hold", "cannot tell"]
Lack = Literal["", "seeds", "images", "learning"]


@dataclass(frozen=True)
class Decision:
    """What an interval of the retention decides.

    Attributes:
        outcome: one of three.
        lack: what would decide it: more seeds, more test images, a victim that learns; empty where it is decided.
        retention: with the interval that decided; None where the clean victim did not learn.
    """

    outcome: Outcome
    lack: Lack
    retention: Estimate | None

    @property
    def shown(self) -> tuple[float, float] | None:
        """Ends of the interval as they are printed; None where there is none or it is too wide."""
        return told(self.retention) if self.retention else None


def told(kept: Estimate) -> tuple[float, float] | None:
    """Return the ends of an interval of retention; None where there is none, or its part above 0 exceeds ``WIDEST``.

    Below 0, a model is worse than chance, and how much worse decides nothing.

    Example:
        >>> told(Estimate(0.2, -0.2, 0.6, 3, "delta")), told(Estimate(0.4, -8.3, 9.1, 2, "delta"))
        ((-0.2, 0.6), None)
    """
    if kept.ends is None:
        return None
    low, high = kept.ends
    return (low, high) if max(high, 0.0) - max(low, 0.0) <= WIDEST else None


def decide(kept: Estimate | None, *, learned: bool, error: float | None, threshold: float = BROKEN) -> Decision:
    """Decide whether a protection holds.

    Args:
        kept: the retention with its interval over seeds; None where the clean victim is no better than chance.
        learned: whether the clean victim learned, see ``has_learned``.
        error: standard error of the retention from the choice of test images; None where there are too few of them to
            know it.
        threshold: retention below which the protection holds.

    Example:
        >>> decide(Estimate(0.1, 0.0, 0.2, 3, "delta"), learned=True, error=0.02).outcome
        'holds'
        >>> decide(Estimate(0.1, 0.0, 0.2, 3, "delta"), learned=True, error=0.25).lack
        'images'
    """
    if kept is None or not learned:
        return Decision("cannot tell", "learning", kept and replace(kept, low=None, high=None))
    if kept.ends is None:  # one seed, or the interval of the clean victims contains chance
        return Decision("cannot tell", "seeds" if kept.n < FEW else "learning", kept)
    if error is None:
        return Decision("cannot tell", "images", kept)
    whole = widened(kept, error)
    side = _side(whole, threshold)
    if side is not None:
        return Decision(side, "", whole)
    half = (kept.ends[1] - kept.ends[0]) / 2  # more seeds shrink this part of the interval only
    return Decision("cannot tell", "images" if QUANTILE * error > half else "seeds", whole)


def _side(kept: Estimate, threshold: float) -> Outcome | None:
    ends = told(kept)
    if ends is None or ends[0] <= threshold <= ends[1]:
        return None
    return "holds" if ends[1] < threshold else "does not hold"


def widened(kept: Estimate, error: float) -> Estimate:
    """Return the estimate with an interval that allows for the choice of test images.

    Both errors are independent, so the half-widths add in quadrature.
    """
    if kept.low is None or kept.high is None:
        return kept
    half = QUANTILE * error
    low, high = (math.hypot(kept.value - kept.low, half), math.hypot(kept.high - kept.value, half))
    return replace(kept, low=kept.value - low, high=kept.value + high)


def image_error(
    metric: str, kept: float, *, clean: float, protected: float, chance: float, images: int
) -> float | None:  # fmt: skip
    """Return the standard error of the retention from the choice of test images; None where it is not known.

    An accuracy p on n images has the variance p (1 − p) ÷ n, with two right and two wrong answers added (Agresti and
    Coull, The American Statistician 52, 1998), so that an accuracy of 1 on few images promises nothing. All seeds
    share their test images, so more seeds do not lower it. The two accuracies of the ratio are taken as independent,
    which is too wide where both models fail on the same images. The error of other metrics is not known from records;
    it is taken as 0 from ``LEAST_IMAGES`` images on.

    Args:
        metric: name of the quality.
        kept: the retention.
        clean: quality of the clean models.
        protected: quality of the protected ones.
        chance: quality of the best image-independent baseline.
        images: number of test images.

    Example:
        >>> round(image_error("accuracy", 0.5, clean=0.9, protected=0.5, chance=0.1, images=16), 2)
        0.15
    """
    if metric not in COUNTED:
        return 0.0 if images >= LEAST_IMAGES else None
    square = _counted(protected, images) + kept**2 * _counted(clean, images)
    return math.sqrt(square) / max(abs(clean - chance), 1e-9)


def _counted(share: float, images: int) -> float:
    near = (share * images + 2) / (images + 4)
    return near * (1 - near) / (images + 4)


def has_learned(metric: str, clean: float, chance: float) -> bool:
    """Return whether a clean victim is far enough above chance for anything to follow from it.

    That is 10 points of a share, 5 points of mIoU, whose scale is compressed, or 10 % of the error at chance.
    """
    if metric in SHARES:
        return clean - chance >= LEAST_GAIN.get(metric, LEARNED)
    return abs(clean - chance) >= LEARNED * max(abs(chance), 1e-9)


def learned(metric: str, clean: float, chance: float, *, higher_is_better: bool) -> bool:
    """Return the same where the direction of the metric is known; without a known chance, everything is learned."""
    better = clean > chance if higher_is_better else clean < chance
    return math.isnan(chance) or (better and has_learned(metric, clean, chance))


def corrected(defenses: int) -> float:
    """Return the confidence at which a protector that met several defenses may fail against one of them."""
    return 1 - (1 - CONFIDENCE) / max(defenses, 1)


def against_all(found: Sequence[Decision], strict: Sequence[Decision]) -> tuple[int, Decision]:
    """Return the decision on a protector that met several defenses, none of them chosen, and the place of its defense.

    Args:
        found: by defense.
        strict: the same at the confidence that ``corrected`` gives.
    """
    failed = [place for place, one in enumerate(strict) if one.outcome == "does not hold"]
    left = failed or [place for place, one in enumerate(found) if one.outcome != "holds"] or range(len(found))
    place = max(left, key=lambda place: _value(found[place]))
    if failed:
        return place, strict[place]
    one = found[place]
    open_still = one.outcome == "does not hold"  # at the confidence of a single defense only
    return place, replace(one, outcome="cannot tell", lack="seeds") if open_still else one


def _value(one: Decision) -> float:
    return one.retention.value if one.retention else -math.inf
