"""Sums over pieces, and arguments that must arrive: changes of the code that mutation testing found unnoticed."""

import math

import numpy as np
import pytest
import torch

from howfar import arrays
from howfar.data import Data
from howfar.score import drop, unlearnable_distance, visibility
from howfar.score.correlation import mean_correlation
from howfar.score.drop import drops
from howfar.score.intervals import mean_interval, pooled

from .test_unlearnable_distance import run


def pair(n: int, size: tuple[int, int], seed: int) -> tuple[Data, Data]:
    """Return images, of which every third has noise that grows with its number."""
    generator = arrays.seeded(seed)
    pixels = torch.randint(60, 190, (n, 3, *size), generator=generator, dtype=torch.uint8)
    noise = torch.randint(-20, 21, pixels.shape, generator=generator) * (torch.arange(n) % 3 == 0).view(-1, 1, 1, 1)
    noise[:, :, 0] = 0  # one row is never touched
    clean = Data(pixels, {}, torch.arange(n))
    return clean, clean.with_pixels((pixels.int() + noise).to(torch.uint8))


def test_visibility_is_the_mean_over_all_pieces() -> None:
    clean, protected = pair(5000, (3, 4), 0)
    found = visibility(clean, protected)
    difference = (protected.pixels.int() - clean.pixels.int()).numpy().astype(np.float64)
    flat = (difference / 255).reshape(5000, -1)
    assert found.linf == np.abs(difference).max()
    assert found.l2 == pytest.approx(np.linalg.norm(flat, axis=1).mean())
    assert found.l0 == pytest.approx((difference != 0).any(1).mean())
    assert found.psnr == pytest.approx(-10 * math.log10(np.square(flat).mean()))


def test_ssim_is_the_mean_over_all_pieces_and_one_for_images_that_stay() -> None:
    clean, protected = pair(300, (12, 13), 1)
    whole = visibility(clean, protected).ssim
    single = [visibility(clean.take([i]), protected.take([i])).ssim for i in range(0, 300, 3)]
    assert max(single) < 1
    assert whole == pytest.approx((sum(single) + 200) / 300)
    first = clean.take(range(300)).with_pixels(torch.cat([clean.pixels[:256], protected.pixels[256:]]))
    changed = [visibility(clean.take([i]), first.take([i])).ssim for i in range(256, 300)]
    assert visibility(clean, first).ssim == pytest.approx((sum(changed) + 256) / 300), "a piece that stays counts"


def test_ssim_takes_evenly_spaced_images_and_needs_a_window_both_ways() -> None:
    clean, protected = pair(12, (12, 12), 2)
    some = visibility(clean.take([0, 6]), protected.take([0, 6])).ssim
    assert visibility(clean, protected, ssim_images=2).ssim == pytest.approx(some)
    for size in ((10, 30), (30, 10)):
        assert math.isnan(visibility(*pair(2, size, 3)).ssim)


def test_drop_is_the_mean_difference_with_the_interval_that_was_asked_for() -> None:
    clean, poisoned = [0.9, 0.8, 0.85], [0.4, 0.6, 0.2]
    differences = drops(clean, poisoned)
    spread = pooled([differences, [0.1, 0.2, 0.05]])
    assert spread is not None
    found = drop(clean, poisoned, confidence=0.5, spread=spread)
    assert (found.value, found.n, found.kind) == (pytest.approx(0.45), 3, "t")
    assert (found.low, found.high) == mean_interval(differences, 0.5, spread=spread)
    assert (found.low, found.high) != mean_interval(differences, 0.5)
    assert (found.low, found.high) != mean_interval(differences, 0.95, spread=spread)


def test_distance_counts_layers_and_margins_of_each_side() -> None:
    clean = [run([0.0, 1.2, 1.2], [0.0, 2.8, 2.8]), run([0.0, 2.0, 2.0], [0.0, 2.0, 2.0])]
    poisoned = [run([0.0, 0.2, 2.0], [0.0, 0.1, 4.0]), run([0.0, 0.4, 3.0], [0.1, 0.3, 3.0])]
    found = unlearnable_distance(clean, poisoned)
    assert found.beta == pytest.approx(1.0)
    assert (found.clean_layers, found.poisoned_layers) == ((2.0, 2.0), (1.0, 1.0))
    assert found.values == (0.5, 0.5)
    assert found.clean_margins == tuple(
        {"l0": pytest.approx(-1.0), "l1": pytest.approx(high), "l2": pytest.approx(high)} for high in (0.6, 1.4)
    )
    assert found.poisoned_margins[0] == {
        "l0": pytest.approx(-1.0), "l1": pytest.approx(-0.7), "l2": pytest.approx(1.5),
    }  # fmt: skip
    assert found.poisoned_margins[1]["l1"] == pytest.approx(-0.8)


def test_the_confidence_of_a_distance_arrives() -> None:
    clean = [run([0.0, 1.0, 1.0, 1.0])] * 3
    poisoned = [run([0.0, 1.0, 1.0, 1.0]), run([0.0, 0.0, 1.0, 1.0]), run([0.0, 0.0, 0.0, 1.0])]
    wide, narrow = (unlearnable_distance(clean, poisoned, confidence=share) for share in (0.9, 0.5))
    assert (wide.ud.low, wide.ud.high) == mean_interval([1.0, 2 / 3, 1 / 3], 0.9)
    assert (narrow.ud.low, narrow.ud.high) == mean_interval([1.0, 2 / 3, 1 / 3], 0.5)


def test_the_mean_of_correlations_over_seeds() -> None:
    values = [0.2, 0.5, 0.4]
    low, high = mean_interval([math.atanh(value) for value in values], 0.8)
    assert low is not None
    assert high is not None
    found = mean_correlation(values, 10, confidence=0.8)
    assert found.value == pytest.approx(math.tanh(sum(map(math.atanh, values)) / 3))
    assert found.ends == (pytest.approx(math.tanh(low)), pytest.approx(math.tanh(high)))
    assert (found.n, found.kind) == (3, "fisher")
    single = mean_correlation([0.5], 2)
    assert (single.value, single.ends) == (pytest.approx(0.5), None)
    assert math.isnan(mean_correlation(values, 1).value)
