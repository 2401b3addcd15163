import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from howfar import arrays
from howfar.errors import UsageError
from howfar.score import dose_response, drop, rank_correlation, visibility
from howfar.score.intervals import mean_interval

from ..conftest import make_data


def test_drop_is_paired_by_seed() -> None:
    result = drop([0.9, 0.8, 0.85], [0.4, 0.3, 0.35])
    assert result.value == pytest.approx(0.5)
    assert result.low == pytest.approx(0.5)
    assert drop([1.0, 2.0], [3.0, 5.0], higher_is_better=False).value == pytest.approx(2.5)
    assert math.isinf(drop([1.0], [0.5]).low)
    with pytest.raises(UsageError, match="paired"):
        drop([1.0], [])


def test_t_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        low, high = mean_interval(rng.normal(3, 2, 4).tolist(), 0.9)
        hits += low <= 3 <= high
    assert 870 <= hits <= 930


def test_visibility_of_a_known_change() -> None:
    data = make_data(10, (3, 16, 16))
    data.pixels.clamp_(10, 240)
    changed = data.pixels.clone()
    changed[:, 0, 0, 0] += 5
    seen = visibility(data, data.with_pixels(changed))
    assert seen.linf == 5
    assert seen.l0 == pytest.approx(1 / 256)
    assert seen.l2 == pytest.approx(5 / 255)
    assert seen.psnr == pytest.approx(-10 * math.log10((5 / 255) ** 2 / (3 * 256)), abs=1e-6)
    assert 0.9 < seen.ssim < 1


def test_nothing_changed_is_invisible() -> None:
    data = make_data(4)
    seen = visibility(data, data)
    assert (seen.linf, seen.l2, seen.l0, seen.psnr, seen.ssim) == (0, 0, 0, math.inf, 1)


def test_ssim_falls_with_noise() -> None:
    smooth = torch.arange(16).expand(6, 3, 16, 16).clone().to(torch.uint8) * 15
    data = make_data(6, (3, 16, 16)).with_pixels(smooth)
    values = []
    for reach in (4, 16, 64):
        noise = torch.randint(-reach, reach + 1, smooth.shape, generator=arrays.seeded(reach))
        values.append(visibility(data, data.with_pixels((smooth + noise).clamp(0, 255).to(torch.uint8))).ssim)
    assert values == sorted(values, reverse=True)


def test_rank_correlation_equals_scipy_and_says_how_sure_it_is() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(7, 5))
    second = first + rng.normal(size=(7, 5))
    found = rank_correlation(first.tolist(), second.tolist())
    assert found.value == pytest.approx(spearmanr(first.mean(1), second.mean(1))[0])
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high
    assert rank_correlation([[1.0], [2.0]], [[5.0], [5.0]]).value == 0
    assert rank_correlation([[1.0], [2.0]], [[5.0], [6.0]]).low is None
    with pytest.raises(UsageError, match="equal shape"):
        rank_correlation([[1.0]], [[1.0]])


def test_dose_response_starts_at_clean_and_sees_a_step_back() -> None:
    drops = {0.2: [0.1, 0.12], 0.1: [0.05, 0.04], 0.4: [0.3, 0.2]}
    distances = {0.1: [0.8, 0.9], 0.2: [1.2, 1.1], 0.4: [0.1, 0.2]}
    found = dose_response(drops, distances)
    assert found.levels == (0.0, 0.1, 0.2, 0.4)
    assert found.drop[0] == (0.0, 0.0, 0.0)
    assert found.ud[0] == (1.0, 1.0, 1.0)
    assert found.drop_trend.monotone
    assert found.drop_trend.value == pytest.approx(1)
    assert not found.ud_trend.monotone
    assert found.ud_trend.value < 0
