"""The worst case: chosen on validation, valued on test, with an interval that allows for the choice."""

import numpy as np
import pytest

from howfar.errors import UsageError
from howfar.score import Trials, worst_case

CLEAN = {"none": Trials([0.90, 0.92], [0.88, 0.90]), "jpeg": Trials([0.80, 0.80], [0.95, 0.95])}


def test_the_choice_is_made_on_validation_and_valued_on_test() -> None:
    poisoned = {"none": Trials([0.2, 0.2], [0.9, 0.9]), "jpeg": Trials([0.5, 0.7], [0.48, 0.52])}
    found = worst_case(CLEAN, poisoned, chance=0.1)
    assert (found.clean.defense, found.poisoned.defense) == ("none", "jpeg")
    assert found.clean.quality.value == pytest.approx(0.89)
    assert found.poisoned.quality.value == pytest.approx(0.5)
    assert found.kept.value == pytest.approx((0.89 - 0.5) / (0.89 - 0.1))
    assert found.kept.ends is not None
    assert found.kept.ends[0] < found.kept.value < found.kept.ends[1]
    assert (found.poisoned.tried, found.poisoned.quality.n) == (2, 2)


def test_what_learns_nothing_from_protected_images_is_no_defense() -> None:
    alone = {"clean-only": Trials([0.99, 0.99], [0.99, 0.99])}
    poisoned = {"none": Trials([0.2, 0.2], [0.2, 0.2])}
    assert worst_case(CLEAN | alone, poisoned | alone, chance=0.1) == worst_case(CLEAN, poisoned, chance=0.1)


def test_lower_errors_are_better_where_they_are() -> None:
    clean = {"none": Trials([1.0], [1.0]), "jpeg": Trials([2.0], [0.5])}
    poisoned = {"none": Trials([4.0], [4.0]), "jpeg": Trials([3.0], [2.0])}
    found = worst_case(clean, poisoned, chance=5.0, higher_is_better=False)
    assert (found.clean.quality.value, found.poisoned.quality.value, found.poisoned.defense) == (1.0, 2.0, "jpeg")
    assert found.kept.value == pytest.approx(0.25)
    assert (found.kept.ends, found.poisoned.quality.ends) == (None, None), "one seed says nothing about its spread"


def test_clean_against_itself_keeps_nothing() -> None:
    assert worst_case(CLEAN, CLEAN, chance=0.1).kept.value == 0


def test_the_interval_holds_though_the_best_of_many_is_taken() -> None:
    """Ten defenses that are equally good; validation and test share the luck of the training."""
    rng, truth, seeds, hits, plain = np.random.default_rng(0), 0.5, 3, 0, 0
    for _ in range(400):
        luck = rng.normal(truth, 0.02, (10, seeds))
        trials = {f"{i}": Trials(list(row + rng.normal(0, 0.004, seeds)), list(row)) for i, row in enumerate(luck)}
        best = worst_case(trials, trials, chance=0.1).poisoned
        assert best.quality.ends is not None
        hits += best.quality.ends[0] <= truth <= best.quality.ends[1]
        own = luck[int(best.defense)]
        plain += abs(own.mean() - truth) <= 1.96 * 0.02 / np.sqrt(seeds)
    assert hits / 400 >= 0.94
    assert plain / 400 < 0.85, "an interval for one defense alone would promise too much"


@pytest.mark.parametrize(
    ("clean", "poisoned", "says"),
    [
        (CLEAN, {}, "no defense was tried"),
        (CLEAN, {"none": Trials([0.1], [])}, "as many validation as test"),
        ({"none": Trials([0.1], [0.1])}, CLEAN, "Train for longer"),
    ],
)
def test_what_cannot_be_valued_says_why(clean: dict[str, Trials], poisoned: dict[str, Trials], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        worst_case(clean, poisoned, chance=0.1)
