from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from howfar.errors import HowfarError, UsageError
from howfar.score import two_means, unlearnable_distance
from howfar.score.intervals import pooled


@dataclass(frozen=True)
class Fake:
    sal: float
    standard_error: float = 0.0
    parameters: int = 1


def run(*epochs: list[float], error: float = 0.0, sizes: tuple[int, ...] = (1,) * 10) -> list[dict[str, Fake]]:
    return [{f"l{k}": Fake(v, error, sizes[k]) for k, v in enumerate(values)} for values in epochs]


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=30, unique=True))
def test_two_means_is_at_least_as_good_as_kmeans(values: list[int]) -> None:
    column = np.array(values, dtype=float)
    threshold = float(two_means(column))
    parts = column[column <= threshold], column[column > threshold]
    assert all(len(part) for part in parts)
    ours = sum(float(((part - part.mean()) ** 2).sum()) for part in parts)
    theirs = KMeans(2, n_init=5, random_state=0).fit(column[:, None])
    assert ours <= theirs.inertia_ * (1 + 1e-9) + 1e-6
    assert threshold == pytest.approx((parts[0].mean() + parts[1].mean()) / 2)


def test_two_means_takes_whole_stacks() -> None:
    stack = np.random.default_rng(0).random((4, 5, 6))
    assert np.allclose(two_means(stack)[2, 3], two_means(stack[2, 3]))
    assert two_means(np.array([0.7])) == 0.7


def test_clean_against_itself_is_one() -> None:
    clean = run([0.1, 0.2, 1.0, 1.2], [0.3, 0.1, 0.9, 1.0])
    distance = unlearnable_distance(clean, clean)
    assert distance.ud.value == 1.0
    twice = unlearnable_distance([clean, clean], [clean, clean])
    assert (twice.ud.low, twice.ud.high) == (1.0, 1.0)
    assert distance.clean_layers == distance.poisoned_layers == (2.0, 2.0)


def test_beta_is_the_mean_of_the_epochs_or_pooled() -> None:
    clean = run([0.0, 1.0], [0.0, 3.0])
    assert unlearnable_distance(clean, clean).beta == pytest.approx((0.5 + 1.5) / 2)
    pooled = unlearnable_distance(clean, clean, beta="pooled")
    assert pooled.beta == pytest.approx((1 / 3 + 3) / 2)
    assert unlearnable_distance(clean, clean, beta=0.9).beta == 0.9


def test_value_counts_layers_or_parameters() -> None:
    sizes = (10, 1, 1)
    clean, poisoned = run([1, 1, 0], sizes=sizes), run([0, 1, 0], sizes=sizes)
    assert unlearnable_distance(clean, poisoned).ud.value == 0.5
    assert unlearnable_distance(clean, poisoned, weight="parameters").ud.value == pytest.approx(1 / 11)


def test_noise_of_the_probe_images_is_reported_apart() -> None:
    clean, poisoned = [1.0, 1.1, 0.1, 0.2, 0.5], [0.8, 0.3, 0.1, 0.2, 0.4]
    narrow, wide = (unlearnable_distance(run(clean, error=e), run(poisoned, error=e)) for e in (0.01, 0.2))
    assert narrow.probe_error < wide.probe_error
    assert unlearnable_distance(run(clean), run(poisoned)).probe_error == 0
    assert (wide.ud.low, wide.ud.high) == (None, None), "one seed"
    assert wide == unlearnable_distance(run(clean, error=0.2), run(poisoned, error=0.2))


def test_several_seeds_average_with_students_interval() -> None:
    clean = run([1.0, 1.0, 0.0, 0.0])
    pairs = [(clean, run([1.0, 0.0, 0.0, 0.0])), (clean, run([1.0, 1.0, 1.0, 0.0]))]
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    distance = unlearnable_distance(one, other)
    assert distance.ud.value == 1.0
    assert distance.values == (0.5, 1.5)
    assert distance.ud.low == 0.0, "no UD lies below 0"
    assert distance.ud.high == pytest.approx(1 + 12.706 * 0.5, rel=1e-4)
    table = unlearnable_distance(one, other, spread=pooled([[0.5, 1.5], [1.0, 0.2], [0.4, 0.6]]))
    assert table.ud.high is not None
    assert table.ud.high < 1 + 4.303 * 0.6, "more rows, more degrees of freedom"


def test_errors_tell_what_why_and_cure() -> None:
    clean = run([0.0, 1.0])
    with pytest.raises(HowfarError, match="no denominator"):
        unlearnable_distance(clean, clean, beta=5.0)
    with pytest.raises(UsageError, match="Train both equally long"):
        unlearnable_distance(clean, clean + clean)
    with pytest.raises(UsageError, match="different layers"):
        unlearnable_distance(clean, run([0.0, 1.0, 2.0]))
    with pytest.raises(HowfarError, match="layer l1 in epoch 1 of the poisoned run"):
        unlearnable_distance(clean, run([0.0, float("nan")]))
    with pytest.raises(UsageError, match="Pair them by seed"):
        unlearnable_distance([clean, clean], [clean])
    with pytest.raises(UsageError, match="no readings"):
        unlearnable_distance([], [])
