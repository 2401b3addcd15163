"""What a verification found, in plain words."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from howfar.errors import UsageError
from howfar.score import WorstCase

AFTER = {"jpeg-75": "After JPEG 75", "halved": "After halving its size", "screenshot": "After a screenshot"}
LIMITS = (
    "Measured on small networks that learn from nothing but these photographs, all of them protected unless said "
    "otherwise. It says nothing of large models that are tuned with other images, nor of people who hold the originals."
)
HOLDS, WEAK = 0.5, 0.15  # share of (clean − chance) that is lost
ONE_SEED = "1 seed: no interval"


@dataclass(frozen=True)
class Loss:
    """What a learner loses by the protection, over seeds.

    Attributes:
        task: what it learned.
        way: what had happened to the photographs, or the share that was protected.
        metric: of its quality.
        clean: quality after learning from the originals.
        protected: after learning from the protected ones.
        value: clean − protected, or the other way round where less is better.
        low: lower end of its 95 % interval over seeds; None with a single seed.
        high: upper end.
        retention: (protected − chance) ÷ (clean − chance).
    """

    task: str
    way: str
    metric: str
    clean: float
    protected: float
    value: float
    low: float | None
    high: float | None
    retention: float


def sentences(
    losses: Sequence[Loss], model: str, worst: WorstCase | None, left_out: Mapping[str, str] | None = None
) -> list[str]:
    """Return the verdict, the most important sentence first.

    Args:
        losses: classification as it is first; then other ways, shares and tasks.
        model: the victim.
        worst: what is left when the learner chooses its defense.
        left_out: defenses that were not tried, and what each lacks, as the rest of a sentence.
    """
    named = [loss for loss in losses if loss.task == "classification"]
    found = [_first(named[0], model), *(_way(loss) for loss in named[1:])] if named else []
    if worst is not None:
        best = worst.poisoned
        known = (
            ONE_SEED
            if worst.low is None or worst.high is None
            else f"95 % interval {100 * worst.low:.0f} to {100 * worst.high:.0f}"
        )
        found.append(
            f"A learner that takes the best of all defenses tried ({best.defense}) gets {100 * best.quality:.0f} %: "
            f"{100 * worst.kept:.0f} % of the protection is kept ({known})."
        )
    found += [f"Not tried: {label}, which {reason}." for label, reason in (left_out or {}).items()]
    others = [loss for loss in losses if loss.task != "classification"]
    left = [f"{loss.task} ({100 * loss.retention:.0f} %)" for loss in others if loss.retention > HOLDS]
    gone = [f"{loss.task} ({100 * loss.retention:.0f} %)" for loss in others if loss.retention <= HOLDS]
    if left:
        found.append(f"Remains learnable: {', '.join(left)} of what the originals teach.")
    if gone:
        found.append(f"Is taken away: {', '.join(gone)} is left of what the originals teach.")
    return [*found, LIMITS]


def _first(loss: Loss, model: str) -> str:
    judged = (
        "The protection holds"
        if loss.retention <= 1 - HOLDS and _sure(loss)
        else "The protection is weak"
        if loss.retention <= 1 - WEAK and _sure(loss)
        else "There is no protection to be seen"
    )
    return (
        f"{judged}: a {model} that learns from your protected photographs gets {100 * loss.protected:.0f} % of unseen "
        f"ones right, from the originals {100 * loss.clean:.0f} %: it loses {_points(loss)}."
    )


def _way(loss: Loss) -> str:
    if loss.way in AFTER:
        return f"{AFTER[loss.way]} it loses {_points(loss)}."
    return f"If {loss.way} of the photographs are protected, it loses {_points(loss)}."


def _points(loss: Loss) -> str:
    if loss.low is None or loss.high is None:
        return f"{100 * loss.value:.0f} points ({ONE_SEED})"
    return f"{100 * loss.value:.0f} ± {50 * (loss.high - loss.low):.0f} points"


def _sure(loss: Loss) -> bool:
    """Return whether the loss is more than chance; a single seed cannot say, and is taken at its word."""
    return loss.value > 0 if loss.low is None else loss.low > 0


def demanded(text: str, known: Collection[str]) -> tuple[str, str, float]:
    """Return name, sign and bound of a requirement such as ``drop>=30``.

    Args:
        text: name, ``>=`` or ``<=``, and a number in points or percent.
        known: names that are measured.

    Raises:
        UsageError: if it is no requirement.
    """
    sign = ">=" if ">=" in text else "<="
    name, found, limit = text.partition(sign)
    try:
        bound = float(limit)
    except ValueError:
        found = ""
    if not found or name.strip() not in known:
        raise UsageError(f"'{text}' is no requirement. Write e.g. drop>=30; known: {', '.join(sorted(known))}.")
    return name.strip(), sign, bound


def required(text: str, measured: Mapping[str, float]) -> tuple[bool, str]:
    """Return whether a requirement is met, and the sentence that says so.

    Args:
        text: as in ``demanded``.
        measured: by name, in points or percent; NaN meets nothing.

    Raises:
        UsageError: as ``demanded``.
    """
    name, sign, bound = demanded(text, measured)
    value = measured[name]
    met = value >= bound if sign == ">=" else value <= bound
    return met, f"{name} is {value:.1f}, required {sign} {bound:g}: {'met' if met else 'not met'}"
