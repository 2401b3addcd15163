"""The verdict says what its intervals decide, with all that it rests on, and no more."""

from typing import Any

import pytest

from howfar.report.verdict import NAMED, RULE, details, scope, sentence, summary, tentative, verdict
from howfar.score import Estimate
from howfar.tables.decisions import Decision, decide, has_learned
from howfar.tables.verdicts import Verdict


def one(
    protector: str = "em", kept: float = 0.1, half: float | None = 0.1, *, error: float | None = 0.0, **about: Any
) -> Verdict:  # fmt: skip
    values: dict[str, Any] = {
        "dataset": "cifar10", "task": "classification", "model": "resnet8", "baseline": False, "metric": "accuracy",
        "chance": 0.1, "clean": 0.6, "protected": 0.1 + 0.5 * kept, "defense": "none", "undefended": None,
        "defenses": 0, "seeds": 3, "train_images": 4000, "test_images": 2000,
    } | about  # fmt: skip
    ends = (None, None) if half is None else (kept - half, kept + half)
    decision = decide(
        Estimate(kept, *ends, values["seeds"], "delta"),
        learned=has_learned(values["metric"], values["clean"], values["chance"]), error=error,
    )  # fmt: skip
    return Verdict(protector=protector, decision=decision, **values)


def test_every_sentence_tells_what_it_rests_on() -> None:
    assert sentence(one()) == (
        "em on cifar10 · classification · resnet8: holds. The victim reaches 15 % (clean 60 %, chance 10 %) and "
        "retains 10 % (0 to 20); 3 seeds, 2,000 test images, no defense tried."
    )
    with_defense = one(kept=0.9, defense="jpeg", defenses=21)
    assert sentence(with_defense) == (
        "em on cifar10 · classification · resnet8: does not hold. The victim with jpeg reaches 55 % (clean 60 %, "
        "chance 10 %) and retains 90 % (80 to 100); 3 seeds, 2,000 test images, 21 defenses tried."
    )


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (one(half=None, seeds=1), "retains 10 % (one seed, so no interval); 1 seed, 2,000 test images, no defense "
         "tried. One seed has no interval; three have one (--seeds 0-2)."),
        (one(kept=0.4, half=0.2), "retains 40 % (20 to 60); 3 seeds, 2,000 test images, no defense tried. More seeds "
         "would decide it (--seeds 0-5)."),
        (one(kept=0.4, half=0.2, seeds=6), "More seeds would decide it (--seeds 0-11)."),
        (one(kept=0.4, half=8.7), "retains an unknown share (the interval is wider than 100 points); 3 seeds"),
        (one(error=0.3, test_images=16), "16 test images are too few: more of them would decide it, more seeds would "
         "not."),
        (one(half=None, seeds=2, clean_spread=0.07), "retains 10 % (no interval: the clean victims of 2 seeds differ "
         "by 7 points, too much for one; add seeds); "),
        (one(half=None, seeds=2), "(no interval: the clean victims of 2 seeds differ too much for one; add seeds); "),
        (one(half=None, seeds=2, clean_spread=2.5, metric="mean angle", chance=36.0, clean=20.0),
         "differ by 2.50 degrees, too much for one"),
        (one(clean=0.19), "retains an unknown share; 3 seeds, 2,000 test images, no defense tried. The clean victim "
         "learned too little: train it longer (--epochs), on more images, or, if images are smaller "
         "than 16 pixels, without augmentation"),
        (one(kept=0.4, half=0.2, clean=0.29), "3 seeds, 2,000 test images, no defense tried. The clean victim is close "
         "to chance: train it longer (--epochs), then add seeds (--seeds 0-5)."),
    ],
)  # fmt: skip
def test_an_open_verdict_says_what_would_decide_it(found: Verdict, message: str) -> None:
    text = sentence(found)
    assert ": cannot tell. " in text
    assert message in text
    assert "inf" not in text
    assert "870" not in text


