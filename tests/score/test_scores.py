import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from howfar import arrays
from howfar.errors import UsageError
from howfar.score import Estimate, dose_response, drop, psnr_text, rank_correlation, recorded, ssim_text, visibility
from howfar.score.intervals import mean_interval

from ..conftest import make_data


def test_drop_is_paired_by_seed() -> None:
    result = drop([0.9, 0.8, 0.85], [0.4, 0.3, 0.35])
    assert result.value == pytest.approx(0.5)
    assert result.low == pytest.approx(0.5)
    assert drop([1.0, 2.0], [3.0, 5.0], higher_is_better=False).value == pytest.approx(2.5)
    assert drop([1.0], [0.5]).low is None
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
    changed[:, 0, 8, 7] += 5
    seen = visibility(data, data.with_pixels(changed))
    assert seen.linf == 5
    assert seen.l0 == pytest.approx(1 / 256)
    assert seen.l2 == pytest.approx(5 / 255)
    assert seen.psnr == pytest.approx(-10 * math.log10((5 / 255) ** 2 / (3 * 256)), abs=1e-6)
    assert 0.9 < seen.ssim < 1


def test_nothing_changed_is_invisible() -> None:
    data = make_data(4, (3, 12, 11))
    seen = visibility(data, data)
    assert (seen.linf, seen.l2, seen.l0, seen.psnr, seen.ssim) == (0, 0, 0, math.inf, 1)


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 32, 32), (1, 24, 40), (3, 11, 11)])
def test_ssim_is_that_of_scikit_image(channels: int, height: int, width: int) -> None:
    """Their mean leaves out the border, whose windows reach over it, as the authors' code does."""
    rng = np.random.default_rng(height)
    pixels = np.cumsum(rng.normal(0, 12, (5, channels, height, width)), 3) + 128
    data = make_data(5, (channels, height, width)).with_pixels(torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)))
    noise = torch.from_numpy(rng.integers(-16, 17, pixels.shape))
    noise[..., 0] *= 8  # worst at the border
    after = data.with_pixels((data.pixels + noise).clamp(0, 255).to(torch.uint8))
    expected = [
        structural_similarity(
            one.numpy(), other.numpy(), channel_axis=0, data_range=255, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False,
        )
        for one, other in zip(data.pixels, after.pixels, strict=True)
    ]  # fmt: skip
    assert visibility(data, after).ssim == pytest.approx(np.mean(expected), abs=1e-5)


def test_images_without_a_whole_window_have_no_ssim() -> None:
    data = make_data(4, (3, 12, 10))
    seen = visibility(data, data.with_pixels(255 - data.pixels))
    assert math.isnan(seen.ssim)
    assert seen.record()["ssim"] is None
    assert ssim_text(seen.ssim) == ssim_text(None) == "–"


def test_only_identical_images_have_an_infinite_psnr() -> None:
    assert psnr_text(math.inf, 0) == psnr_text(None, 0) == "∞"
    assert psnr_text(None, None) == psnr_text(None, 8) == "–"
    assert psnr_text(31.42, 8, " dB") == "31.4 dB"


def test_an_ssim_over_padded_borders_is_not_taken_for_the_present_one() -> None:
    data = make_data(4, (3, 12, 12))
    record = visibility(data, data).record()
    assert recorded(record) == {"linf": 0, "l2": 0, "l0": 0, "psnr": None, "ssim": 1.0}
    old = {key: value for key, value in record.items() if key != "version"}
    assert recorded(old) == {**recorded(record), "ssim": None}
    assert recorded({}) == {}


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
    first = rng.normal(size=(9, 5))
    second = first + rng.normal(size=(9, 5))
    found = rank_correlation(first.tolist(), second.tolist())
    assert found.rank.value == pytest.approx(spearmanr(first.mean(1), second.mean(1))[0])
    assert found.rank.low is not None
    assert found.rank.high is not None
    assert found.rank.low <= found.rank.value <= found.rank.high
    assert rank_correlation([[1.0], [2.0]], [[5.0], [5.0]]).rank.value == 0
    assert rank_correlation([[1.0], [2.0]], [[5.0], [6.0]]).rank.low is None, "too few things"
    single = rank_correlation(first[:, :1].tolist(), second[:, :1].tolist())
    assert single.rank.low is not None, "the interval is over things, not over seeds"
    level = rank_correlation(first.tolist(), [[1.0] * 5] * 9)
    assert (level.rank.value, level.rank.low) == (0, None)
    with pytest.raises(UsageError, match="equal shape"):
        rank_correlation([[1.0]], [[1.0]])


def test_dose_response_starts_at_clean_and_sees_a_step_back() -> None:
    drops = {0.2: [0.1, 0.12], 0.1: [0.05, 0.04], 0.4: [0.3, 0.2]}
    distances = {0.1: [0.8, 0.9], 0.2: [1.2, 1.1], 0.4: [0.1, 0.2]}
    found = dose_response(drops, distances)
    assert found.levels == (0.0, 0.1, 0.2, 0.4)
    assert found.drop[0] == Estimate(0.0, 0.0, 0.0, 2, "t")
    assert found.ud[0] == Estimate(1.0, 1.0, 1.0, 2, "t")
    assert found.drop_trend.monotone
    assert found.drop_trend.rank.value == pytest.approx(1)
    assert not found.ud_trend.monotone
    assert found.ud_trend.rank.value < 0
