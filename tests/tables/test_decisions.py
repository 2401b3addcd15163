"""The rule of the verdict: what decides, what leaves it open, and how often it is wrong."""

import math

import pytest
from benchmarks.verdict_error import SEEDS, Scene, rates

from howfar.score import Estimate
from howfar.tables.decisions import Decision, against_all, corrected, decide, has_learned, image_error, widened
from howfar.tables.groups import grouped
from howfar.tables.verdicts import Verdict, verdicts

from .test_names import record


def decided(
    value: float, half: float | None, *, n: int = 3, error: float | None = 0.0, learned: bool = True
) -> Decision:
    ends = (None, None) if half is None else (value - half, value + half)
    return decide(Estimate(value, *ends, n, "delta"), learned=learned, error=error)


@pytest.mark.parametrize(
    ("found", "outcome", "lack"),
    [
        (decided(0.1, 0.39), "holds", ""),
        (decided(0.1, 0.41), "cannot tell", "seeds"),
        (decided(0.9, 0.39), "does not hold", ""),
        (decided(0.9, 0.41), "cannot tell", "seeds"),
        (decided(-10.0, 9.6), "holds", ""),  # far worse than chance in every seed
        (decided(2.0, 1.4), "cannot tell", "seeds"),  # above one half, but wider than all that can be retained
        (decided(0.1, None, n=1), "cannot tell", "seeds"),
        (decided(0.1, None, n=2), "cannot tell", "seeds"),
        (decided(0.1, None, n=5), "cannot tell", "learning"),
        (decided(0.1, 0.1, learned=False), "cannot tell", "learning"),
        (decide(None, learned=True, error=0.0), "cannot tell", "learning"),
        (decided(0.1, 0.1, error=None), "cannot tell", "images"),
        (decided(0.3, 0.1, error=0.1), "cannot tell", "images"),  # 2.33 · 0.1 > 0.2, and seeds contribute less
        (decided(0.3, 0.15, error=0.06), "cannot tell", "seeds"),  # √(0.15² + 0.14²) > 0.2
    ],
)
def test_the_interval_decides(found: Decision, outcome: str, lack: str) -> None:
    assert (found.outcome, found.lack) == (outcome, lack)


def test_test_images_widen_the_interval_in_quadrature() -> None:
    wide = widened(Estimate(0.5, 0.4, 0.7, 3, "delta"), 0.1)
    assert wide.low == pytest.approx(0.5 - math.hypot(0.1, 0.2326348))
    assert wide.high == pytest.approx(0.5 + math.hypot(0.2, 0.2326348))
    assert widened(Estimate(0.5, None, None, 1, "delta"), 0.1).ends is None


def test_the_error_of_few_test_images_is_binomial() -> None:
    """16 images: (0.5·16 + 2) ÷ 20 = 0.5 and (0.9·16 + 2) ÷ 20 = 0.82; 0.25 ÷ 20 + 0.25 · 0.1476 ÷ 20, root, ÷ 0.8."""
    error = image_error("accuracy", 0.5, clean=0.9, protected=0.5, chance=0.1, images=16)
    assert error == pytest.approx(math.sqrt(0.25 / 20 + 0.25 * 0.82 * 0.18 / 20) / 0.8)
    perfect = image_error("accuracy", 0.0, clean=1.0, protected=0.0, chance=0.1, images=16)
    assert perfect is not None
    assert perfect > 0, "an accuracy of 0 on 16 images promises nothing"
    assert image_error("mIoU", 0.5, clean=0.9, protected=0.5, chance=0.1, images=49) is None
    assert image_error("mIoU", 0.5, clean=0.9, protected=0.5, chance=0.1, images=50) == 0.0


@pytest.mark.parametrize(
    ("metric", "clean", "chance", "learned"),
    [
        ("accuracy", 0.2, 0.1, True), ("accuracy", 0.19, 0.1, False), ("accuracy", 0.0, 0.1, False),
        ("mIoU", 0.14, 0.08, True), ("mIoU", 0.12, 0.08, False),
        ("mean angle", 32.0, 36.0, True), ("mean angle", 33.0, 36.0, False),
    ],
)  # fmt: skip
def test_what_a_clean_victim_must_learn(metric: str, clean: float, chance: float, learned: bool) -> None:
    assert has_learned(metric, clean, chance) is learned


def test_several_defenses_hold_together_and_fail_one_by_one() -> None:
    holds, fails, unknown = decided(0.1, 0.2), decided(0.9, 0.2), decided(0.4, 0.2)
    strong = decided(0.3, 0.1)
    assert against_all([holds, strong], [holds, strong]) == (1, strong)
    assert against_all([holds, fails], [holds, fails]) == (1, fails)
    place, left = against_all([holds, fails], [holds, unknown])  # fails, but not at the corrected confidence
    assert (place, left.outcome, left.lack) == (1, "cannot tell", "seeds")
    assert against_all([holds, unknown], [holds, unknown])[1].outcome == "cannot tell"
    assert corrected(1) == pytest.approx(0.98)
    assert corrected(4) == pytest.approx(0.995)


def of(rows: dict[str, list[float]], **about: object) -> dict[str, Verdict]:
    victims = [record(name, seed, value) for name, values in rows.items() for seed, value in enumerate(values)]
    return {one.protector: one for one in verdicts(grouped(victims))}


def test_verdicts_of_a_table() -> None:
    found = of({
        "clean": [0.90, 0.88, 0.92], "em": [0.15, 0.12, 0.18], "ar": [0.85, 0.83, 0.88], "ops": [0.45, 0.55, 0.5],
        "lsp": [0.2],
    })  # fmt: skip
    assert {name: one.decision.outcome for name, one in found.items()} == {
        "em": "holds", "ar": "does not hold", "ops": "cannot tell", "lsp": "cannot tell",
    }  # fmt: skip
    em = found["em"]
    assert (em.clean, em.protected, em.seeds) == (pytest.approx(0.9), pytest.approx(0.15), 3)
    assert (em.test_images, em.defenses, em.defense, em.chance) == (10_000, 0, "none", 0.1)
    assert found["lsp"].decision.lack == "seeds"


def test_clean_victims_that_learned_little_decide_nothing() -> None:
    found = of({"clean": [0.15, 0.15, 0.16], "em": [0.1, 0.1, 0.1]})
    assert (found["em"].decision.outcome, found["em"].decision.lack) == ("cannot tell", "learning")


def test_clean_victims_of_two_seeds_that_differ_leave_it_open() -> None:
    em = of({"clean": [0.68, 0.75], "em": [0.2, 0.21]})["em"]
    assert (em.decision.outcome, em.decision.lack, em.decision.shown) == ("cannot tell", "seeds", None)
    assert em.clean_spread == pytest.approx(0.07)


SCENES = (
    Scene("equal", images=500), Scene("one scatters 3 times as much", loud=3, images=500),
    Scene("16 test images", images=16), Scene("best of 4 defenses", rows=2, images=500, defenses=4, chosen=True),
    Scene("4 defenses", rows=2, images=500, defenses=4),
)  # fmt: skip


@pytest.mark.parametrize("seeds", [min(SEEDS), max(SEEDS)])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_at_the_threshold_at_most_one_verdict_in_twenty_is_wrong(scene: Scene, seeds: int) -> None:
    """Rows that retain exactly one half, where both decisions are wrong; fixed seed."""
    found = rates(scene, seeds, 120)
    assert found.holds <= 0.05
    assert found.fails <= 0.05


def test_away_from_the_threshold_five_seeds_decide() -> None:
    assert rates(Scene("equal", images=2000), 5, 60).decided > 0.9
