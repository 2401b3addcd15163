"""The test of parameters: calibrated where nothing differs, powerful where something does."""

import numpy as np
import pytest
from scipy import stats

from howfar.errors import UsageError
from howfar.score import differing
from howfar.score.differing import _inverse_trigamma, _moderated

RUNS, SIZE = 3, 400
LAYERS = np.repeat(np.arange(4), SIZE // 4)


def runs(rng: np.random.Generator, scale: np.ndarray, shift: np.ndarray | float = 0.0) -> np.ndarray:
    """Return weights of some runs whose parameters scatter by ``scale``."""
    return rng.normal(0, 1, (RUNS, len(scale))) * scale + shift


def test_where_nothing_differs_discoveries_are_as_rare_as_promised() -> None:
    rng = np.random.default_rng(0)
    any_found, layers_found, small = 0, 0, []
    for _ in range(200):
        scale = np.exp(rng.normal(0, 0.7, SIZE))
        found = differing(runs(rng, scale), runs(rng, scale), LAYERS)
        any_found += bool(found.parameters.any())
        layers_found += bool(found.layers.any())
        small.append((found.p_values < 0.05).mean())
    assert any_found <= 200 * (0.05 + 3 * np.sqrt(0.05 * 0.95 / 200))
    assert layers_found <= 200 * (0.05 + 3 * np.sqrt(0.05 * 0.95 / 200))
    assert np.mean(small) == pytest.approx(0.05, abs=0.01)


def test_a_planted_change_is_found_with_few_false_ones() -> None:
    rng = np.random.default_rng(1)
    power, wrong = [], []
    for _ in range(50):
        scale = np.exp(rng.normal(0, 0.7, SIZE))
        planted = np.zeros(SIZE)
        planted[:50] = 6 * scale[:50]
        found = differing(runs(rng, scale), runs(rng, scale, planted), LAYERS)
        power.append(found.parameters[:50].mean())
        wrong.append(found.parameters[50:].sum() / max(found.parameters.sum(), 1))
        assert found.layers[0]
        assert found.by_layer[0] == pytest.approx(found.parameters[: SIZE // 4].mean())
    assert np.mean(power) > 0.8
    assert np.mean(wrong) - 3 * np.std(wrong) / np.sqrt(len(wrong)) < 0.05


def test_effect_is_in_distances_of_two_clean_runs() -> None:
    clean = np.array([[0.0], [1.0], [2.0]])  # pairs are 1, 1 and 2 apart
    found = differing(clean, clean + 8, [0])
    assert found.effect[0] == pytest.approx(8 / (4 / 3))
    plain = stats.ttest_ind(clean, clean + 8).pvalue[0]  # one parameter has no others to learn a variance from
    assert found.p_values[0] == pytest.approx(plain)


def test_equal_weights_do_not_differ() -> None:
    frozen = np.ones((2, 5))
    found = differing(frozen, frozen, [0, 0, 0, 1, 1])
    assert found.share == found.layer_share == 0
    assert differing(frozen, frozen + 1, [0, 0, 0, 1, 1]).share == 1


def test_variances_are_drawn_together_as_far_as_they_are_alike() -> None:
    rng = np.random.default_rng(2)
    alike = rng.chisquare(4, 5000) / 4
    drawn, prior = _moderated(alike, 4)
    assert prior > 50
    assert drawn.std() < 0.1 * alike.std()
    wide = alike * np.exp(rng.normal(0, 3, 5000))
    drawn, prior = _moderated(wide, 4)
    assert prior < 2
    for x in (0.1, 1.0, 7.0, 300.0):
        from scipy.special import polygamma

        assert _inverse_trigamma(float(polygamma(1, x))) == pytest.approx(x, rel=1e-6)


def test_what_cannot_be_tested_is_refused() -> None:
    with pytest.raises(UsageError, match="at least two"):
        differing(np.zeros((1, 3)), np.zeros((2, 3)), [0, 0, 0])
    with pytest.raises(UsageError, match="do not fit"):
        differing(np.zeros((2, 3)), np.zeros((2, 4)), [0, 0, 0])
