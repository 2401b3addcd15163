"""Two learners on the same test images: by hand, and how often intervals, tests and detectable effects are right."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from howfar.errors import UsageError
from howfar.score import Variances, false_discoveries, packed, paired, unpacked
from howfar.score.intervals import pooled

Bools = NDArray[np.bool_]


def learners(
    rng: np.random.Generator, shifts: tuple[float, ...], seeds: int, images: int, seed: float, noise: float
) -> list[Bools]:
    """Return learners that classify the same images: hard images are hard for all, and some seeds are worse."""
    hard = rng.normal(size=images)
    return [
        hard + seed * rng.normal(size=(seeds, 1)) + noise * rng.normal(size=(seeds, images)) < shift for shift in shifts
    ]


def accuracy(shift: float, seed: float, noise: float) -> float:
    return float(norm.cdf(shift / np.sqrt(1 + seed**2 + noise**2)))


def test_one_seed_is_mcnemar() -> None:
    """60 right of both, 5 of the first alone, 20 of the second alone, 15 of none; one image is added to each pair."""
    one = np.repeat([True, True, False, False], [60, 5, 20, 15])
    other = np.repeat([True, False, True, False], [60, 5, 20, 15])
    found = paired(one, other)
    error = found.variances.error(100, 1)
    assert found.difference.value == pytest.approx(0.15)
    assert found.disagreement == pytest.approx(0.25)
    assert error.square == pytest.approx((25 + 1 - 15**2 / 102) / 102 / 100)
    assert error.freedom == 99
    assert paired(other, one).difference.value == pytest.approx(-0.15)
    assert paired(other, one).p_value == pytest.approx(found.p_value)
    unpaired = np.sqrt((0.65 * 0.35 + 0.8 * 0.2) / 100)
    assert error.square**0.5 < 0.8 * unpaired, "pairing by image is worth it"


def test_variances_by_hand() -> None:
    """Two seeds, two images: differences [[1, 0], [0, 0]] with means 1/2, 0 of seeds and of images."""
    found = paired([[False, False], [False, False]], [[True, False], [False, False]]).variances
    assert found.rest == pytest.approx(4 * 0.25**2)
    assert found.seeds == pytest.approx(0.125 - 0.25 / 2)
    assert found.images == pytest.approx((0.25 + 1 - 0.25 / 4) / 4 - 0.25 / 2)
    assert found.pooled == 1


def test_learners_that_never_disagree_have_an_interval() -> None:
    same = np.ones((2, 40), dtype=bool)
    found = paired(same, same)
    assert found.difference.value == 0
    assert found.p_value == 1
    assert found.difference.high is not None
    assert found.difference.high > 0


@pytest.mark.parametrize("seed", [0.0, 0.1, 0.4])
@pytest.mark.parametrize(("seeds", "images"), [(1, 60), (1, 1000), (2, 1000), (3, 1000), (5, 300)])
def test_intervals_hold_the_truth(seeds: int, images: int, seed: float) -> None:
    """At least 93 % of the intervals do; more if seeds do not scatter, which few seeds cannot know."""
    rng, shifts, noise = np.random.default_rng(seeds), (0.0, -0.3), 0.6
    spread = seed if seeds > 1 else 0.0
    truth = accuracy(shifts[1], spread, noise) - accuracy(shifts[0], spread, noise)
    held = []
    for _ in range(300):
        found = paired(*learners(rng, shifts, seeds, images, spread, noise)).difference
        held.append(found.low is not None and found.high is not None and found.low <= truth <= found.high)
    assert np.mean(held) >= 0.92
    if seed == 0.4 or seeds == 1:
        assert np.mean(held) <= 0.98


@pytest.mark.parametrize("seed", [0.05, 0.3])
def test_rows_of_a_table_share_the_variance_of_their_seeds(seed: float) -> None:
    rng, shifts, held, widths = np.random.default_rng(0), (0.0, 0.2, -0.2, 0.4, -0.4, 0.1), [], []
    for _ in range(80):
        first, *others = learners(rng, shifts, 3, 500, seed, 0.6)
        spread = pooled([(other.mean(1) - first.mean(1)).tolist() for other in others])
        for shift, other in zip(shifts[1:], others, strict=True):
            found = paired(first, other, spread=spread).difference
            truth = accuracy(shift, seed, 0.6) - accuracy(0, seed, 0.6)
            alone = paired(first, other).difference
            assert found.ends is not None
            assert alone.ends is not None
            held.append(found.ends[0] <= truth <= found.ends[1])
            widths.append((found.ends[1] - found.ends[0]) / (alone.ends[1] - alone.ends[0]))
    assert np.mean(held) >= 0.92
    assert np.median(widths) < 1


def test_the_detectable_effect_is_detected_in_four_of_five_cases() -> None:
    """Normal scatter of seeds and images; the effect is the one that the true variances give."""
    rates = []
    for seeds, images in ((1, 500), (3, 500), (6, 100)):
        known = Variances(seeds=0.02**2 if seeds > 1 else 0.0, images=0.16)
        effect = known.detectable(images, seeds)
        rng, found = np.random.default_rng(seeds), []
        for _ in range(600):
            shift = (effect + rng.normal(0, known.seeds**0.5, (seeds, 1))) / 2
            draw = rng.uniform(size=(1, images))  # the same for all seeds
            plus, minus = draw < 0.08 + shift, draw > 1 - 0.08 + shift  # right of the second, and of the first alone
            found.append(paired(minus, plus).p_value < 0.05)
        rates.append(float(np.mean(found)))
    assert 0.7 <= min(rates) <= max(rates) <= 0.9


def test_more_images_and_seeds_detect_less() -> None:
    known = Variances(seeds=0.01**2, images=0.2, rest=0.1)
    effects = [known.detectable(1000, seeds) for seeds in (2, 3, 5, 10)]
    assert all(more < less for less, more in pairwise(effects))
    assert known.detectable(10_000, 3) < known.detectable(1000, 3)
    assert known.detectable(10**9, 10) > 0.009, "images do not replace seeds"
    assert known.detectable(1000, 3, power=0.9) > known.detectable(1000, 3)
    table = Variances(seeds=0.01**2, images=0.2, rest=0.1, pooled=6)
    assert table.detectable(1000, 3) < known.detectable(1000, 3)
    assert table.detectable(1000, 10) == known.detectable(1000, 10), "with six seeds, every row keeps its own"


def test_what_allows_no_test_is_refused() -> None:
    known = Variances(seeds=0.0, images=0.2)
    for images, seeds, power in ((1, 1, 0.8), (100, 0, 0.8), (100, 1, 1.0)):
        with pytest.raises(UsageError, match="no test"):
            known.detectable(images, seeds, power=power)
    one = paired([True, False, True], [True, True, True])
    assert one.detectable(1000) < one.detectable()
    with pytest.raises(UsageError, match="one seed"):
        one.detectable(1000, 3)
    for shape in ((2, 3), (2,), (1, 3, 2)):
        with pytest.raises(UsageError, match="cannot be paired"):
            paired(np.zeros((1, 3)), np.zeros(shape))


def test_false_discoveries_are_controlled() -> None:
    """Twelve protectors that do nothing and four that do, all held against the same reference."""
    rng, wrong, missed = np.random.default_rng(3), [], []
    shifts = (0.0, *[0.0] * 12, *[-0.5] * 4)
    for _ in range(80):
        first, *others = learners(rng, shifts, 1, 400, 0.0, 0.6)
        found = np.array(false_discoveries([paired(first, other).p_value for other in others])) <= 0.05
        wrong.append(found[:12].sum() / max(found.sum(), 1))
        missed.append(1 - found[12:].mean())
    assert np.mean(wrong) <= 0.05
    assert np.mean(missed) <= 0.05
    assert false_discoveries([]) == []


@pytest.mark.parametrize("images", [1, 7, 8, 9, 1000])
def test_bits_come_back(images: int) -> None:
    correct = np.random.default_rng(images).random(images) < 0.5
    text = packed(correct)
    assert (unpacked(text, images) == correct).all()
    for other in (images + 8, images - 8):
        with pytest.raises(ValueError, match=f"for {other} images"):
            unpacked(text, other)
    for broken in (text + "!", "A", "ÿ"):
        with pytest.raises(ValueError, match=r".+"):
            unpacked(broken, images)


def test_bits_behind_the_last_image_are_refused() -> None:
    with pytest.raises(ValueError, match="8 bits for 7 images"):
        unpacked(packed([True] * 8), 7)
