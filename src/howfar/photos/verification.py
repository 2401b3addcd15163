"""The verdict of a verification, in plain language."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from howfar.errors import UsageError
from howfar.score import Estimate, WorstCase, kept_text, to_json
from howfar.tables.decisions import Decision, decide, has_learned, image_error

AFTER = {
    "as-is": "As it is",
    "jpeg-75": "After JPEG 75",
    "halved": "After halving its size",
    "screenshot": "After a screenshot",
}
LIMITS = (
    "Measured on small networks trained only on these photographs, all of them protected unless stated otherwise. This "
    "says nothing about large models fine-tuned with other images, or about people who hold the originals."
)
LONGER = "Train longer (--epochs) or use more photographs"
MORE = "Add seeds (e.g. --seeds 0-4)"
PHOTOGRAPHS = "Use more photographs; a quarter of them are for testing"


@dataclass(frozen=True)
class Loss:
    """Loss of quality caused by the protection, over seeds.

    Attributes:
        task: label of the task.
        way: upload transform of the photographs, or the protected share.
        metric: name of the metric.
        chance: quality of the best image-independent baseline.
        clean: quality after training on the originals.
        protected: quality after training on the protected copies.
        drop: clean − protected, with the sign changed if lower is better.
        retention: (protected − chance) ÷ (clean − chance) with the interval of ``howfar.tables.decisions``; None if the
            originals were not learned.
        test_images: number of photographs that the networks were tested with.
    """

    task: str
    way: str
    metric: str
    chance: float
    clean: float
    protected: float
    drop: Estimate
    retention: Estimate | None
    test_images: int

    @property
    def decision(self) -> Decision:
        """Whether the protection holds, by the rule of all verdicts."""
        error = image_error(
            self.metric, self.retention.value if self.retention else 1.0, clean=self.clean, protected=self.protected,
            chance=self.chance, images=self.test_images,
        )  # fmt: skip
        return decide(self.retention, learned=has_learned(self.metric, self.clean, self.chance), error=error)

    @property
    def learned(self) -> bool:
        """Whether training on the originals is better than chance, as far as the seeds show."""
        return self.decision.lack != "learning"

    def as_dict(self) -> dict[str, Any]:
        """Return the values that files hold."""
        about = ("task", "way", "metric", "chance", "clean", "protected")
        kept = self.retention and {**to_json(self.retention), "seeds": self.retention.n}
        return {
            **{name: getattr(self, name) for name in about},
            **to_json(self.drop), "retention": kept, "seeds": self.drop.n, "test_images": self.test_images,
            "outcome": self.decision.outcome,
        }  # fmt: skip


def sentences(
    losses: Sequence[Loss], model: str, worst: WorstCase | None, left_out: Mapping[str, str] | None = None
) -> list[str]:
    """Return the sentences of the verdict, the most important first; undecided results are reported as such.

    Args:
        losses: classification of untransformed photographs first; then other transforms, shares and tasks.
        model: the victim.
        worst: result of the best defense.
        left_out: defenses that were not tried, with the rest of a sentence on why.
    """
    named = [loss for loss in losses if loss.task == "classification"]
    found = [_first(named[0], model), *(_way(loss) for loss in named[1:])] if named else []
    if worst is not None:
        best = worst.poisoned
        found.append(
            f"A learner with the best of all tested defenses ({best.defense}) gets {100 * best.quality.value:.0f} %; "
            f"protection kept: {kept_text(worst)}."
        )
    found += [f"Not tried: {label}, which {reason}." for label, reason in (left_out or {}).items()]
    return [*found, *_tasks([loss for loss in losses if loss.task != "classification"]), LIMITS]


def _first(loss: Loss, model: str) -> str:
    result, advice = _assessment(loss)
    basis = f"{_seeds(loss)}, {loss.test_images} test photographs, chance {100 * loss.chance:.0f} %"
    return (
        f"{result}: a {model} trained on your protected photographs gets {100 * loss.protected:.0f} % of unseen ones "
        f"right; trained on the originals, {100 * loss.clean:.0f} %: it loses {_points(loss)} ({basis}).{advice}"
    )


def _assessment(loss: Loss) -> tuple[str, str]:
    """Return the verdict on a loss, and advice if it is undecided."""
    found = loss.decision
    if found.outcome != "cannot tell":
        return f"The protection {found.outcome}", ""
    if found.lack == "learning":
        return "Cannot tell, because the originals were not learned", f" {LONGER}."
    if found.lack == "images":
        return f"Cannot tell from {loss.test_images} test photographs whether the protection holds", f" {PHOTOGRAPHS}."
    return f"Cannot tell from {_seeds(loss)} whether the protection holds", f" {MORE}."


def _tasks(losses: Sequence[Loss]) -> list[str]:
    """Return sentences on the retention of tasks without labels, decided ones first."""
    kinds: dict[str, list[str]] = {"left": [], "gone": [], "open": [], "unlearned": []}
    for loss in losses:
        found, kept = loss.decision, loss.retention
        if kept is None or found.lack == "learning":
            kinds["unlearned"].append(loss.task)
        elif found.outcome == "cannot tell":
            known = f", {100 * found.shown[0]:.0f} to {100 * found.shown[1]:.0f}" if found.shown else ""
            known = ", 1 seed" if kept.n == 1 else known
            kinds["open"].append(f"{loss.task} ({100 * kept.value:.0f} %{known})" if known else loss.task)
        else:
            kinds["gone" if found.outcome == "holds" else "left"].append(f"{loss.task} ({100 * kept.value:.0f} %)")
    texts = (
        ("left", "Remains learnable: {} of what the originals teach."),
        ("gone", "Mostly lost: {} of what the originals teach remains."),
        ("open", f"Cannot tell whether it remains learnable: {{}} of what the originals teach. {MORE}."),
        ("unlearned", f"Cannot tell, because the originals did not teach it: {{}}. {LONGER}."),
    )
    return [text.format(", ".join(kinds[kind])) for kind, text in texts if kinds[kind]]


def _way(loss: Loss) -> str:
    if loss.way in AFTER:
        return f"{AFTER[loss.way]} it loses {_points(loss)}."
    return f"If {loss.way} of the photographs are protected, it loses {_points(loss)}."


def _seeds(loss: Loss) -> str:
    return f"{loss.drop.n} seed{'s' * (loss.drop.n != 1)}"


def _points(loss: Loss) -> str:
    value, ends = loss.drop.value, loss.drop.ends
    if ends is None:
        return f"{100 * value:.0f} points (1 seed)"
    low, high = ends
    if low < -1 or high > 1:  # differences of shares are in [−1, 1], so a clipped interval is not symmetric
        return f"{100 * value:.0f} points ({100 * max(low, -1.0):.0f} to {100 * min(high, 1.0):.0f})"
    return f"{100 * value:.0f} ± {50 * (high - low):.0f} points"


def demanded(text: str, known: Collection[str]) -> tuple[str, str, float]:
    """Return name, sign and bound of a requirement such as ``drop>=30``.

    Args:
        text: name, ``>=`` or ``<=``, and a number in points or percent.
        known: names of measured quantities.

    Raises:
        UsageError: if it is not a requirement.
    """
    sign = ">=" if ">=" in text else "<="
    name, found, limit = text.partition(sign)
    try:
        bound = float(limit)
    except ValueError:
        found = ""
    if not found or name.strip() not in known:
        raise UsageError(f"'{text}' is not a requirement. Write e.g. drop>=30; known: {', '.join(sorted(known))}.")
    return name.strip(), sign, bound


def required(text: str, measured: Mapping[str, float]) -> tuple[bool, str]:
    """Return whether a requirement is met, and a sentence about it.

    Args:
        text: as in ``demanded``.
        measured: by name, in points or percent; NaN meets no requirement.

    Raises:
        UsageError: as ``demanded``.
    """
    name, sign, bound = demanded(text, measured)
    value = measured[name]
    if math.isnan(value):
        return False, f"{name} is unknown, required {sign} {bound:g}: not met"
    met = value >= bound if sign == ">=" else value <= bound
    return met, f"{name} is {value:.1f}, required {sign} {bound:g}: {'met' if met else 'not met'}"