def test_three_sentences_sum_up_and_name_each_protector_once() -> None:
    found = [
        one("pil"), one("em", 0.2), one("ops", 0.9), one("tap", half=None, seeds=1),
        one("random", 1.0, baseline=True),
    ]  # fmt: skip
    assert summary(found) == [
        "Holds (2 of 4 protectors): pil (retains 10 %) and em (retains 20 %).",
        "Does not hold (1 of 4 protectors): ops (retains 90 %).",
        "Cannot tell (1 of 4 protectors): tap (needs more seeds).",
        "Baseline, random noise: random does not hold (retains 100 %).",
        "Tested against cifar10 · classification · resnet8; no defense tried, 1 to 3 seeds, 2,000 test images, "
        "chance 10 %.",
    ]
    assert summary([]) == []
    weak = summary([one(half=None, seeds=1, clean=0.29)])
    assert weak[2] == "Cannot tell (1 of 1 protector): em (needs more epochs)."


def test_several_victims_are_counted_and_recipes_keep_their_names() -> None:
    short, long = "resnet8 (recipe.epochs 20)", "resnet8 (recipe.epochs 60)"
    found = [one("ar", 0.95, 0.05, model=short), one("ar", 0.1, 0.05, model=long), one("em", model=short)]
    holds, fails, unknown, tested = summary(found)
    assert holds == f"Holds (2 of 2 protectors): em ({short}) and ar ({long})."
    assert fails == f"Does not hold (1 of 2 protectors): ar ({short})."
    assert unknown == "Cannot tell: none."
    assert tested == "Tested against 2 victims; no defense tried, 3 seeds, 2,000 test images, chance 10 %."
    first, second, _ = details(found)
    assert f"ar on cifar10 · classification · {short}: does not hold." in first
    assert f"ar on cifar10 · classification · {long}: holds." in second
    assert verdict(found) == [holds, fails, unknown, tested, RULE]


def test_tasks_are_named_and_many_victims_and_protectors_are_counted() -> None:
    found = [one("em", task="scenes", model="a"), one("em", 0.95, 0.05, task="depth", model="b")]
    assert summary(found)[0] == "Holds (1 of 1 protector): em (scenes)."
    many = [one("em", model=f"m{number}") for number in range(7)]
    assert summary(many)[0] == "Holds (1 of 1 protector): em (7 of 7 victims)."
    assert summary([one(f"p{number}") for number in range(NAMED + 3)])[0].endswith("and 3 more.")


def test_open_verdicts_name_what_they_lack_by_protector() -> None:
    found = [
        one("em", half=None, seeds=1, task="scenes"), one("ar", half=None, seeds=1, clean=0.29, task="depth"),
        one("em", half=None, seeds=1, clean=0.29, task="depth"),
    ]  # fmt: skip
    assert summary(found)[2].endswith(
        " What would decide them: more seeds for em (scenes); more epochs for em (depth) and ar (depth)."
    )


def test_one_seed_gives_a_first_reading() -> None:
    found = [
        one("em", -0.07, None, seeds=1, task="scenes"), one("em", 0.2, None, seeds=1, task="depth"),
        one("ar", 0.9, None, seeds=1, task="depth"),
    ]  # fmt: skip
    reading = (
        "With one seed, em retains -7 % of scenes and 20 % of depth; ar retains 90 % of depth: a first reading without "
        "an interval, not a verdict."
    )
    assert verdict(found)[-2:] == [reading, RULE]
    assert tentative([one("em"), one("ar", half=None, seeds=1, clean=0.19)]) == [], "nothing to read off"
    assert tentative(found[:1])[0].startswith("With one seed, em retains -7 %: a first")


def test_errors_are_told_in_their_own_unit_and_negative_retention_as_measured() -> None:
    found = one(kept=-0.5, half=0.2, metric="mean angle", chance=36.0, clean=20.0, protected=44.0)
    assert (
        "reaches mean angle 44.00 degrees (clean mean angle 20.00 degrees, chance mean angle 36.00 degrees) and "
        "retains -50 % (-70 to -30)"
    ) in sentence(found)
    assert found.decision.outcome == "holds"
    differing = scope([found, one()])
    assert differing.endswith("chance differs by task.")


def test_a_model_barely_worse_than_chance_retains_nothing_without_a_sign() -> None:
    assert "retains 0 % (-20 to 20)" in sentence(one(kept=-0.004, half=0.2))


def test_the_rule_says_why_its_interval_is_wider_than_those_of_tables() -> None:
    assert "It takes 98 % to be wrong in about 5 % of the cases at most" in RULE
    assert "Intervals of tables are 95 %" in RULE


def test_a_decision_without_a_retention_has_nothing_to_show() -> None:
    assert Decision("cannot tell", "learning", None).shown is None
