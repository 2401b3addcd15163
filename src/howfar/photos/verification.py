"""The verdict of a verification, in plain language."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from howfar.errors import UsageError
from howfar.photos.losses import TUNED, Loss
from howfar.photos.remedies import LONGER, advice
from howfar.photos.trainable import LEAST, Trainable
from howfar.score import WorstCase, kept_text
from howfar.tables.verdicts import Verdict

AFTER = {
    "as-is": "As it is",
    "jpeg-75": "After JPEG 75",
    "halved": "After halving its size",
    "screenshot": "After a screenshot",
    "cropped": "After a crop to 80 %",
}
LIMITS = (
    "Assumed is a learner who trains a small network on these photographs alone, all of them protected unless stated "
    "otherwise, and does not have the originals. This says nothing about large pretrained models, about training sets "
    "in which your photographs are few among many, or about people who hold the originals."
)
TUNED_LIMITS = (
    "Assumed is a learner who trains a small network on these photographs, from scratch or after pretraining on other "
    "photographs, all of yours protected unless stated otherwise, and does not have the originals. This says nothing "
    "about large pretrained models, about training sets in which your photographs are few among many, or about people "
    "who hold the originals."
)
MORE = "Add seeds (e.g. --seeds 0-4)"


@dataclass(frozen=True)
class Tried:
    """What was tried against the protection besides training without a defense.

    Attributes:
        worst: result of the best defense, chosen on held-out photographs; None if none were held out.
        each: verdict over the defenses, each judged by itself; None if there were none.
        left_out: defenses that were not tried, with the rest of a sentence on why.
        pretrained: what the fine-tuned learner was pretrained on; empty without one.
    """

    worst: WorstCase | None = None
    each: Verdict | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    pretrained: str = ""


def sentences(losses: Sequence[Loss], model: str, tried: Tried, photographs: int) -> list[str]:
    """Return the sentences of the verdict, the most important first; undecided results are reported as such.

    Args:
        losses: classification of untransformed photographs first; then other learners, transforms, shares and tasks.
        model: the victim.
        tried: defenses and pretraining.
        photographs: number of photographs that were given.
    """
    named = [loss for loss in losses if loss.task == "classification" and loss.learner != TUNED]
    tuned = [loss for loss in losses if loss.learner == TUNED]
    if named:
        found = [_first(named[0], model, photographs), *(_tuned(loss, tried, photographs) for loss in tuned)]
        found += [_way(loss) for loss in named[1:]]
    else:
        found = [
            "Cannot tell whether the protection holds, because the photographs have no labels that a network could "
            "learn. Sort them into one subfolder per kind."
        ]
    found += _defended(tried)
    found += [f"Not tried: {label}, which {reason}." for label, reason in tried.left_out.items()]
    tasks = _tasks([loss for loss in losses if loss.task != "classification"])
    return [*found, *tasks, TUNED_LIMITS if tuned else LIMITS]


def too_few(chosen: Trainable) -> list[str]:
    """Return the verdict on photographs that are too few to train on."""
    kinds = f" in {chosen.kinds} kinds" if chosen.labeled else ""
    return [
        f"Cannot tell whether the protection holds: {len(chosen.pairs)} photographs{kinds} with a protected copy are "
        f"too few to train and test a network. Take {LEAST} or more, in at least two subfolders.",
        "No network was trained.",
    ]


def small_kinds(left_out: Mapping[str, int]) -> str:
    """Return a sentence on kinds that are too small; empty if there are none."""
    named = ", ".join(f"{kind} ({count})" for kind, count in sorted(left_out.items()))
    return f"left out, too few photographs to learn from: {named}" if named else ""


def _first(loss: Loss, model: str, photographs: int) -> str:
    basis = f"{_seeds(loss)}, {loss.test_images} test photographs, chance {100 * loss.chance:.0f} %"
    return " ".join(
        [
            f"{_assessment(loss)}: a small network ({model}) trained on your protected photographs gets "
            f"{100 * loss.protected:.0f} % of unseen ones right; trained on the originals, {100 * loss.clean:.0f} %: "
            f"it loses {_points(loss)} ({basis}).",
            *_kept(loss),
            *_advice(loss, photographs),
        ]
    )


def _tuned(loss: Loss, tried: Tried, photographs: int) -> str:
    outcome = loss.decision.outcome
    verdict = outcome if outcome == "cannot tell" else f"the protection {outcome}"
    return " ".join(
        [
            f"Pretrained on {tried.pretrained} and fine-tuned on your photographs: {verdict}. "
            f"The network gets {100 * loss.protected:.0f} % right; fine-tuned on the originals, "
            f"{100 * loss.clean:.0f} %: it loses {_points(loss)}.",
            *_kept(loss),
            *_advice(loss, photographs),
        ]
    )


def _advice(loss: Loss, photographs: int) -> list[str]:
    found = advice(loss, photographs)
    return [found] if found else []


def _kept(loss: Loss) -> list[str]:
    """Return a sentence on the quantity that decides; none if it is not known."""
    found = loss.decision
    if found.retention is None or found.shown is None or found.lack == "learning":
        return []
    low, high = (100 * end for end in found.shown)
    return [
        f"What the originals teach is retained to {100 * found.retention.value:z.0f} % ({low:z.0f} to {high:z.0f}); a "
        "protection holds if that is surely less than half."
    ]


def _assessment(loss: Loss) -> str:
    """Return the verdict on a loss."""
    found = loss.decision
    if found.outcome != "cannot tell":
        return f"The protection {found.outcome}"
    if found.lack == "learning":
        return "Cannot tell, because the originals were not learned"
    if found.lack == "images":
        return f"Cannot tell from {loss.test_images} test photographs whether the protection holds"
    return f"Cannot tell from {_seeds(loss)} whether the protection holds"


def _defended(tried: Tried) -> list[str]:
    """Return a sentence on the best defense; none if no defense was tried."""
    if tried.worst is not None:
        best = tried.worst.poisoned
        return [
            f"A learner with the best of all tested defenses ({best.defense}) gets {100 * best.quality.value:.0f} %; "
            f"protection kept: {kept_text(tried.worst)}."
        ]
    one = tried.each
    if one is None or not one.defenses:
        return []
    outcome = f"the protection {one.decision.outcome}"
    if one.decision.outcome == "cannot tell":
        outcome = "this cannot tell whether the protection holds"
    return [
        f"Of a learner without a defense and {one.defenses} defenses, {one.defense} gets most: "
        f"{100 * one.protected:.0f} %; {outcome}. The photographs are too few to hold some out for choosing a defense."
    ]


def _tasks(losses: Sequence[Loss]) -> list[str]:
    """Return sentences on the retention of tasks without labels, decided ones first."""
    kinds: dict[str, list[str]] = {"left": [], "gone": [], "open": [], "unlearned": []}
    for loss in losses:
        found, kept = loss.decision, loss.retention
        if kept is None or found.lack == "learning":
            kinds["unlearned"].append(loss.task)
        elif found.outcome == "cannot tell":
            known = f", {100 * found.shown[0]:z.0f} to {100 * found.shown[1]:z.0f}" if found.shown else ""
            known = ", 1 seed" if kept.n == 1 else known
            kinds["open"].append(f"{loss.task} ({100 * kept.value:z.0f} %{known})" if known else loss.task)
        else:
            kinds["gone" if found.outcome == "holds" else "left"].append(f"{loss.task} ({100 * kept.value:z.0f} %)")
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
